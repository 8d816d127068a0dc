"""`socketkit watch --web`, as it is run; its page in a browser is in test_page.py."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import click
import pytest

from socketkit.cli.watch_web.application import Page
from socketkit.cli.watch_web.serving import serve_page, token_in
from socketkit.errors import SocketError
from socketkit.inspect.watch import watch
from tests.cli.programs import Result, Start


def test_a_token_is_kept_in_its_file(tmp_path: Path) -> None:
    path = str(tmp_path / "token")
    token = token_in(path)
    assert len(token) == 43
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert token_in(path) == token
    os.chmod(path, 0o640)  # for whoever scrapes the metrics
    assert token_in(path) == token


def test_what_is_no_file_for_a_token(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("short\n")
    path.chmod(0o600)
    with pytest.raises(click.UsageError, match="has no token"):
        token_in(str(path))
    path.write_text("x" * 43)
    path.chmod(0o644)
    with pytest.raises(click.UsageError, match="chmod 600"):
        token_in(str(path))
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(click.UsageError, match="no plain file"):
        token_in(str(tmp_path / "fifo"))
    with pytest.raises(FileNotFoundError):
        token_in(str(tmp_path / "missing" / "token"))


@pytest.mark.slow
def test_served_on_loopback_until_ctrl_c(socketkit: Start, tmp_path: Path) -> None:
    path = tmp_path / "token"
    command = socketkit("watch", "--web", "--own", "--token-file", str(path), "tcp")
    url = command.output.readline().decode().strip()
    place = urlsplit(url).netloc
    assert urlsplit(url).hostname == "127.0.0.1"
    token = path.read_text().strip()
    assert url == f"http://{place}/?token={token}"
    request = Request(f"http://{place}/metrics", headers={"Authorization": f"Bearer {token}"})
    with urlopen(request, timeout=20) as answer:
        assert b"socketkit_complete" in answer.read()
    with pytest.raises(HTTPError, match="403") as refused:
        urlopen(f"http://{place}/", timeout=20)
    refused.value.close()
    command.interrupt()
    result = command.finish()
    assert result.status == 130
    assert token not in result.err
    assert result.out == b""


@pytest.mark.slow
def test_what_fails_is_said_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(page: Page) -> None:
        raise SocketError("watch", None, "ends of sockets: gone", 5)

    monkeypatch.setattr(Page, "work", work)
    with pytest.raises(SocketError, match="gone"):
        asyncio.run(serve_page(watch("tcp", namespaces="own"), namespaces="own"))


@pytest.mark.slow
def test_words_that_do_not_fit(ran: Callable[..., Result], tmp_path: Path) -> None:
    for words in (("--port", "80"), ("--allow-close",), ("--token-file", str(tmp_path / "token"))):
        assert "add --web" in ran("watch", *words).err
    assert "--web excludes --json" in ran("watch", "--web", "--json").err
    (tmp_path / "token").write_text("short")
    result = ran("watch", "--web", "--own", "--token-file", str(tmp_path / "token"))
    assert (result.status, "chmod 600" in result.err) == (2, True)
