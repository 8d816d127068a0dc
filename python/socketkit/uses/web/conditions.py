"""What a request wants of a file: is it as the client knows it, and which parts of it (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Part", "Wish", "http_date", "wish_of"]


class Part(NamedTuple):
    """Bytes `first` to `last`, both of them included."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1


class Wish(NamedTuple):
    """The status to answer with, and the parts to send: none for 304, 412 and 416."""

    status: int
    parts: tuple[Part, ...] = ()


def wish_of(headers: Mapping[bytes, bytes], tag: str, modified: float, size: int) -> Wish:
    """What a GET or HEAD wants of a file with this tag, time (seconds since 1970) and size."""
    seconds = int(modified)
    if (wanted := headers.get(b"if-match")) is not None:
        if not _names(wanted, tag, strongly=True):
            return Wish(412)
    elif (since := _time(headers.get(b"if-unmodified-since"))) is not None and seconds > since:
        return Wish(412)
    if (known := headers.get(b"if-none-match")) is not None:
        if _names(known, tag, strongly=False):
            return Wish(304)
    elif (since := _time(headers.get(b"if-modified-since"))) is not None and seconds <= since:
        return Wish(304)
    whole = Wish(200, (Part(0, size - 1),) if size else ())
    ranges = headers.get(b"range")
    if ranges is None or not _is_current(headers.get(b"if-range"), tag, seconds):
        return whole
    parts = _parts(ranges, size)
    if parts is None:
        return whole
    return Wish(206, parts) if parts else Wish(416)


def http_date(seconds: float) -> str:
    """A time as HTTP writes it (RFC 9110 section 5.6.7)."""
    return _date(int(seconds))


@lru_cache(maxsize=1_024)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


def _names(field: bytes, tag: str, *, strongly: bool) -> bool:
    """Whether a list of tags has this one; `*` is every tag of what there is."""
    for listed in field.decode("latin-1").split(","):
        name = listed.strip()
        if name == "*" or name == tag or (not strongly and name == f"W/{tag}"):
            return True
    return False


def _is_current(field: bytes | None, tag: str, seconds: int) -> bool:
    """What If-Range says: a tag, or the very time."""
    if field is None:
        return True
    text = field.decode("latin-1").strip()
    if text.startswith(('"', "W/")):
        return text == tag
    return _time(field) == seconds


def _time(field: bytes | None) -> int | None:
    """None of one that is no time: then the field is as if it were not there (RFC 9110 section 13.1.3)."""
    if field is None:
        return None
    try:
        return int(parsedate_to_datetime(field.decode("latin-1")).timestamp())
    except (ValueError, OverflowError):
        return None


def _parts(field: bytes, size: int) -> tuple[Part, ...] | None:
    """The parts of a Range in their order; () if none of them is there, None if it is to be ignored."""
    unit, equals, text = field.decode("latin-1").partition("=")
    if unit.strip().lower() != "bytes" or not equals:
        return None
    found = []
    texts = text.split(",")
    if len(texts) > MOST_PARTS:
        return None
    for written in texts:
        first, dash, last = written.strip().partition("-")
        if not dash or not _is_number(first, empty=bool(last)) or not _is_number(last, empty=True):
            return None
        if not first:
            count = int(last)
            if count and size:
                found.append(Part(max(size - count, 0), size - 1))
        else:
            if last and int(last) < int(first):
                return None
            if int(first) < size:
                found.append(Part(int(first), min(int(last), size - 1) if last else size - 1))
    # Who wants more than all of it, or the same twice, wants the machine's memory and not the file (CVE-2011-3192).
    if sum(part.length for part in found) > size:
        return None
    return tuple(found)


def _is_number(text: str, *, empty: bool) -> bool:
    return (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS) or (empty and not text)


MOST_PARTS = 16
MOST_DIGITS = 19
