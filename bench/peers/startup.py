"""What every peer does alike: read its options, choose the loop (`--uvloop`), and say on which port it listens."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl

UVLOOP = "--uvloop" in sys.argv[1:]
SINK = "--sink" in sys.argv[1:]
BACKLOG = 1024  # socketkit's own; asyncio's 100 would overflow and measure SYN retransmits


def value_of(option: str) -> str | None:
    """The argument behind it; None without it."""
    return sys.argv[sys.argv.index(option) + 1] if option in sys.argv else None


def tls_context() -> ssl.SSLContext | None:
    """The server's side of TLS 1.3 with the key and the certificate of `--tls PEM`; None: plain text."""
    pem = value_of("--tls")
    if pem is None:
        return None
    import ssl  # the memory of peers without TLS must not carry it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(pem)
    return context


def announce(port: int | None) -> None:
    print(port, flush=True)


def run(main: Coroutine[Any, Any, None]) -> None:
    if UVLOOP:
        import uvloop

        uvloop.run(main)
    else:
        asyncio.run(main)


# ---- datagrams ----


def wide_socket() -> socket.socket:
    """Bound to a port of 127.0.0.1."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    widen(sock.fileno())
    return sock


def widen(descriptor: int) -> None:
    """The same room in the kernel for every peer; its default may be 90 datagrams of 1,200 bytes."""
    duplicate = socket.socket(fileno=os.dup(descriptor))  # the option is the kernel's socket's, not the descriptor's
    duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE_BYTES)
    duplicate.close()


def is_question(data: bytes) -> bool:
    """The load asks a sink how many datagrams it has taken; no others have this size."""
    return len(data) == QUESTION_BYTES


def answer(count: int) -> bytes:
    """As long as the question."""
    return b"%0*d" % (QUESTION_BYTES, count)


QUEUE_BYTES, QUESTION_BYTES = 1 << 20, 20  # as in c/datagram.h
