"""Caught mail as lines."""

from __future__ import annotations

from datetime import datetime

from socketkit import Endpoint
from socketkit.cli.mail_lines import caught_line, finding_line, settings, way_of
from socketkit.threats.finding import Finding
from socketkit.uses.mail.database import Caught
from socketkit.uses.mail.headers import Summary
from socketkit.uses.mail.seen import CHECKS

NOON = datetime(2026, 1, 2, 12, 0, 1).timestamp()
MAIL = Caught(
    3, NOON, "ann@a.example", ("bob@b.example",), 1_200, Summary("Your invoice"), {"tls": "TLSv1.3"}, frozenset()
)


def test_line() -> None:
    line = caught_line(MAIL)
    assert line.split() == [
        "12:00:01",
        "#3",
        "TLS",
        "1.3",
        "1.20",
        "kB",
        "ann@a.example",
        "->",
        "bob@b.example",
        "Your",
        "invoice",
    ]
    many = MAIL._replace(sender="", recipients=tuple(f"{name}@b.example" for name in "abcde"))
    assert "<> -> a@b.example, b@b.example, c@b.example and 2 more" in caught_line(many)


def test_way() -> None:
    assert way_of({"tls": None}) == "plain text"
    assert way_of({"tls": None, "password_in_clear": True}) == "plain text, PASSWORD SEEN"
    assert way_of({"tls": "TLSv1.3", "password_in_clear": True}) == "TLS 1.3"


def test_finding() -> None:
    line = finding_line(Finding(CHECKS["password"], "app", "PLAIN as ann before TLS, over smtp", "turn on TLS"))
    assert line.startswith("high ML1: A mail program sent a password in plain text (app: PLAIN as ann")


def test_settings() -> None:
    addresses = {"smtp": Endpoint.parse("tcp://localhost:1025"), "smtps": Endpoint.parse("tls://*:1465?public=yes")}
    assert settings(addresses, "c.pem") == [
        "SMTP_HOST=localhost SMTP_PORT=1025",
        "SMTPS_HOST=localhost SMTPS_PORT=1465",
        "SSL_CERT_FILE=c.pem",
    ]
