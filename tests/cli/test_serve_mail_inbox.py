"""The inbox as `socketkit serve mail` serves it: its address, its link, and programs that ask it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from socketkit import Endpoint
from socketkit.cli.serve_mail import USUAL_PORT
from tests.cli.programs import Program, Result, Start
from tests.cli.test_serve_mail import free, send, where


@pytest.fixture
def server(socketkit: Start) -> Program:
    words = [word for word in free() if word != "--no-inbox"]
    return socketkit("serve", "mail", *words, "--port", "0")


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
def test_its_usual_port_or_a_free_one(socketkit: Start) -> None:
    words = [word for word in free() if word != "--no-inbox"]
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", USUAL_PORT))
            holder.listen()
        except OSError:
            pass  # somebody else has it: as good
        server = socketkit("serve", "mail", *words)
        port = urlsplit(link_of(server)).port
        assert port not in (None, USUAL_PORT)
        taken = socketkit("serve", "mail", *words, "--port", str(port)).finish()
    assert taken.status == 1
    assert "in use" in taken.err


@pytest.mark.slow
def test_on_the_network_it_is_encrypted_and_has_a_token(socketkit: Start) -> None:
    words = [word for word in free() if word != "--no-inbox"]
    server = socketkit("serve", "mail", *words, "--port", "0", "--on", "127.0.0.1", "--tls", "--json")
    listening = json.loads(server.output.readline())
    assert re.fullmatch(r"https://127\.0\.0\.1:\d+/~[a-z2-9]{26}/", listening["url"])
    assert listening["services"]["inbox"] == listening["url"]
    assert listening["browser_fingerprint"]
    assert Endpoint.parse(listening["services"]["smtp"]).host == "localhost"  # where mail is taken is another matter
    public = socketkit("serve", "mail", "--public").finish()
    assert public.status == 2
    assert "no such option" in public.err


@pytest.mark.slow
def test_its_link_can_be_kept(socketkit: Start, tmp_path: Path) -> None:
    words = [*(word for word in free("smtp") if word != "--no-inbox"), "--token-file", str(tmp_path / "token")]
    tokens = []
    for _ in range(2):
        server = socketkit("serve", "mail", *words, "--port", "0")
        tokens.append(link_of(server).partition("~")[2])
        server.interrupt()
        server.finish()
    assert tokens[0] == tokens[1] == f"{(tmp_path / 'token').read_text().strip()}/"


@pytest.mark.slow
def test_no_inbox(socketkit: Start) -> None:
    server = socketkit("serve", "mail", *free(), "--for", "1s")
    result: Result = server.finish()
    assert "pop3: listening" in result.err
    assert "inbox" not in result.err
