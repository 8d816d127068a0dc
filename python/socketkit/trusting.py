"""Whether a peer is the one that was meant: the order in which everything that is known of it counts.

1. What the address says (`pin`, `ca`, `trust`), or the caller's `Trust`: that, and nothing else.
2. The keys that are known for the place (known_peers).
3. For a host's name, the authorities that this machine trusts.
4. First use, for what no authority vouches for: loopback, addresses (private or not), Unix sockets.

On loopback and Unix sockets this user's own key is accepted besides 2 and 4: it is the same user. A revoked key is
never accepted, not even by `danger_anyone`: that is for a peer whose key one does not know, and this one's is known to
be in the wrong hands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from .errors import UntrustedPeer, explained
from .known_peers import add_command, place_of, replace_command
from .schemes import ip_address
from .trust import Trust

if TYPE_CHECKING:
    from typing import NoReturn

    from .endpoint import Endpoint
    from .known_peers import KnownPeers


@final
class Decision:
    """Which peers are accepted at an endpoint: a frozen value.

    A peer is accepted if its key is not in `revoked`, and `anyone` is true, or its key is one of `pins`, or the
    authorities of `roots` vouch for it ("system" or the path of a file). Otherwise, with `first_use`, its key may
    become the known one of `place`. Else it is refused.
    """

    __slots__ = ("anyone", "endpoint", "first_use", "own", "pins", "place", "revoked", "roots", "told")

    endpoint: Endpoint
    place: str
    pins: tuple[str, ...]
    revoked: frozenset[str]
    roots: str | None
    first_use: bool
    anyone: bool
    own: str | None
    told: bool
    """Whether the address or the caller said whom to trust, so that known_peers changes nothing."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        pins: tuple[str, ...] = (),
        revoked: frozenset[str] = frozenset(),
        roots: str | None = None,
        first_use: bool = False,
        anyone: bool = False,
        own: str | None = None,
        told: bool = False,
    ) -> None:
        fields = {
            "endpoint": endpoint,
            "place": place_of(endpoint),
            "pins": tuple(pin for pin in dict.fromkeys((*pins, *([own] if own else []))) if pin not in revoked),
            "revoked": revoked,
            "roots": roots,
            "first_use": first_use,
            "anyone": anyone,
            "own": own,
            "told": told,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def expected(self) -> tuple[str, ...]:
        """The keys that the peer should have shown one of; without this user's own where that is an extra."""
        return tuple(pin for pin in self.pins if pin != self.own) or (() if self.first_use else self.pins)

    def refusal(self, presented: str | None, operation: str = "connect") -> UntrustedPeer:
        """The error for a peer that showed this key (None: none) and is not accepted; it names the way out."""
        reason = self.reason(presented)
        error = UntrustedPeer(operation, self.endpoint, reason, presented=presented, expected=self.expected)
        return explained(error, "man-in-the-middle")

    def reason(self, presented: str | None) -> str:
        """Why a peer with this key (None: none) is not accepted, and what to do if it should be."""
        expected = " or ".join(self.expected)
        confirmed = "If the peer's owner confirms that it is his"
        if presented is None:
            return f"the peer showed no key{f', expected was {expected}' if expected else ''}: nothing was sent"
        if presented in self.revoked:
            return f"the peer's key {presented} is revoked in known_peers: nothing was sent"
        if expected and self.told:
            return (
                f"the peer's key is {presented}, expected was {expected}: somebody may sit in the middle, or the peer "
                f"has a new key: nothing was sent. {confirmed}, write pin={presented}"
            )
        if expected:
            return (
                f"the peer's key has changed: it is {presented}, known is {expected}: somebody may sit in the middle, "
                f"or the peer has a new key: nothing was sent. {confirmed}: "
                f"{replace_command(self.place, presented)}"
            )
        if self.told and not self.first_use:
            return f"{self._unmet()}, its key is {presented}: nothing was sent. {confirmed}, write pin={presented}"
        who = "no authority of this machine vouches for the peer, and its key" if self.roots else "the peer's key"
        return (
            f"{who} {presented} is not known here: nothing was sent. {confirmed}: {add_command(self.place, presented)}"
        )

    def _unmet(self) -> str:
        """What was asked for by the address or the caller, and the peer does not have."""
        if self.roots is None:
            return "all keys that would be accepted are revoked; the peer is another one"
        whose = "of this machine" if self.roots == "system" else f"in {self.roots}"
        return f"the authorities {whose} do not vouch for the peer"

    def __repr__(self) -> str:
        return f"Decision({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Decision) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Decision is frozen")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Decision is frozen")

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)


def decide(endpoint: Endpoint, trust: Trust | None, known: KnownPeers, own: str | None = None) -> Decision:
    """Whom to accept at this endpoint; `own` is the fingerprint of this user's own identity, if he has one.

    Raises ValueError if both the address and `trust` say it, IdentityError if `known` cannot be read.
    """
    written = Trust.of(endpoint)
    if written is not None and trust is not None:
        raise ValueError(f"both the address and trust= say whom to trust: leave one out ({written!r}, {trust!r})")
    told = written or trust
    pins, revoked = known.find(place_of(endpoint))
    if told is not None and told.kind != "first_use":
        return _as_told(endpoint, told, revoked)
    own = own if endpoint.is_loopback and own not in revoked else None
    if pins:
        return Decision(endpoint, pins=pins, revoked=revoked, own=own)
    if told is not None or _has_no_name(endpoint):
        return Decision(endpoint, revoked=revoked, first_use=True, own=own, told=told is not None)
    return Decision(endpoint, revoked=revoked, roots="system")


def _as_told(endpoint: Endpoint, trust: Trust, revoked: frozenset[str]) -> Decision:
    match trust.kind:
        case "pin":
            return Decision(endpoint, pins=trust.pins, revoked=revoked, told=True)
        case "authority":
            return Decision(endpoint, revoked=revoked, roots=trust.path, told=True)
        case "system":
            return Decision(endpoint, revoked=revoked, roots="system", told=True)
    return Decision(endpoint, revoked=revoked, anyone=True, told=True)


def _has_no_name(endpoint: Endpoint) -> bool:
    """Whether no authority can vouch for the host: only names are registered to somebody."""
    if endpoint.is_loopback or endpoint.is_wildcard:
        return True
    return endpoint.host is not None and ip_address(endpoint.host.partition("%")[0]) is not None
