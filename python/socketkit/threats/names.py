"""Whether a name led to an address that a program calls: what answers to this machine's questions said.

A program that calls an address which nobody asked for has it from somewhere else: from its own text, as implants have.
It is told of only where nothing else can explain it. So an address that no answer gave says nothing

- of a program that was there before the answers were listened to, which may have asked earlier;
- as long as a cache may answer that is asked by other ways than DNS (systemd-resolved, nscd), from before;
- once an encrypted resolver was in use, or an answer was lost or not read to its end;
- in another network namespace than the one that is listened to;
- of what answers come from, and of addresses that /etc/hosts names.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from .view import is_local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .._core import SocketEntry
    from ..inspect.first_bytes import FirstBytes
    from ..inspect.processes import Process
    from .view import View

__all__ = ["Answers", "Calls"]


class Answers:
    """Answers that pass, from when it is made; `first_bytes` listens in this program's network namespace."""

    def __init__(self, first_bytes: FirstBytes, *, began: float | None = None, namespace: int | None = None) -> None:
        self._first_bytes = first_bytes
        self._began = time.time() if began is None else began
        self._namespace = os.stat("/proc/thread-self/ns/net").st_ino if namespace is None else namespace
        self._cached = any(os.path.exists(path) for path in CACHES)
        self._encrypted = False

    def look(self, entries: Iterable[SocketEntry]) -> None:
        """See who asks in ways that cannot be read; once is enough, as a program may keep what it was told."""
        self._encrypted = self._encrypted or any(_asks_encrypted(entry) for entry in entries)

    def lack(self, entry: SocketEntry, process: Process, view: View, now: float) -> bool:
        """Whether no name led there, as far as that can be known; `now` counts seconds since 1970."""
        host = entry.peer.host if entry.peer is not None else None
        if host is None or entry.peer is None or entry.peer.port in ASKED_AT or is_local(entry):
            return False
        if entry.namespace != self._namespace or not self._knows_all(now):
            return False
        if process.started is None or process.started < self._began + ROUNDING_SECONDS:
            return False
        address = host.partition("%")[0]
        if address in view.resolvers or any(line.address == address for line in view.hosts):
            return False
        return self._first_bytes.resolved(address) is None

    def _knows_all(self, now: float) -> bool:
        if self._encrypted or (self._cached and now - self._began < LONGEST_CACHED_SECONDS):
            return False
        counted = self._first_bytes.counters()
        return not any(counted[name] for name in ("dropped", "answers_cut", "names_pushed_out"))


class Calls:
    """Calls of programs, each judged once, when the packets of its moment have been read for certain."""

    def __init__(self, answers: Answers, clock: Callable[[], float] = time.time) -> None:
        self._answers = answers
        self._clock = clock
        self._waiting: dict[int, tuple[float, SocketEntry, Process]] = {}
        self._judged: dict[int, None] = {}

    def look(self, entries: Iterable[SocketEntry]) -> None:
        self._answers.look(entries)

    def add(self, entry: SocketEntry, process: Process) -> None:
        """A call that is, or was; more than there is room for are not judged."""
        new = entry.cookie not in self._waiting and entry.cookie not in self._judged
        if new and len(self._waiting) < MOST_CALLS:
            self._waiting[entry.cookie] = (self._clock(), entry, process)

    def nameless(self, view: View) -> Iterator[tuple[SocketEntry, Process]]:
        """Those that no name led to, of what has waited long enough."""
        now = self._clock()
        due = [cookie for cookie, (at, _, _) in self._waiting.items() if now - at >= SETTLING_SECONDS]
        for cookie in due:
            _, entry, process = self._waiting.pop(cookie)
            if len(self._judged) >= MOST_CALLS:
                del self._judged[next(iter(self._judged))]
            self._judged[cookie] = None
            if self._answers.lack(entry, process, view, now):
                yield entry, process


def _asks_encrypted(entry: SocketEntry) -> bool:
    peer = entry.peer
    return peer is not None and (peer.port == DNS_OVER_TLS or (peer.port == 443 and peer.host in RESOLVERS))


DNS_OVER_TLS = 853
ASKED_AT = (53, DNS_OVER_TLS, 5353, 5355)
# How programs ask systemd-resolved and nscd; what is asked for over DNS passes on loopback, and is seen.
CACHES = ("/run/systemd/resolve/io.systemd.Resolve", "/run/nscd/socket", "/var/run/nscd/socket")
# As long as systemd-resolved keeps anything; nscd keeps hosts for an hour.
LONGEST_CACHED_SECONDS = 7_200.0
# Starts are counted in ticks, and from a boot whose time is rounded.
ROUNDING_SECONDS = 1.0
# Packets come in blocks, which the kernel hands over within 0.05 s.
SETTLING_SECONDS = 2.0
MOST_CALLS = 16_384
# Public resolvers that answer over HTTPS at an address of their own.
RESOLVERS = frozenset(
    f"{network}{host}"
    for network, hosts in {
        "1.1.1.": "1 2 3",
        "1.0.0.": "1 2 3",
        "8.8.": "8.8 4.4",
        "9.9.9.": "9 10 11",
        "149.112.112.": "112 10 11",
        "94.140.": "14.14 15.15 14.140 14.141 14.15 15.16",
        "208.67.": "222.222 220.220",
        "185.228.": "168.9 169.9 168.168 169.168",
        "76.76.": "2.0 10.0",
        "45.90.": "28.0 30.0",
        "194.242.2.": "2 3 4 5 6 9",
        "2606:4700:4700::": "1111 1001",
        "2001:4860:4860::": "8888 8844",
        "2620:fe::": "fe 9 10 11",
        "2a10:50c0::": "ad1:ff ad2:ff",
    }.items()
    for host in hosts.split()
)
