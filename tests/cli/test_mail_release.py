"""What lets the inbox of `socketkit serve mail` send a mail on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.cli.programs import Result, Start
from tests.cli.test_serve_mail import free, send, where

pytestmark = pytest.mark.slow


def test_sent_on_with_a_password(socketkit: Start, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("marker-4711\n")
    real = socketkit("serve", "mail", *free("smtps"), "--no-inbox")
    port = where(real, "smtps")
    words = [word for word in free("smtp") if word != "--no-inbox"]
    words += ["--port", "0", "--release", f"tls://localhost:{port}", "--release-to", "*@example.org"]
    catcher = socketkit("serve", "mail", *words, "--release-user", "ann", "--release-password-file", str(password))
    smtp = where(catcher, "smtp")
    link = catcher.said("inbox: listening on ").rpartition(" ")[2]
    send(smtp)
    with httpx.Client(base_url=link, timeout=20) as client:
        (mail,) = client.get("api/mails").json()["mails"]
        answered = client.post(f"api/mails/{mail['id']}/release", json={})
        assert answered.json()["deliveries"][0]["accepted"]
        assert client.post("api/mails/1/release", json={"to": ["bob@other.example"]}).status_code == 403
    assert httpx.post(f"{link.partition('~')[0]}api/mails/1/release", json={}).status_code == 403  # without the token
    line = real.output.readline().decode()
    assert "TLS 1.3" in line
    assert "bob@example.org" in line
    for server in (catcher, real):
        server.interrupt()
        assert "marker-4711" not in server.finish().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--release", "tls://smtp.example.org:465"], "--release-to to whom"),
        (["--release-to", "*"], "--release says to which server"),
        (["--release-user", "ann"], "--release says to which server"),
        (["--release", "nonsense", "--release-to", "*"], "nonsense"),
        (["--release", "tls://a.example:465", "--release-to", "*", "--no-inbox"], "--no-inbox contradicts"),
        (["--release", "tls://a.example:465", "--release-to", "*", "--release-password-file", "x"], "--release-user"),
    ],
)
def test_half_of_it(ran: Callable[..., Result], words: list[str], said: str) -> None:
    result = ran("serve", "mail", *words)
    assert result.status == 2
    assert said in result.err
    assert "Traceback" not in result.err
