"""Fields of HTTP/2 that no request has (RFC 9113 §8), and compressed ones that no encoder writes (RFC 7541).

A malformed request is an error of its stream (RFC 9113 §8.1.1), or refused by an answer; a block that cannot be read is
one of the connection (§4.3).
"""

from __future__ import annotations

from typing import Any

import hpack
import pytest

from socketkit.http import serve
from tests.conftest import Run

from .applications import require_http
from .raw_frames import (
    COMPRESSION_ERROR,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PROTOCOL_ERROR,
    Wire,
    block,
    end_told,
    field,
    frame,
    number,
    request,
    settings,
    wire_to,
)
from .test_http2_negative import late, still_served

pytestmark = pytest.mark.usefixtures("no_leaks")

OPEN = END_HEADERS
TRAILERS = END_HEADERS | END_STREAM


def with_body(length: bytes, *bodies: bytes) -> bytes:
    """A request that promises `length`, and its DATA; the last one ends it."""
    frames = request(1, block((b"content-length", length), method=b"POST"), OPEN)
    for index, body in enumerate(bodies, 1):
        frames += frame(DATA, END_STREAM if index == len(bodies) else 0, 1, body)
    return frames


MALFORMED: dict[str, bytes] = {
    "8.1 DATA before the fields of a trailer end": with_body(b"3", b"ab", b""),
    "8.1.1 less than content-length": with_body(b"3", b"ab"),
    "8.1.1 more than content-length": with_body(b"1", b"ab"),
    "8.1.1 more than content-length, in pieces": with_body(b"3", b"ab", b"cd"),
    "8.1.1 content-length without a body": request(1, block((b"content-length", b"3"))),
    "8.1.1 content-length that is no number": with_body(b"x", b"ab"),
    "8.1.1 content-length with a sign": with_body(b"+2", b"ab"),
    "8.1.1 content-length with underscores": with_body(b"1_0", b"0123456789"),
    "8.1.1 two of content-length": request(
        1, block((b"content-length", b"2"), (b"content-length", b"3"), method=b"POST"), OPEN
    )
    + frame(DATA, END_STREAM, 1, b"ab"),
    "8.1.1 content-length as a list": with_body(b"2, 2", b"ab"),
    "8.2.1 upper case": request(1, block((b"X-Name", b"a"))),
    "8.2.1 a space in a name": request(1, block((b"x name", b"a"))),
    "8.2.1 a colon in a name": request(1, block((b"x:name", b"a"))),
    "8.2.1 a line's end in a name": request(1, block((b"x\r\nname", b"a"))),
    "8.2.1 a byte above 0x7e in a name": request(1, block((b"x\xff", b"a"))),
    "8.2.1 no name": request(1, block((b"", b"a"))),
    "8.2.1 a line feed in a value": request(1, block((b"x", b"a\nb"))),
    "8.2.1 a return in a value": request(1, block((b"x", b"a\rb"))),
    "8.2.1 a NUL in a value": request(1, block((b"x", b"a\0b"))),
    "8.2.1 a value that begins with a space": request(1, block((b"x", b" a"))),
    "8.2.1 a value that ends with a tab": request(1, block((b"x", b"a\t"))),
    "8.2.2 connection": request(1, block((b"connection", b"keep-alive"))),
    "8.2.2 keep-alive": request(1, block((b"keep-alive", b"1"))),
    "8.2.2 proxy-connection": request(1, block((b"proxy-connection", b"keep-alive"))),
    "8.2.2 transfer-encoding": request(1, block((b"transfer-encoding", b"chunked"))),
    "8.2.2 upgrade": request(1, block((b"upgrade", b"websocket"))),
    "8.2.2 te but trailers": request(1, block((b"te", b"trailers, deflate"))),
    "8.3 an unknown pseudo-header": request(1, field(b":test", b"a") + block()),
    "8.3 one of answers": request(1, field(b":status", b"200") + block()),
    "8.3 one behind a field": request(1, block(path=None) + field(b"x", b"a") + field(b":path", b"/")),
    "8.3 one in trailers": request(1, flags=OPEN) + frame(HEADERS, TRAILERS, 1, field(b":path", b"/")),
    "8.3 :method twice": request(1, field(b":method", b"GET") + block()),
    "8.3 :path twice": request(1, field(b":path", b"/") + block()),
    "8.3 :scheme twice": request(1, field(b":scheme", b"https") + block()),
    "8.3 :authority twice": request(1, field(b":authority", b"a") + block()),
    "8.3.1 no :method": request(1, block(method=None)),
    "8.3.1 no :scheme": request(1, block(scheme=None)),
    "8.3.1 no :path": request(1, block(path=None)),
    "8.3.1 an empty :path": request(1, block(path=b"")),
    "8.3.1 an empty :method": request(1, block(method=b"")),
    "8.3.1 a :path that is no path": request(1, block(path=b"index.html")),
    "8.3.1 a :path with a space": request(1, block(path=b"/a b")),
    "8.3.1 a :path with a fragment": request(1, block(path=b"/a#b")),
    "8.3.1 no :authority and no host": request(1, block(authority=None)),
    "8.3.1 an empty :authority": request(1, block(authority=b"")),
    "8.3.1 :authority with a user": request(1, block(authority=b"user@example.org")),
    "8.3.1 :authority with a path": request(1, block(authority=b"example.org/x")),
    "8.3.1 another host": request(1, block((b"host", b"example.com"))),
    "8.3.1 two hosts": request(1, block((b"host", b"a"), (b"host", b"a"), authority=None)),
    "8.3.1 a :method that is none": request(1, block(method=b"G(T")),
    "8.3.1 a :scheme that is none": request(1, block(scheme=b"ht/tps")),
    "8.3.1 another :scheme": request(1, block(scheme=b"ftp")),
    "8.5 CONNECT": request(1, block(method=b"CONNECT", scheme=None, path=None)),
    "8.5 CONNECT with :path and :scheme": request(1, block(method=b"CONNECT")),
    "8.5 CONNECT without :authority": request(1, block(method=b"CONNECT", scheme=None, path=None, authority=None)),
    "8.5 extended CONNECT that was not offered": request(
        1, field(b":protocol", b"websocket") + block(method=b"CONNECT")
    ),
}

UNREADABLE: dict[str, bytes] = {
    "7541 2.3.3 index 0": b"\x80",
    "7541 2.3.3 an index above the tables": b"\xff\x00",
    "7541 2.3.3 a name's index above the tables": b"\x7f\x00\x01a",
    "7541 4.2 a table larger than allowed": b"\x3f\xe2\x1f" + block(),
    "7541 4.2 a table's size behind a field": block() + b"\x20",
    "7541 5.1 an integer without an end": b"\xff" + b"\xff" * 20,
    "7541 5.1 an integer that is cut": b"\xff",
    "7541 5.2 a string that is cut": b"\0\x05ab",
    "7541 5.2 a length of 2^40": b"\0" + number(1 << 40, 7),
    "7541 5.2 padding of Huffman above 7 bits": block() + b"\0\x01x\x82\x1f\xff\xff",
    "7541 5.2 padding of Huffman that is zeros": block() + b"\0\x01x\x81\x18",
    "7541 5.2 the end of string inside Huffman": block() + b"\0\x01x\x84\xff\xff\xff\xff",
}

TAKEN: dict[str, bytes] = {
    "7541 4.2 a smaller table": request(1, b"\x20" + block()),
    "7541 4.2 two sizes of the table": request(1, b"\x20\x3f\xe1\x1f" + block()),
    "7541 6.2.3 a field that is never indexed": request(1, block() + b"\x10\x01x\x01a"),
    "7541 C.4 Huffman": request(1, b"\x82\x84\x87\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"),
    "8.2.1 an empty value": request(1, block((b"x", b""))),
    "8.2.2 te: trailers": request(1, block((b"te", b"trailers"))),
    "8.2.3 cookies in pieces": request(1, block((b"cookie", b"a=b"), (b"cookie", b"c=d"))),
    "8.3.1 host in place of :authority": request(1, block((b"host", b"a"), authority=None)),
    "8.3.1 host beside :authority": request(1, block((b"host", b"example.org"))),
    "8.1.1 a body of content-length": with_body(b"3", b"a", b"bc"),
}


async def outcome(wire: Wire) -> tuple[str, int]:
    """As `Wire.ending`, or ("answer", status) where that comes first."""
    while (came := await wire.frame()) is not None:
        if came.kind == HEADERS:
            return "answer", int(dict(hpack.Decoder().decode(came.payload, raw=True))[b":status"])
        if (end := end_told(came)) is not None:
            return end
    return "closed", 0


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_malformed_reaches_no_application(run: Run, case: str, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        require_http(scope)
        event = await receive()
        while event["type"] == "http.request" and event["more_body"]:
            event = await receive()
        seen.append(event["type"])

    async def main() -> tuple[str, int]:
        async with serve("tls://127.0.0.1:0", app) as service, wire_to(service) as wire:
            await wire.send(MALFORMED[case])
            return await outcome(wire)

    how = run(main())
    assert how in (("stream", PROTOCOL_ERROR), ("connection", PROTOCOL_ERROR), ("answer", 400), ("answer", 501))
    assert "http.request" not in seen
    assert not caplog.records


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_block_that_cannot_be_read_ends_the_connection(run: Run, case: str) -> None:
    async def main() -> tuple[str, int]:
        async with serve("tls://127.0.0.1:0", late) as service:
            async with wire_to(service) as wire:
                await wire.send(request(1, UNREADABLE[case]))
                how = await wire.ending()
            await still_served(service)
            return how

    assert run(main()) == ("connection", COMPRESSION_ERROR)


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_taken(run: Run, case: str) -> None:
    async def main() -> tuple[str, int]:
        async with serve("tls://127.0.0.1:0", late) as service, wire_to(service) as wire:
            await wire.send(settings() + TAKEN[case])
            return await outcome(wire)

    assert run(main()) == ("answer", 200)
