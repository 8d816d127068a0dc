"""Bytes cut into messages and back, in chunks of any size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit import PeerViolation
from socketkit.cutting import CUTS, RELAYED_CUTS, Cut, Lengths, Lines, Whole
from socketkit.errors import MessageTooLarge


def cut(cutter: Cut, data: bytes, at: int) -> list[bytes]:
    messages = []
    for start in range(0, len(data), at):
        messages += cutter.feed(data[start : start + at])
    return messages + cutter.end()


chunk_bytes = st.integers(1, 20)


@given(st.lists(st.binary(max_size=30)), chunk_bytes)
def test_lengths_keep_everything(messages: list[bytes], at: int) -> None:
    cutter = Lengths(30)
    assert cut(cutter, cutter.joined(messages), at) == messages
    assert cutter.fault is None


@given(st.lists(st.binary(max_size=30)), chunk_bytes)
def test_lines_keep_what_has_no_line_end_inside(messages: list[bytes], at: int) -> None:
    messages = [message for message in messages if b"\n" not in message]
    cutter = Lines(30)
    assert all(map(cutter.keeps, messages))
    assert cut(cutter, cutter.joined(messages), at) == messages


@given(st.binary(max_size=100), chunk_bytes)
def test_whole_is_one_message(data: bytes, at: int) -> None:
    cutter = Whole(100)
    assert cut(cutter, data, at) == [data]
    assert cutter.joined([b"a", b"", b"b"]) == b"ab"


def test_line_ends() -> None:
    assert cut(Lines(10), b"one\n\r\nthree", 100) == [b"one", b"\r", b"three"]
    assert cut(Lines(10), b"\n\n", 1) == [b"", b""]
    # One that nc has sent ends with its line end already.
    assert Lines(0).joined([b"hello\n", b"you", b""]) == b"hello\nyou\n\n"
    assert Lines(0).keeps(b"hello\n")
    assert not Lines(0).keeps(b"two\nlines")


@pytest.mark.parametrize(
    ("cutter", "data", "before", "said"),
    [
        (Lines(5), b"a\n12345\n123456\nb\n", [b"a", b"12345"], "6 bytes, more than 5"),
        (Lines(5), b"a\n123456", [b"a"], "more than 5 bytes"),
        (Lengths(5), b"\0\0\0\1a\0\0\0\x06123456\0\0\0\0", [b"a"], "6 bytes, more than 5"),
        (Lengths(5), b"\xff\xff\xff\xff", [], "4,294,967,295 bytes, more than 5"),
        (Whole(5), b"123456", [], "more than 5 bytes"),
    ],
)
@pytest.mark.parametrize("at", [1, 100])
def test_too_large_a_message_costs_none_before_it(
    cutter: Cut, data: bytes, before: list[bytes], said: str, at: int
) -> None:
    cutter = type(cutter)(5)
    assert cut(cutter, data, at) == before
    assert isinstance(cutter.fault, MessageTooLarge)
    assert cutter.fault.most_bytes == 5
    # In small chunks a line's length is not known when it is too long already.
    assert said in str(cutter.fault) or "more than 5 bytes" in str(cutter.fault)
    assert not cutter._rest
    assert cutter.feed(b"a\n") == []


def test_end_inside_a_length() -> None:
    cutter = Lengths(5)
    assert cut(cutter, b"\0\0\0\3ab", 2) == []
    assert isinstance(cutter.fault, PeerViolation)


def test_relays_take_those_of_many_messages() -> None:
    assert set(RELAYED_CUTS) == set(CUTS) - {"whole"}
