"""An attacker with thousands of connections in one thread: plain sockets and epoll, nothing of socketkit.

Settings: `target` (host, port), `sources` (addresses of its own), `connections` (held at once), `per_second` (how fast
it opens them), `reopen_seconds` (how long it replaces those that the server cut), `most` (connections in all),
and what each one does: `first` (hexadecimal, sent at once), `drip` (hexadecimal, sent a byte at a time, over and over,
one per `drip_seconds`), `reads` (False: it never does), `tls` (True: all of it inside a finished TLS handshake), `alpn`
(the protocols that it offers there), `leaves` (True: it hangs up once `first` is sent). Every one of these numbers is
finite: the attack ends by itself.

It says `ready`, begins with the first word on standard input, says `opened` when it opens no more, and answers the
second word with what became of its connections.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import socket
import ssl
import time
from collections import Counter, deque
from itertools import cycle
from typing import Any

from tests.threats.programs.honest import context
from tests.threats.programs.speaking import say, settings

CONNECTING, HANDSHAKING, HOLDING = "connecting", "handshaking", "holding"
QUIET_ERRORS = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Connection:
    __slots__ = ("opened_at", "sent", "sock", "state")

    def __init__(self, sock: socket.socket, now: float) -> None:
        self.sock = sock
        self.opened_at = now
        self.state = CONNECTING
        self.sent = 0


class Attack:
    def __init__(self, given: dict[str, Any]) -> None:
        self._target = tuple(given["target"])
        self._family = socket.AF_INET6 if ":" in self._target[0] else socket.AF_INET
        self._sources = cycle(given["sources"])
        self._wanted = given["connections"]
        self._per_second = given.get("per_second", 1000)
        self._most = given.get("most", 2 * self._wanted)
        self._reopen_seconds = given.get("reopen_seconds", 0.0)
        self._first, self._drip = bytes.fromhex(given.get("first", "")), bytes.fromhex(given.get("drip", ""))
        self._drip_seconds = given.get("drip_seconds", 1.0)
        self._reads = given.get("reads", True)
        self._leaves = given.get("leaves", False)
        self._tls = context() if given.get("tls") else None
        if self._tls is not None and "alpn" in given:
            self._tls.set_alpn_protocols(given["alpn"])
        self._epoll = select.epoll()
        self._held: dict[int, Connection] = {}
        self._drips: deque[tuple[float, Connection]] = deque()
        self._started = time.monotonic()
        self._attempted = 0
        self._opening = True
        self.counts: Counter[str] = Counter()
        self.longest_seconds = 0.0

    def run(self) -> None:
        """Until a word arrives on standard input, or its end."""
        self._epoll.register(0, select.EPOLLIN)
        while True:
            self._open_due()
            self._drip_due()
            for number, events in self._epoll.poll(0.005 if self._opening else 0.05):
                if number == 0:
                    return
                connection = self._held.get(number)
                if connection is not None:
                    self._happened(connection, events)

    def report(self) -> dict[str, Any]:
        return {
            "attempted": self._attempted,
            "left": sum(connection.state != CONNECTING for connection in self._held.values()),
            "longest_seconds": round(self.longest_seconds, 2),
            **self.counts,
        }

    def _open_due(self) -> None:
        if not self._opening:
            return
        elapsed = time.monotonic() - self._started
        all_once = self._attempted >= self._wanted
        if self._attempted >= self._most or (all_once and elapsed >= self._reopen_seconds):
            self._opening = False
            say(opened=self._attempted, seconds=round(elapsed, 2))
            return
        room = self._wanted - len(self._held) if all_once else self._wanted
        for _ in range(min(int(elapsed * self._per_second) - self._attempted, self._most - self._attempted, room)):
            self._open()

    def _open(self) -> None:
        self._attempted += 1
        sock = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The port is chosen at connect: one source may hold many more connections so (man 7 ip).
        sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
        sock.bind((next(self._sources), 0))
        number = sock.connect_ex(self._target)
        if number not in (0, errno.EINPROGRESS):
            self.counts[f"connect: {os.strerror(number)}"] += 1
            sock.close()
            return
        self._held[sock.fileno()] = Connection(sock, time.monotonic())
        self._epoll.register(sock.fileno(), select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP)

    def _happened(self, connection: Connection, events: int) -> None:
        try:
            if connection.state == CONNECTING:
                self._connected(connection)
            if connection.state == HANDSHAKING:
                self._shake_hands(connection)
            if events & (select.EPOLLHUP | select.EPOLLERR) or (events & select.EPOLLRDHUP and not self._reads):
                raise ConnectionError("hung up")
            if connection.state == HOLDING and events & select.EPOLLIN and self._reads:
                self._read(connection)
        except QUIET_ERRORS:
            return
        except OSError as failure:
            self._ended(connection, failure)

    def _connected(self, connection: Connection) -> None:
        number = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        self.counts["connected"] += 1
        connection.opened_at = time.monotonic()
        connection.state = HOLDING
        if self._tls is not None:
            descriptor = connection.sock.fileno()
            connection.sock = self._tls.wrap_socket(connection.sock, do_handshake_on_connect=False)
            assert connection.sock.fileno() == descriptor
            connection.state = HANDSHAKING
        else:
            self._hold(connection)

    def _shake_hands(self, connection: Connection) -> None:
        connection.sock.do_handshake()  # type: ignore[attr-defined]  # it is an SSLSocket by now
        self.counts["handshakes"] += 1
        self._hold(connection)

    def _hold(self, connection: Connection) -> None:
        connection.state = HOLDING
        # What it waits for from here on is the server's doing; a socket that can be written to would wake it forever.
        awaited = select.EPOLLRDHUP | (select.EPOLLIN if self._reads else 0)
        self._epoll.modify(connection.sock.fileno(), awaited)
        if self._first:
            connection.sock.send(self._first)
        if self._leaves:
            raise ConnectionError("left")
        if self._drip:
            self._drips.append((time.monotonic() + self._drip_seconds, connection))

    def _read(self, connection: Connection) -> None:
        chunk = connection.sock.recv(65_536)
        self.counts["received_bytes"] += len(chunk)
        if not chunk:
            raise ConnectionError("ended")

    def _drip_due(self) -> None:
        now = time.monotonic()
        while self._drips and self._drips[0][0] <= now:
            due, connection = self._drips.popleft()
            if connection.sock.fileno() < 0:
                continue
            try:
                at = connection.sent % len(self._drip)
                connection.sock.send(self._drip[at : at + 1])
                connection.sent += 1
            except QUIET_ERRORS:
                pass
            except OSError as failure:
                self._ended(connection, failure)
                continue
            self._drips.append((due + self._drip_seconds, connection))

    def _ended(self, connection: Connection, failure: OSError) -> None:
        if connection.state == CONNECTING:
            self.counts[f"connect: {failure.strerror}"] += 1
        else:
            self.counts["ended"] += 1
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - connection.opened_at)
        del self._held[connection.sock.fileno()]
        connection.sock.close()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    # It is on one machine with those whom it attacks, as no attacker is: they go first.
    os.nice(10)
    given = settings()
    say(ready=True)
    if os.read(0, 64):
        attack = Attack(given)
        attack.run()
        say(**attack.report())
