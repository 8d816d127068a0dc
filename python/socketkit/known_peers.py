"""Which key belongs to which place: the file `known_peers`, as SSH's known_hosts.

    example.org:7000 sk1:... comment            one line for each key that the place may show
    [2001:db8::1]:7000 sk1:...
    /run/app.sock sk1:...                       a Unix socket; an abstract one is unix:@name
    @revoked example.org:7000 sk1:...           never to be accepted there
    @revoked * sk1:...                          never to be accepted anywhere

Comments (`#`) and lines that cannot be read stay as they are. Such a line makes nobody trusted; and because it may be a
key that its writer relies on, a place that it mentions is not looked up until it is repaired. A revocation that cannot
be read may mean anyone, so it stops every look-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from . import home, kept_file
from .endpoint import Endpoint
from .errors import EndpointError, IdentityError
from .fingerprint import NotFingerprint, canonical
from .grammar import write

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable


class KnownPeer(NamedTuple):
    """A line of the file, by its number; `place` is `*` if the key is revoked everywhere."""

    place: str
    fingerprint: str
    comment: str
    revoked: bool
    line: int


class Known(NamedTuple):
    """What the file says of a place: the keys that it may show, and those that nobody may show there."""

    pins: tuple[str, ...]
    revoked: frozenset[str]


class KnownPeers:
    """The file at `path`, or this user's own. Nothing of it is kept in memory: another program may change it.

    Every method raises IdentityError if others can write to the file, if it is too large, or if a line that matters
    cannot be read; the error names the file and the line. Those that change it do so in one step, which loses no other
    program's change.
    """

    __slots__ = ("path",)

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = home.file("known_peers") if path is None else kept_file.absolute(path)

    def find(self, place: str) -> Known:
        """The keys of a place. A key that is revoked is never among `pins`."""
        place = read_place(place)
        pins: dict[str, None] = {}  # in the order of the file
        revoked = set()
        for line in self._lines(place):
            if line.fault is not None:
                if line.matters_to(place):
                    raise IdentityError(f"{self.path}, line {line.number}: {line.fault}: repair the line or remove it")
            elif line.revoked and line.place in (place, EVERYWHERE):
                revoked.add(line.fingerprint)
            elif line.place == place:
                pins[line.fingerprint] = None
        return Known(tuple(pin for pin in pins if pin not in revoked), frozenset(revoked))

    def entries(self) -> tuple[KnownPeer, ...]:
        """Every line that can be read."""
        return tuple(
            KnownPeer(line.place, line.fingerprint, line.comment, line.revoked, line.number)
            for line in self._lines()
            if line.fault is None
        )

    def faults(self) -> tuple[str, ...]:
        """Why each of the other lines cannot be read: `line 3: reason`."""
        return tuple(f"line {line.number}: {line.fault}" for line in self._lines() if line.fault is not None)

    def add(self, place: str, fingerprint: str, comment: str = "", *, also: bool = False) -> None:
        """Accept this key at this place from now on.

        Raises IdentityError if it is revoked, or if another key is known there; `also` keeps that one, too, as a
        rotation needs it.
        """
        place, fingerprint = read_place(place), canonical(fingerprint)

        def edit(text: str) -> str:
            others = self._other_keys(text, place, fingerprint)
            if others is None:
                return text
            if others and not also:
                raise IdentityError(
                    f"another key is known for {place}: {', '.join(others)}: if it has changed, "
                    f"`{replace_command(place, fingerprint)}`"
                )
            return kept_file.with_line(text, f"{place} {fingerprint}", comment)

        kept_file.change(self.path, edit)

    def replace(self, place: str, fingerprint: str, comment: str = "") -> None:
        """Accept this key at this place and none that was known there before. Raises IdentityError if it is revoked."""
        place, fingerprint = read_place(place), canonical(fingerprint)

        def edit(text: str) -> str:
            self._other_keys(text, place, fingerprint)
            return kept_file.with_line(_without(text, place, None)[0], f"{place} {fingerprint}", comment)

        kept_file.change(self.path, edit)

    def remove(self, place: str, fingerprint: str | None = None) -> int:
        """Forget this key of the place, or all of its keys; returns how many. What is revoked stays revoked."""
        place = read_place(place)
        wanted = None if fingerprint is None else canonical(fingerprint)
        removed = 0

        def edit(text: str) -> str:
            nonlocal removed
            text, removed = _without(text, place, wanted)
            return text

        kept_file.change(self.path, edit)
        return removed

    def revoke(self, fingerprint: str, place: str = "*", comment: str = "") -> None:
        """Never accept this key again, at this place or (`*`) anywhere; it is known nowhere there any more."""
        place, fingerprint = EVERYWHERE if place == EVERYWHERE else read_place(place), canonical(fingerprint)

        def edit(text: str) -> str:
            text, _ = _without(text, None if place == EVERYWHERE else place, fingerprint)
            known = any(
                line.revoked and line.fault is None and (line.place, line.fingerprint) == (place, fingerprint)
                for line in _parse(text)
            )
            return text if known else kept_file.with_line(text, f"{REVOKED} {place} {fingerprint}", comment)

        kept_file.change(self.path, edit)

    def __repr__(self) -> str:
        return f"KnownPeers({self.path!r})"

    def _lines(self, place: str | None = None) -> Iterable[_Line]:
        return _parse((kept_file.read(self.path) or b"").decode("utf-8", "surrogateescape"), place)

    def _other_keys(self, text: str, place: str, fingerprint: str) -> list[str] | None:
        """The other keys of the place; None if this one is already known there. Raises if it is revoked."""
        others: list[str] | None = []
        for line in _parse(text):
            if line.fault is not None:
                continue
            if line.revoked and line.fingerprint == fingerprint and line.place in (place, EVERYWHERE):
                raise IdentityError(
                    f"{fingerprint} is revoked by {self.path}, line {line.number}: "
                    "take out the line if that is not true any more"
                )
            if line.place == place and not line.revoked:
                if line.fingerprint == fingerprint:
                    others = None
                elif others is not None:
                    others.append(line.fingerprint)
        return others


def place_of(endpoint: Endpoint) -> str:
    """What the file calls it: `host:port` (`localhost:port` without a host), a path, or `unix:@name`."""
    if endpoint.path is not None:
        quoted = write("", None, None, endpoint.path, ())[len("://") :]
        return quoted if quoted.startswith("/") else f"unix:{quoted}"
    host = (endpoint.host or "localhost").lower().removesuffix(".")
    return write("tls", host, endpoint.port, None, ())[len("tls://") :]


def read_place(text: str) -> str:
    """The one spelling of a place that somebody wrote, or of the place of an address. Raises EndpointError."""
    if "://" in text:
        return place_of(Endpoint.parse(text))
    if text.startswith("/"):
        return place_of(Endpoint.parse(f"unix://{text}"))
    if text.startswith("unix:@"):
        return place_of(Endpoint.parse(f"unix://{text[5:]}"))
    return place_of(Endpoint.parse(f"tls://{text}"))


def add_command(place: str, fingerprint: str) -> str:
    """What to type for the key to be accepted."""
    return f"socketkit trust add {_for_a_shell(place)} {fingerprint}"


def replace_command(place: str, fingerprint: str) -> str:
    """What to type for the key to be accepted instead of those that are known."""
    return f"socketkit trust replace {_for_a_shell(place)} {fingerprint}"


def _for_a_shell(place: str) -> str:
    from shlex import quote

    return quote(place)


class _Line:
    """A line that says something. `fault`: why it cannot be read, else None, and then the other fields are right."""

    __slots__ = ("comment", "fault", "fingerprint", "number", "place", "revoked", "text")

    def __init__(self, number: int, text: str) -> None:
        self.number = number
        self.text = text
        self.fault: str | None = None
        self.place = self.fingerprint = self.comment = ""
        words = text.split(None, 1)
        self.revoked = words[0] == REVOKED
        parts = (words[1] if len(words) > 1 else "").split(None, 2) if self.revoked else text.split(None, 2)
        try:
            if len(parts) < 2:
                raise NotFingerprint("a place and a key belong on a line", "HOST:PORT sk1:...")
            self.place = EVERYWHERE if self.revoked and parts[0] == EVERYWHERE else read_place(parts[0])
            self.fingerprint = canonical(parts[1])
            self.comment = parts[2].rstrip() if len(parts) > 2 else ""
        except EndpointError as failure:
            self.fault = f"no place: {failure.reason}"
        except NotFingerprint as failure:
            self.fault = str(failure)

    def matters_to(self, place: str) -> bool:
        """Whether this line, which cannot be read, may have been meant for the place."""
        if self.text.lstrip().startswith("@"):
            return True
        host = _host(place)
        return self.place == place if self.place else host in self.text or host in self.text.lower()


def _parse(text: str, place: str | None = None) -> Iterable[_Line]:
    """The lines that say something; with `place`, those that may say it of this one."""
    # Looked for as it is spelt, and then wherever another spelling is possible: few lines of many need to be read.
    host = "" if place is None else _host(place)
    for number, line in enumerate(text.split("\n"), 1):
        start = line.lstrip()
        if not start or start[0] == "#":
            continue
        if host in line or host in line.lower() or start[0] in "@[" or "%" in line:
            yield _Line(number, line)


def _host(place: str) -> str:
    return place if place.startswith(("/", "unix:")) else place.rpartition(":")[0].strip("[]")


def _without(text: str, place: str | None, fingerprint: str | None) -> tuple[str, int]:
    """The text without this place's lines for this key (None: any), and how many there were."""
    doomed = {
        line.number
        for line in _parse(text)
        if line.fault is None
        and not line.revoked
        and place in (None, line.place)
        and fingerprint in (None, line.fingerprint)
    }
    return kept_file.without_lines(text, doomed), len(doomed)


REVOKED = "@revoked"
EVERYWHERE = "*"
