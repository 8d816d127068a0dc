"""Where a mail ends, and that it is not too large."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.mail.smtp_content import Counted, Dotted, has_bare_newline


def stuffed(content: bytes) -> bytes:
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in content.split(b"\r\n")) + b".\r\n"


LINES = st.lists(st.text("ab.", max_size=4), max_size=6).map(lambda ls: "".join(f"{li}\r\n" for li in ls).encode())


@given(LINES, st.lists(st.integers(1, 5), max_size=20))
def test_round_trip_in_any_chunks(content: bytes, cuts: list[int]) -> None:
    wire, buffer, dotted = stuffed(content) + b"QUIT\r\n", bytearray(), Dotted(1_000)
    whole = False
    while not whole:
        count = cuts.pop() if cuts else 1
        buffer += wire[:count]
        wire = wire[count:]
        whole = dotted.take(buffer)
    assert dotted.content == content
    assert bytes(buffer) + wire == b"QUIT\r\n"


@pytest.mark.parametrize("end", [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r", b"\r\n\x00.\r\n"])
def test_other_ends_are_none(end: bytes) -> None:
    dotted, buffer = Dotted(1_000), bytearray(b"text" + end + b"MAIL FROM:<smuggled@example.org>\r\n")
    assert not dotted.take(buffer)
    buffer += b".\r\n"
    assert dotted.take(buffer)
    assert b"smuggled" in dotted.content


@pytest.mark.parametrize("chunk", [1, 7, 1_000])
@pytest.mark.parametrize(("size", "too_large"), [(100, False), (101, True), (399, True)])
def test_bound(size: int, too_large: bool, chunk: int) -> None:
    dotted, buffer, wire = Dotted(100), bytearray(), b"a" * (size - 2) + b"\r\n.\r\n"
    states = []
    for at in range(0, len(wire), chunk):
        buffer += wire[at : at + chunk]
        states.append(dotted.take(buffer))
        assert len(buffer) <= 105 or chunk > 100
    assert states == [False] * (len(states) - 1) + [True]
    assert (dotted.too_large, dotted.hopeless, bytes(buffer)) == (too_large, False, b"")
    assert dotted.content == (b"" if too_large else wire[:-3])


def test_who_goes_on_is_hopeless() -> None:
    dotted, buffer = Dotted(100), bytearray()
    for _ in range(10):
        buffer += b"a" * 50
        assert not dotted.take(buffer)
    assert dotted.hopeless


def test_counted() -> None:
    counted, buffer = Counted(10), bytearray(b"abcdef")
    counted.expect(4)
    assert counted.take(buffer)
    assert buffer == b"ef"
    counted.expect(3)
    assert not counted.take(buffer)
    buffer += b"gMAIL"
    assert counted.take(buffer)
    assert (counted.content, bytes(buffer), counted.too_large) == (b"abcdefg", b"MAIL", False)
    counted.expect(4)
    buffer += b"abcd"
    assert counted.take(buffer)
    assert counted.too_large
    counted.expect(100)
    assert counted.hopeless


@pytest.mark.parametrize(("content", "bare"), [(b"a\r\nb", False), (b"a\nb", True), (b"a\rb", True), (b"\n\r", True)])
def test_bare_newline(content: bytes, bare: bool) -> None:
    assert has_bare_newline(content) is bare
