"""`socketkit watch --web`, as it is run; its page in a browser is in test_page.py."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import click
import pytest

from socketkit.cli.hosting import Manner
from socketkit.cli.watch_web.application import Page
from socketkit.cli.watch_web.serving import serve_page
from socketkit.errors import SocketError
from socketkit.hosting import Wanted
from socketkit.inspect.watch import watch
from tests.cli.programs import Result, Start
from tests.cli.terminals import Terminal


@pytest.mark.slow
def test_served_on_loopback_until_ctrl_c(socketkit: Start, tmp_path: Path) -> None:
    path = tmp_path / "token"
    command = socketkit("watch", "--web", "--own", "--token-file", str(path), "tcp")
    url = command.endpoint
    place = urlsplit(url).netloc
    assert urlsplit(url).hostname == "localhost"
    token = path.read_text().strip()
    assert url == f"http://{place}/~{token}/"
    for target, headers in (("", {"Authorization": f"Bearer {token}"}), (f"/~{token}", {})):
        with urlopen(Request(f"http://{place}{target}/metrics", headers=headers), timeout=20) as answer:
            assert b"socketkit_complete" in answer.read()
    for request in (Request(f"http://{place}/"), Request(f"{url}metrics", headers={"Host": "rebound.example"})):
        with pytest.raises(HTTPError, match="403") as refused:
            urlopen(request, timeout=20)
        refused.value.close()
    command.interrupt()
    result = command.finish()
    assert result.status == 130
    assert result.err.count(token) == 1  # in the link that is handed out
    assert result.out == b""


@pytest.mark.slow
def test_a_program_reads_the_link(socketkit: Start) -> None:
    command = socketkit("watch", "--web", "--own", "--json", "tcp")
    url = json.loads(command.output.readline())["url"]
    with urlopen(f"{url}metrics", timeout=20) as answer:
        assert b"socketkit_sockets" in answer.read()
    command.interrupt()
    assert command.finish().events[-1]["event"] == "ended"


@pytest.mark.slow
def test_who_looks_is_listed_on_a_terminal(socketkit: Start) -> None:
    with closing(Terminal()) as terminal:
        theirs = terminal.theirs
        command = socketkit(
            "watch", "--web", "--own", "tcp", stdin=theirs, stdout=theirs, stderr=theirs,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "24"}, **terminal.options(),
        )  # fmt: skip
        url = re.findall(r"listening on (http\S+)", terminal.asked("q ends"))[0]
        with closing(HTTPConnection(urlsplit(url).netloc, timeout=20)) as caller:
            caller.request("GET", f"{urlsplit(url).path}events")
            assert caller.getresponse().status == 200
            terminal.asked("GET /events")
            os.write(terminal.ours, b"q")
            assert command.process.wait(20) == 0
        terminal.asked("served 1 connection")


@pytest.mark.slow
def test_what_fails_is_said_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(page: Page) -> None:
        raise SocketError("watch", None, "ends of sockets: gone", 5)

    monkeypatch.setattr(Page, "work", work)
    with pytest.raises(SocketError, match="gone"):
        with click.Context(click.Command("watch")):
            serve_page(watch("tcp", namespaces="own"), Wanted(), Manner(), namespaces="own")


@pytest.mark.slow
def test_words_that_do_not_fit(ran: Callable[..., Result], tmp_path: Path) -> None:
    kept = str(tmp_path / "token")
    for words in (("--port", "80"), ("--allow-close",), ("--token-file", kept), ("--lan",), ("--no-qr",)):
        assert "add --web" in ran("watch", *words).err
    assert "--web excludes --quiet" in ran("watch", "--web", "--quiet", "--record", kept).err
    assert "no such option" in ran("watch", "--web", "--public").err
    (tmp_path / "token").write_text("x" * 26)
    (tmp_path / "token").chmod(0o644)
    result = ran("watch", "--web", "--own", "--token-file", kept)
    assert (result.status, "chmod 600" in result.err) == (1, True)
