"""What a service says of itself: the first bytes to send to it, and what its first bytes mean. No I/O.

Everything that is read here was written by a stranger: it is looked at up to a bound, and shown printable only.
"""

from __future__ import annotations

import os
from typing import NamedTuple


class Service(NamedTuple):
    """What a port speaks, by its bytes: `http`, `ssh`; "" if they are not known. `product` is what it calls itself."""

    name: str
    product: str = ""


def banner(data: bytes) -> Service:
    """Of what a service says before it is asked anything."""
    line = _line(data)
    for start, name in _GREETINGS:
        if data.startswith(start):
            return Service(name, line[len(start) :].strip() if name in ("ssh", "vnc") else line)
    if line[:4] in ("220 ", "220-"):
        said = line.lower()
        if "ftp" in said and "smtp" not in said:
            return Service("ftp", line[4:])
        return Service("smtp" if "smtp" in said or "mail" in said or "postfix" in said else "", line[4:])
    # MySQL: a packet's length in three bytes, its number 0, protocol 10, a version.
    if len(data) > 6 and data[3:5] == b"\x00\x0a" and int.from_bytes(data[:3], "little") + 4 <= len(data) + 4096:
        return Service("mysql", printable(data[5:].split(b"\0", 1)[0]))
    if data[:2] == b"\xff\xfd" or data[:2] == b"\xff\xfb":
        return Service("telnet")
    return Service("", line)


def answer(data: bytes) -> Service:
    """Of what a service says to REQUEST."""
    if data.startswith(b"HTTP/1."):
        return Service("http", _header(data, b"server"))
    if data.startswith((b"-ERR", b"-DENIED", b"-NOAUTH", b"-MISCONF")):
        return Service("redis")
    if data.startswith(b"ERROR\r\n"):
        return Service("memcached")
    if data.startswith(b"AMQP"):
        return Service("amqp")
    if data.startswith((b"\x00\x00", b"\x00\x00\x06\x04")) and len(data) >= 9 and data[3] == 4:
        return Service("http", "HTTP/2")  # a SETTINGS frame (RFC 9113 §6.5)
    return banner(data) if data else Service("")


def request(host: str) -> bytes:
    """HTTP's HEAD: what speaks it answers, and most of what does not says so."""
    return f"HEAD / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: socketkit\r\nConnection: close\r\n\r\n".encode(
        "ascii", "replace"
    )


def is_tls(data: bytes) -> bool:
    """Whether an answer to REQUEST is that of a TLS server: an alert, or a server that says so in plain text."""
    refused = data.startswith(b"HTTP/1.") and data[8:13] == b" 400 "
    return data[:2] == b"\x15\x03" or refused


def printable(data: bytes) -> str:
    """A stranger's text, for a terminal: bounded, and no control character."""
    text = data[:MAX_TEXT_BYTES].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def udp_probe(port: int) -> bytes:
    """The datagram to which the service that is usual there answers; elsewhere an empty one."""
    made = _UDP.get(port)
    return made() if made else b""


def udp_answer(port: int, data: bytes) -> Service:
    """Of an answer to `udp_probe(port)`."""
    if port in (53, 5353) and len(data) >= 12 and data[2] & 0x80:
        return Service("dns" if port == 53 else "mdns")
    if port == 123 and len(data) >= 48 and data[0] & 7 == 4:
        return Service("ntp", f"stratum {data[1]}")
    if port == 161 and data[:1] == b"\x30":
        return Service("snmp", _snmp_text(data))
    if port == 1900 and data.startswith(b"HTTP/1."):
        return Service("ssdp", _header(data, b"server"))
    if port == 137 and len(data) > 12 and data[2] & 0x80:
        return Service("netbios-ns")
    if port in (3478, 5349) and data[4:8] == STUN_COOKIE:
        return Service("stun")
    if port == 443 and len(data) >= 7 and data[0] & 0x80 and data[1:5] == bytes(4):
        return Service("quic")
    if port == 111 and len(data) >= 24 and data[4:8] == b"\0\0\0\1":
        return Service("portmapper")
    if port == 5060 and data.startswith(b"SIP/2.0"):
        return Service("sip", _header(data, b"server") or _header(data, b"user-agent"))
    if port == 5683 and data[:1] and data[0] >> 6 == 1:
        return Service("coap")
    return Service("")


def _line(data: bytes) -> str:
    return printable(data.lstrip(b"\r\n").split(b"\n", 1)[0])


def _header(data: bytes, name: bytes) -> str:
    for line in data.split(b"\r\n\r\n", 1)[0].split(b"\r\n")[1:100]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return printable(value)
    return ""


def _snmp_text(data: bytes) -> str:
    """The string at the message's end: the system's description (RFC 3418), if it fills the message so."""
    found = data.rfind(_SYSTEM_DESCRIPTION)
    value = data[found + len(_SYSTEM_DESCRIPTION) :] if found >= 0 else b""
    if value[:1] != b"\x04" or len(value) < 2:
        return ""
    return printable(value[2 + (value[1] & 0x7F if value[1] & 0x80 else 0) :])


def _dns() -> bytes:
    return os.urandom(2) + b"\1\0" + b"\0\1" + bytes(6) + b"\0" + b"\0\2\0\1"  # NS of the root


def _mdns() -> bytes:
    name = b"\x09_services\x07_dns-sd\x04_udp\x05local\0"
    return (
        os.urandom(2) + b"\0\0" + b"\0\1" + bytes(6) + name + b"\0\x0c\x80\1"
    )  # PTR, answered to us alone (RFC 6762 §5.4)


def _ntp() -> bytes:
    return b"\x23" + bytes(39) + os.urandom(8)


def _snmp() -> bytes:
    asked = b"\x30\x0e\x30\x0c" + _SYSTEM_DESCRIPTION + b"\x05\0"
    return b"\x30\x26\2\1\0\4\6public\xa0\x19\2\1\1\2\1\0\2\1\0" + asked


def _ssdp() -> bytes:
    lines = (
        "M-SEARCH * HTTP/1.1",
        "HOST: 239.255.255.250:1900",
        'MAN: "ssdp:discover"',
        "MX: 1",
        "ST: upnp:rootdevice",
    )
    return "\r\n".join([*lines, "", ""]).encode()


def _netbios() -> bytes:
    return os.urandom(2) + b"\0\0\0\1" + bytes(6) + b"\x20CK" + b"A" * 30 + b"\0\0\x21\0\1"  # NBSTAT *


def _stun() -> bytes:
    return b"\0\1\0\0" + STUN_COOKIE + os.urandom(12)


def _quic() -> bytes:
    # A version that is reserved for this: the server names those that it has (RFC 9000 §6, §15).
    head = b"\xc0\x1a\x2a\x3a\x4a\x08" + os.urandom(8) + b"\x08" + os.urandom(8)
    return head + bytes(1200 - len(head))


def _portmapper() -> bytes:
    return os.urandom(4) + bytes(4) + b"\0\0\0\2\0\1\x86\xa0\0\0\0\2" + bytes(20)  # version 2, procedure 0


def _sip() -> bytes:
    lines = (
        "OPTIONS sip:socketkit SIP/2.0",
        f"Via: SIP/2.0/UDP socketkit.invalid;rport;branch=z9hG4bK{os.urandom(8).hex()}",
        f"From: <sip:socketkit@socketkit.invalid>;tag={os.urandom(4).hex()}",
        "To: <sip:socketkit>",
        f"Call-ID: {os.urandom(8).hex()}",
        "CSeq: 1 OPTIONS",
        "Max-Forwards: 70",
        "Content-Length: 0",
    )
    return "\r\n".join([*lines, "", ""]).encode()


def _coap() -> bytes:
    return b"\x40\1" + os.urandom(2) + b"\xbb.well-known\x04core"  # GET /.well-known/core


_GREETINGS = (
    (b"SSH-2.0-", "ssh"),
    (b"SSH-1.", "ssh"),
    (b"RFB ", "vnc"),
    (b"+OK", "pop3"),
    (b"* OK", "imap"),
    (b"* PREAUTH", "imap"),
    (b"@RSYNCD:", "rsync"),
    (b"AMQP", "amqp"),
    (b"HTTP/1.", "http"),
    (b"ERROR :Closing Link", "irc"),
    (b":", "irc"),
)
_SYSTEM_DESCRIPTION = b"\x06\x08\x2b\x06\x01\x02\x01\x01\x01\x00"
STUN_COOKIE = b"\x21\x12\xa4\x42"
_UDP = {
    53: _dns,
    111: _portmapper,
    123: _ntp,
    137: _netbios,
    161: _snmp,
    443: _quic,
    1900: _ssdp,
    3478: _stun,
    5060: _sip,
    5349: _stun,
    5353: _mdns,
    5683: _coap,
}
UDP_PORTS = tuple(sorted(_UDP))
"""Ports whose usual service answers a datagram that we know."""
TLS_PORTS = frozenset(
    {261, 443, 465, 563, 636, 853, 990, 992, 993, 995, 2376, 3269, 4443, 5061, 5223, 5671, 5986, 6443}
)
TLS_PORTS |= frozenset({6697, 8443, 8883, 9443, 10250, 10443})
"""Ports where TLS comes first: there it is tried before anything else."""
MAX_TEXT_BYTES = 120
