"""FETCH of IMAP (RFC 3501 §6.4.5, §7.4.2): what a client asks of a mail, and how it is said."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import collapse_rfc2231_value, getaddresses
from typing import TYPE_CHECKING, NamedTuple

from .imap_syntax import Atom, SyntaxFault, string, text_of
from .mime import Entity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .database import Caught


class Item(NamedTuple):
    """One thing that is asked for. `section` None: not of the body. `label` is how the answer calls it."""

    name: str
    label: str
    section: str | None = None
    first: int = 0
    length: int | None = None
    peek: bool = True

    @property
    def needs_content(self) -> bool:
        return self.name not in ("FLAGS", "UID", "RFC822.SIZE", "INTERNALDATE")


def items(arguments: Sequence[object]) -> list[Item]:
    """Raises SyntaxFault."""
    if len(arguments) != 1:
        raise SyntaxFault("FETCH takes a set and a list")
    asked = arguments[0] if isinstance(arguments[0], list) else arguments
    found: list[Item] = []
    for token in asked:
        if not isinstance(token, Atom):
            raise SyntaxFault("FETCH takes words")
        for word in MACROS.get(token.upper(), (str(token),)):
            found.append(_item(word))
    return found


def _item(word: str) -> Item:
    name = word.upper()
    if name in SIMPLE:
        return Item(name, name)
    if name in OLD:
        section, peek = OLD[name]
        return Item("BODY[]", name, section, peek=peek)
    match = SECTION.fullmatch(word)
    if match is None:
        raise SyntaxFault(f"no such thing to fetch: {word[:60]}")
    section = match[2].upper()
    if not WHERE.fullmatch(section):
        raise SyntaxFault(f"no such part of a mail: {section[:60]}")
    label = f"BODY[{section}]" + (f"<{match[3]}>" if match[3] else "")
    first, length = (int(match[3]), int(match[4])) if match[3] else (0, None)
    return Item("BODY[]", label, section, first, length, peek=bool(match[1]))


def said(item: Item, mail: Caught, content: Entity | None) -> bytes:
    """The answer to one item, without its name where that is the label."""
    if item.name == "FLAGS":
        value = b"(" + " ".join(sorted(mail.flags)).encode() + b")"
    elif item.name == "UID":
        value = b"%d" % mail.id
    elif item.name == "RFC822.SIZE":
        value = b"%d" % mail.size
    elif item.name == "INTERNALDATE":
        value = b'"' + internal_date(mail.received).encode() + b'"'
    else:
        assert content is not None
        value = _of_content(item, content)
    return item.label.encode("utf-8", "replace") + b" " + value


def _of_content(item: Item, content: Entity) -> bytes:
    if item.name == "ENVELOPE":
        return envelope(content)
    if item.name in ("BODYSTRUCTURE", "BODY"):
        return structure(content, extended=item.name == "BODYSTRUCTURE")
    data = section(content, item.section or "")
    if data is None:
        return b"NIL"
    if item.length is not None:
        data = data[item.first : item.first + item.length]
    return b"{%d}\r\n%s" % (len(data), data)


def section(mail: Entity, text: str) -> bytes | None:
    """The bytes of `1.2`, `HEADER`, `1.MIME`, `TEXT` or all; None if there is no such part."""
    numbers = NUMBERS.match(text)
    place: Entity | None = mail
    rest = text
    if numbers:
        rest = text[numbers.end() :].lstrip(".")
        for number in numbers[0].rstrip(".").split("."):
            place = place.part(int(number)) if place is not None else None
        if place is None:
            return None
        if not rest:
            return place.body
        if rest == "MIME":
            return place.head
        place = place.inner  # HEADER and TEXT of a part mean the mail inside
        if place is None:
            return None
    assert place is not None
    if not rest:
        return place.raw
    if rest == "HEADER":
        return place.head
    if rest == "TEXT":
        return place.body
    names = frozenset(name.strip('"').lower() for name in rest.partition("(")[2].rstrip(")").split())
    return place.fields(names, without=rest.startswith("HEADER.FIELDS.NOT"))


def envelope(mail: Entity) -> bytes:
    sender = _addresses(mail, "from")
    fields = [string(mail.header("date")), string(mail.header("subject")), sender]
    # Who is not named is who the mail is from (RFC 3501 §7.4.2).
    for name in ("sender", "reply-to"):
        found = _addresses(mail, name)
        fields.append(sender if found == b"NIL" else found)
    fields += [_addresses(mail, name) for name in ("to", "cc", "bcc")]
    fields += [string(mail.header("in-reply-to")), string(mail.header("message-id"))]
    return b"(" + b" ".join(fields) + b")"


def _addresses(mail: Entity, name: str) -> bytes:
    values = [" ".join(str(value).split()) for value in mail.headers.get_all(name, [])]
    found = []
    try:
        people = getaddresses(values)[:MOST_ADDRESSES]
    except RecursionError:  # comments in comments in comments
        return b"NIL"
    for person, address in people:
        mailbox, _, host = address.rpartition("@")
        if address:
            found.append(b"(%s NIL %s %s)" % (string(person or None), string(mailbox or address), string(host)))
    return b"(" + b"".join(found) + b")" if found else b"NIL"


def structure(part: Entity, *, extended: bool) -> bytes:
    """BODYSTRUCTURE, or BODY, which lacks what was added later."""
    kind, _, subtype = part.type.partition("/")
    if part.parts:
        inner = b"".join(structure(each, extended=extended) for each in part.parts)
        more = b" %s NIL NIL NIL" % _parameters(part, "content-type") if extended else b""
        return b"(" + inner + b" " + string(subtype.upper()) + more + b")"
    encoding = part.header("content-transfer-encoding") or "7BIT"
    fields = [string(kind.upper()), string(subtype.upper()), _parameters(part, "content-type")]
    fields += [string(part.header("content-id")), string(part.header("content-description")), string(encoding.upper())]
    fields.append(b"%d" % len(part.body))
    if part.inner is not None:
        fields += [envelope(part.inner), structure(part.inner, extended=extended)]
    if part.inner is not None or kind == "text":
        fields.append(b"%d" % part.body.count(b"\r\n"))
    if extended:
        fields += [b"NIL", _disposition(part), b"NIL", b"NIL"]
    return b"(" + b" ".join(fields) + b")"


def _disposition(part: Entity) -> bytes:
    kind = part.headers.get_content_disposition()
    return (
        b"NIL" if kind is None else b"(" + string(kind.upper()) + b" " + _parameters(part, "content-disposition") + b")"
    )


def _parameters(part: Entity, header: str) -> bytes:
    pairs = []
    for name, value in (part.headers.get_params(None, header, unquote=True) or [])[1:]:
        pairs += [string(name.upper()), string(collapse_rfc2231_value(value))]
    return b"(" + b" ".join(pairs) + b")" if pairs else b"NIL"


def internal_date(received: float) -> str:
    """`02-Jan-2026 12:00:01 +0000`, in English whatever the locale."""
    when = datetime.fromtimestamp(received, UTC)
    return f"{when.day:02}-{MONTHS[when.month - 1]}-{when:%Y %H:%M:%S} +0000"


def date_of(token: object) -> datetime:
    """The first second of `2-Jan-2026`. Raises SyntaxFault."""
    match = DATE.fullmatch(text_of(token))
    if match is None or match[2].title() not in MONTHS:
        raise SyntaxFault("a date: 2-Jan-2026")
    try:
        return datetime(int(match[3]), MONTHS.index(match[2].title()) + 1, int(match[1]), tzinfo=UTC)
    except ValueError:
        raise SyntaxFault("there is no such day") from None


SIMPLE = frozenset(("FLAGS", "UID", "RFC822.SIZE", "INTERNALDATE", "ENVELOPE", "BODYSTRUCTURE", "BODY"))
MACROS = {
    "FAST": ("FLAGS", "INTERNALDATE", "RFC822.SIZE"),
    "ALL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"),
    "FULL": ("FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"),
}
OLD = {"RFC822": ("", False), "RFC822.HEADER": ("HEADER", True), "RFC822.TEXT": ("TEXT", False)}
SECTION = re.compile(r"BODY(\.PEEK)?\[([^\]]*)\](?:<([0-9]{1,9})\.([0-9]{1,9})>)?", re.IGNORECASE | re.ASCII)
NUMBERS = re.compile(r"[1-9][0-9]{0,3}(?:\.[1-9][0-9]{0,3}){0,20}", re.ASCII)
FIELD_LIST = r'HEADER\.FIELDS(?:\.NOT)? \("?[^\s()"]+"?(?: +"?[^\s()"]+"?)*\)'
WHERE = re.compile(
    rf"|(?:HEADER|TEXT|{FIELD_LIST})|{NUMBERS.pattern}(?:\.(?:MIME|HEADER|TEXT|{FIELD_LIST}))?", re.ASCII
)
DATE = re.compile(r"([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})", re.ASCII)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
MOST_ADDRESSES = 1_000
