"""Which sockets are wanted: the small language of `sockets()`, `socketkit ls`, `watch` and `audit`.

    state=established port=443 !loopback          all of these
    use=call or name=zoom*                        or these
    peer=10.0.0.0/8 received>10M age<1h

A term is a name, an operator and one or more values (a comma is "or"), or a word that stands for itself; `!` before it
turns it round, a `*` in a value stands for anything, `~text` looks everywhere. Nothing here asks the machine: a
selection judges what a row says. What this user may not know is no value: `pid=12` does not hold of it, `!pid=12` does.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, NamedTuple

from ..errors import SelectionError
from ..schemes import SCHEMES, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Protocol

    from .._core import SocketEntry
    from .history_rows import Holder, PastEntry
    from .processes import Process
    from .uses import Use

    class Judged(Protocol):
        @property
        def entry(self) -> SocketEntry | PastEntry: ...
        @property
        def processes(self) -> tuple[Process, ...] | tuple[Holder, ...] | None: ...
        @property
        def use(self) -> Use: ...

    Holds = Callable[[Judged], bool]
    Test = Callable[[Any], bool]


class Selection:
    """Which rows of the socket table are wanted. Frozen; `str` is its text; without a text it is all of them."""

    __slots__ = ("_holds", "_text")

    def __init__(self, text: str = "") -> None:
        """SelectionError for what is none."""
        self._text = text.strip()
        self._holds = _read(text)

    def matches(self, entry: SocketEntry, use: Use | None = None) -> bool:
        """Whether the row is wanted; `use` is what is known of its purpose, and otherwise asked for when needed."""
        return self._holds(Subject(entry, use))

    def holds(self, row: Judged) -> bool:
        """The same of what knows its entry and its use."""
        return self._holds(row)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Selection({self._text!r})"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selection) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class Subject:
    """The row that is judged, and its use, found out at most once."""

    __slots__ = ("_use", "entry")

    def __init__(self, entry: SocketEntry, use: Use | None = None) -> None:
        self.entry = entry
        self._use = use

    @property
    def processes(self) -> tuple[Process, ...] | None:
        return self.entry.processes

    @property
    def use(self) -> Use:
        if self._use is None:
            from .uses import use_of

            self._use = use_of(self.entry)
        return self._use


class Field(NamedTuple):
    """A name that may stand before an operator: what it is for people, the values of a row, how a value is read."""

    meaning: str
    values: Callable[[Judged], Iterable[Any]]
    kind: Callable[[str, str], Test]
    words: tuple[str, ...] = ()


# --- from text to a test


class _Token(NamedTuple):
    text: str
    at: int


def _read(text: str) -> Holds:
    alternatives: list[list[Holds]] = [[]]
    last = None
    for token in _tokens(text):
        last = token
        if token.text == "or":
            if not alternatives[-1]:
                raise SelectionError("nothing stands before this `or`", text, token.at)
            alternatives.append([])
        elif token.text != "and":
            alternatives[-1].append(_term(token, text))
    if last is not None and not alternatives[-1]:
        raise SelectionError(f"nothing stands behind this `{last.text}`", text, last.at)
    if last is None:
        return lambda subject: True
    if len(alternatives) == 1:
        return _all(alternatives[0])
    either = [_all(terms) for terms in alternatives]
    return lambda subject: any(holds(subject) for holds in either)


def _all(terms: list[Holds]) -> Holds:
    if len(terms) == 1:
        return terms[0]
    return lambda subject: all(holds(subject) for holds in terms)


def _tokens(text: str) -> Iterator[_Token]:
    """Words between spaces; within quotation marks a space is a part of the word."""
    at, length = 0, len(text)
    while at < length:
        if text[at].isspace():
            at += 1
            continue
        start, quoted = at, None
        while at < length and (quoted is not None or not text[at].isspace()):
            if text[at] == '"':
                quoted = None if quoted is not None else at
            at += 1
        if quoted is not None:
            raise SelectionError('the quotation mark is not closed (write a second ")', text, quoted)
        yield _Token(text[start:at], start)


def _term(token: _Token, text: str) -> Holds:
    word, at = token
    if word[0] == "!":
        if len(word) == 1:
            raise SelectionError("nothing stands behind this !", text, at, "write it before a term: !loopback")
        holds = _term(_Token(word[1:], at + 1), text)
        return lambda subject: not holds(subject)
    if word[0] == "~":
        return _anywhere(word[1:].replace('"', "").lower(), text, at)
    name = word[: _name_length(word)]
    if name == word:
        return _flag(word, text, at)
    if name not in FIELDS:
        hint = did_you_mean(name, tuple(FIELDS)) or f"it is one of {', '.join(FIELDS)}"
        raise SelectionError(f"there is no {name}" if name else "the name is missing", text, at, hint)
    rest = word[len(name) :]
    sign = next((sign for sign in SIGNS if rest.startswith(sign)), "")
    if not sign:
        raise SelectionError("an operator stands here", text, at + len(name), f"one of {' '.join(SIGNS)}")
    return _comparison(name, sign, rest[len(sign) :], text, at + len(name) + len(sign))


def _name_length(word: str) -> int:
    return next((at for at, char in enumerate(word) if not (char.isalnum() or char in "-+")), len(word))


def _flag(word: str, text: str, at: int) -> Holds:
    if word in FLAGS:
        return FLAGS[word]
    if word in STATES:
        return lambda subject: subject.entry.state == word
    if word in SCHEMES:
        return lambda subject: subject.entry.scheme == word
    known = (*FLAGS, *STATES, *SCHEMES)
    close = did_you_mean(word, known)
    remedy = f"name={word} for a process, ~{word} for what has it anywhere"
    if word in FIELDS:
        remedy = f"{word}=..., {FIELDS[word].meaning}"
    elif close is not None and close != f"did you mean {word}?":
        remedy = f"{close} Or {remedy}"
    raise SelectionError(f"{word} is no word of this language", text, at, remedy)


def _comparison(name: str, sign: str, written: str, text: str, at: int) -> Holds:
    field = FIELDS[name]
    tests = []
    for part in _parts(written):
        value = part.text.replace('"', "")
        if not value:
            raise SelectionError("the value is missing", text, at + part.at, f"{name} is {field.meaning}")
        if field.words and sign in ("=", "!=") and "*" not in value and value not in field.words:
            hint = did_you_mean(value, field.words) or f"it is one of {', '.join(field.words)}"
            raise SelectionError(f"no {name} is called {value}", text, at + part.at, hint)
        try:
            tests.append(field.kind(sign.replace("!", ""), value))
        except ValueError as failure:
            raise SelectionError(str(failure), text, at + part.at, f"{name} is {field.meaning}") from None
    values = field.values

    def holds(subject: Judged) -> bool:
        return any(test(value) for value in values(subject) if value is not None for test in tests)

    return (lambda subject: not holds(subject)) if sign == "!=" else holds


def _parts(written: str) -> Iterator[_Token]:
    """What commas part, those in quotation marks apart."""
    start, quoted = 0, False
    for at, char in enumerate(written):
        if char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            yield _Token(written[start:at], start)
            start = at + 1
    yield _Token(written[start:], start)


def _anywhere(wanted: str, text: str, at: int) -> Holds:
    if not wanted:
        raise SelectionError("nothing stands behind this ~", text, at, "write what to look for: ~nginx")

    def holds(subject: Judged) -> bool:
        entry = subject.entry
        words = [entry.scheme, entry.state, str(entry.local or ""), str(entry.peer or ""), entry.user or ""]
        for process in subject.processes or ():
            words += [process.name, process.executable or "", process.unit or "", process.container or ""]
        return any(wanted in word.lower() for word in words)

    return holds


# --- kinds of values


def _text(sign: str, written: str) -> Test:
    value = written.lower()
    if sign == "~":
        return lambda found: value in found.lower()
    if sign != "=":
        raise ValueError(f"text has no order, so {sign} says nothing of it")
    if "*" not in value:
        return lambda found: bool(found.lower() == value)
    return _pattern(value)


def _pattern(value: str) -> Test:
    """Not fnmatch: `[` and `?` stand in addresses."""
    first, *middle = value.split("*")
    last = middle.pop() if middle else ""

    def matches(found: str) -> bool:
        found = found.lower()
        if not (found.startswith(first) and found.endswith(last) and len(found) >= len(first) + len(last)):
            return False
        at, stop = len(first), len(found) - len(last)
        for part in middle:
            at = found.find(part, at, stop)
            if at < 0:
                return False
            at += len(part)
        return True

    return matches


def _number(sign: str, written: str) -> Test:
    if not (written.isascii() and written.isdigit()):
        raise ValueError(f"{written} is no number")
    return _compared(sign, int(written))


def _quantity(units: dict[str, float], what: str) -> Callable[[str, str], Test]:
    def kind(sign: str, written: str) -> Test:
        number, unit = written.rstrip(LETTERS), written[len(written.rstrip(LETTERS)) :]
        if unit not in units or not number.replace(".", "", 1).isdigit() or not number.isascii():
            known = ", ".join(unit for unit in units if unit)
            raise ValueError(f"{written} is no {what} (a number, and one of {known} behind it)")
        return _compared(sign, float(number) * units[unit])

    return kind


def _compared(sign: str, wanted: float) -> Test:
    if sign == "~":
        raise ValueError("a number holds no text: write =, <, <=, > or >=")
    compare = ORDER[sign]
    return lambda found: bool(compare(found, wanted))


def _address(sign: str, written: str) -> Test:
    """A network (10.0.0.0/8), an address, or a pattern for a name or a path; of an Endpoint."""
    from ipaddress import ip_address, ip_network

    if sign == "~":
        return lambda endpoint: written.lower() in str(endpoint).lower()
    if sign != "=":
        raise ValueError(f"addresses have no order, so {sign} says nothing of them")
    if "://" in written:
        wanted = _text("=", written)
        return lambda endpoint: wanted(str(endpoint))
    plain = written.strip("[]")
    try:
        network = ip_network(plain, strict=False)
    except ValueError:
        if "/" in plain[1:] and plain.replace(".", "").replace(":", "").replace("/", "").isdigit():
            raise ValueError(f"{written} is no network") from None
        wanted = _text("=", written)
        return lambda endpoint: any(wanted(part) for part in (endpoint.host, endpoint.path) if part)

    def within(endpoint: Any) -> bool:
        try:
            return ip_address((endpoint.host or "").partition("%")[0]) in network
        except ValueError:
            return False

    return within


# --- what can be asked for


def _of_processes(name: str) -> Callable[[Judged], Iterable[Any]]:
    return lambda subject: [getattr(process, name) for process in subject.processes or ()]


def _of_entry(*names: str) -> Callable[[Judged], Iterable[Any]]:
    read = operator.attrgetter(*names)
    return lambda subject: read(subject.entry) if len(names) > 1 else (read(subject.entry),)


def _ports(*names: str) -> Callable[[Judged], Iterable[Any]]:
    read = _of_entry(*names)
    return lambda subject: [endpoint.port for endpoint in read(subject) if endpoint is not None]


def _has_exposure(word: str) -> Holds:
    return lambda subject: subject.entry.exposure == word


def _has_family(version: int) -> Holds:
    """By the colon in an address; every interface may be those of both versions."""
    other = 6 if version == 4 else 4

    def holds(subject: Judged) -> bool:
        for endpoint in (subject.entry.local, subject.entry.peer):
            if endpoint is None or endpoint.path is not None or endpoint.host is None:
                continue
            if endpoint.host == "*":
                return SCHEMES[endpoint.scheme].family != other
            return (":" in endpoint.host) == (version == 6)
        return False

    return holds


SIGNS = ("!=", "<=", ">=", "=", "<", ">", "~")
ORDER = {"=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZµ"

_bytes = _quantity({"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}, "number of bytes")
_milliseconds = _quantity({"": 1, "us": 1e-3, "µs": 1e-3, "ms": 1, "s": 1e3}, "time")
_seconds = _quantity({"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}, "time")

STATES = (
    "listening",
    "established",
    "syn-sent",
    "syn-received",
    "fin-wait-1",
    "fin-wait-2",
    "close-wait",
    "closing",
    "last-ack",
    "time-wait",
    "connected",
    "unconnected",
    "closed",
)
EXPOSURES = ("loopback", "machine", "network", "everywhere")

FLAGS: dict[str, Holds] = {
    **{word: _has_exposure(word) for word in EXPOSURES},
    "exposed": lambda subject: subject.entry.exposure in ("network", "everywhere"),
    "ipv4": _has_family(4),
    "ipv6": _has_family(6),
    "orphan": lambda subject: subject.entry.processes == (),
    "encrypted": lambda subject: subject.use.encrypted == "yes",
    "plain": lambda subject: subject.use.encrypted == "no",
}

FIELDS: dict[str, Field] = {
    "scheme": Field("how the address begins (tcp, udp, unix)", _of_entry("scheme"), _text, tuple(SCHEMES)),
    "state": Field("the state of the socket", _of_entry("state"), _text, STATES),
    "port": Field("either port", _ports("local", "peer"), _number),
    "local-port": Field("the port of this side", _ports("local"), _number),
    "peer-port": Field("the port of the other side", _ports("peer"), _number),
    "host": Field("either address: an IP address, a network, a path", _of_entry("local", "peer"), _address),
    "local": Field("the address of this side: an IP address, a network, a path", _of_entry("local"), _address),
    "peer": Field("the address of the other side: an IP address, a network, a path", _of_entry("peer"), _address),
    "interface": Field("the interface that the socket is bound to", _of_entry("interface"), _text),
    "exposure": Field("from where it can be reached", _of_entry("exposure"), _text, EXPOSURES),
    "namespace": Field("the name of the network namespace", _of_entry("namespace_name"), _text),
    "pid": Field("the number of the process", _of_processes("pid"), _number),
    "name": Field("the name of the process", _of_processes("name"), _text),
    "exe": Field("the file that the process runs", _of_processes("executable"), _text),
    "unit": Field("the unit of systemd that the process belongs to", _of_processes("unit"), _text),
    "container": Field("the container that the process belongs to", _of_processes("container"), _text),
    "user": Field("the name of the user", _of_entry("user"), _text),
    "uid": Field("the number of the user", _of_entry("uid"), _number),
    "inode": Field("the number behind socket: in /proc/PID/fd", _of_entry("inode"), _number),
    "use": Field("what it is for (web, mail, call)", lambda subject: (subject.use.name,), _text),
    "protocol": Field("what is spoken (TLS*, HTTP/1.1)", lambda subject: (subject.use.protocol,), _text),
    "received": Field("bytes that came in (10M)", _of_entry("received_bytes"), _bytes),
    "sent": Field("bytes that went out (10M)", _of_entry("sent_bytes"), _bytes),
    "queue": Field("bytes that wait in either queue", _of_entry("receive_queue", "send_queue"), _bytes),
    "rtt": Field("the round trip, in milliseconds without a unit", _of_entry("round_trip_ms"), _milliseconds),
    "retransmits": Field("segments that were sent again", _of_entry("retransmits"), _number),
    "dropped": Field("datagrams that were lost for want of room", _of_entry("dropped"), _number),
    "quiet": Field("the time since bytes moved (5m)", _of_entry("quiet_seconds"), _seconds),
    "age": Field("at most how old it is (2h)", _of_entry("oldest_seconds"), _seconds),
}
