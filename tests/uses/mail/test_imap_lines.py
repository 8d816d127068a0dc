"""Commands out of bytes, with literals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.mail.imap_lines import Lines, TooLong


def test_literals() -> None:
    lines = Lines(1_000)
    lines.extend(b"a LOGIN {3}\r\n")
    assert (lines.next(), lines.asked) == (None, 1)
    assert (lines.next(), lines.asked) == (None, 1)
    lines = Lines(1_000)
    lines.extend(b"a LOGIN {3}\r\na\r\n {2+}\r\nxy\r\nb NOOP\r\n")
    assert lines.next() == b"a LOGIN {3}\r\na\r\n {2+}\r\nxy"
    assert lines.asked == 1
    assert lines.next() == b"b NOOP"
    assert (lines.next(), bool(lines)) == (None, False)


@given(st.lists(st.integers(1, 9)))
def test_chunks_make_no_difference(sizes: list[int]) -> None:
    data, lines, found = b"a X {4}\r\n\r\n\r\n {1+}\r\nz\r\nb Y\r\n", Lines(100), []
    while data:
        size = sizes.pop() if sizes else 2
        lines.extend(data[:size])
        data = data[size:]
        while (line := lines.next()) is not None:
            found.append(line)
    assert (found, lines.asked) == ([b"a X {4}\r\n\r\n\r\n {1+}\r\nz", b"b Y"], 1)


@pytest.mark.parametrize("data", [b"a" * 101, b"a X {200}\r\n", b"a" * 101 + b"\r\n"])
def test_bound(data: bytes) -> None:
    lines = Lines(100)
    lines.extend(data)
    with pytest.raises(TooLong):
        lines.next()
    lines.clear()
    lines.extend(b"a NOOP\r\n")
    assert lines.next() == b"a NOOP"
