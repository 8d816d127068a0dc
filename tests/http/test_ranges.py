"""What an answer says of the bytes in it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit import PeerViolation
from socketkit.http.ranges import content_length, length_of, range_of, validator_of
from socketkit.http.url import Url


class Answer:
    url = Url.parse("https://a.example/file")

    def __init__(self, **headers: str) -> None:
        self._headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def header(self, name: str) -> str | None:
        return self._headers.get(name)


def of(**headers: str) -> Any:
    return Answer(**headers)


@pytest.mark.parametrize(
    ("tag", "validator"), [('"a"', '"a"'), ('""', '""'), ('W/"a"', None), ("a", None), ('"', None), ('"a', None)]
)
def test_a_tag_is_a_strong_one(tag: str, validator: str | None) -> None:
    assert validator_of(of(etag=tag, last_modified=MONDAY, date=TUESDAY)) == validator


def test_a_date_is_old_enough() -> None:
    assert validator_of(of(last_modified=MONDAY, date=TUESDAY)) == MONDAY
    assert validator_of(of(last_modified=MONDAY, date=MONDAY)) is None  # it can change twice within a second
    assert validator_of(of(last_modified=MONDAY)) is None
    assert validator_of(of(last_modified="soon", date=TUESDAY)) is None
    far = f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT"
    assert validator_of(of(last_modified=far, date=TUESDAY)) is None
    assert validator_of(of(last_modified=MONDAY, date=TUESDAY.replace("GMT", "-0000"))) is None  # no zone beside one
    assert validator_of(of()) is None


def test_content_length() -> None:
    assert content_length(of(content_length="12")) == 12
    assert [content_length(of(content_length=text)) for text in ("", "-1", "1_0", "\u0663")] == [None] * 4
    assert content_length(of()) is None


def test_a_range() -> None:
    assert range_of(of(content_range="bytes 2-5/10")) == (2, 5, 10)
    assert range_of(of(content_range="bytes 2-2/*")) == (2, 2, None)


@pytest.mark.parametrize(
    "text", [None, "", "bytes 5-2/10", "bytes */10", "lines 2-5/10", "bytes 2-5", f"bytes 0-{'9' * 19}/*"]
)
def test_a_part_that_does_not_say_which(text: str | None) -> None:
    with pytest.raises(PeerViolation, match=r"a\.example"):
        range_of(of() if text is None else of(content_range=text))


def test_the_size_that_a_refusal_tells() -> None:
    assert length_of(of(content_range="bytes */10")) == 10
    assert [length_of(of(content_range=text)) for text in ("bytes 0-1/10", "bytes */*", "")] == [None] * 3
    assert length_of(of()) is None


MONDAY = "Mon, 02 Nov 2026 10:00:00 GMT"
TUESDAY = "Tue, 03 Nov 2026 10:00:00 GMT"


@given(st.integers(0, 10**18 - 1), st.integers(0, 10**18 - 1), st.none() | st.integers(0, 10**18 - 1))
def test_a_part_is_read_as_it_is_written(one: int, other: int, size: int | None) -> None:
    first, last = sorted((one, other))
    written = f"bytes {first}-{last}/{'*' if size is None else size}"
    assert range_of(of(content_range=written)) == (first, last, size)
    assert length_of(of(content_range=f"bytes */{one}")) == content_length(of(content_length=str(one))) == one


@given(st.one_of(st.text(), st.text("bytes 0129-/*²"), st.just("9" * 5_000), st.just(f"1 Jan {'9' * 20}")))
def test_whatever_an_answer_says(text: str) -> None:
    answer = of(content_range=text, content_length=text, etag=text, last_modified=text, date=text)
    for read in (content_length, length_of):
        told = read(answer)
        assert told is None or told >= 0
    with suppress(PeerViolation):
        first, last, _ = range_of(answer)
        assert 0 <= first <= last
    assert validator_of(answer) in (None, text)
    assert validator_of(of(last_modified=text, date=TUESDAY)) in (None, text)
