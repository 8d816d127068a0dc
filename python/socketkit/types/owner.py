"""Who made the Unix socket at the other end, where there was no connect and listen to ask about.

SO_PEERCRED tells nothing of a datagram socket's peer. The socket tables do: sock_diag gives the socket at the other end
of ours, and its owner (man 7 sock_diag, `unix_diag_req`). What is asked about is the socket that we are connected to,
not its path: nobody can put another one there between the question and the answer.
"""

from __future__ import annotations

import os
import socket
from struct import Struct


def peer_owner(sock: socket.socket) -> int | None:
    """The uid of the socket that this one is connected to; None if the kernel does not tell.

    It does not where it was built without unix_diag, and of a socket in another network namespace.
    """
    try:
        peer = _asked(os.fstat(sock.fileno()).st_ino, UDIAG_SHOW_PEER).get(UNIX_DIAG_PEER)
        uid = peer and _asked(_NUMBER.unpack(peer)[0], UDIAG_SHOW_UID).get(UNIX_DIAG_UID)
    except OSError:
        return None
    return _NUMBER.unpack(uid)[0] if uid else None


def _asked(inode: int, show: int) -> dict[int, bytes]:
    """The attributes of the Unix socket with this inode."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG) as netlink:
        request = _REQUEST.pack(socket.AF_UNIX, 0, 0, ANY, inode, show, ANY, ANY)
        size = _HEADER.size + len(request)
        netlink.send(_HEADER.pack(size, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0) + request)
        answer = netlink.recv(4096)  # the kernel answers in the call that asks
    size, kind, *_ = _HEADER.unpack_from(answer)
    found: dict[int, bytes] = {}
    at = _HEADER.size + _MESSAGE_BYTES
    while kind == SOCK_DIAG_BY_FAMILY and at + _ATTRIBUTE.size <= size:
        length, name = _ATTRIBUTE.unpack_from(answer, at)
        found[name] = answer[at + _ATTRIBUTE.size : at + length]
        at += (max(length, _ATTRIBUTE.size) + 3) & ~3
    return found


NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST = 4, 20, 1
UDIAG_SHOW_PEER, UDIAG_SHOW_UID = 0x4, 0x40
UNIX_DIAG_PEER, UNIX_DIAG_UID = 2, 7
ANY = 0xFFFFFFFF  # every state; no cookie

_HEADER = Struct("=IHHII")
_REQUEST = Struct("=BBHIIIII")
_ATTRIBUTE = Struct("=HH")
_NUMBER = Struct("=I")
_MESSAGE_BYTES = 16  # struct unix_diag_msg
