"""`socketkit send-mail` to our own catcher."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from socketkit.uses.mail.database import Database
from tests.cli.programs import Program, Result, Start

Ran = Callable[..., Result]

pytestmark = pytest.mark.slow

WHO = ("--from", "ann@example.org", "--to", "bob@example.org")


@pytest.fixture
def kept(tmp_path: Path) -> str:
    return str(tmp_path / "mail.db")


@pytest.fixture
def server(socketkit: Start, kept: str) -> Program:
    listening = [word for name in ("smtp", "imap", "pop3") for word in (f"--{name}", "tcp://localhost:0")]
    return socketkit(
        "serve", "mail", *listening, "--smtps", "tls://localhost:0", "--keep", kept, "--fail", "rcpt:gone@*=550 no such"
    )


def address(server: Program, name: str) -> str:
    return server.said(f"{name}: listening on ").rpartition(" ")[2]


def test_text_with_attachment(ran: Ran, server: Program, kept: str, tmp_path: Path) -> None:
    """The catcher's identity is this user's own: on loopback it is trusted."""
    picture = tmp_path / "a.png"
    picture.write_bytes(b"\x89PNG")
    words = [*WHO, "--subject", "Größe", "--attach", str(picture), "--server", address(server, "smtp")]
    result = ran("send-mail", *words, data="text ä\n".encode())
    assert (result.status, result.err) == (0, "")
    assert re.fullmatch(rb"bob@example\.org: 250 .*Taken \(tcp://localhost:\d+\)\n", result.out)
    database = Database(kept)
    (mail,) = database.newest(9)
    raw = database.raw(mail.id) or b""
    database.close()
    assert (mail.summary.subject, mail.client["tls"]) == ("Größe", "TLSv1.3")
    assert b'filename="a.png"' in raw


def test_login_and_json(ran: Ran, server: Program) -> None:
    words = [*WHO, "--to", "gone@example.org", "--user", "ann", "--json", "--server", address(server, "smtps")]
    environment = {**os.environ, "SOCKETKIT_MAIL_PASSWORD": "marker-4711"}
    result = ran("send-mail", *words, data=b"text", env=environment)
    told = {each["recipient"]: each for each in json.loads(result.out)["deliveries"]}
    assert (result.status, told["bob@example.org"]["accepted"]) == (1, True)
    assert (told["gone@example.org"]["code"], told["gone@example.org"]["text"]) == (550, "no such")
    assert "marker-4711" not in result.err + result.out.decode()


def test_raw(ran: Ran, server: Program, kept: str) -> None:
    mail = b"Subject: raw\r\nX-Own: 1\r\n\r\ntext\r\n"
    assert ran("send-mail", *WHO, "--raw", "--server", address(server, "smtps"), data=mail).status == 0
    database = Database(kept)
    assert database.raw(1) == mail
    database.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--mx"),
        (["--server", "tls://localhost:1", "--mx"], "--mx"),
        (["--server", "tls://localhost:1", "--raw", "--subject", "x"], "--raw"),
        (["--server", "tls://localhost:1", "--password-file", "x"], "--user"),
        (["--server", "tls://localhost:1", "--to", "nobody"], "no address"),
        (["--server", "tls://localhost:1"], "send to tls://localhost:1"),
    ],
)
def test_faults_of_the_caller(ran: Ran, words: list[str], said: str) -> None:
    result = ran("send-mail", *WHO, *words, data=b"text")
    assert result.status in (1, 2)
    assert said in result.err
    assert "Traceback" not in result.err
