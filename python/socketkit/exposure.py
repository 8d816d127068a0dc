"""What may be opened without the caller writing more: pure functions over endpoints and resolved addresses.

- Plain text stays on this machine: beyond loopback it needs `plaintext=yes` in the address.
- Who can be reached from other machines over TLS knows his callers, or has `public=yes` in the address.

Judged is what the kernel is given, never how it was written: a name is the addresses that it resolves to. Every refusal
names its ways out, with the address to write.
"""

from __future__ import annotations

import errno
from _socket import AF_INET, AF_INET6, inet_pton
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import ConnectError, ListenError, SocketError, explained, raisable
from .schemes import SCHEMES, ip_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .endpoint import Endpoint

    Address = tuple[int, tuple[Any, ...]]

_Error = TypeVar("_Error", bound=SocketError)


def require_private(endpoint: Endpoint, addresses: Sequence[Address], operation: str = "listen") -> None:
    """Raise ListenError if plain text would be heard on one of `addresses` that other machines may reach."""
    if not is_plain_text(endpoint) or _says(endpoint, "plaintext") or all(is_loopback(known) for _, known in addresses):
        return
    home = endpoint.replace(host=None)
    raise _refusal(
        ListenError,
        operation,
        endpoint,
        f"plain text would be open to other machines: {_encryption(endpoint)}"
        f"{_allowed(endpoint, 'plaintext')} to allow it, or leave the host out to stay on this machine ({home})",
    )


def plain_text_refusal(endpoint: Endpoint, where: Endpoint, sockaddr: tuple[Any, ...]) -> ConnectError | None:
    """The error for connecting `endpoint` by way of its address `sockaddr`, which is `where`; None if that may be."""
    if not is_plain_text(endpoint) or _says(endpoint, "plaintext") or reaches_only_this_machine(sockaddr):
        return None
    return _refusal(
        ConnectError,
        "connect",
        where,
        f"plain text could be read and changed on its way: {_encryption(endpoint, 'or ')}"
        f"{_allowed(endpoint, 'plaintext')} to allow it",
    )


def sending_refusal(bound: Endpoint, where: Endpoint, sockaddr: tuple[Any, ...]) -> SocketError | None:
    """The error for a datagram to `sockaddr`, which is `where`, from a socket bound to `bound`; None if that may be.

    What is bound to this machine stays on it. What is bound elsewhere has the word for it in its address.
    """
    if not is_plain_text(bound) or not bound.is_loopback or reaches_only_this_machine(sockaddr):
        return None
    return _refusal(
        SocketError,
        "send",
        where,
        f"the socket stays on this machine, where it was bound ({bound}): "
        f"bind {_allowed(bound.replace(host='*'), 'plaintext')} to send to others in plain text",
    )


def require_identified(endpoint: Endpoint, addresses: Sequence[Address], authorized: bool) -> None:
    """Raise ListenError if callers from other machines would be served whoever they are.

    `authorized`: a list of those who may connect is in force, with at least one key in it.
    """
    if authorized or _says(endpoint, "public") or all(is_loopback(known) for _, known in addresses):
        return
    home = endpoint.replace(host=None)
    raise _refusal(
        ListenError,
        "listen",
        endpoint,
        "anybody on other machines could connect: let those in who may, by their keys "
        f"(`socketkit trust add --authorized sk1:...`), write {_allowed(endpoint, 'public')} to serve everybody, "
        f"or leave the host out to stay on this machine "
        f"({home})",
    )


def inherited_refusal(
    endpoint: Endpoint, kind: type[SocketError], operation: str, sockaddr: tuple[Any, ...]
) -> SocketError | None:
    """The error for a TCP socket that was handed over and whose own address is `sockaddr`; None if it may be used."""
    if _says(endpoint, "plaintext") or is_loopback(sockaddr):
        return None
    where = f"[{sockaddr[0]}]" if ":" in sockaddr[0] else sockaddr[0]
    return _refusal(
        kind,
        operation,
        endpoint,
        f"plain text on {where}:{sockaddr[1]} is open to other machines: write {_allowed(endpoint, 'plaintext')} "
        "to allow it, or have a socket on 127.0.0.1 or ::1 handed over",
    )


def is_plain_text(endpoint: Endpoint) -> bool:
    """Whether what is sent there crosses networks as it is."""
    return endpoint.carrier in _ENCRYPTED


def is_loopback(sockaddr: tuple[Any, ...]) -> bool:
    """Whether a socket on this address meets this machine alone."""
    packed = _packed(sockaddr)
    return packed[:1] == b"\x7f" if len(packed) == 4 else packed == _LOOPBACK_6


def reaches_only_this_machine(sockaddr: tuple[Any, ...]) -> bool:
    """Whether a connection to this address ends on this machine.

    To the unspecified address it does: Linux takes loopback for it (`ip_route_output_key`, `tcp_v6_connect`).
    """
    return is_loopback(sockaddr) or not any(_packed(sockaddr))


def is_multicast(host: str) -> bool:
    """Whether `host` is the address of a group (RFC 1112 §4, RFC 4291 §2.7)."""
    address = ip_address(host.partition("%")[0])
    if address is None:
        return False
    packed = _packed((address,))
    return packed[0] >> 4 == 14 if len(packed) == 4 else packed[0] == 0xFF


def _packed(sockaddr: tuple[Any, ...]) -> bytes:
    """The address in 4 or 16 bytes; an IPv4 one has 4, also where IPv6 maps it (RFC 4291 §2.5.5.2)."""
    host = sockaddr[0].partition("%")[0]
    if ":" not in host:
        return inet_pton(AF_INET, host)
    packed = inet_pton(AF_INET6, host)
    return packed[12:] if packed[:12] == _IPV4_MAPPED else packed


def _says(endpoint: Endpoint, parameter: str) -> bool:
    return parameter in endpoint.query


def _refusal(kind: type[_Error], operation: str, endpoint: Endpoint, reason: str) -> _Error:
    threat = "unencrypted" if operation in ("connect", "send") else "open-ports"
    return explained(raisable(kind)(operation, endpoint, reason, errno.EPERM), threat)


def _encryption(endpoint: Endpoint, last: str = "") -> str:
    """The way out that encrypts, for a list of them: `write ... to encrypt it, `."""
    scheme = "+".join((*endpoint.modifiers, _ENCRYPTED[endpoint.carrier]))
    taken = SCHEMES[scheme].parameters
    query = {name: value for name, value in endpoint.query.items() if name in taken}
    over_tls = endpoint.replace(scheme=scheme, query=query)
    if not endpoint.carrier.startswith(("udp", "sctp")):
        return f"write {over_tls} to encrypt it, {last}"
    # What cannot be encrypted as it is: no TLS goes to a group.
    return "write " if is_multicast(endpoint.host or "") else f"write {over_tls} for messages over TLS, {last}"


def _allowed(endpoint: Endpoint, parameter: str) -> str:
    return str(endpoint.replace(query={**endpoint.query, parameter: "yes"}))


# What carries plain text -> what to write for the same, encrypted. icmp, raw+ip and raw+ethernet are not in it: their
# schemes say that they speak to the network as it is.
_ENCRYPTED = {
    "tcp": "tls",
    "tcp4": "tls",
    "tcp6": "tls",
    "udp": "seqpacket+tls",
    "udp4": "seqpacket+tls",
    "udp6": "seqpacket+tls",
    "sctp": "seqpacket+tls",
}

_LOOPBACK_6 = bytes(15) + b"\x01"
_IPV4_MAPPED = bytes(10) + b"\xff\xff"
