"""`Limits`: every size, time and number that bounds a connection or a listener. All are finite.

A new limit is a line in the class with its default, one in its docstring and one in docs/limits.md. The end of its name
says what it may be: `_seconds` a time, `_fraction` a part of one, anything else a count of at least 1.
"""

from __future__ import annotations

import resource
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import TYPE_CHECKING

from . import _core

if TYPE_CHECKING:
    from collections.abc import Iterable
    from dataclasses import dataclass
    from typing import Any, NoReturn
else:
    # Importing the real one costs half of what importing socketkit does; type checkers learn the parameters from it.
    def dataclass(**_):
        return lambda made: made


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one listener or one connection: a frozen value. `replace` makes others from it.

    How many, per listener:

    - `connections` (None: 10,000, or 0.9 of the process's descriptors if fewer): open at once; the backlog keeps
      further callers.
    - `unproven_connections` (512): that have not yet sent a first message; for one more the oldest of them goes. At
      most 3/4 of `connections`; nobody goes for this where `connections` is below 64.
    - `backlog` (1,024): callers that the kernel keeps until they are accepted (man 2 listen; capped by
      net.core.somaxconn).
    - `descriptor_reserve` (32): descriptors left for files, names and the program's own sockets.

    How much from one source (an IPv4 address, an IPv6 /56), per listener:

    - `trusted` (127.0.0.0/8 and ::1/128): networks to which nothing of this paragraph applies.
    - `source_connections` (64): open at once; an office behind one address fits.
    - `source_unproven` (16): unproven at once; for one more its oldest goes.
    - `source_rate_per_second` (50) and `source_burst` (100): new ones; about 1 % of a core in handshakes.
    - `penalty_seconds` (10): for each timeout or abuse, adding up to `penalty_most_seconds` (600); while
      `penalty_active_seconds` (15) or more are left, its callers are refused.
    - `penalty_sources` (65,536): sources remembered when nothing of theirs is open; about 13 MB at most.

    How long, for accepted connections and while the application waits to receive:

    - `first_message_seconds` (10): from the accept to a whole first message, the TLS handshake included: three
      retransmissions.
    - `idle_seconds` (300): without a byte either way.
    - `slowest_bytes_per_second` (500) over `slow_window_seconds` (10): of a message that has begun.

    How long, on either side:

    - `write_stalled_seconds` (30): the peer takes nothing of what is queued.
    - `user_timeout_seconds` (60): the peer's kernel acknowledges nothing (TCP_USER_TIMEOUT).
    - `connect_seconds` (30): for a whole `connect`: name, attempts and all.
    - `close_seconds` (5): for `aclose` to send what is queued; then the connection is reset.
    - `grace_seconds` (5): for handlers to end by themselves when a server stops; then they are cancelled.

    How large:

    - `write_high_bytes` (262,144): with more than this queued, `send` waits.
    - `write_low_bytes` (65,536): `send` goes on once the queue has fallen to this.
    - `notsent_bytes` (131,072): that the kernel takes ahead of the network (TCP_NOTSENT_LOWAT): what peers that never
      read can cost. Of a large file it takes up to 2 MiB, as fast as the peer does.
    - `receive_buffer_bytes` (65,536): that the kernel keeps for a connection (SO_RCVBUF) until its peer is
      authenticated.
    - `message_bytes` (1,048,576): of one message; refused on its length, before anything is allocated.
    - `answer_ratio` (1): how much of what it sent a datagram's source gets back before it has proved that it
      receives there (RFC 9000 §8.1): whoever forges a sender's address gains nothing.
    - `memory_bytes` (536,870,912): that all connections of a loop keep, queued in the process and in the kernel's
      buffers; from `memory_shed_fraction` (0.8) of it on nobody is accepted, and those that keep most go.

    Raises ValueError when made with a bound that is not finite and positive, or whose parts contradict each other.
    """

    connections: int | None = None
    unproven_connections: int = 512
    backlog: int = 1024
    descriptor_reserve: int = 32
    trusted: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    source_connections: int = 64
    source_unproven: int = 16
    source_rate_per_second: int = 50
    source_burst: int = 100
    penalty_seconds: float = 10.0
    penalty_most_seconds: float = 600.0
    penalty_active_seconds: float = 15.0
    penalty_sources: int = 65_536
    first_message_seconds: float = 10.0
    idle_seconds: float = 300.0
    slowest_bytes_per_second: int = 500
    slow_window_seconds: float = 10.0
    write_stalled_seconds: float = 30.0
    user_timeout_seconds: float = 60.0
    connect_seconds: float = 30.0
    close_seconds: float = 5.0
    grace_seconds: float = 5.0
    write_high_bytes: int = 262_144
    write_low_bytes: int = 65_536
    notsent_bytes: int = 131_072
    receive_buffer_bytes: int = 65_536
    message_bytes: int = 1_048_576
    answer_ratio: float = 1.0
    memory_bytes: int = 536_870_912
    memory_shed_fraction: float = 0.8

    if not TYPE_CHECKING:

        def __init__(self, **given):
            # What is not given stays where the class has it, and was checked by whoever wrote it there.
            for name, value in given.items():
                self.__dict__[name] = _checked(name, value)
            _check_together(self)

    @classmethod
    def interactive(cls) -> Limits:
        """For people who type and think, at terminals and in chats.

        Nobody is hurried: two minutes for the first line, an hour for a line or between two, five minutes with the
        output stopped. Buffers are small, so that what is typed is not behind a long queue.
        """
        return cls(
            first_message_seconds=120.0,
            idle_seconds=3600.0,
            slowest_bytes_per_second=1,
            slow_window_seconds=3600.0,
            write_stalled_seconds=300.0,
            write_high_bytes=65_536,
            write_low_bytes=16_384,
            notsent_bytes=16_384,
            receive_buffer_bytes=16_384,
            message_bytes=65_536,
        )

    @classmethod
    def bulk(cls) -> Limits:
        """For few trusted peers and large transfers: backups, replication, media between own machines.

        Large buffers keep a long, fast line full; 256 connections with both of them full are the 2 GiB of
        `memory_bytes`. A peer may stop for two minutes, for its disk, and rest an hour between two transfers.
        """
        return cls(
            connections=256,
            unproven_connections=64,
            backlog=128,
            idle_seconds=3600.0,
            write_stalled_seconds=120.0,
            user_timeout_seconds=120.0,
            write_high_bytes=4_194_304,
            write_low_bytes=1_048_576,
            notsent_bytes=1_048_576,
            receive_buffer_bytes=4_194_304,
            message_bytes=67_108_864,
            memory_bytes=2_147_483_648,
        )

    @classmethod
    def unlimited(cls) -> Limits:
        """For tests and for networks on which everybody is trusted: nobody is refused, cut or evicted for a limit.

        As far as finite numbers go. What makes this side wait, and no peer fail, is as always: the buffers, and the
        seconds for connecting, closing and stopping.
        """
        return cls(
            connections=_MOST_32_BIT,
            unproven_connections=_MOST_32_BIT,
            trusted=("0.0.0.0/0", "::/0"),
            source_connections=_MOST_32_BIT,
            source_unproven=_MOST_32_BIT,
            source_rate_per_second=_MOST_32_BIT,
            source_burst=_MOST_32_BIT,
            penalty_seconds=0.0,
            first_message_seconds=_YEARS,
            idle_seconds=_YEARS,
            slowest_bytes_per_second=1,
            slow_window_seconds=_YEARS,
            write_stalled_seconds=_YEARS,
            user_timeout_seconds=_MOST_USER_TIMEOUT,
            message_bytes=1 << 60,
            answer_ratio=1e9,
            memory_bytes=1 << 60,
            memory_shed_fraction=1.0,
        )

    def replace(self, **changes: Any) -> Limits:
        """The same limits but for `changes`, checked anew."""
        return Limits(**({name: self.__dict__[name] for name in FIELDS if name in self.__dict__} | changes))

    def bounds(self, connections: int | None = None) -> _core.Bounds:
        """For the engine; `connections`: of a listener. Those of a connection are made once."""
        if connections is not None:
            return _core.Bounds(self, connections)
        made: _core.Bounds | None = self.__dict__.get("_bounds")
        if made is None:
            made = self.__dict__["_bounds"] = _core.Bounds(self, 1)
        return made

    def most_connections(self) -> int:
        """`connections`, or what this process's descriptors allow behind `descriptor_reserve`."""
        if self.connections is not None:
            return self.connections
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if descriptors == resource.RLIM_INFINITY:
            return CONNECTIONS
        return max(1, min(CONNECTIONS, int(0.9 * (descriptors - self.descriptor_reserve))))

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Limits) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        """As it would be written: what is not the default."""
        changed = (name for name in FIELDS if getattr(self, name) != getattr(Limits, name))
        return f"Limits({', '.join(f'{name}={getattr(self, name)!r}' for name in changed)})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Limits are frozen: limits.replace({name}=...) makes new ones")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("Limits are frozen")

    def __reduce__(self) -> tuple[object, ...]:
        # All of them: what is stored must not change its meaning with the defaults of another version.
        return _remade, (dict(zip(FIELDS, self._values(), strict=True)),)

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in FIELDS)


def _checked(name: str, value: Any) -> object:
    """`value` as the limit `name` keeps it; ValueError or TypeError if it cannot be one."""
    if name not in FIELDS:
        raise TypeError(f"Limits has no {name!r}: help(socketkit.Limits) lists them")
    if name == "trusted":
        return _networks(value)
    if name == "connections" and value is None:
        return None
    number = (int, float) if name.endswith(("_seconds", "_fraction", "_ratio")) else int
    if not isinstance(value, number):
        raise TypeError(f"Limits.{name} must be {'a number' if number is not int else 'an int'}, not {value!r}")
    if name.endswith("_fraction"):
        if not 0 < value <= 1:
            raise ValueError(f"Limits.{name} must be above 0 and at most 1")
    elif name.endswith("_ratio"):
        if not 0 <= value <= 1e9:
            raise ValueError(f"Limits.{name} must be finite and not negative")
    elif name.endswith("_seconds"):
        _check_seconds(name, value)
    elif name in _KERNEL_INTS:
        if not 1 <= value <= _MOST_32_BIT:
            raise ValueError(f"Limits.{name} must be at least 1 and at most {_MOST_32_BIT:,}")
    elif name != "write_low_bytes" and not 1 <= value < 1 << 62:  # that one may be 0, and is bound by the high one
        raise ValueError(f"Limits.{name} must be at least 1 and finite")
    return value


def _check_seconds(name: str, value: float) -> None:
    if name == "user_timeout_seconds" and not 0.001 <= value <= _MOST_USER_TIMEOUT:
        raise ValueError(f"Limits.{name} must be at least 0.001 and at most {_MOST_USER_TIMEOUT:,.0f} (the kernel's)")
    if not 0 <= value < 1e9:
        raise ValueError(f"Limits.{name} must be finite and not negative")
    if value < 0.001 and name not in _MAY_BE_ZERO:
        raise ValueError(f"Limits.{name} must be at least 0.001")


def _check_together(limits: Limits) -> None:
    if not 0 <= limits.write_low_bytes <= limits.write_high_bytes:
        raise ValueError("Limits.write_low_bytes must be between 0 and write_high_bytes")
    for name in ("penalty_seconds", "penalty_active_seconds"):
        if getattr(limits, name) > limits.penalty_most_seconds:
            raise ValueError(f"Limits.{name} is above penalty_most_seconds: no penalty would ever grow to it")
    if limits.message_bytes > limits.memory_bytes:
        raise ValueError("Limits.message_bytes is above memory_bytes: such a message would never fit")


def _networks(texts: Iterable[object]) -> tuple[str, ...]:
    if isinstance(texts, str):
        raise TypeError(f"Limits.trusted must be several networks: ({texts!r},) for one")
    networks = tuple(map(str, texts))  # an ipaddress.ip_network will do
    for text in networks:
        fault = _network_fault(text)
        if fault:
            raise ValueError(f"Limits.trusted: {text!r} {fault}")
    return networks


def _network_fault(text: str) -> str | None:
    """Why `text` is no network (an address, or the first of a range and the length of its prefix), or None."""
    address, slash, length = text.partition("/")
    family = AF_INET6 if ":" in address else AF_INET
    try:
        packed = inet_pton(family, address)
    except (OSError, ValueError):
        return "does not begin with an IP address"
    most = 8 * len(packed)
    if not slash:
        return None
    if length not in map(str, range(most + 1)):
        return f"must end with the length of its prefix, a number from 0 to {most}"
    host_bits = most - int(length)
    first = int.from_bytes(packed, "big") >> host_bits << host_bits
    if first != int.from_bytes(packed, "big"):
        # Whoever writes 10.0.0.7/8 meant another address or another length, and trust is no place to guess.
        whole = inet_ntop(family, first.to_bytes(len(packed), "big"))
        return f"has bits set behind its prefix: the network is {whole}/{length}"
    return None


def _remade(values: dict[str, Any]) -> Limits:
    return Limits(**values)


CONNECTIONS = 10_000
FIELDS = tuple(Limits.__annotations__)
_MAY_BE_ZERO = frozenset(
    ("close_seconds", "connect_seconds", "grace_seconds", "penalty_active_seconds", "penalty_seconds")
)
# The kernel and the engine keep these in 32 bits.
_KERNEL_INTS = frozenset(
    ("backlog", "notsent_bytes", "receive_buffer_bytes", "source_burst", "source_connections", "source_rate_per_second")
)
_MOST_32_BIT = (1 << 31) - 1
_MOST_USER_TIMEOUT = 2_147_483.0  # milliseconds in an int, man 7 tcp
_YEARS = 315_360_000.0  # ten
