"""What an answer says of the bytes in it: which part of which version of a file (RFC 9110 §8.8, §14). No I/O."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from ..errors import PeerViolation, raisable

if TYPE_CHECKING:
    from .client import Response


def validator_of(response: Response) -> str | None:
    """What tells this version from every other: a strong ETag, or a date that is old enough (RFC 9110 §8.8)."""
    tag = response.header("etag")
    if tag is not None:
        return tag if tag.startswith('"') and tag.endswith('"') and len(tag) > 1 else None
    modified, date = response.header("last-modified"), response.header("date")
    if modified is None or date is None:
        return None
    try:
        age = parsedate_to_datetime(date) - parsedate_to_datetime(modified)
    except (ValueError, TypeError, OverflowError):  # a year of twenty digits is the last one
        return None
    # Within one second a file can change twice.
    return modified if age.total_seconds() >= 1 else None


def content_length(response: Response) -> int | None:
    text = response.header("content-length") or ""
    return int(text) if re.fullmatch(r"\d{1,18}", text, re.ASCII) else None


def range_of(response: Response) -> tuple[int, int, int | None]:
    """First and last byte, and how many there are in all."""
    text = response.header("content-range") or ""
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", text, re.ASCII)
    if found is None or int(found[1]) > int(found[2]):
        raise raisable(PeerViolation)(f"{response.url.authority} sends a part of the file and does not say which one")
    return int(found[1]), int(found[2]), None if found[3] == "*" else int(found[3])


def length_of(response: Response) -> int | None:
    """The size that an answer of 416 tells."""
    found = re.fullmatch(r"bytes \*/(\d{1,18})", response.header("content-range") or "", re.ASCII)
    return int(found[1]) if found else None
