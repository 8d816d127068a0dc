"""A request of HTTP/2 in ASGI's words, and an answer in HTTP/2's."""

from __future__ import annotations

import pytest

from socketkit.http.multiplexed_request import checked, has_body, length_of, scope_of

USUAL = [(b":method", b"GET"), (b":path", b"/"), (b":scheme", b"https"), (b":authority", b"a")]


def test_a_scope() -> None:
    scope, fault = scope_of({"type": "http"}, [*USUAL, (b"cookie", b"a=b"), (b"x", b"y"), (b"cookie", b"c=d")])
    assert fault == ""
    assert scope["headers"] == [(b"host", b"a"), (b"x", b"y"), (b"cookie", b"a=b; c=d")]
    assert (scope["method"], scope["path"], scope["http_version"]) == ("GET", "/", "2")


@pytest.mark.parametrize(
    "changed",
    [
        {b":path": b"/a#b"},
        {b":path": b"a"},
        {b":path": b"*"},
        {b":path": b"/\xfc"},
        {b":path": b"/" * 9000},
        {b":method": b"CONNECT"},
        {b":method": b"G T"},
        {b"host": b"b"},
        {b":authority": None},
        {b":authority": b""},
        {b":authority": b"user@a"},
        {b":scheme": b"ftp"},
    ],
)
def test_what_is_wrong_is_said(changed: dict[bytes, bytes | None]) -> None:
    fields = dict(USUAL) | changed
    _, fault = scope_of({"type": "http"}, [(name, value) for name, value in fields.items() if value is not None])
    assert fault


def test_a_length_is_one_and_holds() -> None:
    length = (b"content-length", b"3")
    assert scope_of({}, [*USUAL, length])[1] == ""
    assert scope_of({}, [*USUAL, (b"content-length", b"00")], whole=True)[1] == ""
    assert scope_of({}, [*USUAL, length, length])[1]
    assert scope_of({}, [*USUAL, length], whole=True)[1]


def test_an_answers_fields_are_those_of_the_message() -> None:
    fields = [(b"X-Name", b"value"), (b"Connection", b"close"), (b"Transfer-Encoding", b"chunked")]
    assert checked(fields) == [(b"x-name", b"value")]
    for odd in [(b"x y", b""), (b"x", b"a\r\nb"), (b"", b"a"), (b":status", b"200")]:
        with pytest.raises(ValueError):
            checked([odd])


def test_lengths() -> None:
    assert length_of([]) is None
    assert length_of([(b"content-length", b"5")]) == 5
    for odd in [[(b"content-length", b"x")], [(b"content-length", b"5")] * 2]:
        with pytest.raises(ValueError):
            length_of(odd)


def test_some_answers_have_no_body() -> None:
    assert has_body(200, "GET")
    assert not any((has_body(204, "GET"), has_body(304, "GET"), has_body(200, "HEAD")))
