"""The grammar of addresses: text to fields in one pass, fields to text, and what is wrong with a text and where.

- What the scheme does not take (a port, a path, a parameter) is an error with a caret under it, never ignored.
- No host means this machine alone; `*` means every interface and must be written; port 0 means one free port.
- An address carries no secret: `user:password@` is refused, and errors mask what could be one.
- Not `urllib.parse`: it takes ports over 65535 until they are asked for, lower-cases hosts, and knows no positions.

What each scheme takes is in schemes.py. Positions are indices into the text; `start` and `stop` bound the part in
question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import EndpointError
from .schemes import SCHEMES, VALUES, Misfit, Scheme, did_you_mean, host_name, interface, ip_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def read(text: str) -> tuple[str, str | None, int | None, str | None, tuple[tuple[str, str], ...]]:
    """Scheme, host, port, path and sorted parameters, each in its canonical spelling. Raises EndpointError."""
    if not text:
        raise fault(text, 0, "the address is empty", "write one such as tcp://localhost:8080")
    if " " in text or not text.isprintable():
        at = next(at for at, char in enumerate(text) if char == " " or not char.isprintable())
        code = _percent(text[at])
        remedy = "leave it out" if code == text[at] else f"leave it out, or write {code} if it is part of a name"
        raise fault(text, at, "spaces and invisible characters cannot stand in an address", remedy)
    scheme, start = _scheme(text)
    if scheme.form != "path" and text.find("@", start) >= 0:
        # Wherever it stands: a password may contain / and ?, and must not be taken for another part and shown.
        remedy = "write %40 where an @ belongs to a name or a path"
        raise fault(text, start, "an address holds no user and no password", remedy)
    if (at := text.find("#", start)) >= 0:
        raise fault(text, at, "an address has no fragment", "write %23 for a #")
    question = text.find("?", start)
    stop = question if question >= 0 else len(text)
    if scheme.form == "path":
        return scheme.name, None, None, _path(text, start, stop), _parameters(text, stop, scheme)
    host, port = _host_and_port(text, start, stop, scheme)
    return scheme.name, host, port, None, _parameters(text, stop, scheme)


def write(
    scheme: str, host: str | None, port: int | None, path: str | None, parameters: Iterable[tuple[str, str]]
) -> str:
    """The text of these fields. Fields that are not valid give a text which `read` refuses."""
    text = f"{scheme}://"
    if host is not None:
        if scheme in SCHEMES and SCHEMES[scheme].form != "host":
            text += _quoted(host, _DELIMITERS)
        elif ":" in host:
            address, zone_mark, zone = host.partition("%")
            text += f"[{_quoted(address, '%?#/[]')}{zone_mark and '%25'}{_quoted(zone, _DELIMITERS)}]"
        else:
            text += _quoted(host, "%?#/")  # an @ stays, to be refused and masked
    if port is not None:
        text += f":{port}"
    if path is not None:
        text += _quoted(path, "%?#")
    mark = "?"
    for name, value in sorted(parameters):
        text += f"{mark}{_quoted(name, '%?#&=@')}={_quoted(value, '%?#&@')}"
        mark = "&"
    return text


def fault(text: str, at: int, reason: str, hint: str | None = None) -> EndpointError:
    """The error to raise for what stands at `at`, without what may be a secret."""
    shown, at = _masked(text, at)
    return EndpointError(reason, shown, at, hint)


def _masked(text: str, at: int) -> tuple[str, int]:
    """`text` with *** for userinfo and for values of parameters that its scheme does not know, and the new `at`."""
    mark = text.find("://")
    start = mark + 3 if mark >= 0 else 0
    scheme = SCHEMES.get(text[:mark].lower()) if mark >= 0 else None
    secrets = []
    if (before := text.rfind("@", 0, start)) > 0:
        secrets.append((0, before))
    query = text.find("?", start)
    path = scheme is not None and scheme.form == "path" and text[start : start + 1] in ("/", "@")
    if not path and (user := text.rfind("@", start)) > start:
        secrets.append((start, user))
        query = text.find("?", user)
    while 0 <= query < len(text):
        stop = text.find("&", query + 1)
        stop = stop if stop >= 0 else len(text)
        name, _, value = text[query + 1 : stop].partition("=")
        known = scheme is not None and name in scheme.parameters
        if value and not (known and (name != "key" or value[0] in "/%")):  # a key itself where its file's path belongs
            secrets.append((stop - len(value), stop))
        query = stop
    for low, high in reversed(secrets):
        text = f"{text[:low]}***{text[high:]}"
        at = at if at <= low else low if at < high else at + 3 - (high - low)
    return text, at


def _scheme(text: str) -> tuple[Scheme, int]:
    at = text.find("://")
    if at < 0:
        word = text.partition(":")[0].lower()
        if word in SCHEMES:
            raise fault(text, len(word), f"'://' is missing after {word}", f"write {word}://")
        raise fault(text, 0, "the scheme is missing", _with_scheme(text))
    name = text[:at].lower()
    if not name:
        raise fault(text, 0, "the scheme is missing", _with_scheme(text[3:]))
    if name not in SCHEMES:
        shown = f" {name}" if len(name) <= 32 and name.replace("+", "").replace("-", "").isalnum() else ""
        raise fault(text, 0, f"unknown scheme{shown}", _scheme_remedy(name))
    return SCHEMES[name], at + 3


def _with_scheme(text: str) -> str:
    """The address that a text without scheme was most likely meant to be."""
    try:
        return f"write {write(*read(('unix' if text[:1] in ('/', '@') else 'tcp') + '://' + text))}"
    except EndpointError:
        return "write it first, as in tcp://localhost:8080 or unix:///run/name.sock"


def _scheme_remedy(name: str) -> str:
    turned = next((known for known in SCHEMES if sorted(known.split("+")) == sorted(name.split("+"))), None)
    meant = turned or _FOREIGN.get(name)
    return f"did you mean {meant}?" if meant else did_you_mean(name, SCHEMES) or f"known are {', '.join(SCHEMES)}"


_FOREIGN = {"http": "tcp", "https": "tls", "ssl": "tls", "ipc": "unix", "ping": "icmp", "inproc": "mem"}


def _path(text: str, start: int, stop: int) -> str:
    if start == stop:
        remedy = "write unix:///run/name.sock, or unix://@name for an abstract one"
        raise fault(text, start, "the path is missing", remedy)
    if text[start] not in "/@":
        remedy = "write it whole, from / on: an address means the same in every folder; or @name for an abstract one"
        raise fault(text, start, "the path is relative", remedy)
    path = _decoded(text, start, stop)
    abstract = path[0] == "@"
    if abstract and len(path) == 1:
        raise fault(text, stop, "the abstract name is empty", "write unix://@name")
    if not abstract and "\0" in path:
        raise fault(text, text.find("%00", start), "a path cannot hold a NUL byte")
    # unix(7): sun_path has 108 bytes. A path needs one of them for its final NUL, an abstract name one for its leading
    # NUL.
    size = len(path.encode("utf-8", "surrogateescape")) - abstract
    if size > 107:
        remedy = "the kernel takes 107: use a shorter folder such as /run, or an abstract name as in unix://@name"
        raise fault(text, _past_bytes(text, start + abstract, 107), f"the path has {size} bytes", remedy)
    return path


def _past_bytes(text: str, start: int, count: int) -> int:
    """The index of the first character that does not fit in `count` decoded bytes."""
    at = start
    while at < len(text):
        encoded = text[at] == "%"
        count -= 1 if encoded else len(text[at].encode())
        if count < 0:
            break
        at += 3 if encoded else 1
    return at


def _host_and_port(text: str, start: int, stop: int, scheme: Scheme) -> tuple[str | None, int | None]:
    if (at := text.find("/", start, stop)) >= 0:
        raise fault(text, at, f"{scheme.name} has no path", "leave it out")
    bracketed = scheme.form == "host" and text.startswith("[", start)
    if bracketed:
        end = text.find("]", start, stop) + 1
        if end == 0:
            raise fault(text, start, "the bracket is not closed", "write the address as in [::1]")
        if end < stop and text[end] != ":":
            raise fault(text, end, "only a port can follow the bracket")
    else:
        colon = text.find(":", start, stop)
        end = colon if colon >= 0 else stop
        if text.find(":", end + 1, stop) >= 0:
            raise _too_many_colons(text, start, stop, scheme)
    if end > start:
        host = _ipv6(text, start, end, scheme) if bracketed else _host(text, start, end, scheme)
    elif scheme.form in _MISSING:
        raise fault(text, start, *_MISSING[scheme.form])
    else:
        host = None
    return host, _port(text, end, stop, scheme)


_MISSING = {
    "radio": ("the Bluetooth address is missing", "there is no loopback for Bluetooth: write * to take every adapter"),
    "descriptor": ("the descriptor is missing", "the first one that systemd passes is fd://3; or write its name"),
}


def _too_many_colons(text: str, start: int, stop: int, scheme: Scheme) -> EndpointError:
    whole = text[start:stop]
    parts = whole.split(":")
    if scheme.form == "radio" and len(parts) >= 6:
        remedy = f"write {scheme.name}://{'-'.join(parts[:6])}:{parts[6] if len(parts) > 6 else scheme.port_name}"
        return fault(text, start + len(parts[0]), "a Bluetooth address is written with dashes", remedy)
    if scheme.form == "host":
        head, _, last = whole.rpartition(":")
        if not (scheme.port_word and last.isdigit() and ip_address(head)):
            head, last = whole, scheme.port_name
        if ip_address(head):
            remedy = f"write {scheme.name}://[{head}]{last and ':'}{last}"
            return fault(text, start, "an IPv6 address needs brackets", remedy)
    return fault(text, start + len(parts[0]) + len(parts[1]) + 1, "one colon too many")


def _ipv6(text: str, start: int, end: int, scheme: Scheme) -> str:
    written, zone_mark, zone = text[start + 1 : end - 1].partition("%")
    address = ip_address(written) if ":" in written else None
    if address is None:
        digits = "0123456789abcdefABCDEF:."
        offset = next((offset for offset, char in enumerate(written) if char not in digits), 0)
        raise fault(text, start + 1 + offset, "not an IPv6 address", "only IPv6 addresses stand in brackets")
    if scheme.family == 4:
        raise fault(text, start, f"{scheme.name} takes no IPv6 address", _family_remedy(scheme, "6"))
    if not zone_mark:
        return address
    at = start + 1 + len(written)
    if not zone.startswith("25"):
        raise fault(text, at, "the % before a zone is written %25", f"write [{written}%25{zone}]")
    return f"{address}%{_fitted(text, at + 3, end - 1, interface)}"


def _host(text: str, start: int, end: int, scheme: Scheme) -> str:
    if text[start:end] == "*" and scheme.form not in ("name", "descriptor"):
        return "*"
    if scheme.form != "host":
        return _fitted(text, start, end, VALUES[scheme.form])
    host = _fitted(text, start, end, host_name, encoded=False)
    if scheme.family == 6 and ip_address(host):
        raise fault(text, start, f"{scheme.name} takes no IPv4 address", _family_remedy(scheme, "4"))
    return host


def _family_remedy(scheme: Scheme, family: str) -> str:
    both = scheme.name.rstrip("46")
    return f"use {both}{family}, or {both} for both families"


def _port(text: str, colon: int, stop: int, scheme: Scheme) -> int | None:
    word, limit = scheme.port_word, scheme.port_limit
    if word is None:
        if colon < stop:
            remedy = "leave it out" if scheme.form == "host" else "leave it out, or write %3A for a colon in a name"
            raise fault(text, colon, f"{scheme.name} has no port", remedy)
        return None
    at = colon + 1
    digits = text[at:stop]
    if not digits:
        raise fault(text, stop, f"the {word} is missing", f"end with :{scheme.port_name}; 0 takes a free one")
    if not (digits.isascii() and digits.isdigit()):
        wrong = next(offset for offset, char in enumerate(digits) if not (char.isascii() and char.isdigit()))
        raise fault(text, at + wrong, f"the {word} is not a number", _service_remedy(digits))
    if len(digits) > 10 or int(digits) > limit:
        raise fault(text, at, f"the {word} is out of range", f"it goes up to {limit}; 0 takes a free one")
    return int(digits)


def _service_remedy(name: str) -> str | None:
    from _socket import getservbyname

    try:
        return f"{name} is {getservbyname(name)}"
    except (OSError, ValueError):
        return None


def _parameters(text: str, question: int, scheme: Scheme) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    start = question + 1
    while start <= len(text):
        stop = text.find("&", start)
        stop = stop if stop >= 0 else len(text)
        equals = text.find("=", start, stop)
        name = text[start : equals if equals >= 0 else stop]
        if not name:
            raise fault(text, start, "a parameter is missing", "write name=value, or leave out the mark before it")
        if name not in scheme.parameters:
            raise fault(text, start, f"{scheme.name} has no such parameter", _parameter_remedy(name, scheme))
        if name in found:
            raise fault(text, start, f"{name} is given twice", "leave one out")
        if equals < 0 or equals + 1 == stop:
            raise fault(text, stop, f"{name} has no value", f"write {name}=VALUE")
        found[name] = _fitted(text, equals + 1, stop, scheme.parameters[name])
        if len(found.keys() & {"ca", "pin", "trust"}) > 1:
            remedy = "keep one of ca, pin and trust: each alone says whom to trust"
            raise fault(text, start, f"{name} contradicts what stands before it", remedy)
        start = stop + 1
    needed = scheme.required
    if needed and needed not in found:
        raise fault(text, len(text), f"{scheme.name} needs {needed}", f"write {needed}=VALUE, as in ?proto=89")
    return tuple(sorted(found.items()))


def _parameter_remedy(name: str, scheme: Scheme) -> str:
    if not scheme.parameters:
        return "it takes none"
    return did_you_mean(name, scheme.parameters) or f"it takes {', '.join(scheme.parameters)}"


def _fitted(text: str, start: int, end: int, reader: Callable[[str], str], *, encoded: bool = True) -> str:
    try:
        return reader(_decoded(text, start, end) if encoded else text[start:end])
    except Misfit as misfit:
        offset = misfit.offset if not encoded or "%" not in text[start:end] else 0
        raise fault(text, min(start + offset, end), misfit.reason, misfit.hint) from None


def _decoded(text: str, start: int, end: int) -> str:
    """text[start:end] without its percent-encoding, in the spelling of `os.fsdecode`."""
    first, *rest = text[start:end].split("%")
    if not rest:
        return first
    data, at = first.encode(), start + len(first)
    for part in rest:
        if len(part) < 2 or not _HEXADECIMAL.issuperset(part[:2]):
            raise fault(text, at, "two hexadecimal digits belong behind a %", "write %25 for a percent sign")
        data += bytes((int(part[:2], 16),)) + part[2:].encode()
        at += 1 + len(part)
    return data.decode("utf-8", "surrogateescape")


def _quoted(text: str, reserved: str) -> str:
    """`text` with percent-encoding where it would not survive as written; other printable characters stay readable."""
    if _PLAIN.issuperset(text):
        return text
    return "".join(
        char if char.isprintable() and char != " " and char not in reserved else _percent(char) for char in text
    )


def _percent(char: str) -> str:
    try:
        return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:  # half of a surrogate pair stands for no bytes; `read` refuses it
        return char


_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
_DELIMITERS = "%?#/:@[]"
# Nobody reserves these: most hosts and names are made of nothing else, and each new peer has its text made.
_PLAIN = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~")
