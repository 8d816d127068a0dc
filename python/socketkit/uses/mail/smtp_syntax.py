"""What stands behind MAIL and RCPT, as values (RFC 5321 §4.1.2): a path and its parameters, without I/O.

Strict where two readers could understand two things (control characters, addresses without brackets), and lenient where
nobody could: a space behind the colon is taken, and a source route is read and forgotten (§4.1.1.3).
"""

from __future__ import annotations

import re
from typing import NamedTuple


class PathError(ValueError):
    """The text is none; what it says is the reply."""


class Path(NamedTuple):
    """Where mail comes from or goes to. An empty address is the null sender of a bounce."""

    address: str
    parameters: dict[str, str | None]


def mail_path(text: str) -> tuple[Path, int | None]:
    """What stands behind MAIL, with the size that is announced. Raises PathError."""
    usual = USUAL_MAIL.fullmatch(text)
    if usual:
        return Path(usual[1], {}), int(usual[2]) if usual[2] else None
    path = _path(text, "FROM:")
    size = None
    for name, value in path.parameters.items():
        if name == "SIZE":
            if value is None or not value.isdecimal() or not value.isascii() or len(value) > 20:
                raise PathError("501 5.5.4 SIZE is a number of bytes")
            size = int(value)
        elif name == "BODY":
            if (value or "").upper() not in ("7BIT", "8BITMIME"):
                raise PathError("501 5.5.4 BODY is 7BIT or 8BITMIME")
        elif name == "SMTPUTF8":
            if value is not None:
                raise PathError("501 5.5.4 SMTPUTF8 has no value")
        elif name != "AUTH":
            raise PathError(f"555 5.5.4 No parameter {name[:40]} here")
    if not path.address.isascii() and "SMTPUTF8" not in path.parameters:
        raise PathError(NEEDS_UTF8)
    return path, size


def recipient_path(text: str, *, utf8: bool) -> str:
    """The address behind RCPT. Raises PathError."""
    usual = USUAL_RECIPIENT.fullmatch(text)
    if usual:
        return usual[1]
    path = _path(text, "TO:")
    if not path.address:
        raise PathError("501 5.1.3 Nobody is called so")
    if path.parameters:
        raise PathError(f"555 5.5.4 No parameter {next(iter(path.parameters))[:40]} here")
    if not path.address.isascii() and not utf8:
        raise PathError(NEEDS_UTF8)
    return path.address


def _path(text: str, word: str) -> Path:
    """`FROM:<bob@example.org> SIZE=100`."""
    text = text.lstrip(" ")
    if text[: len(word)].upper() != word:
        raise PathError(f"501 5.5.4 {word}<address> stands behind it")
    text = text[len(word) :].lstrip(" ")
    if not text.startswith("<"):
        raise _faulty("write the address between < and >")
    end = _end(text)
    return Path(_checked(text[1:end]), _parameters(text[end + 1 :]))


def _end(text: str) -> int:
    """Where the closing bracket is: one between quotes belongs to the address."""
    quoted = escaped = False
    for at, char in enumerate(text):
        if escaped:
            escaped = False
        elif quoted and char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == ">" and not quoted:
            return at
    raise _faulty("the closing > is missing")


def _checked(address: str) -> str:
    if address.startswith("@"):
        _, colon, address = address.partition(":")
        if not colon:
            raise _faulty("a source route ends with a colon")
    if not address:
        return address
    if len(address) > MOST_ADDRESS:
        raise _faulty(f"an address has at most {MOST_ADDRESS} characters")
    if not address.isprintable():
        raise _faulty("the address has characters that cannot be printed")
    local, _, domain = address.rpartition("@")
    if not local:  # RCPT TO:<Postmaster> alone needs no domain
        if address.lower() == "postmaster":
            return address
        raise _faulty("the address has no domain")
    literal = domain.startswith("[") and domain.endswith("]")  # [192.0.2.1], [IPv6:2001:db8::1]
    bare = domain[1:-1] if literal else domain
    if not bare or any(char in SPECIAL and not (literal and char == ":") for char in bare):
        raise _faulty("the domain is none")
    quoted = len(local) > 1 and local[0] == local[-1] == '"'
    if not quoted and any(char in SPECIAL for char in local):
        raise _faulty('a local part with such characters stands between quotes: "a b"@example.org')
    return address


def _parameters(text: str) -> dict[str, str | None]:
    if text and not text.startswith(" "):
        raise PathError("501 5.5.4 A space stands before a parameter")
    found: dict[str, str | None] = {}
    for word in text.split():
        name, equals, value = word.partition("=")
        name = name.upper()
        if not name.replace("-", "").isalnum() or not name.isascii():
            raise PathError("501 5.5.4 That is no parameter")
        if name in found:
            raise PathError(f"501 5.5.4 {name[:40]} is there twice")
        found[name] = value if equals else None
    return found


def _faulty(reason: str) -> PathError:
    return PathError(f"501 5.1.3 {reason}")


MOST_ADDRESS = 320
SPECIAL = frozenset(' <>()[]\\,;:"@')
NEEDS_UTF8 = "553 5.6.7 Such an address needs SMTPUTF8 (RFC 6531)"
# What nearly every client writes is read in one step; all else by what stands above, which says the same of these.
_PLAIN = r"<([a-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[a-z0-9.-]{1,250})>"
USUAL_MAIL = re.compile(rf"FROM:{_PLAIN}(?: SIZE=([0-9]{{1,20}}))?", re.IGNORECASE | re.ASCII)
USUAL_RECIPIENT = re.compile(rf"TO:{_PLAIN}", re.IGNORECASE | re.ASCII)
