"""Unencrypted: what can be read on its way, and TLS that is too old or too weak to keep anybody out.

Prevented by default: plain text leaves this machine only where the address says `plaintext=yes` (exposure.py,
`require_private`), and TLS is 1.3 with keys that nobody can compute later (the engine's tls module; securing.py).

That something is in plain text is said of bytes that were seen (`FirstBytes`); where only a port tells, it is said to
be that, and milder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..inspect.use_tables import PORTS
from .finding import Check, Finding
from .view import name_of, owner_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._core import SocketEntry
    from .view import Presented, View

PAGE = "unencrypted"
PASSWORDS = Check("UE1", "high", "Passwords go over the network in plain text", PAGE)
PLAIN_FLOW = Check("UE2", "medium", "A connection in plain text leaves this machine", PAGE)
OLD_TLS = Check("UE3", "medium", "TLS of a version that is broken", PAGE)
EXPIRED = Check("UE4", "high", "The certificate of a service has expired", PAGE)
WEAK_KEY = Check("UE5", "high", "The certificate of a service has a weak key or signature", PAGE)
CHECKS = (PASSWORDS, PLAIN_FLOW, OLD_TLS, EXPIRED, WEAK_KEY)


def find(view: View) -> Iterator[Finding]:
    for entry in view.off_machine:
        yield from _flow(view, entry)
    for shown in view.presented:
        yield from _presented(view, shown)


def _flow(view: View, entry: SocketEntry) -> Iterator[Finding]:
    use, seen = view.use(entry), view.evidence.get(entry)
    if seen is not None and seen.tls_version in BROKEN_TLS:
        yield _finding(OLD_TLS, entry, f"it speaks {seen.tls_version}", f"upgrade {_where(entry)}, or leave it")
    if use.encrypted == "no":
        protocol = use.protocol.removesuffix(" with TLS")
        remedy = f"speak {ENCRYPTED.get(protocol, 'it over TLS')} with {_where(entry)}"
        if protocol in WITH_PASSWORDS or _carries_password(seen):
            yield _finding(PASSWORDS, entry, f"{use.reason}: whoever logs in shows his password", remedy)
        elif protocol not in HARMLESS:
            yield _finding(PLAIN_FLOW, entry, use.reason, remedy)
    elif use.encrypted == "unknown" and (service := _plain_port(entry)):
        evidence = f"its port is {service}'s, where passwords go in plain text; its bytes were not seen"
        yield _finding(PASSWORDS, entry, evidence, f"speak it over TLS with {_where(entry)}", "medium")


def _carries_password(seen: object) -> bool:
    """Whether the head of a request has one: HTTP's Basic and Bearer are as good as written out."""
    for data in (getattr(seen, "sent", b""), getattr(seen, "received", b"")):
        head = bytes(data).lower()
        if b"\r\nauthorization: " in head or b"\r\nproxy-authorization: " in head:
            return True
    return False


def _plain_port(entry: SocketEntry) -> str:
    table = PORTS.get(entry.scheme, {})
    for end in (entry.peer, entry.local):
        service = table.get(end.port or 0, ("", ""))[1] if end is not None else ""
        if service in PASSWORD_PORTS:
            return service
    return ""


def _presented(view: View, shown: Presented) -> Iterator[Finding]:
    def finding(check: Check, evidence: str, remedy: str, severity: str = "") -> Finding:
        subject, owner = f"{shown.place} {check.id}", view.owner_at(shown.socket)
        return Finding(check, subject, evidence, remedy, socket=shown.socket, process=owner, severity=severity)

    if shown.version in BROKEN_VERSIONS:
        yield finding(OLD_TLS, f"it agreed to {shown.version}", "allow TLS 1.2 and 1.3 only")
    if shown.expires is not None:
        left = shown.expires.timestamp() - view.now
        when = f"{shown.expires:%Y-%m-%d}"
        if left < 0:
            yield finding(EXPIRED, f"it was for {shown.subject or '?'} until {when}", "renew it, and have it renewed")
        elif left < SOON_SECONDS:
            yield finding(EXPIRED, f"it ends in {left / 86_400:.0f} days, on {when}", "renew it", "low")
    if 0 < shown.key_bits < STRONG_BITS.get(shown.key, 0):
        remedy = "make a new key: Ed25519, P-256, or RSA of 3072 bits"
        yield finding(WEAK_KEY, f"its key is {shown.key} of {shown.key_bits:,} bits", remedy)
    if shown.signature in WEAK_SIGNATURES:
        yield finding(WEAK_KEY, f"it is signed by {shown.signature}", "have it signed with SHA-256")


def _finding(check: Check, entry: SocketEntry, evidence: str, remedy: str, severity: str = "") -> Finding:
    # The port of our side is another one with each connection.
    subject = f"{entry.peer} {_program(entry)}".rstrip()
    return Finding(check, subject, evidence, remedy, socket=name_of(entry), process=owner_of(entry), severity=severity)


def _program(entry: SocketEntry) -> str:
    return entry.processes[0].name if entry.processes else ""


def _where(entry: SocketEntry) -> str:
    return str(entry.peer.host if entry.peer is not None else "the peer")


BROKEN_TLS = frozenset({"SSL 2", "SSL 2.0", "SSL 3", "SSL 3.0", "TLS 1.0", "TLS 1.1"})
BROKEN_VERSIONS = frozenset({"SSLv2", "SSLv3", "TLSv1", "TLSv1.1"})
SOON_SECONDS = 14 * 86_400
STRONG_BITS = {"RSA": 2_048, "DSA": 1_000_000, "EC": 224}  # DSA: nobody accepts it any more
WEAK_SIGNATURES = frozenset({"MD5 with RSA", "SHA-1 with RSA", "SHA-1 with ECDSA"})
WITH_PASSWORDS = frozenset(
    {"FTP", "Telnet", "POP3", "IMAP", "SMTP", "LDAP", "Redis", "IRC", "VNC", "rlogin", "rsh", "SNMP", "NNTP", "TFTP"}
    | {"ManageSieve", "MQTT", "XMPP", "HTTP proxy", "SOCKS5", "RADIUS", "PostgreSQL", "MySQL"}
)
# They say nothing of the user, or protect what matters themselves.
HARMLESS = frozenset({"NTP", "DHCP", "DHCPv6", "mDNS", "LLMNR", "SSDP", "STUN", "NetBIOS", "ICMP", "Kerberos", "BFD"})
ENCRYPTED = {
    "HTTP/1": "https",
    "FTP": "sftp",
    "Telnet": "ssh",
    "rlogin": "ssh",
    "rsh": "ssh",
    "POP3": "POP3 over TLS (port 995)",
    "IMAP": "IMAP over TLS (port 993)",
    "SMTP": "submission over TLS (port 465)",
    "LDAP": "LDAP over TLS (port 636)",
    "SNMP": "SNMPv3",
    "DNS": "DNS over TLS (port 853)",
    "MQTT": "MQTT over TLS (port 8883)",
    "syslog": "syslog over TLS (port 6514)",
}
PASSWORD_PORTS = frozenset({"telnet", "ftp", "pop3", "imap", "ldap", "rfb", "redis", "x11", "snmp"})
