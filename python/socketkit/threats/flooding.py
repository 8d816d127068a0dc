"""Denial of service: what fills up, who fills it, and what could be made to flood somebody else.

Prevented by default: `Limits` (limits.py) bound every place, time and byte that a stranger can take, in the engine,
before Python sees a connection (rust/engine, `limits`); datagram sockets send a forged sender no more than came from
it (datagrams.py, `Limits.answer_ratio`). For other programs it is found here.
"""

from __future__ import annotations

from collections import Counter
from shlex import quote
from typing import TYPE_CHECKING

from ..inspect.use_tables import PORTS
from .finding import Check, Finding
from .view import name_of, owner_of, plain_port, subject_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._core import SocketEntry
    from .view import View

PAGE = "denial-of-service"
FULL_QUEUE = Check("DS1", "high", "A listener's queue is full: callers are turned away", PAGE)
COOKIES_OFF = Check("DS2", "medium", "A flood of SYNs would stop every listener", PAGE)
COOKIES_USED = Check("DS3", "medium", "SYNs come faster than they are answered", PAGE)
ONE_SOURCE = Check("DS4", "medium", "One source has a quarter of a service's connections", PAGE)
DRIP = Check("DS5", "medium", "Connections that say almost nothing keep a service busy", PAGE)
NEVER_READS = Check("DS6", "medium", "A peer does not read what it asked for", PAGE)
DESCRIPTORS = Check("DS7", "high", "A process has almost no descriptors left", PAGE)
AMPLIFIER = Check("DS8", "medium", "A service can be made to flood others", PAGE)
CHECKS = (FULL_QUEUE, COOKIES_OFF, COOKIES_USED, ONE_SOURCE, DRIP, NEVER_READS, DESCRIPTORS, AMPLIFIER)


def find(view: View) -> Iterator[Finding]:
    for entry in view.listeners:
        yield from _full_queue(entry)
    yield from _cookies(view)
    yield from _served(view)
    yield from _never_reads(view)
    yield from _descriptors(view)
    for entry in view.exposed:
        if not view.asks(entry):
            yield from _amplifier(view, entry)


def _full_queue(entry: SocketEntry) -> Iterator[Finding]:
    waiting, limit = entry.backlog, entry.backlog_limit
    if waiting is None or not limit or waiting < limit:
        return
    yield Finding(
        FULL_QUEUE,
        subject_of(entry),
        f"{waiting:,} callers wait to be accepted, and there is room for {limit:,}",
        "see why its program does not accept; then give it a longer backlog (net.core.somaxconn bounds it)",
        socket=name_of(entry),
        process=owner_of(entry),
    )


def _cookies(view: View) -> Iterator[Finding]:
    if view.sysctl("net.ipv4.tcp_syncookies") == 0:
        yield Finding(
            COOKIES_OFF,
            "net.ipv4.tcp_syncookies",
            "SYN cookies are off: forged SYNs fill the queue, and nobody else gets in",
            "switch them on: they are used only when the queue is full",
            ("sysctl -w net.ipv4.tcp_syncookies=1",),
        )
    seconds = view.seconds_since_counters
    if seconds is None or "TcpExt.SyncookiesSent" not in view.before.counters:
        return
    sent = view.counters.get("TcpExt.SyncookiesSent", 0) - view.before.counters["TcpExt.SyncookiesSent"]
    if sent > 0:
        listener, number = _most_half_open(view)
        yield Finding(
            COOKIES_USED,
            "SYN cookies",
            f"{sent:,} SYN cookies were sent in {seconds:,.0f} s: a queue of SYNs was full"
            + (f"; {number:,} callers of {name_of(listener)} are half open now" if listener is not None else ""),
            "see who calls (socketkit ls state=syn-received), and give the listener a longer backlog",
            socket=name_of(listener) if listener is not None else None,
            process=owner_of(listener) if listener is not None else None,
        )


def _most_half_open(view: View) -> tuple[SocketEntry | None, int]:
    """The listener of the counters' namespace with most callers who have not answered a SYN-ACK, and how many."""
    half_open = Counter(
        plain_port(entry)
        for entry in view.connections
        if entry.state == "syn-received" and entry.namespace == view.namespace
    )
    for port, number in half_open.most_common():
        for listener in view.listeners:
            if listener.namespace == view.namespace and plain_port(listener) == port:
                return listener, number
    return None, 0


def _served(view: View) -> Iterator[Finding]:
    """Of each listener: who its callers are, and how slowly they speak."""
    by_listener: dict[tuple[int, tuple[str, int]], list[SocketEntry]] = {}
    for entry in view.connections:
        if entry.scheme == "tcp" and entry.state in ("established", "syn-received", "close-wait"):
            key = (entry.namespace, plain_port(entry))
            by_listener.setdefault(key, []).append(entry)
    for listener in view.listeners:
        if listener.scheme != "tcp":
            continue
        callers = by_listener.pop((listener.namespace, plain_port(listener)), [])
        if callers:
            yield from _one_source(listener, callers)
            yield from _drip(listener, callers)


def _one_source(listener: SocketEntry, callers: list[SocketEntry]) -> Iterator[Finding]:
    sources = Counter(str(caller.peer.host) for caller in callers if caller.peer is not None)
    source, number = sources.most_common(1)[0]
    if number < MANY_CONNECTIONS or number * 4 < len(callers):
        return
    yield Finding(
        ONE_SOURCE,
        f"{subject_of(listener)} {source}",
        f"{source} has {number:,} of {len(callers):,} connections",
        "bound what one source may take (Limits.connections_per_source), or close them",
        (_closing(listener, source),),
        socket=name_of(listener),
        process=owner_of(listener),
        # Behind a reverse proxy all come from one.
        severity="info" if source.startswith("127.") or source == "::1" else "",
    )


def _drip(listener: SocketEntry, callers: list[SocketEntry]) -> Iterator[Finding]:
    slow = [caller for caller in callers if _drips(caller)]
    if len(slow) < MANY_DRIPS:
        return
    sources = Counter(str(caller.peer.host) for caller in slow if caller.peer is not None)
    source = sources.most_common(1)[0][0]
    yield Finding(
        DRIP,
        subject_of(listener),
        f"{len(slow):,} connections are alive and sent less than {DRIP_BYTES_PER_SECOND} B/s, most from {source}",
        "bound the time to the first message and the slowest rate (Limits.first_message_seconds), or close them",
        (_closing(listener, source),),
        socket=name_of(listener),
        process=owner_of(listener),
    )


def _closing(listener: SocketEntry, source: str) -> str:
    """What closes the connections of one source; a source of the same address in another namespace is another one."""
    name = listener.namespace_name
    where = "--own" if not name else quote(f'namespace="{name}"')
    return f"socketkit ls --kill {where} peer={source} local-port={plain_port(listener)[1]}"


def _drips(caller: SocketEntry) -> bool:
    """It has said little for long, was answered nothing, and still speaks."""
    age, received, quiet = caller.youngest_seconds, caller.received_bytes, caller.quiet_seconds
    if age is None or received is None or quiet is None or age < DRIP_SECONDS:
        return False
    return 0 < received < DRIP_BYTES_PER_SECOND * age and not caller.sent_bytes and quiet < DRIP_SECONDS


def _never_reads(view: View) -> Iterator[Finding]:
    for entry in view.connections:
        quiet = entry.quiet_seconds
        if entry.scheme != "tcp" or quiet is None or quiet < STALLED_SECONDS or entry.send_queue < STALLED_BYTES:
            continue
        yield Finding(
            NEVER_READS,
            f"{subject_of(entry)} {entry.peer.host if entry.peer is not None else ''}".rstrip(),
            f"{entry.send_queue:,} bytes wait to be sent, and nothing has moved for {quiet:.0f} s",
            "close it, and bound how long a peer may not read (Limits.write_stalled_seconds)",
            (f"socketkit ls --kill inode={entry.inode}",),
            socket=name_of(entry),
            process=owner_of(entry),
        )


def _descriptors(view: View) -> Iterator[Finding]:
    processes = {
        process.pid: process for entry in view.entries if entry.scheme in INET for process in entry.processes or ()
    }
    for pid, (number, limit) in sorted(view.descriptors.items()):
        if number < 0.9 * limit:
            continue
        process = processes.get(pid)
        name = process.name if process is not None else ""
        unit = process.unit if process is not None else None
        yield Finding(
            DESCRIPTORS,
            f"descriptors {name or pid}",
            f"it has {number:,} of {limit:,} open: then it can accept nobody",
            "see whether it forgets to close any, or allow it more" + (f": LimitNOFILE= in {unit}" if unit else ""),
            (f"prlimit --pid {pid} --nofile={4 * limit}",),
            process=f"{name}[{pid}]",
        )


def _amplifier(view: View, entry: SocketEntry) -> Iterator[Finding]:
    protocol, port = plain_port(entry)
    if protocol != "udp":
        return
    use = view.use(entry)
    named = use.protocol.split(" ")[0] if use.protocol else ""
    times = AMPLIFIES.get(named) or AMPLIFIES.get(PORTS["udp"].get(port, ("", ""))[1]) or AMPLIFYING_PORTS.get(port)
    if times is None:
        return
    yield Finding(
        AMPLIFIER,
        subject_of(entry),
        f"{named or f'what is on UDP port {port}'} can answer a forged question by up to {times:,} times as much",
        "have it listen on localhost or the inner network, or answer only who is known there",
        socket=name_of(entry),
        process=owner_of(entry),
        severity="high" if times >= 500 else "",
    )


INET = ("tcp", "udp")
MANY_CONNECTIONS = 32
MANY_DRIPS = 8
DRIP_SECONDS = 20.0
DRIP_BYTES_PER_SECOND = 50
STALLED_SECONDS = 30.0
STALLED_BYTES = 65_536
# By protocol, and by its port's name: how many times as large answers were seen to be (US-CERT, TA14-017A).
AMPLIFIES = {
    "DNS": 54,
    "domain": 54,
    "NTP": 557,
    "ntp": 557,
    "SNMP": 6,
    "snmp": 6,
    "SSDP": 31,
    "ssdp": 31,
    "memcached": 51_000,
    "ldap": 70,
    "netbios-ns": 4,
    "sunrpc": 28,
    "ws-discovery": 500,
    "mdns": 10,
    "tftp": 60,
    "coap": 34,
}
AMPLIFYING_PORTS = {11_211: 51_000, 19: 359, 17: 140}
