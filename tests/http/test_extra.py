"""Without the libraries of the extra, what needs them says what to install, and the rest works."""

from __future__ import annotations

import pytest

from socketkit.http import extra, serve, service, websocket
from tests.conftest import Run

from .applications import hello, parted, request, talk
from .test_websocket import offer


def test_they_are_here() -> None:
    assert extra.has_http2()
    assert extra.has_websocket()


def test_without_wsproto(run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(websocket, "has_websocket", lambda: False)

    async def main() -> bytes:
        async with serve("tcp://127.0.0.1:0", hello) as running:
            return await talk(running.local, offer())

    assert parted(run(main()))[0] == 501
    assert "pip install 'socketkit[web]'" in caplog.text


def test_without_h2(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "has_http2", lambda: False)

    async def main() -> bytes:
        async with serve("tls://127.0.0.1:0", hello) as running:
            assert running.local.query["alpn"] == "http/1.1"
            return await talk(running.local, request())

    assert parted(run(main()))[2] == b"hello"
