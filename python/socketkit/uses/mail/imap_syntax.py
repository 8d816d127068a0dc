"""What IMAP says, as values and back (RFC 3501 §4, §9), without I/O: atoms, strings, literals, lists, sets."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class SyntaxFault(ValueError):
    """The text is none of IMAP's; what it says is for the client."""


class Atom(str):
    """A word that stood without quotes: a keyword, a set of numbers, BODY[...]."""

    __slots__ = ()


# A token is an Atom, bytes (a string, quoted or literal), or a list of tokens.


class Command(NamedTuple):
    """A whole command of a client."""

    tag: str
    name: str
    arguments: list[Any]


def parse(line: bytes) -> Command:
    """A command without its last line's end; its literals stand in it, behind their `{12}` and line's end."""
    tag = TAG.match(line)
    if tag is None:
        raise SyntaxFault("a tag and a command")
    tokens, end = _tokens(line, tag.end(), 0)
    if end != len(line):
        raise SyntaxFault("a closing parenthesis too many")
    if not tokens or not isinstance(tokens[0], Atom):
        raise SyntaxFault("a command behind the tag")
    return Command(tag[1].decode("ascii"), tokens[0].upper(), tokens[1:])


def literal(line: bytes) -> tuple[int, bool] | None:
    """The length of the literal that a line announces at its end, and whether the client waits to be asked for it."""
    found = LITERAL.search(line)
    return (int(found[1]), not found[2]) if found else None


def _tokens(line: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    while at < len(line):
        char = line[at : at + 1]
        if char == b" ":
            at += 1
        elif char == b"(":
            if depth == DEEPEST:
                raise SyntaxFault("lists stand too deep in each other")
            inner, at = _tokens(line, at + 1, depth + 1)
            if line[at : at + 1] != b")":
                raise SyntaxFault("the closing parenthesis is missing")
            found.append(inner)
            at += 1
        elif char == b")":
            return found, at
        elif char == b'"':
            quoted = QUOTED.match(line, at)
            if quoted is None:
                raise SyntaxFault("the closing quote is missing")
            found.append(re.sub(rb"\\(.)", rb"\1", quoted[1]))
            at = quoted.end()
        elif begun := BEGUN.match(line, at):
            at = begun.end() + int(begun[1])
            if at > len(line):
                raise SyntaxFault("a literal is shorter than announced")
            found.append(line[begun.end() : at])
        else:
            word = WORD.match(line, at)
            if word is None:
                raise SyntaxFault("a character that stands in quotes only")
            found.append(Atom(word[0].decode("ascii")))
            at = word.end()
    return found, at


def text_of(token: object) -> str:
    """A name, a password, a word to search for. Raises SyntaxFault for a list."""
    if isinstance(token, bytes):
        return token.decode("utf-8", "replace")
    if isinstance(token, Atom):
        return str(token)
    raise SyntaxFault("a word, and no list")


def numbers(text: str, numbers_there: Sequence[int]) -> list[int]:
    """Which of the numbers that there are (ascending) a set means: `1:3,7,*`. Raises SyntaxFault."""
    highest = numbers_there[-1] if numbers_there else 0
    wanted: list[tuple[int, int]] = []
    for piece in text.split(","):
        match = RANGE.fullmatch(piece)
        if match is None:
            raise SyntaxFault("a set of numbers: 1:3,7,*")
        first = highest if match[1] == "*" else int(match[1])
        last = first if match[2] is None else highest if match[2] == "*" else int(match[2])
        wanted.append((min(first, last), max(first, last)))
    found: list[int] = []
    at = 0
    # In order, and none twice: a client may name the same range a thousand times.
    for first, last in sorted(wanted):
        at = max(at, bisect_left(numbers_there, first))
        end = bisect_right(numbers_there, last)
        found += numbers_there[at:end]
        at = max(at, end)
    return found


def string(value: bytes | str | None) -> bytes:
    """As IMAP writes it: quoted where that is possible, else a literal; None is NIL."""
    if value is None:
        return b"NIL"
    data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    if len(data) < 1_000 and PLAIN.fullmatch(data):
        return b'"' + data.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"{%d}\r\n%s" % (len(data), data)


TAG = re.compile(rb"([^\x00-\x20\x7f-\xff(){%*\"\\+]{1,64})(?= |$)")
QUOTED = re.compile(rb'"((?:[^"\\\r\n]|\\["\\])*)"')
BEGUN = re.compile(rb"\{([0-9]{1,8})\+?\}\r\n")
LITERAL = re.compile(rb"\{([0-9]{1,8})(\+?)\}$")
# With what stands in brackets: BODY[HEADER.FIELDS (SUBJECT "FROM")]<0.100>
WORD = re.compile(rb'(?:[^\x00-\x20\x7f-\xff(){"\[]|\[[^\]\r\n]*\])+')
RANGE = re.compile(r"([0-9]{1,10}|\*)(?::([0-9]{1,10}|\*))?", re.ASCII)
PLAIN = re.compile(rb"[\x20-\x7e]*")
DEEPEST = 10
