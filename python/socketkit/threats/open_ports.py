"""Open ports: what other machines can reach, and nobody meant them to.

Prevented by default: no host is loopback, and every interface must be written `*` (endpoint.py); in plain text a
listener that others can reach is refused, and over TLS it knows its callers (exposure.py, `require_private` and
`require_callers`); Unix sockets are made for their owner alone (types/unix.py). What other programs opened is found
here.
"""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from ..inspect.use_tables import PORTS
from .finding import Check, Finding
from .view import described, is_loopback, name_of, owner_of, plain_port, subject_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._core import SocketEntry
    from .view import Recorded, View

PAGE = "open-ports"
UNDECLARED = Check("OP1", "medium", "A port is open to other machines and not declared", PAGE)
PLAIN = Check("OP2", "high", "A service in plain text can be reached from other machines", PAGE)
ROOT = Check("OP3", "medium", "A service that other machines can reach runs as root", PAGE)
NO_FILE = Check("OP4", "high", "The program of a listener is gone, or lies where everybody may write", PAGE)
ONE_FAMILY = Check("OP5", "medium", "Open over IPv6, and over IPv4 to this machine only", PAGE)
UNUSED = Check("OP6", "info", "A port is open and nobody has used it", PAGE)
CHECKS = (UNDECLARED, PLAIN, ROOT, NO_FILE, ONE_FAMILY, UNUSED)


def find(view: View) -> Iterator[Finding]:
    for entry in view.exposed:
        yield from _undeclared(view, entry)
        if not view.asks(entry):
            yield from _plain(view, entry)
            yield from _root(view, entry)
    for entry in view.listeners:
        yield from _program(view, entry)
        yield from _unused(view, entry)
    yield from _one_family(view)


def _undeclared(view: View, entry: SocketEntry) -> Iterator[Finding]:
    protocol, port = plain_port(entry)
    if any((known.protocol, known.port) == (protocol, port) for known in view.expected or ()):
        return
    reach = "every interface" if entry.exposure == "everywhere" else f"the address {entry.local and entry.local.host}"
    severity = ""
    evidence = f"it is open on {reach}"
    if protocol == "udp" and port in view.ephemeral:
        # Who asks others has such a socket, too; the kernel gave it the port.
        severity, evidence = "info", f"{evidence}, on a port that the kernel deals out: perhaps it only asks others"
    yield Finding(
        UNDECLARED,
        subject_of(entry),
        evidence if view.expected is not None else f"{evidence}, and no ports are declared (--expect)",
        f'listen on localhost, close it, or declare it: "localhost" = ["{port}/{protocol}"]',
        socket=name_of(entry),
        process=owner_of(entry),
        severity=severity,
    )


def _plain(view: View, entry: SocketEntry) -> Iterator[Finding]:
    use = view.use(entry)
    protocol, port = plain_port(entry)
    usual = PORTS.get(protocol, {}).get(port, ("", ""))[1]
    seen = use.encrypted == "no"
    if seen:
        evidence = f"{use.reason}, and that is not encrypted"
    elif use.encrypted == "unknown" and usual in PLAIN_SERVICES:
        evidence = f"port {port} is {usual}'s, which encrypts nothing; its bytes were not seen"
    else:
        return
    # What only the number of the port says may be something else.
    severity = "" if seen else "medium" if usual in WITH_PASSWORDS else "low"
    yield Finding(
        PLAIN,
        subject_of(entry),
        evidence,
        f"have it listen on localhost, and put TLS before it: socketkit relay 'tls://*:{port}' tcp://localhost:{port}",
        socket=name_of(entry),
        process=owner_of(entry),
        severity=severity,
    )


def _root(view: View, entry: SocketEntry) -> Iterator[Finding]:
    owners = [process for process in entry.processes or () if process.pid != 1 and process.uid == 0]
    if not owners or view.use(entry).name == "ssh":  # sshd becomes the user who logs in: that takes root
        return
    unit = owners[0].unit
    below = (plain_port(entry)[1]) < FIRST_FREE_PORT
    way = "give it CAP_NET_BIND_SERVICE and" if below else "give it"
    yield Finding(
        ROOT,
        subject_of(entry),
        f"{described(owners)} would give whoever breaks it the whole machine",
        f"{way} a user of its own" + (f": User= in {unit}" if unit else ""),
        (f"systemctl edit {quote(unit)}",) if unit and unit.endswith(".service") else (),
        socket=name_of(entry),
        process=described(owners),
        severity="low" if below else "",
    )


def _program(view: View, entry: SocketEntry) -> Iterator[Finding]:
    for process in entry.processes or ():
        path = process.executable
        if path is None:
            continue
        program = view.programs.get(path)
        if path.startswith(OPEN_FOLDERS):
            evidence, severity = f"its program is {path}, where everybody may put one", ""
        elif path.startswith("/memfd:"):
            evidence, severity = "its program has never been a file", ""
        elif process.deleted and program is not None and program.exists:
            evidence, severity = f"{path} was replaced while it ran: it is still the old one", "low"
        elif process.deleted:
            evidence, severity = f"{path} was removed while it ran", "" if entry in view.exposed else "medium"
        else:
            continue
        remedy = "restart it" if severity == "low" else "find out who started it, then end it"
        command = (
            f"systemctl restart {quote(process.unit)}" if severity == "low" and process.unit else f"kill {process.pid}"
        )
        yield Finding(
            NO_FILE,
            f"{subject_of(entry)} {path}",
            evidence,
            remedy,
            (command,),
            socket=name_of(entry),
            process=described([process]),
            severity=severity,
        )
        return


def _one_family(view: View) -> Iterator[Finding]:
    """The same program and port: loopback alone in IPv4, and more in IPv6, which a firewall for IPv4 does not see."""
    careful = {
        (plain_port(entry), entry.namespace, process)
        for entry in view.listeners
        if entry.local is not None and entry.local.host is not None and entry.local.host.startswith("127.")
        for process in entry.processes or ()
    }
    for entry in view.exposed:
        host = entry.local.host if entry.local is not None else None
        wide = host is not None and ":" in host and not is_loopback(host)
        if not wide and not (entry.local is not None and entry.local.scheme.endswith("6")):
            continue
        if any((plain_port(entry), entry.namespace, process) in careful for process in entry.processes or ()):
            yield Finding(
                ONE_FAMILY,
                subject_of(entry),
                "in IPv4 it listens on 127.0.0.1 alone",
                "listen on ::1 in IPv6, too",
                socket=name_of(entry),
                process=owner_of(entry),
            )


def _unused(view: View, entry: SocketEntry) -> Iterator[Finding]:
    """By a history, which knows every connection; else only of what several audits looked at."""
    if entry.scheme != "tcp" or entry.state != "listening" or is_used(view, entry):
        return
    if view.recorded is not None:
        yield from _never_used(view.recorded, entry)
        return
    past = view.before.listeners.get(subject_of(entry))
    if past is None or past.used is not None or past.looks < LOOKS or view.now - past.since < UNUSED_SECONDS:
        return
    days = (view.now - past.since) / 86_400
    yield Finding(
        UNUSED,
        subject_of(entry),
        f"{past.looks:,} audits in {days:.0f} days saw no connection to it; what came between them is not known",
        "close it if nobody needs it",
        socket=name_of(entry),
        process=owner_of(entry),
    )


def _never_used(recorded: Recorded, entry: SocketEntry) -> Iterator[Finding]:
    seconds = recorded.unused.get(subject_of(entry))
    if seconds is None:
        return
    times = f"{_moment(recorded.since)} to {_moment(recorded.until)}"
    holes = [f"{_moment(since)} to {_moment(until)}" for since, until in recorded.not_recorded]
    more = f" and {len(holes) - MOST_HOLES:,} more" if len(holes) > MOST_HOLES else ""
    missing = f"; not recorded: {', '.join(holes[:MOST_HOLES])}{more}" if holes else ""
    yield Finding(
        UNUSED,
        subject_of(entry),
        f"it was open for {seconds / 3_600:,.0f} recorded hours of {times}, and nobody connected to it{missing}",
        "close it if nobody needs it",
        socket=name_of(entry),
        process=owner_of(entry),
    )


def _moment(seconds: float) -> str:
    """With its zone: an audit is read elsewhere, too."""
    from datetime import datetime

    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "minutes")


def is_used(view: View, entry: SocketEntry) -> bool:
    """Whether somebody is connected to it now."""
    key = (entry.namespace, plain_port(entry))
    return key in view.in_use


OPEN_FOLDERS = ("/tmp/", "/var/tmp/", "/dev/shm/")
FIRST_FREE_PORT = 1_024
LOOKS = 3
UNUSED_SECONDS = 7 * 86_400
MOST_HOLES = 3
# Names of IANA's that `use_tables.PORTS` has; the first are asked for passwords, or do whatever anybody tells them.
WITH_PASSWORDS = frozenset(
    {"telnet", "ftp", "tftp", "pop3", "imap", "smtp", "ldap", "rfb", "x11", "docker", "redis", "memcache", "mongodb"}
    | {"elasticsearch", "mqtt", "snmp", "rsync", "zookeeper", "etcd-client", "ms-sql-s", "cassandra"}
)
PLAIN_SERVICES = WITH_PASSWORDS | frozenset(
    {"http", "http-alt", "ajp", "fastcgi", "syslog", "statsd", "ircu", "nntp", "printer", "pdl-datastream", "sip"}
    | {"rtsp", "rtmp", "git", "svn", "modbus", "socks", "squid", "prometheus", "ident"}
)
