"""The bytes: what is written is read, and what is documented is written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit import PeerViolation
from socketkit.inspect.measuring.protocol import (
    DATA,
    HEADER,
    MEASURED,
    MOST_MESSAGES,
    Batch,
    decode,
    encode,
    session_number,
)

PAGE = Path(__file__).parents[3] / "docs" / "protocols" / "bench.md"


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())))
def test_round_trip(words: dict[str, Any]) -> None:
    encoded = encode(words)
    assert decode(encoded) == words
    assert encoded.count(b"\n") == 1
    assert encoded[:1] == b"{"


@pytest.mark.parametrize("data", [b"", b"[]\n", b"HTTP/1.0 400 Bad Request\n", b"\xff\n", b"1\n"])
def test_something_else(data: bytes) -> None:
    with pytest.raises(PeerViolation, match="socketkit serve bench"):
        decode(data)


@given(st.integers(0, 1 << 60), st.integers(1, MOST_MESSAGES), st.integers(0, (1 << 64) - 1), st.integers(24, 60))
def test_a_batch_is_numbered_and_stamped(number: int, count: int, now_ns: int, size: int) -> None:
    batch = Batch(0xDEADBEEF, 3, size)
    batch.stamped(0, batch.most, 0, 5)
    messages = batch.stamped(number, count, MEASURED, now_ns)
    assert [len(message) for message in messages] == [size] * count
    assert [HEADER.unpack_from(message) for message in messages] == [
        (DATA, MEASURED, 3, 0xDEADBEEF, number + at, now_ns) for at in range(count)
    ]


def test_large_messages_come_in_small_batches() -> None:
    assert Batch(0, 0, 1_048_576).most == 1
    assert Batch(0, 0, 65_507).most == 16


def test_session_number() -> None:
    assert session_number("0123456789abcdef") == 0x89ABCDEF


def test_example_of_the_page() -> None:
    """The header in hexadecimal, and each request and answer, as docs/protocols/bench.md has them."""
    page = PAGE.read_text()
    example = bytes.fromhex("".join(re.search(r"```hex\n(.*?)```", page, re.DOTALL)[1].split()))  # type: ignore[index]
    assert HEADER.unpack(example) == (DATA, MEASURED, 0, 0x89ABCDEF, 4711, 1_790_000_000_000_000_000)
    lines = re.search(r"```json\n(.*?)```", page, re.DOTALL)[1].splitlines()  # type: ignore[index]
    for line in lines:
        assert encode(json.loads(line)) == line.encode() + b"\n"
