"""What an audit looks at: facts of one machine at one moment, and none of them read later.

`View.of_machine` collects them (machine.py reads the files, neighbours.py asks the kernel); the finders are given the
view and do no I/O of their own, so that each can be tested with a view that was made up. What could not be read is
None, and `unknown` says so in words: an audit never takes what it did not see for what is not there.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from ..inspect.processes import why_hidden
from ..inspect.uses import use_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from typing import Literal

    from .._core import FlowEvidence, SocketEntry, SocketTable
    from ..inspect.expected_ports import Expected
    from ..inspect.first_bytes import FirstBytes
    from ..inspect.history import PastEntry
    from ..inspect.processes import Process
    from ..inspect.uses import Use
    from ..known_peers import KnownPeer


class Neighbour(NamedTuple):
    """A line of the table of neighbours: which hardware address answers for which IP address."""

    address: str
    hardware: str
    interface: str


class Gateway(NamedTuple):
    """Where packets go whose way is not known better."""

    address: str
    interface: str


class Program(NamedTuple):
    """The file of a process."""

    path: str
    exists: bool
    package: str | None  # None: of no package, or nobody here can tell (`View.packages_known`)


class UnixPlace(NamedTuple):
    """Where a listening Unix socket has its file; `inode` is that of the file there now, None if there is none."""

    inode: int | None
    bound_inode: int | None  # that of the file which the socket made
    mode: int
    open_folder: str | None  # the folder on the way to it into which everybody may write
    sticky: bool  # of that folder: everyone keeps what is his


class Presented(NamedTuple):
    """What a TLS service showed in a handshake; nothing of it was verified."""

    place: str  # `localhost:443`
    socket: str
    version: str  # `TLSv1.3`
    fingerprint: str
    subject: str = ""
    expires: datetime | None = None
    key: str = ""  # `RSA`
    key_bits: int = 0
    signature: str = ""  # `SHA-1 with RSA`


class HostsLine(NamedTuple):
    """A name in the file of hosts, and what it is said to be."""

    name: str
    address: str


class Remembered(NamedTuple):
    """What an earlier audit saw (state.py); empty before the first."""

    gateways: Mapping[str, str] = {}  # `eth0 192.0.2.1` -> hardware address
    authorities: frozenset[str] | None = None
    counters: Mapping[str, int] = {}
    counters_at: float = 0.0  # on the clock that `View.uptime` is read from; 0: none, or of an earlier boot
    listeners: Mapping[str, ListenerPast] = {}
    connections: Mapping[str, float] = {}  # `connection_key` -> when it was there, on the clock of `View.uptime`


class ListenerPast(NamedTuple):
    """What earlier audits saw of a listener."""

    since: float
    used: float | None
    looks: int


class Recorded(NamedTuple):
    """What a history of this machine (recorded.py) says of its listeners; seconds since 1970, or how many."""

    since: float
    until: float
    seconds: float  # between the two, without what was not recorded
    unused: Mapping[str, float] = {}  # `subject_of` a listener that nobody connected to -> for so long it was open
    not_recorded: Sequence[tuple[float, float]] = ()


NOTHING = Remembered()


@dataclass(frozen=True)
class View:
    """One machine, as it was at `now` (Unix time). Whatever is not given is not known, and nothing is found in it."""

    entries: Sequence[SocketEntry] = ()
    now: float = 0.0
    uptime: float = 0.0
    namespace: int = 0  # whose the sysctls, neighbours, routes and counters are
    evidence: Mapping[SocketEntry, FlowEvidence] = field(default_factory=dict)
    programs: Mapping[str, Program] = field(default_factory=dict)
    packages_known: bool = False
    sysctls: Mapping[str, str] = field(default_factory=dict)  # `net.ipv4.tcp_syncookies`
    counters: Mapping[str, int] = field(default_factory=dict)  # of /proc/net/netstat: `TcpExt.SyncookiesSent`
    neighbours: Sequence[Neighbour] = ()
    gateways: Sequence[Gateway] = ()
    descriptors: Mapping[int, tuple[int, int]] = field(default_factory=dict)  # pid -> (open, allowed)
    unix_places: Mapping[int, UnixPlace] = field(default_factory=dict)  # by the socket's inode
    hosts: Sequence[HostsLine] = ()
    own_names: frozenset[str] = frozenset()
    proxies: Mapping[str, str] = field(default_factory=dict)  # where it stands -> its address
    resolvers: Sequence[str] = ()
    authorities: Mapping[str, str] | None = None  # SHA-256 of a root certificate -> its name
    known_peers: Sequence[KnownPeer] = ()
    presented: Sequence[Presented] = ()
    resolved: frozenset[str] | None = None  # addresses that answers to this machine's questions had
    expected: Sequence[Expected] | None = None
    declared: frozenset[str] = frozenset()  # programs and destinations that the user vouches for
    before: Remembered = NOTHING
    recorded: Recorded | None = None  # None: no history was given
    unknown: Sequence[str] = ()

    @classmethod
    def of_machine(
        cls,
        *,
        namespaces: Literal["all", "own"] = "all",
        source: Literal["auto", "netlink"] = "auto",
        table: SocketTable | None = None,
        first_bytes: FirstBytes | None = None,
        presented: Sequence[Presented] = (),
        resolved: frozenset[str] | None = None,
        expected: Sequence[Expected] | None = None,
        declared: frozenset[str] = frozenset(),
        before: Remembered | None = None,
        recorded: Recorded | None = None,
    ) -> View:
        """Look at this machine now, by a table that has looked before if one is given.

        OSError only where the kernel refuses to list any socket.
        """
        from .._core import SocketTable
        from . import machine, neighbours

        table = table or SocketTable(namespaces=namespaces, source=source)
        entries = table.refresh()
        evidence = {}
        if first_bytes is not None:
            # It hears one namespace, and the addresses of others may be the same.
            own = os.stat("/proc/thread-self/ns/net").st_ino
            there = (entry for entry in entries if entry.scheme in ("tcp", "udp") and entry.namespace == own)
            found = ((entry, first_bytes.lookup(entry)) for entry in there)
            evidence = {entry: seen for entry, seen in found if seen is not None}
        unknown = [] if table.complete else [f"whose some sockets are: {why_hidden()}"]
        facts = machine.read(entries, unknown)
        routes = neighbours.read(unknown)
        return cls(
            entries=entries,
            now=time.time(),
            uptime=time.clock_gettime(time.CLOCK_BOOTTIME),
            evidence=evidence,
            presented=presented,
            resolved=resolved,
            expected=expected,
            declared=declared,
            before=before or NOTHING,
            recorded=recorded,
            unknown=unknown,
            **facts,
            **routes,
        )

    def again(self, entries: Sequence[SocketEntry]) -> View:
        """The same machine with its sockets of a later moment, and the files of programs that are new."""
        from . import machine

        new = (one for one in machine.holders(entries) if one.executable and one.executable not in self.programs)
        programs = machine.programs(new, machine.package_files() or {})
        return replace(self, entries=entries, programs={**self.programs, **programs})

    def use(self, entry: SocketEntry) -> Use:
        """What it is for, by the bytes that were seen of it if any were."""
        if entry not in self._uses:
            self._uses[entry] = use_of(entry, self.evidence.get(entry))
        return self._uses[entry]

    @cached_property
    def listeners(self) -> list[SocketEntry]:
        """What waits for others: listening, or open for datagrams on a port."""
        return [
            entry
            for entry in self.entries
            if entry.state == "listening" or (entry.state == "unconnected" and entry.scheme in ("udp", "udplite"))
            if entry.local is not None
        ]

    @cached_property
    def exposed(self) -> list[SocketEntry]:
        """Those of them that other machines may reach."""
        return [entry for entry in self.listeners if entry.exposure in EXPOSED and entry.local and entry.local.port]

    @cached_property
    def connections(self) -> list[SocketEntry]:
        """What has another machine, or another socket of this one, at its other end."""
        return [entry for entry in self.entries if entry.peer is not None and entry.peer.port and entry.local]

    @cached_property
    def outward(self) -> list[SocketEntry]:
        """Connections to other machines that this one began, as far as can be told: nobody listens on their port."""
        return [entry for entry in self.off_machine if not self.is_served(entry)]

    @cached_property
    def off_machine(self) -> list[SocketEntry]:
        return [entry for entry in self.connections if not is_local(entry)]

    def is_served(self, entry: SocketEntry) -> bool:
        """Whether a listener of this machine got the connection."""
        return entry.local is not None and (entry.scheme, entry.namespace, entry.local.port) in self._served

    def asks(self, entry: SocketEntry) -> bool:
        """Whether it was seen to ask others, from a datagram socket that has the port which the kernel gave it."""
        protocol, port = plain_port(entry)
        seen = self.evidence.get(entry)
        return seen is not None and seen.local_began and protocol == "udp" and port in self.ephemeral

    def age_seconds(self, entry: SocketEntry) -> float | None:
        """At least so old: by what the kernel counts, or as long as audits have seen it. None if nothing tells."""
        seen = self.before.connections.get(connection_key(entry))
        known = [entry.youngest_seconds, None if seen is None else self.uptime - seen]
        return max((age for age in known if age is not None), default=None)

    def owner_at(self, name: str) -> str | None:
        """Whose listener has that name (`name_of`); None if it is none of this machine's."""
        entry = self._by_name.get(name)
        return owner_of(entry) if entry is not None else None

    @cached_property
    def in_use(self) -> set[tuple[int, tuple[str, int]]]:
        """The ports of this machine, by namespace, at which somebody is connected."""
        return {(entry.namespace, plain_port(entry)) for entry in self.connections}

    @cached_property
    def gateway_hardware(self) -> dict[str, str]:
        """`eth0 192.0.2.1` -> hardware address, of those gateways that have answered."""
        known = {(neighbour.interface, neighbour.address): neighbour.hardware for neighbour in self.neighbours}
        places = ((gateway.interface, gateway.address) for gateway in self.gateways)
        return {
            f"{interface} {address}": known[interface, address]
            for interface, address in places
            if (interface, address) in known
        }

    @cached_property
    def interfaces(self) -> list[tuple[str, str]]:
        """(`ipv4`, `eth0`): those that have settings, but loopback."""
        found: dict[tuple[str, str], None] = {}
        for name in self.sysctls:
            words = name.removeprefix("net.").split(".conf.")
            if len(words) == 2:
                # An interface may have dots in its name (eth0.7), a setting has none.
                interface = words[1].rpartition(".")[0]
                if interface not in ("all", "default", "lo"):
                    found[words[0], interface] = None
        return list(found)

    @property
    def seconds_since_counters(self) -> float | None:
        """Since the counters of `before` were read; None if there are none of this boot."""
        seconds = self.uptime - self.before.counters_at
        return seconds if self.before.counters_at and seconds >= LEAST_SECONDS else None

    def conf(self, family: str, interface: str, name: str) -> int | None:
        return self.sysctl(f"net.{family}.conf.{interface}.{name}")

    def sysctl(self, name: str) -> int | None:
        """The number that a setting has; None if it is not there."""
        text = self.sysctls.get(name, "")
        return int(text) if text.lstrip("-").isdecimal() else None

    @cached_property
    def ephemeral(self) -> range:
        """The ports that the kernel deals out; empty if that is not known."""
        words = self.sysctls.get("net.ipv4.ip_local_port_range", "").split()
        return range(int(words[0]), int(words[1]) + 1) if len(words) == 2 else range(0)

    @cached_property
    def _uses(self) -> dict[SocketEntry, Use]:
        return {}

    @cached_property
    def _by_name(self) -> dict[str, SocketEntry]:
        return {name_of(entry): entry for entry in self.listeners}

    @cached_property
    def _served(self) -> set[tuple[str, int, int | None]]:
        return {(entry.scheme, entry.namespace, entry.local.port) for entry in self.listeners if entry.local}


def is_local(entry: SocketEntry) -> bool:
    """Whether what it sends stays on this machine."""
    peer = entry.peer
    if peer is None or peer.host is None:
        return True
    own = entry.local.host if entry.local is not None else None
    return is_loopback(peer.host) or peer.host == own


def is_loopback(host: str) -> bool:
    return host.startswith(("127.", "::ffff:127.")) or host in ("::1", "localhost")


def name_of(entry: SocketEntry) -> str:
    """As people read it: its address, its peer's if it has one, its namespace if that is another."""
    where = str(entry.local or entry.scheme)
    if entry.peer is not None:
        where += f" -> {entry.peer}"
    return f"{where} in {entry.namespace_name}" if entry.namespace_name else where


def owner_of(entry: SocketEntry) -> str | None:
    """`nginx[812] of www-data and 3 more`; None if nobody holds it, or nobody may know."""
    return described(entry.processes or ())


def described(processes: Iterable[Process]) -> str | None:
    held = list(processes)
    if not held:
        return None
    first = f"{held[0].name}[{held[0].pid}] of {held[0].user or '?'}"
    return first if len(held) == 1 else f"{first} and {len(held) - 1} more"


def subject_of(entry: SocketEntry | PastEntry) -> str:
    """The same at every audit: where it listens and who does, without numbers that change with a restart."""
    program = entry.processes[0].name if entry.processes else ""
    return " ".join(filter(None, (str(entry.local or entry.scheme), program, entry.namespace_name)))


def connection_key(entry: SocketEntry) -> str:
    """The same for the same connection as long as the machine runs, and never another's."""
    return f"{entry.namespace} {entry.cookie}"


def plain_port(entry: SocketEntry) -> tuple[str, int]:
    """The protocol and the port, as `--expect` has them."""
    return entry.scheme.rstrip("46"), (entry.local.port or 0) if entry.local is not None else 0


EXPOSED = ("network", "everywhere")
LEAST_SECONDS = 0.5  # a rate over less says nothing
