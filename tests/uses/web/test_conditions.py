from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.web.conditions import MOST_PARTS, Part, Wish, http_date, wish_of

TAG, MODIFIED, SIZE = '"a-b-c"', 1_000_000_000.7, 100
WHOLE = Wish(200, (Part(0, 99),))
THEN, BEFORE, LATER = (http_date(MODIFIED + seconds) for seconds in (0, -10, 10))


def wish(size: int = SIZE, **headers: str) -> Wish:
    fields = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return wish_of(fields, TAG, MODIFIED, size)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if_none_match": TAG}, 304),
        ({"if_none_match": f'"other", W/{TAG}'}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"other"'}, 200),
        ({"if_none_match": '"other"', "if_modified_since": LATER}, 200),
        ({"if_modified_since": THEN}, 304),
        ({"if_modified_since": BEFORE}, 200),
        ({"if_modified_since": "yesterday"}, 200),
        ({"if_match": TAG}, 200),
        ({"if_match": f"W/{TAG}"}, 412),
        ({"if_match": "*"}, 200),
        ({"if_match": '"other"'}, 412),
        ({"if_unmodified_since": BEFORE}, 412),
        ({"if_unmodified_since": THEN}, 200),
        ({"if_match": TAG, "if_unmodified_since": BEFORE}, 200),
    ],
)
def test_what_the_client_knows(headers: dict[str, str], status: int) -> None:
    assert wish(**headers).status == status


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ("bytes=0-0", Wish(206, (Part(0, 0),))),
        ("bytes=10-", Wish(206, (Part(10, 99),))),
        ("bytes=10-1000", Wish(206, (Part(10, 99),))),
        ("bytes=-7", Wish(206, (Part(93, 99),))),
        ("bytes=-700", Wish(206, (Part(0, 99),))),
        ("BYTES=1-2, 5-6", Wish(206, (Part(1, 2), Part(5, 6)))),
        ("bytes=50-60,200-300", Wish(206, (Part(50, 60),))),
        ("bytes=100-", Wish(416)),
        ("bytes=-0", Wish(416)),
        ("bytes=5-4", WHOLE),
        ("bytes=", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=a-b", WHOLE),
        ("bytes=+1-2", WHOLE),
        ("bytes=\u0661-2", WHOLE),
        ("lines=1-2", WHOLE),
        ("bytes 1-2", WHOLE),
        ("bytes=0-,0-", WHOLE),
        ("bytes=" + "9" * 50 + "-", WHOLE),
        ("bytes=" + ",".join(["1-1"] * (MOST_PARTS + 1)), WHOLE),
        ("bytes=" + ",".join(["1-1"] * MOST_PARTS), Wish(206, (Part(1, 1),) * MOST_PARTS)),
    ],
)
def test_parts(ranges: str, expected: Wish) -> None:
    assert wish_of({b"range": ranges.encode("utf-8")}, TAG, MODIFIED, SIZE) == expected


@pytest.mark.parametrize(
    ("current", "parts"),
    [(TAG, True), (f"W/{TAG}", False), ('"other"', False), (THEN, True), (LATER, False), ("rubbish", False)],
)
def test_parts_of_what_the_client_knows_only(current: str, parts: bool) -> None:
    assert wish(range="bytes=1-2", if_range=current).status == (206 if parts else 200)


def test_a_file_without_bytes_has_no_parts() -> None:
    assert wish(0) == Wish(200)
    assert wish(0, range="bytes=0-") == Wish(416)


@given(st.binary(max_size=60), st.integers(0, 1000))
def test_no_range_is_answered_with_more_than_the_file(field: bytes, size: int) -> None:
    found = wish_of({b"range": b"bytes=" + field}, TAG, MODIFIED, size)
    assert sum(part.length for part in found.parts) <= size
    assert all(0 <= part.first <= part.last < size for part in found.parts)
    assert bool(found.parts) == (found.status == 206 or (found.status == 200 and size > 0))


FIELDS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range")
ODD = st.one_of(
    st.binary(max_size=40), st.sampled_from([TAG, THEN, BEFORE, "*", "bytes=0-9", "bytes=-1"]).map(str.encode)
)


@given(st.dictionaries(st.sampled_from([name.encode() for name in FIELDS]), ODD), st.integers(0, 1000))
def test_any_fields(fields: dict[bytes, bytes], size: int) -> None:
    found = wish_of(fields, TAG, MODIFIED, size)
    assert found.status in (200, 206, 304, 412, 416)
    assert bool(found.parts) == (found.status == 206 or (found.status == 200 and size > 0))
    assert sum(part.length for part in found.parts) <= size


@given(st.text("abc-0", min_size=1), st.integers(0, 2**34))
def test_what_was_told_is_known_again(name: str, modified: int) -> None:
    tag, then = f'"{name}"', http_date(modified)

    def status(**headers: str) -> int:
        fields = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        return wish_of(fields, tag, modified + 0.5, SIZE).status

    assert [status(if_none_match=tag), status(if_modified_since=then)] == [304, 304]
    assert [status(if_match=tag), status(if_unmodified_since=then)] == [200, 200]
    assert [status(range="bytes=1-2", if_range=known) for known in (tag, then)] == [206, 206]
    assert [status(range="bytes=1-2", if_range=other) for other in ('"other"', http_date(modified + 1))] == [200, 200]


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 20)), min_size=1, max_size=5))
def test_ranges_are_read_as_they_are_written(spans: list[tuple[int, int]]) -> None:
    parts = [Part(first, min(first + more, SIZE - 1)) for first, more in spans]
    field = "bytes=" + ", ".join(f"{part.first}-{part.last}" for part in parts)
    expected = Wish(206, tuple(parts)) if sum(part.length for part in parts) <= SIZE else WHOLE
    assert wish(range=field) == expected
