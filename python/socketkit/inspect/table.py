"""The socket table: every socket of the machine, in the words of endpoints.

`sockets()` looks once; a `SocketTable` looks again and again, and reads only what has changed. What the kernel says and
whose descriptors lead where is the engine's (rust/engine/src/table); here it gets its words: what `connect` takes is
what a row shows.
"""

from __future__ import annotations

import errno
import os
from _socket import AF_INET, AF_INET6, inet_ntop, ntohs
from _struct import Struct
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from .._core import EndedSockets, SocketEntry, SocketRows, SocketTable, destroy_socket
from ..endpoint import Endpoint
from ..errors import SocketError, Unsupported, raisable
from ..sockaddr import AF_PACKET, unpacked
from .processes import Process
from .selection import Selection

if TYPE_CHECKING:
    from types import EllipsisType
    from typing import Literal

__all__ = [
    "STATES",
    "EndedSockets",
    "Process",
    "SocketEntry",
    "SocketRows",
    "SocketTable",
    "as_json",
    "destroy",
    "endpoint_of",
    "sockets",
]

# Every word that `SocketEntry.state` may be, in the order of a connection's life.
STATES = (
    "listening",
    "syn-sent",
    "syn-received",
    "established",
    "connected",
    "fin-wait-1",
    "fin-wait-2",
    "close-wait",
    "closing",
    "last-ack",
    "time-wait",
    "unconnected",
    "closed",
)


def sockets(
    select: str = "",
    *,
    namespaces: Literal["all", "own"] = "all",
    source: Literal["auto", "bpf", "netlink"] = "auto",
) -> list[SocketEntry]:
    """Every socket now that is selected (`state=established port=443 !loopback`, see `Selection`).

    Of every network namespace, or of our own only. What this user may not know is None in its entry. Raises
    SelectionError for what selects nothing that is known, OSError where the kernel refuses to tell at all.
    """
    selection = Selection(select)
    found = SocketTable(namespaces=namespaces, source=source).refresh()
    return [entry for entry in found if selection.matches(entry)] if selection else list(found)


def as_json(entry: SocketEntry, holders: tuple[Process, ...] | EllipsisType | None = ...) -> dict[str, object]:
    """The row under stable names, for JSON; `unknown` names what this user may not know.

    `holders` are its processes where more is known of them than the entry has.
    """
    processes = entry.processes if holders is ... else holders
    unknown = [] if processes is not None else ["processes"]
    fields: dict[str, object] = {name: getattr(entry, name) for name in _FIELDS}
    fields["local"] = None if entry.local is None else str(entry.local)
    fields["peer"] = None if entry.peer is None else str(entry.peer)
    fields["processes"] = None if processes is None else [_process_as_json(process) for process in processes]
    fields["unknown"] = unknown
    return fields


def destroy(entry: SocketEntry) -> None:
    """End a TCP or UDP socket from outside: its owner gets ECONNABORTED, the peer of a connection a reset.

    Raises SocketError (errno EPERM: CAP_NET_ADMIN is missing; ENOENT: it has ended already), and Unsupported for a
    socket that the kernel ends with its process only.
    """
    try:
        destroy_socket(entry)
    except OSError as failure:
        number = failure.errno or errno.EIO
        if number in (errno.EOPNOTSUPP, errno.EINVAL):
            raise raisable(Unsupported)("destroy", entry.local, _remedy(entry), errno.EOPNOTSUPP) from None
        reason = _REASONS.get(number, os.strerror(number).lower())
        raise raisable(SocketError)("destroy", entry.local, reason, number) from None


def _remedy(entry: SocketEntry) -> str:
    pids = " ".join(str(process.pid) for process in entry.processes or ())
    if entry.scheme in ("tcp", "udp"):
        return "this kernel ends no sockets (CONFIG_INET_DIAG_DESTROY)" + (f": kill {pids} instead" if pids else "")
    return f"only TCP and UDP sockets can be ended, not {entry.scheme}" + (f": kill {pids} instead" if pids else "")


def _process_as_json(process: Process) -> dict[str, object]:
    fields = {name: getattr(process, name) for name in _PROCESS}
    return fields | {"command": list(process.command)}


@lru_cache(maxsize=65_536)
def endpoint_of(scheme: str, raw: bytes, protocol: int, only_ipv6: bool, interface: str) -> Endpoint | None:
    """The endpoint at a kernel's raw address; `interface` is the one that the socket is bound to.

    Every interface is `*`; `tcp4://*:80` says that IPv4 alone is heard there, `tcp6://*:80` IPv6 alone.
    """
    (family,) = _FAMILY.unpack_from(raw)
    if family in (AF_INET, AF_INET6):
        return _ip_endpoint(scheme, raw, family, protocol, only_ipv6, interface)
    if family == AF_PACKET:
        return Endpoint.from_sockaddr(scheme, (interface, protocol))
    if family == AF_BLUETOOTH:
        return _bluetooth_endpoint(scheme, raw)
    return unpacked(scheme, raw)


def _ip_endpoint(scheme: str, raw: bytes, family: int, protocol: int, only_ipv6: bool, interface: str) -> Endpoint:
    if family == AF_INET:
        _, port, address = _INET.unpack_from(raw)
    else:
        _, port, _, address, _ = _INET6.unpack_from(raw)
    host = inet_ntop(family, address)
    if any(address):
        if family == AF_INET6 and address[:2] == _LINK_LOCAL and interface:
            host = f"{host}%{interface}"
        return Endpoint.from_sockaddr(scheme, (host, protocol if scheme == "raw+ip" else ntohs(port)))
    if scheme == "raw+ip":
        return Endpoint(scheme=scheme, host="*", query={"proto": str(protocol)})
    if scheme == "icmp":
        return Endpoint(scheme=scheme, host="*")
    if scheme in ("tcp", "udp"):
        scheme += "4" if family == AF_INET else "6" if only_ipv6 else ""
    return Endpoint(scheme=scheme, host="*", port=ntohs(port))


def _bluetooth_endpoint(scheme: str, raw: bytes) -> Endpoint | None:
    """`struct sockaddr_rc` or `sockaddr_l2`: a radio address is written from its last byte on."""
    if scheme == "bt-rfcomm":
        _, address, port = _RFCOMM.unpack_from(raw.ljust(_RFCOMM.size, b"\0"))
    else:
        _, port, address = _L2CAP.unpack_from(raw.ljust(_L2CAP.size, b"\0"))
    return Endpoint.from_sockaddr(scheme, (bytes(reversed(address)).hex("-"), port))


Sequence.register(SocketRows)

_REASONS = {
    errno.EPERM: "needs CAP_NET_ADMIN in its network namespace: use sudo",
    errno.EACCES: "needs CAP_NET_ADMIN in its network namespace: use sudo",
    errno.ENOENT: "it has ended already",
}

AF_BLUETOOTH = 31
_FAMILY = Struct("=H")
_INET = Struct("=HH4s")
_INET6 = Struct("=HHI16sI")
_RFCOMM = Struct("=H6sB")
_L2CAP = Struct("<HH6s")
_LINK_LOCAL = b"\xfe\x80"

_FIELDS = (
    "scheme",
    "local",
    "peer",
    "state",
    "exposure",
    "uid",
    "user",
    "processes",
    "receive_queue",
    "send_queue",
    "backlog",
    "backlog_limit",
    "received_bytes",
    "sent_bytes",
    "retransmits",
    "round_trip_ms",
    "quiet_seconds",
    "oldest_seconds",
    "youngest_seconds",
    "dropped",
    "interface",
    "reuse_address",
    "reuse_port",
    "only_ipv6",
    "inode",
    "cookie",
    "unix_peer",
    "namespace",
    "namespace_name",
)
_PROCESS = ("pid", "name", "executable", "deleted", "uid", "user", "cgroup", "unit", "container", "command", "started")
