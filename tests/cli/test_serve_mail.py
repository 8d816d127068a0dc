"""`socketkit serve mail` as a person starts it."""

from __future__ import annotations

import json
import os
import re
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from socketkit import Endpoint
from tests.cli.programs import Program, Result, Start
from tests.cli.terminals import Terminal

pytestmark = pytest.mark.slow

TEXT = "Subject: hello\r\n\r\ntext\r\n"


def where(server: Program, name: str) -> int:
    """The port of a service, once it listens."""
    line = server.said(f"{name}: listening on ")
    port = Endpoint.parse(line.rpartition(" ")[2]).port
    assert port is not None
    return port


def free(*services: str) -> list[str]:
    addresses = dict.fromkeys(("smtp", "imap", "pop3"), "tcp://localhost:0") | {"smtps": "tls://localhost:0"}
    return ["--no-inbox", *(word for name in services or addresses for word in (f"--{name}", addresses[name]))]


def send(port: int, *, password: bool = False, to: str = "bob@example.org") -> None:
    with smtplib.SMTP("localhost", port, timeout=20) as client:
        if password:
            client.login("ann", "secret")
        client.sendmail("ann@example.org", [to], TEXT)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_lines_and_findings(socketkit: Start) -> None:
    server = socketkit("serve", "mail", *free())
    send(where(server, "smtp"), password=True)
    line = server.output.readline().decode() if hasattr(server.output, "readline") else ""
    assert "plain text, PASSWORD SEEN" in line
    assert "ann@example.org -> bob@example.org" in line
    assert "high ML1" in server.said("ML1")
    server.interrupt()
    result = server.finish()
    assert result.status == 130
    assert "caught 1 mail" in result.err
    assert "secret" not in result.err + line


def test_json_and_tls(socketkit: Start, tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    server = socketkit("serve", "mail", "--json", "--certificate", str(certificate), *free())
    port = where(server, "smtps")
    context = ssl.create_default_context(cafile=str(certificate))
    with smtplib.SMTP_SSL("localhost", port, timeout=20, context=context) as client:
        client.sendmail("ann@example.org", ["bob@example.org"], TEXT)
    listening, *three = (json.loads(server.output.readline()) for _ in range(4))
    assert Endpoint.parse(listening["services"]["smtps"]).port == port
    # The mail is told by the store, who comes and goes by the list.
    joined, mail, left = sorted(three, key=lambda event: ("joined", "caught", "left").index(event["event"]))
    assert joined["doing"] == "smtp"
    assert (mail["from"], mail["to"], mail["subject"]) == ("ann@example.org", ["bob@example.org"], "hello")
    assert mail["client"]["tls"] == "TLSv1.3"
    assert (left["mails"], left["findings"], left["doing"]) == (1, [], "smtp, TLS 1.3, 1 mail")
    assert left["client"]["cipher"]
    server.interrupt()
    result = server.finish()
    assert result.status == 130
    ended = result.events[-1]
    assert (ended["event"], ended["mails"], ended["connections"], ended["stats"]["accepted"]) == ("ended", 1, 1, 1)


def test_an_authority_s_word_is_enough(socketkit: Start, ran: Callable[..., Result], tmp_path: Path) -> None:
    assert ran("authority", "make").status == 0
    certificate = tmp_path / "certificate.pem"
    server = socketkit("serve", "mail", "--certificate", str(certificate), *free("smtp"))
    port = where(server, "smtp")
    assert certificate.read_text() == ran("authority", "show", "--certificate").out.decode()
    with smtplib.SMTP("localhost", port, timeout=20) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(certificate)))
        client.sendmail("ann@example.org", ["bob@example.org"], TEXT)


def test_once(socketkit: Start) -> None:
    server = socketkit("serve", "mail", "--once", *free("smtp"))
    port = where(server, "smtp")
    with smtplib.SMTP("localhost", port, timeout=20) as client:
        client.noop()  # and no mail
    send(port)
    result = server.finish()
    assert result.status == 0
    assert "caught 1 mail\nserved 2 connections" in result.err


def test_who_has_nothing_under_way_is_not_waited_for(socketkit: Start) -> None:
    server = socketkit("serve", "mail", *free("smtp", "pop3"))
    port = where(server, "smtp")
    with smtplib.SMTP("localhost", port, timeout=20) as silent, smtplib.SMTP("localhost", port, timeout=20) as busy:
        silent.noop()
        busy.ehlo()
        busy.mail("ann@example.org")
        with socket.create_connection(("localhost", where(server, "pop3"))) as reader:
            assert reader.recv(100).startswith(b"+OK")
            server.interrupt()
            assert b"-ERR the server ends" in reader.recv(100)
        assert silent.getreply()[0] == 421
        busy.rcpt("bob@example.org")  # it is still served
        busy.data(TEXT)
        assert busy.getreply()[0] == 421
        silent.close()
        busy.close()
    result = server.finish()
    assert result.status == 130
    assert "caught 1 mail\nserved 3 connections" in result.err


def test_the_list_on_a_terminal(socketkit: Start, terminal: Terminal) -> None:
    theirs = terminal.theirs
    server = socketkit(
        "serve", "mail", *free("smtp"), stdin=theirs, stdout=theirs, stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120", "LINES": "24"}, **terminal.options(),
    )  # fmt: skip
    port = int(re.findall(r"smtp: listening on tcp://localhost:(\d+)", terminal.asked("q ends"))[0])
    with smtplib.SMTP("localhost", port, timeout=20) as client:
        client.login("ann", "secret")
        client.sendmail("ann@example.org", ["bob@example.org"], TEXT)
        terminal.asked("ann@example.org -> bob@example.org")  # the line of the mail, above the list
        terminal.asked("smtp, plain text, as ann, 1 mail, PASSWORD SEEN")
        os.write(terminal.ours, b"\x1b[B")
        terminal.asked("> ")
        os.write(terminal.ours, b"x")
        with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
            while True:
                client.noop()
        client.close()
    terminal.asked("0 connections, 1 before")
    os.write(terminal.ours, b"q")
    assert server.process.wait(20) == 0
    assert "caught 1 mail" in terminal.asked("served 1 connection")


def test_kept_failing_and_for_a_time(socketkit: Start, tmp_path: Path) -> None:
    kept = str(tmp_path / "mail.db")
    words = ["--keep", kept, "--fail", "rcpt:eve@*=550", "--seed", "7", *free()]
    server = socketkit("serve", "mail", *words)
    port = where(server, "smtp")
    send(port)
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(port, to="eve@example.org")
    assert "--seed 7" in server.said("--seed")
    server.interrupt()
    assert server.finish().status == 130
    again = socketkit("serve", "mail", "--for", "1s", *words)
    result = again.finish()
    assert (result.status, "caught 0 mails" in result.err) == (0, True)
    from socketkit.uses.mail.database import Database

    database = Database(kept)
    assert [mail.recipients for mail in database.newest(9)] == [("bob@example.org",)]
    database.close()


def test_taken_ports_give_way_to_free_ones(socketkit: Start) -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", 1025))
            holder.listen()
        except OSError:
            pass  # somebody else has it: as good
        server = socketkit("serve", "mail", *free("smtps", "imap", "pop3"))
        port = where(server, "smtp")
        assert port != 1025
        send(port)
        server.interrupt()
        assert "caught 1 mail" in server.finish().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fail", "rcpt=abc"], "rcpt=abc\n       ^"),
        (["--for", "soon"], "90s, 10m, 1h30m"),
        (["--smtp", "tcp://*:0"], "plaintext=yes"),
        (["--keep", "/dev/null/x"], "/dev/null/x"),
        (["--lan"], "--no-inbox contradicts"),
        (["--port", "0"], "--no-inbox contradicts"),
        (["--qr"], "--no-inbox contradicts"),
    ],
)
def test_faults_of_the_caller(socketkit: Start, words: list[str], said: str) -> None:
    result = socketkit("serve", "mail", *free("smtps", "imap", "pop3"), *words).finish()
    assert result.status in (1, 2)
    assert said in result.err
    assert "Traceback" not in result.err
