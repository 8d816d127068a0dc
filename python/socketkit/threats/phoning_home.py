"""Phoning home: programs that report to somebody, and were not asked to.

Prevented by default: this library sends nothing on its own; it has no telemetry and asks for no updates
(docs/threats/phoning-home.md says how a test holds it to that). What other programs send is found here: `find` looks at
one moment, `Watch` at what comes and goes, whose contacts `beacons` scores.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeVar

from ..inspect.use_tables import PORTS, PROGRAMS
from .beacons import FLAGGED, HIGH, Beacons, Contact
from .finding import Check, Finding
from .view import described, is_local, name_of, owner_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .._core import FlowEvidence, SocketEntry
    from ..inspect.processes import Process
    from .names import Calls
    from .view import View

Item = TypeVar("Item")

PAGE = "phoning-home"
BEACON = Check("PH1", "medium", "A program reports somewhere again and again", PAGE)
LONG_THIN = Check("PH2", "low", "A connection has been open for long and says little", PAGE)
UNKNOWN_PROGRAM = Check("PH3", "low", "A program of unknown origin talks to other machines", PAGE)
NOT_RESOLVED = Check("PH4", "low", "A program calls an address that no name led to", PAGE)
SCAN = Check("PH5", "high", "A program tries many addresses or ports", PAGE)
MANY_QUESTIONS = Check("PH6", "medium", "A program asks for very many names", PAGE)
CHECKS = (BEACON, LONG_THIN, UNKNOWN_PROGRAM, NOT_RESOLVED, SCAN, MANY_QUESTIONS)


def find(view: View) -> Iterator[Finding]:
    trying: dict[Process, set[str]] = {}
    for entry in view.outward:
        process = next(iter(entry.processes or ()), None)
        if process is None:
            continue
        if entry.state == "syn-sent":
            trying.setdefault(process, set()).add(destination_of(entry))
            continue
        trust = trust_of(view, process.executable or "", destination_of(entry))
        yield from _long_thin(view, entry, process, trust)
        yield from _unknown_program(view, entry, process, trust)
        yield from _not_resolved(view, entry, process, trust)
    for process, destinations in trying.items():
        if len(destinations) >= MANY_DESTINATIONS:
            program = process.executable or process.name
            yield scan(program, destinations, described([process]), (f"kill {process.pid}",))
    for entry, seen in view.evidence.items():
        yield from _asks_much(view, entry, seen)


def trust_of(view: View, executable: str, destination: str) -> float:
    """How little a contact says: 0.9 declared, 0.6 a packaged file on its known port, 0.3 packaged, 0 otherwise."""
    host = destination.rpartition(":")[0]
    if view.declared & {executable, executable.rpartition("/")[2], destination, host}:
        return 0.9
    program = view.programs.get(executable)
    if program is None or program.package is None:
        return 0.0
    port, _, transport = destination.rpartition(":")[2].partition("/")
    use = PROGRAMS.get(executable.rpartition("/")[2][:15], ("", 0.0))[0]
    known = PORTS.get(transport, {}).get(int(port) if port.isdecimal() else 0, ("", ""))[0]
    # Most programs update themselves over the web, and most of what calls names is right to.
    return 0.6 if use and use == known else 0.3


def destination_of(entry: SocketEntry) -> str:
    """`198.51.100.7:443/tcp`."""
    peer = entry.peer
    return f"{peer.host}:{peer.port}/{entry.scheme}" if peer is not None else ""


def _long_thin(view: View, entry: SocketEntry, process: Process, trust: float) -> Iterator[Finding]:
    age, moved = view.age_seconds(entry), (entry.received_bytes or 0) + (entry.sent_bytes or 0)
    if trust >= TRUSTED or entry.state != "established" or age is None or age < LONG_SECONDS:
        return
    if entry.received_bytes is None or moved > THIN_BYTES_PER_SECOND * age:
        return
    yield _finding(
        LONG_THIN,
        entry,
        process,
        f"it is at least {age / 3600:.1f} h old and moved {moved:,} bytes: enough to wait for orders",
        f"see what it says: socketkit capture any host {entry.peer.host if entry.peer else ''}",
    )


def _unknown_program(view: View, entry: SocketEntry, process: Process, trust: float) -> Iterator[Finding]:
    path = process.executable
    if path is None or trust:
        return
    hidden = path.startswith(OPEN_FOLDERS) or path.startswith("/memfd:")
    if hidden or process.deleted:
        evidence = f"{path} {'was removed while it runs' if process.deleted else 'is where everybody may write'}"
        severity = "high" if hidden else "medium"
    elif view.packages_known:
        evidence, severity = f"{path} came in no package", ""
    else:
        return  # nobody here knows which did
    yield _finding(
        UNKNOWN_PROGRAM,
        entry,
        process,
        evidence,
        f"find out what it is; if it is yours: socketkit audit --declare {path}",
        severity,
    )


def _not_resolved(view: View, entry: SocketEntry, process: Process, trust: float) -> Iterator[Finding]:
    """Only where the answers to this machine's questions were listened to for a while."""
    host = entry.peer.host if entry.peer is not None else None
    if view.resolved is None or trust >= TRUSTED or host is None or host in view.resolved or host in view.resolvers:
        return
    if not is_private(host):
        yield _nameless(entry, process)


def _nameless(entry: SocketEntry, process: Process) -> Finding:
    host = entry.peer.host if entry.peer is not None else ""
    return _finding(
        NOT_RESOLVED,
        entry,
        process,
        f"no answer to a question for a name had {host} in it",
        f"find out whose address it is; if it is right: socketkit audit --declare {host}",
    )


def _asks_much(view: View, entry: SocketEntry, seen: FlowEvidence) -> Iterator[Finding]:
    """Names asked for from one socket, as tunnels do: their packets are all that tells how many."""
    if entry.scheme != "udp" or seen.protocol != "DNS" or not seen.local_began or seen.ends[1][1] != 53:
        return
    process = next(iter(entry.processes or ()), None)
    name = (process.executable or process.name) if process is not None else NOBODY
    questions, seconds = seen.packets[0], seen.seconds
    often = questions >= MANY_QUESTIONS_AT_ONCE and questions * WINDOW_SECONDS >= QUESTIONS_PER_WINDOW * seconds
    if not often or _resolves(name):
        return
    yield _many_questions(
        name,
        f"it asked {questions:,} times in {seconds:.1f} s",
        owner_of(entry) or name,
        socket=name_of(entry),
        commands=(f"kill {process.pid}",) if process is not None else (),
    )


def _finding(
    check: Check, entry: SocketEntry, process: Process, evidence: str, remedy: str, severity: str = ""
) -> Finding:
    return Finding(
        check,
        f"{process.executable or process.name} {destination_of(entry)}",
        evidence,
        remedy,
        (f"kill {process.pid}",),
        socket=name_of(entry),
        process=owner_of(entry),
        severity=severity,
    )


def scan(executable: str, destinations: Iterable[str], process: str | None, commands: tuple[str, ...] = ()) -> Finding:
    found = sorted(destinations)
    return Finding(
        SCAN,
        executable,
        f"it tries {len(found):,} places, such as {', '.join(found[:3])}",
        "end it if you did not start it",
        commands,
        process=process,
    )


class Watch:
    """What comes and goes, told as it is found: beacons, scans, too many questions. Sans-I/O, and bounded.

    `look` is given views of the machine, `ended` what `EndedSockets` has; `find` yields all that is so now, and what
    the last of the views shows.
    """

    def __init__(self, view: View, calls: Calls | None = None) -> None:
        self.view = view
        self._calls = calls  # None: nobody listens to answers
        self._nameless: dict[str, Finding] = {}
        self.beacons = Beacons(lambda executable, destination: trust_of(self.view, executable, destination))
        self._known: dict[int, str] = {}  # the executables of connections, which nobody holds when they end
        self._tries: dict[str, deque[tuple[float, str]]] = {}
        self._questions: dict[str, deque[float]] = {}

    def look(self, view: View) -> None:
        """What is there now: who holds a connection is known as long as it lives."""
        self.view = view
        if self._calls is not None:
            self._calls.look(view.entries)
        for entry in view.off_machine:
            self.opened(entry)

    def opened(self, entry: SocketEntry) -> None:
        if is_local(entry) or entry.peer is None:
            return
        process = next(iter(entry.processes or ()), None)
        if process is not None and process.executable:
            if len(self._known) >= MOST_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[entry.cookie] = process.executable
        self._called(entry, process)

    def ended(self, entry: SocketEntry, now: float, owner: Process | None = None, peer_port: int | None = None) -> None:
        """A connection that has ended: a contact, with all of its bytes.

        `owner` and `peer_port` are whose it was and what it called, if that was noted: the kernel forgets the port, but
        not the address, where a program waited for a connection that was refused, or where it reset that.
        """
        executable = self._known.pop(entry.cookie, "")
        if entry.peer is None or is_local(entry) or self.view.is_served(entry):
            return
        process = next(iter(entry.processes or ()), owner)
        executable = executable or (process.executable or process.name if process is not None else "") or NOBODY
        self._called(entry, process)
        if port := entry.peer.port or peer_port:
            moved = (entry.sent_bytes or 0) + (entry.received_bytes or 0)
            self.contact(Contact(now, executable, f"{entry.peer.host}:{port}/{entry.scheme}", moved))
        elif entry.scheme == "tcp" and entry.peer.host:
            # Nobody noted the port: its address alone counts.
            _bounded(self._tries, executable).append((now, entry.peer.host))

    def _called(self, entry: SocketEntry, process: Process | None) -> None:
        host = entry.peer.host if entry.peer is not None else None
        if self._calls is None or process is None or host is None or is_private(host) or self.view.is_served(entry):
            return
        self._calls.add(entry, process)

    def contact(self, contact: Contact) -> None:
        if contact.destination.endswith((":53/udp", ":53/tcp")):
            _bounded(self._questions, contact.executable).append(contact.at)
            return
        self.beacons.add(contact)
        if not contact.bytes:
            _bounded(self._tries, contact.executable).append((contact.at, contact.destination))

    def find(self, now: float) -> Iterator[Finding]:
        """All that is so now."""
        for score in self.beacons.scores(FLAGGED):
            yield Finding(
                BEACON,
                f"{score.executable} {score.destination}",
                f"{score.contacts} contacts with {score.destination}, every {score.period_seconds:,.1f} s: score "
                f"{score.score:.2f} (regularity {score.regularity:.2f}, trust {score.trust:.1f})",
                f"find out what it sends; if it is right: socketkit audit --declare {score.executable}",
                socket=score.destination,
                process=score.executable,
                severity="high" if score.score >= HIGH else "",
            )
        for executable, tries in self._tries.items():
            destinations = {destination for at, destination in tries if now - at <= WINDOW_SECONDS}
            if len(destinations) >= MANY_DESTINATIONS:
                yield scan(executable, destinations, executable)
        for executable, questions in self._questions.items():
            number = sum(now - at <= WINDOW_SECONDS for at in questions)
            if number >= QUESTIONS_PER_WINDOW and not _resolves(executable):
                asked = f"it asked {number:,} times in {WINDOW_SECONDS:.0f} s"
                yield _many_questions(executable, asked, executable)
        yield from self._without_names()
        yield from find(self.view)

    def _without_names(self) -> Iterator[Finding]:
        for entry, process in self._calls.nameless(self.view) if self._calls is not None else ():
            if trust_of(self.view, process.executable or "", destination_of(entry)) < TRUSTED:
                found = _nameless(entry, process)
                if len(self._nameless) < MOST_EVENTS:
                    self._nameless[found.key] = found
        yield from self._nameless.values()


def _many_questions(
    executable: str, asked: str, process: str, *, socket: str | None = None, commands: tuple[str, ...] = ()
) -> Finding:
    return Finding(
        MANY_QUESTIONS,
        executable,
        f"{asked}: names can carry data out",
        "see what it asks for: socketkit capture any port 53",
        commands,
        socket=socket,
        process=process,
    )


def _resolves(executable: str) -> bool:
    """Whether it is its work to ask for others."""
    return executable.rpartition("/")[2][:15] in RESOLVERS


def _bounded(table: dict[str, deque[Item]], key: str) -> deque[Item]:
    if key not in table and len(table) >= MOST_PROGRAMS:
        del table[next(iter(table))]
    return table.setdefault(key, deque(maxlen=MOST_EVENTS))


def is_private(host: str) -> bool:
    """Whether an address is of this network, where names are not the rule."""
    from ipaddress import ip_address

    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_private or address.is_link_local or address.is_multicast


OPEN_FOLDERS = ("/tmp/", "/var/tmp/", "/dev/shm/")
NOBODY = "unknown"
TRUSTED = 0.6
LONG_SECONDS = 3_600.0
THIN_BYTES_PER_SECOND = 10
MANY_DESTINATIONS = 20
WINDOW_SECONDS = 60.0
QUESTIONS_PER_WINDOW = 300
MOST_PROGRAMS, MOST_EVENTS, MOST_KNOWN = 1_024, 1_024, 65_536
MANY_QUESTIONS_AT_ONCE = 100  # a page in a browser has dozens of names
# dig and its like ask for whoever types them, and for scripts that carry data out.
ASKERS = frozenset({"dig", "host", "nslookup"})
RESOLVERS = frozenset(name for name, (use, _) in PROGRAMS.items() if use == "dns") - ASKERS
