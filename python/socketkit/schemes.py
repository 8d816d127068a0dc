"""The table of schemes: what an address of each is made of, and the values that may stand in it.

A new scheme or parameter is a row here; the grammar, its errors and its tests read the table. A parameter belongs in it
only if the scheme's socket type honours it. Each function for a value takes it decoded and returns its one canonical
spelling, or raises `Misfit`; none of them does I/O.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Scheme:
    """One row of the table.

    `form` says what stands where a URL has its host; `port_word` is what the number after the colon is called (None =
    there is none) and `port_limit` its largest value; `required` names the parameter without which the address opens
    nothing; `family` is 4 or 6 if only that version of IP will do; `local` schemes cannot leave the machine.
    """

    __slots__ = ("family", "form", "local", "name", "parameters", "port_limit", "port_word", "required", "shapes")

    def __init__(
        self,
        name: str,
        shapes: tuple[str, ...],
        form: str = "host",
        *,
        port: tuple[str, int] | None = ("port", 65535),
        parameters: Mapping[str, Callable[[str], str]] | None = None,
        required: str | None = None,
        family: int | None = None,
        local: bool = False,
    ) -> None:
        self.name = name
        self.shapes = shapes
        self.form = form  # host, path, or one of VALUES
        self.port_word = port[0] if port else None
        self.port_limit = port[1] if port else 0
        self.parameters = parameters or {}
        self.required = required
        self.family = family
        self.local = local

    @property
    def port_name(self) -> str:
        return (self.port_word or "").upper()


class Misfit(ValueError):
    """The value does not fit its place; `offset` is the index of the fault in the value."""

    def __init__(self, reason: str, hint: str | None = None, offset: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.offset = offset


def ip_address(text: str) -> str | None:
    """The canonical spelling of an IP address without zone (RFC 5952), or None if `text` is none."""
    family = AF_INET6 if ":" in text else AF_INET
    try:
        return inet_ntop(family, inet_pton(family, text))
    except (OSError, ValueError):
        return None


def host_name(text: str) -> str:
    """A DNS name or an IPv4 address, as it is written."""
    if not _NAME_CHARACTERS.issuperset(text):
        offset = next(at for at, char in enumerate(text) if char not in _NAME_CHARACTERS)
        raise Misfit(f"{text[offset]!r} cannot stand in a host name", _name_remedy(text, text[offset]), offset)
    relative = text[:-1] if text.endswith(".") else text
    last = relative[relative.rfind(".") + 1 :]
    # inet_aton, and so getaddrinfo, reads "127.1", "0x7f.1" and "2130706433" as 127.0.0.1: what looks like a name would
    # be an address that no policy sees. A name whose last label is a number must be the address in full (WHATWG URL
    # 3.5).
    if (last.isdigit() or last[:2] in ("0x", "0X")) and ip_address(text) is None:
        raise Misfit("not an IPv4 address", "write four numbers from 0 to 255 without leading zeros, as in 192.0.2.1")
    if len(relative) > 253:
        raise Misfit("the host name is longer than 253 characters", offset=253)
    if ".." in text or not relative or relative.startswith("."):
        raise Misfit("a label of the host name is empty", "write one dot between two labels", text.find("..") + 1)
    offset = 0
    for label in relative.split("."):
        if len(label) > 63:
            raise Misfit("a label of the host name is longer than 63 characters", offset=offset + 63)
        offset += len(label) + 1
    return text


def interface(text: str) -> str:
    """A network interface's name, by the kernel's rule (`dev_valid_name`)."""
    if len(text.encode("utf-8", "surrogateescape")) > 15:
        raise Misfit("an interface's name has 15 bytes at most", offset=15)
    if text in ("", ".", "..") or any(char in "/:*\0" or char.isspace() for char in text):
        raise Misfit("not an interface's name", "`ip link` lists them")
    return text


def _name_remedy(text: str, char: str) -> str | None:
    """What to write instead of a host name with `char` in it."""
    if char == "*":
        return "* alone stands for every interface"
    if char == "%":
        return "host names are written without percent-encoding"
    if char.isascii():
        return None
    # The standard library translates by IDNA 2003, which turns these four into others than today's registries do (RFC
    # 5894 section 7.2): its advice would name a host that may belong to somebody else.
    if not any(deviant in text for deviant in "ßς\u200c\u200d"):
        try:
            return f"write the name as the DNS has it: {text.encode('idna').decode()}"
        except UnicodeError:
            pass
    return "write the name as the DNS has it, in its xn-- form"


def _file(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise Misfit("not an absolute path", "write the file's whole path, from / on; the address holds no key itself")
    return text


def _pin(text: str) -> str:
    from . import fingerprint  # few addresses have a key in them

    try:
        return fingerprint.canonical(text)
    except fingerprint.NotFingerprint as fault:
        raise Misfit(fault.reason, fault.hint, fault.offset) from None


def _trust(text: str) -> str:
    words = ("system", "first_use", "danger_anyone")
    if text not in words:
        raise Misfit("not a kind of trust", did_you_mean(text, words) or f"it is one of {', '.join(words)}")
    return text


def _protocols(text: str) -> str:
    offset = 0
    for name in text.split(","):
        if not 1 <= len(name.encode("utf-8", "surrogateescape")) <= 255:
            raise Misfit(
                "a protocol's name has 1 to 255 bytes", "separate several by a comma: alpn=h2,http/1.1", offset
            )
        offset += len(name) + 1
    return text


def _mode(text: str) -> str:
    if not 3 <= len(text) <= 4 or not set("01234567").issuperset(text) or int(text, 8) > 0o777:
        raise Misfit("not a file mode", "write it in octal, from 0000 to 0777, as in mode=0660")
    return f"{int(text, 8):04o}"


def _yes(text: str) -> str:
    if text != "yes":
        raise Misfit("the only value here is yes", "write yes, or leave the parameter out")
    return text


def _no(text: str) -> str:
    if text != "no":
        raise Misfit("the only value here is no", "write no, or leave the parameter out")
    return text


def _hops(text: str) -> str:
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= 255):
        raise Misfit("not a number of hops", "write one from 1 (this network only) to 255")
    return str(int(text))


def _filter(text: str) -> str:
    # What it means is for libpcap's compiler to say, when the socket is opened: it knows what the interface carries.
    if not text.isprintable() or not text.strip():
        raise Misfit("not a filter", "write it as for tcpdump, with %20 for a space: filter=udp%20port%2053")
    if len(text.encode("utf-8", "surrogateescape")) > _LONGEST_FILTER:
        raise Misfit(f"the filter is longer than {_LONGEST_FILTER} bytes", offset=_LONGEST_FILTER)
    return text


def _snap(text: str) -> str:
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= _LONGEST_SNAP):
        raise Misfit("not a number of bytes to keep", f"write one from 1 to {_LONGEST_SNAP}")
    return str(int(text))


def _user(text: str) -> str:
    if text.isascii() and text.isdigit():
        if len(text) > 10 or int(text) > _LAST_UNSIGNED:
            raise Misfit("no user has such a number", f"it goes up to {_LAST_UNSIGNED}")
        return str(int(text))
    # What systemd lets pass (its "relaxed" rule): names that come from a directory have spaces, dots and backslashes.
    if len(text.encode("utf-8", "surrogateescape")) > 256:
        raise Misfit("a user's name has 256 bytes at most", offset=256)
    if not text.isprintable() or text != text.strip() or text[0] == "-" or any(char in ":/" for char in text):
        raise Misfit("not a user", "write a name or a number, as `id` shows them")
    return text


def _ip_protocol(text: str) -> str:
    number = _IP_PROTOCOLS.get(text.lower(), text)
    if not (number.isascii() and number.isdigit() and len(number) <= 3 and 1 <= int(number) <= 255):
        known = did_you_mean(text, _IP_PROTOCOLS) or f"or one of {', '.join(_IP_PROTOCOLS)}"
        raise Misfit("not an IP protocol", f"write a number from 1 to 255, {known}")
    return str(int(number))


def _ether_type(text: str) -> str:
    number = _ETHER_TYPES.get(text.lower(), text.lower())
    if not (number.startswith("0x") and 3 <= len(number) <= 6 and _HEXADECIMAL.issuperset(number[2:])):
        known = did_you_mean(text, _ETHER_TYPES) or f"or one of {', '.join(_ETHER_TYPES)}"
        raise Misfit("not an EtherType", f"write it in hexadecimal, as in 0x88cc, {known}")
    return f"0x{int(number, 16):04x}"


def _cid(text: str) -> str:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _LAST_UNSIGNED):
        raise Misfit("not a context id", f"write a number up to {_LAST_UNSIGNED}, 2 being the host, or * for all")
    return str(int(text))


def _radio(text: str) -> str:
    pairs = text.lower().split("-")
    if len(pairs) != 6 or not all(len(pair) == 2 and _HEXADECIMAL.issuperset(pair) for pair in pairs):
        raise Misfit("not a Bluetooth address", "write six pairs of hexadecimal digits, as in aa-bb-cc-dd-ee-ff")
    return "-".join(pairs) if any(pair != "00" for pair in pairs) else "*"


def _name(text: str) -> str:
    if "*" in text:
        raise Misfit("* cannot stand in a name", "it means every interface, and a name has none", text.find("*"))
    if len(text.encode("utf-8", "surrogateescape")) > 255:
        raise Misfit("the name is longer than 255 bytes", offset=255)
    return text


def _descriptor(text: str) -> str:
    if text.isascii() and text.isdigit():
        if len(text) > 10 or int(text) > 2**31 - 1:
            raise Misfit("no descriptor has such a number", f"it goes up to {2**31 - 1}")
        return str(int(text))
    if not text.isascii() or not text.isprintable() or ":" in text:
        raise Misfit("not a descriptor's name", "LISTEN_FDNAMES holds printable ASCII without colons")
    return _name(text)


def did_you_mean(word: str, known: Mapping[str, object] | tuple[str, ...]) -> str | None:
    from difflib import get_close_matches  # on the error path only: it costs as much to import as this whole module

    close = get_close_matches(word.lower()[:64], known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else None


_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_HEXADECIMAL = frozenset("0123456789abcdef")
_LAST_UNSIGNED = 2**32 - 2  # one more is the kernel's "any", for which an address has * and port 0
_LONGEST_FILTER = 4_096
_LONGEST_SNAP = 262_144  # what tcpdump keeps of a packet at most
_IP_PROTOCOLS = {
    "icmp": "1",
    "igmp": "2",
    "tcp": "6",
    "udp": "17",
    "gre": "47",
    "esp": "50",
    "ah": "51",
    "icmpv6": "58",
    "ospf": "89",
    "sctp": "132",
}
_ETHER_TYPES = {"all": "0x0003", "ip": "0x0800", "arp": "0x0806", "vlan": "0x8100", "ipv6": "0x86dd", "lldp": "0x88cc"}

_TLS = {"ca": _file, "key": _file, "pin": _pin, "sni": host_name, "trust": _trust}
_TLS_ALPN = _TLS | {"alpn": _protocols}
_PLAIN_TEXT = {"plaintext": _yes}
_PUBLIC = {"public": _yes}
_UNIX = {"mode": _mode, "uid": _user}
_UDP_6 = _PLAIN_TEXT | {"interface": interface, "hops": _hops, "share": _yes, "fragment": _no, "loop": _no}
_UDP = _UDP_6 | {"broadcast": _yes}  # IPv6 has none
_ICMP = {"interface": interface, "hops": _hops}
_RAW_IP = {"proto": _ip_protocol, "header": _yes} | _ICMP
_ETHERNET = {"proto": _ether_type, "filter": _filter, "promiscuous": _yes, "snap": _snap}

# What stands where a URL has its host, for the schemes that have no host there.
VALUES: dict[str, Callable[[str], str]] = {
    "interface": interface,
    "cid": _cid,
    "radio": _radio,
    "name": _name,
    "descriptor": _descriptor,
}

_STREAM, _MESSAGES, _DATAGRAMS = ("Stream",), ("Messages",), ("Datagrams",)
_ADDRESSED = ("Messages", "Datagrams")

_VSOCK_PORT = ("port", _LAST_UNSIGNED)

SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("tcp", _STREAM, parameters=_PLAIN_TEXT),
        Scheme("tcp4", _STREAM, parameters=_PLAIN_TEXT, family=4),
        Scheme("tcp6", _STREAM, parameters=_PLAIN_TEXT, family=6),
        Scheme("tls", _STREAM, parameters=_TLS_ALPN | _PUBLIC),
        Scheme("quic", ("Session", "Stream"), parameters=_TLS_ALPN),
        Scheme("udp", _ADDRESSED, parameters=_UDP),
        Scheme("udp4", _ADDRESSED, parameters=_UDP, family=4),
        Scheme("udp6", _ADDRESSED, parameters=_UDP_6, family=6),
        Scheme("sctp", _MESSAGES, parameters=_PLAIN_TEXT),
        Scheme("icmp", _ADDRESSED, port=None, parameters=_ICMP),
        Scheme("raw+ip", _ADDRESSED, port=None, parameters=_RAW_IP, required="proto"),
        Scheme("raw+ethernet", _DATAGRAMS, "interface", port=None, parameters=_ETHERNET),
        Scheme("unix", _STREAM, "path", port=None, parameters=_UNIX, local=True),
        Scheme("tls+unix", _STREAM, "path", port=None, parameters=_UNIX | _TLS_ALPN, local=True),
        Scheme("seqpacket+unix", _MESSAGES, "path", port=None, parameters=_UNIX, local=True),
        Scheme("dgram+unix", _ADDRESSED, "path", port=None, parameters=_UNIX, local=True),
        Scheme("seqpacket+tls", _MESSAGES, parameters=_TLS | _PUBLIC),  # no alpn: it is sk-seq/1
        Scheme("seqpacket+tcp", _MESSAGES, parameters=_PLAIN_TEXT),
        Scheme("vsock", _STREAM, "cid", port=_VSOCK_PORT),
        Scheme("seqpacket+vsock", _MESSAGES, "cid", port=_VSOCK_PORT),
        Scheme("bt-rfcomm", _STREAM, "radio", port=("channel", 30)),
        Scheme("bt-l2cap", _MESSAGES, "radio", port=("psm", 65535)),
        Scheme("mem", ("Stream", "Messages", "Session", "Datagrams"), "name", port=None, local=True),
        Scheme(
            "fd",
            ("Stream", "Messages", "Session", "Datagrams"),
            "descriptor",
            port=None,
            parameters=_PLAIN_TEXT | _PUBLIC,
            local=True,
        ),
    )
}
