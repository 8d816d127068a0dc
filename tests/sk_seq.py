"""sk-seq/1 written a second time, from docs/protocols/sk-seq.md alone, on a blocking socket of the standard library.

Its TLS proves nothing of the peer's key (that is not the protocol's business): for tests on loopback.
"""

from __future__ import annotations

import socket
import ssl
import struct

CLOSE = 0xFFFFFFFF
PROTOCOL = "sk-seq/1"


class Cut(Exception):
    """The stream ended without a close record."""


class Violation(Exception):
    """The peer does not keep to the protocol."""


class Peer:
    def __init__(self, sock: socket.socket, most: int = 1_048_576) -> None:
        if isinstance(sock, ssl.SSLSocket) and sock.selected_alpn_protocol() != PROTOCOL:
            sock.close()
            raise Violation("the peer does not name the protocol")
        self.sock = sock
        self.most = most

    def send(self, *records: bytes) -> None:
        self.sock.sendall(b"".join(struct.pack("!I", len(record)) + record for record in records))

    def receive(self) -> bytes | None:
        """A record, or None at the close record, behind which there is nothing."""
        (length,) = struct.unpack("!I", self._exactly(4))
        if length == CLOSE:
            if self.sock.recv(1):
                raise Violation("something follows the close record")
            return None
        if length > self.most:
            raise Violation(f"a record of {length} bytes")
        return self._exactly(length)

    def all(self) -> list[bytes]:
        """The records up to the close record."""
        return list(iter(self.receive, None))

    def end(self) -> None:
        """Nothing more will be sent. Over TLS the notice goes out with `close`."""
        self.sock.sendall(struct.pack("!I", CLOSE))
        if not isinstance(self.sock, ssl.SSLSocket):
            self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        if isinstance(self.sock, ssl.SSLSocket):
            self.sock = self.sock.unwrap()  # sends close_notify, and waits for the peer's
        self.sock.close()

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            chunk = self.sock.recv(count - len(data))
            if not chunk:
                raise Cut
            data += chunk
        return data


def call(port: int, *, tls: bool, protocols: tuple[str, ...] = (PROTOCOL,)) -> Peer:
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    return Peer(_client(protocols).wrap_socket(sock) if tls else sock)


def answer(listening: socket.socket, pem: str | None = None, protocols: tuple[str, ...] = (PROTOCOL,)) -> Peer:
    """The next caller; `pem` is the file with this side's key and certificate, over TLS."""
    listening.settimeout(10)
    sock, _ = listening.accept()
    sock.settimeout(10)
    if pem is None:
        return Peer(sock)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    context.set_alpn_protocols(list(protocols))
    return Peer(context.wrap_socket(sock, server_side=True))


def _client(protocols: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context
