"""IMAP's words, strings, lists and sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.mail.imap_syntax import Atom, Command, SyntaxFault, literal, numbers, parse, string, text_of


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"a1 noop", Command("a1", "NOOP", [])),
        (rb'a LOGIN "a\"b\\" {3}' + b"\r\nx\r\n", Command("a", "LOGIN", [b'a"b\\', b"x\r\n"])),
        (
            b'a FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (TO "CC")]<0.9>)',
            Command("a", "FETCH", ["1:*", ["FLAGS", 'BODY.PEEK[HEADER.FIELDS (TO "CC")]<0.9>']]),
        ),
        (b"a STORE 1 +FLAGS.SILENT (\\Seen)", Command("a", "STORE", ["1", "+FLAGS.SILENT", ["\\Seen"]])),
        (b'a LIST "" %', Command("a", "LIST", [b"", "%"])),
    ],
)
def test_commands(line: bytes, command: Command) -> None:
    assert parse(line) == command


FAULTS = [b"", b"a", b"a ", b'a "x"', b"a X (", b"a X )", b'a X "open', b"a X {9}\r\nshort", b"a X \xff"]


@pytest.mark.parametrize("line", [*FAULTS, b"a X " + b"(" * 20])
def test_faults(line: bytes) -> None:
    with pytest.raises(SyntaxFault):
        parse(line)


def test_literal() -> None:
    assert literal(b"a LOGIN {12}") == (12, True)
    assert literal(b"a LOGIN {12+}") == (12, False)
    assert literal(b"a LOGIN {12} x") is None


@pytest.mark.parametrize(
    ("text", "found"),
    [("1", [1]), ("2:3", [2, 3]), ("3:2", [2, 3]), ("*", [5]), ("3:*", [3, 5]), ("9:*", [5]), ("1,1,1:2", [1, 2])],
)
def test_numbers(text: str, found: list[int]) -> None:
    assert numbers(text, [1, 2, 3, 5]) == found


@pytest.mark.parametrize("text", ["", "x", "1:", "1,,2", "-1", "1:2:3"])
def test_no_numbers(text: str) -> None:
    with pytest.raises(SyntaxFault):
        numbers(text, [1, 2])
    assert numbers("1:9", []) == []


def test_strings() -> None:
    assert string(None) == b"NIL"
    assert string('a"b') == rb'"a\"b"'
    assert string("ä") == b"{2}\r\n\xc3\xa4"
    assert string(b"a\r\n") == b"{3}\r\na\r\n"


@given(st.binary(max_size=40))
def test_round_trip(value: bytes) -> None:
    assert parse(b"a X " + string(value)) == Command("a", "X", [value])


@given(st.binary(max_size=60))
def test_nothing_else_is_raised(data: bytes) -> None:
    try:
        command = parse(b"a " + data)
    except SyntaxFault:
        return
    assert isinstance(command.arguments, list)


def test_text() -> None:
    assert (text_of(b"\xff"), text_of(Atom("x"))) == ("\N{REPLACEMENT CHARACTER}", "x")
    with pytest.raises(SyntaxFault):
        text_of([])
