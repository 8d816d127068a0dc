"""By which names a service is called."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit import Endpoint
from socketkit.hosting import Link, Place, Wanted, authority, host, place
from socketkit.hosting.names import named
from socketkit.hosting.web import web
from socketkit.http import httpx_transport
from tests.calling import called
from tests.conftest import Run


async def hello(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})


def at(url: str, host: str = "localhost", names: tuple[str, ...] = ()) -> Place:
    return Place(Endpoint.parse(url), None, host, None, None, True, names)


def asked(place: Place, scope: dict[str, Any]) -> list[Any]:
    """What is sent to who asks so."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def main() -> None:
        await named(hello, place)(scope, None, send)

    asyncio.run(main())
    return sent


def lets_in(place: Place, *hosts: str) -> bool:
    headers = [(b"host", name.encode()) for name in hosts]
    sent = asked(place, {"type": "http", "headers": headers})
    assert sent[0]["status"] in (200, 403)
    return bool(sent[0]["status"] == 200)


@pytest.mark.parametrize(
    ("name", "let_in"),
    [
        ("127.0.0.1:7000", True),
        ("localhost:8080", True),  # through ssh -L
        ("LOCALHOST", True),
        ("[::1]:7000", True),
        ("evil.example:7000", False),  # DNS rebinding
        ("127.0.0.1.evil.example", False),
        ("127.0.0.1:7000@evil.example", False),
        ("localhost:x", False),
        ("localhost.", False),
        ("192.0.2.1:7000", False),
        ("", False),
    ],
)
def test_on_this_machine(name: str, let_in: bool) -> None:
    for url in ("tcp://:7000", "tcp4://127.0.0.1:7000", "tcp6://[::1]:7000", "tcp://localhost:7000"):
        assert lets_in(at(url), name) == let_in


def test_two_names_or_none() -> None:
    assert not lets_in(at("tcp://:0"), "localhost", "evil.example")
    assert not lets_in(at("tcp://:0"))


@pytest.mark.parametrize(
    ("name", "let_in"),
    [
        ("192.168.1.7:80", True),
        ("203.0.113.9", True),  # of a router that leads here: it is no name
        ("[fd00::7]:80", True),
        ("own:80", True),
        ("own.local", True),
        ("localhost:80", True),
        ("evil.example", False),
        ("fd00::7", False),
        ("192.168.1.7.evil.example", False),
    ],
)
def test_on_a_network(monkeypatch: pytest.MonkeyPatch, name: str, let_in: bool) -> None:
    monkeypatch.setattr(authority, "_host", lambda: "own")
    for url in ("tcp://192.168.1.7:80?plaintext=yes", "tcp://*:80?plaintext=yes"):
        assert lets_in(at(url, "192.168.1.7"), name) == let_in


def test_a_proxy_calls_it_otherwise() -> None:
    behind = at("tcp://:0", names=("Files.Example",))
    assert lets_in(behind, "files.example")
    assert lets_in(behind, "files.example:443")
    assert not lets_in(behind, "www.files.example")


def test_what_no_name_leads_to() -> None:
    for url in ("tls://*:443?public=yes", "unix:///run/x", "mem://x"):
        assert lets_in(at(url), "evil.example")


def test_others_than_requests() -> None:
    assert asked(at("tcp://:0"), {"type": "lifespan"}) == []
    scope = {"type": "websocket", "headers": [(b"host", b"evil.example")]}
    assert asked(at("tcp://:0"), scope) == [{"type": "websocket.close", "code": 4403}]


def test_what_is_public_needs_it_most(run: Run, home: Any) -> None:
    async def main() -> None:
        async with host(web(hello), place(Wanted(public=True, names=("files.example",)))) as hosted:
            async with httpx.AsyncClient(transport=httpx_transport(), base_url=hosted.link.base) as client:
                assert (await client.get("/")).text == "hello"
                assert (await client.get("/", headers={"host": "files.example"})).text == "hello"
                refused = await client.get("/", headers={"host": "evil.example"})
                assert (refused.status_code, "--name" in refused.text) == (403, True)

    run(main())


def test_the_name_of_its_link_is_one() -> None:
    async def main() -> None:
        made = at("tcp://[fd00::7]:80?plaintext=yes", "fd00::7")
        assert isinstance(made.link(made.endpoint), Link)
        answer = await called(named(hello, made), "/", headers={"host": "[fd00::7]"})
        assert answer.status == 200

    asyncio.run(main())


PARTS = st.sampled_from(
    ["localhost", "LOCALHOST", "127.0.0.1", "[::1]", ":", "80", "evil.example", ".", "[", "]", "%", "\xff"]
)


@given(st.one_of(st.lists(PARTS, max_size=4).map("".join), st.text(st.characters(max_codepoint=255), max_size=20)))
def test_no_other_name_is_let_in(name: str) -> None:
    own = {"localhost", "127.0.0.1", "[::1]"}
    before, colon, port = name.lower().rpartition(":")
    expected = name.lower() in own or (before in own and bool(colon) and port.isascii() and port.isdigit())
    sent = asked(at("tcp://localhost:80"), {"type": "http", "headers": [(b"host", name.encode("latin-1"))]})
    assert (sent[0]["status"] == 200) == expected
