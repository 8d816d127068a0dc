"""What is refused of HTTP/1.1, and what is taken: one reading of every request, also where most servers guess.

`h11` says the same where it has an opinion; `stricter`: it lets that through.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
import pytest

from socketkit import connect
from socketkit.http import serve
from tests.conftest import Run

from .applications import CHUNKED, echo, everything, parted, request, talk

pytestmark = pytest.mark.usefixtures("no_leaks")

HOST = b"Host: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


REFUSED = {
    "garbage": (b"\x16\x03\x01\x00\x05\r\n\r\n", 400, ""),
    "no version": (b"GET /\r\n" + HOST + b"\r\n", 400, ""),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", 400, "stricter"),
    "bare return": (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400, ""),
    "folded": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400, "stricter"),
    "space before colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, ""),
    "control character": (b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", 400, ""),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400, ""),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, ""),
    "odd host": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "stricter"),
    "another host in the target": (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "stricter"),
    "fragment": (b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "stricter"),
    "space in the target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""),
    "both lengths": (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "stricter"),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, ""),
    "same length twice": (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 400, "stricter"),
    "signed length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", 400, ""),
    "chunked of 1.0": (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "stricter"),
    "unknown coding": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, ""),
    "two codings": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, ""),
    "connect": (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501, "stricter"),
    "expectation": (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n", 417, "stricter"),
    "another version": (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505, "stricter"),
    "HTTP/2 in plain text": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "stricter"),
    "many fields": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 100 + b"\r\n", 431, "stricter"),
    "long head": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 33_000 + b"\r\n\r\n", 431, "stricter"),
    "long target": (b"GET /" + b"y" * 9_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "stricter"),
    "large body": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 16777217\r\n\r\n", 413, "stricter"),
    "chunk without size": (CHUNKED + b"\r\n", 400, ""),
    "chunk of odd size": (CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n", 400, ""),
    "longer chunk": (CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", 400, ""),
    "chunk with a bare line feed": (CHUNKED + b"3\nabc\r\n0\r\n\r\n", 400, ""),
    "huge chunk": (CHUNKED + b"ffffffffff\r\n", 413, "stricter"),
    "long extension": (CHUNKED + b"3;" + b"a" * 20_000 + b"\r\nabc\r\n", 400, "stricter"),
    "white space before the first field": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, ""),
    "no colon": (b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400, ""),
    "no name": (b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400, ""),
    "a name that is no token": (b"GET / HTTP/1.1\r\nHost: a\r\nX(Y): b\r\n\r\n", 400, ""),
    "a name above 0x7e": (b"GET / HTTP/1.1\r\nHost: a\r\nX\xff: b\r\n\r\n", 400, ""),
    "a method that is no token": (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""),
    "two spaces": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""),
    "a tab for a space": (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""),
    "a space first": (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""),
    "a space behind the version": (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, ""),
    "version in small letters": (b"GET / http/1.1\r\nHost: a\r\n\r\n", 400, ""),
    "version of three digits": (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400, ""),
    "a user in the target": (b"GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "stricter"),
    "an authority as the target": (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "stricter"),
    "a star as the target": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "stricter"),
    "a byte above 0x7e in the target": (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""),
    "a length in hexadecimal": (POST + b"Content-Length: 0x1\r\n\r\na", 400, ""),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\na", 400, ""),
    "a list of lengths": (POST + b"Content-Length: 1, 1\r\n\r\na", 400, "stricter"),
    "two lengths with a space": (POST + b"Content-Length: 1 1\r\n\r\na", 400, ""),
    "an empty length": (POST + b"Content-Length:\r\n\r\na", 400, ""),
    "a length above 2^64": (POST + b"Content-Length: 18446744073709551617\r\n\r\na", 400, "stricter"),
    "a coding like chunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501, ""),
    "chunked behind a vertical tab": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400, ""),
    "chunked in quotes": (POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 501, ""),
    "chunked twice": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501, ""),
    "chunked on two lines": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n", 501, ""),
    "an empty coding": (POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n", 501, ""),
    "signed chunk": (CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n", 400, ""),
    "negative chunk": (CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n", 400, ""),
    "space before a chunk's size": (CHUNKED + b" 3\r\nabc\r\n0\r\n\r\n", 400, ""),
    "underscore in a chunk's size": (CHUNKED + b"0_3\r\nabc\r\n0\r\n\r\n", 400, ""),
    "chunk above 2^64": (CHUNKED + b"10000000000000003\r\nabc\r\n0\r\n\r\n", 400, "stricter"),
    "chunk that ends with a line feed": (CHUNKED + b"3\r\nabc\n0\r\n\r\n", 400, ""),
    "line feed in an extension": (CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n", 400, ""),
    "return in an extension": (CHUNKED + b"3;a\rb\r\nabc\r\n0\r\n\r\n", 400, "stricter"),
    "trailer without a colon": (CHUNKED + b"0\r\nX\r\n\r\n", 400, ""),
    "folded trailer": (CHUNKED + b"0\r\nX: a\r\n b\r\n\r\n", 400, "stricter"),
    "trailer with a bare line feed": (CHUNKED + b"0\r\nX: a\n\r\n", 400, "stricter"),
    "trailers without end": (CHUNKED + b"0\r\n" + b"X: y\r\n" * 4_000, 400, "stricter"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(run: Run, name: str) -> None:
    sent, status, _ = REFUSED[name]

    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", echo) as service:
            return await talk(service.local, sent)

    got = run(main())
    assert parted(got)[:2] == (status, parted(got)[1])
    assert parted(got)[1]["connection"] == "close"
    assert got.count(b"content-length") == 1


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_behind_what_is_refused_is_a_request(run: Run, name: str) -> None:
    """Else whoever stands before us and reads it in another way could be made to let it through."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        await echo(scope, receive, send)

    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", app) as service:
            return await talk(service.local, REFUSED[name][0] + request("/smuggled"))

    assert run(main()).count(b"content-length") == 1
    assert "/smuggled" not in seen


@pytest.mark.parametrize("name", REFUSED)
def test_h11_lets_nothing_through_that_is_refused_but_where_it_says_so(name: str) -> None:
    sent, _, opinion = REFUSED[name]
    theirs = h11.Connection(h11.SERVER, max_incomplete_event_size=32_768)
    theirs.receive_data(sent)
    try:
        while theirs.next_event() not in (h11.NEED_DATA, h11.PAUSED):
            pass
    except h11.RemoteProtocolError:
        assert opinion == ""
    else:
        assert opinion == "stricter"


TAKEN = {
    "plain": request(),
    "old": b"GET / HTTP/1.0\r\n\r\n",
    "empty lines first": b"\r\n" + request(),
    "absolute": request("http://example.org/x"),
    "options": request("*", method="OPTIONS"),
    "another method": request(method="PATCH"),
    "empty value": request("/", "X:"),
    "latin-1": request("/", "X: \N{LATIN SMALL LETTER U WITH DIAERESIS}"),
    "length with zeros": request("/", "Content-Length: 003", body=b"abc"),
    "an offer of HTTP/2": request("/", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    "chunks": CHUNKED + b"3;a=b\r\nabc\r\n0\r\nTrailer: x\r\n\r\n",
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken(run: Run, name: str) -> None:
    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", echo) as service:
            return await talk(service.local, TAKEN[name])

    assert parted(run(main()))[0] == 200


@pytest.mark.parametrize("name", ["plain", "chunks", "length with zeros"])
def test_bytes_one_by_one_are_the_same(run: Run, name: str) -> None:
    async def main() -> tuple[bytes, bytes]:
        async with serve("tcp://127.0.0.1:0", echo) as service:
            at_once = await talk(service.local, TAKEN[name])
            async with connect(str(service.local)) as stream:
                for byte in TAKEN[name]:
                    await stream.send(bytes([byte]))
                    await asyncio.sleep(0)
                return parted(at_once)[2], parted(await everything(stream))[2]

    first, second = run(main())
    assert first == second
