"""LF to CRLF, however the text is cut into chunks."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.cli.crlf import LineEnds


@pytest.mark.parametrize(
    ("chunks", "sent"),
    [
        ([b"a\nb\n"], b"a\r\nb\r\n"),
        ([b"a\r\nb\r\n"], b"a\r\nb\r\n"),
        ([b"a\r", b"\nb"], b"a\r\nb"),
        ([b"a\r", b"b\n"], b"a\rb\r\n"),
        ([b"\n\n"], b"\r\n\r\n"),
        ([b"\r\r\n"], b"\r\r\n"),
        ([b"\n", b"\n"], b"\r\n\r\n"),
        ([b"a\r", b"", b"\n"], b"a\r\n"),
    ],
)
def test_converted(chunks: list[bytes], sent: bytes) -> None:
    line_ends = LineEnds()
    assert b"".join(line_ends.converted(chunk) for chunk in chunks) == sent


@given(st.lists(st.binary(max_size=6).map(lambda chunk: bytes(b"\r\nx"[byte % 3] for byte in chunk))))
def test_cutting_changes_nothing(chunks: list[bytes]) -> None:
    line_ends = LineEnds()
    converted = b"".join(line_ends.converted(chunk) for chunk in chunks)
    assert converted == re.sub(rb"(?<!\r)\n", b"\r\n", b"".join(chunks))
