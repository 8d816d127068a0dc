"""First bytes: what each connection of some interfaces began with, so that `use_of` can say what it is for.

A thread of the engine reads the packets and keeps, of each flow and direction, the first 127 bytes (of a TLS or QUIC
hello up to 2 KiB until it is read), how many packets there were and how long; and which names led to an address, where
answers of DNS passed. Nothing of it is written anywhere. What was there before is known as such: of a connection that
runs already there is no start, only a piece of its middle.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple

from .. import _core
from .._core import FlowEvidence
from ..errors import SocketError, explain, raisable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Protocol, Self

    from ..endpoint import Endpoint

    class Ends(Protocol):
        """What is asked of an entry of the socket table."""

        @property
        def scheme(self) -> str: ...
        @property
        def local(self) -> Endpoint | None: ...
        @property
        def peer(self) -> Endpoint | None: ...


__all__ = ["FirstBytes", "FlowEvidence", "Resolved"]

ANY = "any"


class Resolved(NamedTuple):
    """Which names led to an address: the last four, the latest last; when that was told, and for how long it holds."""

    names: tuple[str, ...]
    at: float  # seconds since 1970
    seconds: int


class FirstBytes:
    """Collects first bytes until it is closed; needs CAP_NET_RAW.

    `interfaces`: their names, `any` for all of them. `namespace`: a file of another network namespace
    (`/proc/PID/ns/net`, `/run/netns/NAME`), which needs CAP_SYS_ADMIN. At most `flows` are known at a time: the longest
    silent ones go first, and those that were silent for `idle_seconds` make room for new ones. `buffer_bytes` of each
    interface's packets may wait to be read (packet(7), PACKET_RX_RING); what comes beyond is dropped, and counted.
    """

    def __init__(
        self,
        interfaces: Iterable[str] = (ANY,),
        *,
        namespace: str | None = None,
        flows: int = 65_536,
        idle_seconds: float = 600.0,
        buffer_bytes: int = 8 << 20,
    ) -> None:
        names = [None if name == ANY else name for name in interfaces]
        if not names:
            raise ValueError(f"name an interface, or {ANY!r}")
        if not 1 <= flows <= MOST_FLOWS:
            raise ValueError(f"flows is 1 to {MOST_FLOWS:,}, not {flows}")
        try:
            self._collector = _core.FirstBytes(
                names, namespace=namespace, flows=flows, idle_seconds=idle_seconds, buffer_bytes=buffer_bytes
            )
        except OSError as failure:
            raise _refusal(failure, ", ".join(name or ANY for name in names), namespace) from failure

    def lookup(self, entry: Ends) -> FlowEvidence | None:
        """What was seen of a socket's flow; None of one that has none, or was not seen.

        A socket without a peer, a listener, is asked for by its port: the last flow that was seen there.
        """
        transport = TRANSPORTS.get(entry.scheme)
        local = _end(entry.local)
        if transport is None or local is None:
            return None
        try:
            return self._collector.lookup(transport, local, _end(entry.peer))
        except ValueError:
            # A name instead of an address, which no entry of the kernel's has; or it was closed.
            self._collector.counters()
            return None

    def flow(self, transport: str, local: tuple[str, int], peer: tuple[str, int] | None = None) -> FlowEvidence | None:
        """The same by its addresses: `flow("tcp", ("192.0.2.1", 40000), ("192.0.2.2", 443))`."""
        return self._collector.lookup(transport, local, peer)

    def resolved(self, address: str) -> Resolved | None:
        """Which names led to an IP address, by the answers that passed (DNS, mDNS, LLMNR); None: none did.

        At most 16,384 addresses are known. Answers that are encrypted, or longer than 2 KiB, are not.
        """
        known = self._collector.resolved(address)
        return None if known is None else Resolved(tuple(known[0]), known[1] / 1e9, known[2])

    def counters(self) -> dict[str, int]:
        """By name: packets, dropped (the kernel had no room), flows, pushed_out (flows that went before their time).

        Of names: answers, answers_cut (not read to their end), names_pushed_out (addresses that had to be forgotten).

        Raises SocketError if an interface went away, ValueError after `close`.
        """
        number = self._collector.failure()
        if number and number != errno.ENETDOWN:
            raise raisable(SocketError)("first bytes", None, explain(number), number)
        return self._collector.counters()

    def close(self) -> None:
        """Stop; what was known is gone. Idempotent."""
        self._collector.close()

    def __enter__(self) -> Self:
        self._collector.counters()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _end(endpoint: Endpoint | None) -> tuple[str, int] | None:
    if endpoint is None or endpoint.port is None:
        return None
    host = endpoint.host
    return ("::" if host in (None, "", "*") else str(host), endpoint.port)


def _refusal(failure: OSError, interfaces: str, namespace: str | None) -> SocketError:
    from ..types.ethernet import missing_capability, no_such_interface

    if failure.errno == errno.EPERM:
        if namespace is not None:
            reason = f"{namespace}: needs CAP_SYS_ADMIN and CAP_NET_RAW: use sudo"
            return raisable(SocketError)("first bytes", None, reason, errno.EPERM)
        return missing_capability("first bytes", None, f"{interfaces}: ")
    if failure.errno == errno.ENODEV:
        return no_such_interface("first bytes", None, f"{interfaces}: ")
    where = namespace if failure.errno in (errno.ENOENT, errno.EINVAL, errno.EACCES) and namespace else interfaces
    reason = explain(failure.errno) if failure.errno else str(failure)
    return raisable(SocketError)("first bytes", None, f"{where}: {reason}", failure.errno)


# Whose flows can be seen on an interface, and as what.
TRANSPORTS = {scheme: scheme[:3] for scheme in ("tcp", "tcp4", "tcp6", "udp", "udp4", "udp6")}
MOST_FLOWS = 16 * 1_048_576
