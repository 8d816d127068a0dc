"""A TLS server that is not who it seems to be: takes every connection, and counts what it can read.

Written without socketkit. Settings: `port`, `key` and `certificate` (files of PEM). It answers each word with
`accepted` (connections), `handshakes` (finished ones) and `read` (application data, as text).
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from contextlib import suppress

from tests.threats.programs.speaking import say, settings

PATIENCE_SECONDS = 5.0


class Impostor:
    def __init__(self, port: int, key: str, certificate: str) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificate, key)
        self._listener = socket.create_server(("0.0.0.0", port))
        self.accepted = self.handshakes = 0
        self.read = bytearray()

    def run(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            self.accepted += 1
            threading.Thread(target=self._talk, args=(sock,), daemon=True).start()

    def _talk(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE_SECONDS)
        with suppress(OSError), sock, self._tls.wrap_socket(sock, server_side=True) as stream:
            # The server's side of a TLS 1.3 handshake is over once the client's Finished is in: the client believed.
            self.handshakes += 1
            while chunk := stream.recv(65_536):
                self.read += chunk
                stream.send(chunk)


if __name__ == "__main__":
    given = settings()
    impostor = Impostor(given["port"], given["key"], given["certificate"])
    threading.Thread(target=impostor.run, daemon=True).start()
    say(ready=True)
    for _ in sys.stdin:
        say(accepted=impostor.accepted, handshakes=impostor.handshakes, read=impostor.read.decode("latin-1"))
