"""The inbox as `socketkit serve mail` serves it: its address, its link, and programs that ask it."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from socketkit import Endpoint, ListenError
from socketkit.cli import mail_inbox
from socketkit.cli.mail_inbox import place_of, served
from socketkit.uses.mail import Store
from tests.cli.programs import Program, Result, Start
from tests.cli.test_serve_mail import free, send, where
from tests.conftest import Run


def test_its_place_has_a_token_wherever_it_is(home: Path) -> None:
    usual = place_of(None)
    assert (str(usual.endpoint), usual.token is not None) == ("tcp://:8025", True)
    own = place_of(Endpoint.parse("tls://127.0.0.1:0?public=yes"))
    assert own.token is not None
    assert own.identity is not None
    assert own.link(Endpoint.parse("tls://127.0.0.1:7")).url.startswith("https://127.0.0.1:7/~")


def test_its_link_can_be_kept(home: Path, tmp_path: Path) -> None:
    kept = str(tmp_path / "token")
    token = place_of(None, kept).token
    assert token == (tmp_path / "token").read_text().strip()
    assert token == place_of(Endpoint.parse("tcp://localhost:0"), kept).token


def test_a_port_that_is_taken(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with Store() as store:
            with socket.create_server(("127.0.0.1", 0)) as other:
                port = other.getsockname()[1]
                monkeypatch.setattr(mail_inbox, "USUAL_PORT", port)
                async with served(store, {}) as link:
                    assert urlsplit(link.url).port not in (None, port)
                with pytest.raises(ListenError):
                    async with served(store, {}, asked=Endpoint.parse(f"tcp://localhost:{port}")):
                        pass

    run(main())


@pytest.fixture
def server(socketkit: Start) -> Program:
    words = [word for word in free() if word != "--no-inbox"]
    return socketkit("serve", "mail", *words, "--inbox", "tcp://localhost:0")


def link_of(server: Program) -> str:
    return server.said("inbox: listening on ").rpartition(" ")[2]


@pytest.mark.slow
def test_the_api_for_programs(server: Program) -> None:
    port, link = where(server, "smtp"), link_of(server)
    send(port, password=True)
    base, _, token = link.rstrip("/").partition("/~")
    with httpx.Client(base_url=link, timeout=20) as client:
        (mail,) = client.get("api/mails").json()["mails"]
        assert (mail["subject"], mail["client"]["password_in_clear"]) == ("hello", True)
        told = client.get(f"api/mails/{mail['id']}").json()
        assert told["text"] == "text\r\n"
        assert [finding["id"] for finding in told["findings"]] == ["ML1", "ML4"]
        assert client.get(f"api/mails/{mail['id']}/raw").content.endswith(b"Subject: hello\r\n\r\ntext\r\n")
        assert client.patch(f"api/mails/{mail['id']}", json={"seen": True}).json()["seen"]
        assert client.get("api/mails", params={"search": "is:unseen"}).json()["mails"] == []
    assert httpx.get(f"{base}/api/mails").status_code == 403
    bearer = {"authorization": f"Bearer {token}"}
    assert httpx.get(f"{base}/api/mails", headers=bearer).json()["count"] == 1
    assert httpx.delete(f"{base}/api/mails", headers={**bearer, "origin": "http://evil.example"}).status_code == 403
    assert httpx.delete(f"{base}/api/mails", headers=bearer).json() == {"deleted": 1}


@pytest.mark.slow
def test_events_by_curl(server: Program) -> None:
    port, link = where(server, "smtp"), link_of(server)
    with subprocess.Popen(["curl", "-sN", f"{link}api/events"], stdout=subprocess.PIPE) as curl:
        assert curl.stdout is not None
        assert json.loads(curl.stdout.readline().removeprefix(b"data: "))["kind"] == "hello"
        curl.stdout.readline()
        send(port)
        added = json.loads(curl.stdout.readline().removeprefix(b"data: "))
        assert (added["kind"], added["mails"][0]["subject"]) == ("added", "hello")
        server.interrupt()  # a page that is open keeps the command from nothing
        assert server.finish().status == 130


@pytest.mark.slow
def test_no_inbox(socketkit: Start) -> None:
    server = socketkit("serve", "mail", *free(), "--for", "1s")
    result: Result = server.finish()
    assert "pop3: listening" in result.err
    assert "inbox" not in result.err
    contradicting = socketkit("serve", "mail", *free(), "--inbox", "tcp://localhost:0").finish()
    assert contradicting.status == 2
    assert "contradict" in contradicting.err
