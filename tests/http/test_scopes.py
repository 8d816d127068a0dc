"""What a scope says of its connection."""

from __future__ import annotations

from typing import Any

import pytest

from socketkit import Endpoint
from socketkit.http import serve
from socketkit.http.scopes import address_of, target_of
from tests.conftest import Run

from .applications import answer, parted, request, require_http, talk


def test_a_scope_is_what_asgi_says(run: Run) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        require_http(scope)
        seen.append(scope)
        await answer(send, b"")

    async def main() -> int:
        async with serve("tcp://127.0.0.1:0", app) as service:
            await talk(service.local, request("/%41/%C3%BC%ff/%zz?a=%20", "X-Name: Value", method="DELETE"))
            return service.local.port or 0

    port = run(main())
    (scope,) = seen
    client = scope.pop("client")
    assert client[0] == "127.0.0.1"
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "DELETE",
        "scheme": "http",
        "path": "/A/ü\N{REPLACEMENT CHARACTER}/%zz",
        "raw_path": b"/%41/%C3%BC%ff/%zz",
        "query_string": b"a=%20",
        "root_path": "",
        "headers": [(b"host", b"example.org"), (b"connection", b"close"), (b"x-name", b"Value")],
        "server": ("127.0.0.1", port),
        "extensions": {"http.response.zerocopysend": {}},
    }


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("tcp://127.0.0.1:80", ("127.0.0.1", 80)),
        ("tcp://[::1]:80", ("::1", 80)),
        ("unix:///run/x", ("/run/x", None)),
    ],
)
def test_addresses(endpoint: str, address: tuple[str, int | None]) -> None:
    assert address_of(Endpoint.parse(endpoint)) == address


def test_a_target_is_told_as_it_came() -> None:
    assert target_of({"raw_path": b"/a%20", "query_string": b"b=c"}) == "/a%20?b=c"
    assert target_of({"raw_path": b"/", "query_string": b""}) == "/"


def test_an_absolute_target_is_its_path(run: Run) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        require_http(scope)
        await answer(send, scope["raw_path"])

    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", app) as service:
            return await talk(service.local, request("http://example.org/a"))

    assert parted(run(main()))[2] == b"/a"
