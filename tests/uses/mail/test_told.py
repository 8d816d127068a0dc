"""Caught mail as JSON."""

from __future__ import annotations

import json

from socketkit.uses.mail.database import Caught
from socketkit.uses.mail.headers import summary
from socketkit.uses.mail.parsed import Parsed
from socketkit.uses.mail.sasl import Login
from socketkit.uses.mail.seen import Client
from socketkit.uses.mail.told import caught_as_json, client_of, content_as_json
from tests.uses.mail.boxes import whole


def caught(client: Client, raw: bytes) -> Caught:
    return Caught(3, 1.5, "ann@a.example", ("b@b.example",), len(raw), summary(raw), client.as_json(), frozenset())


def test_list() -> None:
    told = caught_as_json(caught(Client("tcp://127.0.0.1:1"), whole()))
    assert (told["id"], told["from"], told["to"], told["subject"]) == (3, "ann@a.example", ["b@b.example"], "Größe")
    assert told["header_from"] == "Ann <ann@example.org>"


def test_content() -> None:
    told = content_as_json(caught(Client("tcp://127.0.0.1:1"), whole()), Parsed(whole()))
    assert json.loads(json.dumps(told))["headers"][1] == ["Subject", "Größe"]
    assert (told["text"], told["html"].strip()) == ("hello world\r\n.dot\r\n", "<b>hello</b>")
    assert [part["name"] for part in told["parts"] if part["attachment"]] == ["bild ä.png", ""]
    assert [finding["id"] for finding in told["findings"]] == ["ML4"]


def test_the_client_is_as_it_was_seen() -> None:
    client = Client("tcp://127.0.0.1:1", hello="app", faults={"injection"})
    client.logged_in(Login("PLAIN", "ann"))
    again = client_of(caught(client, b"\r\n"))
    assert again.as_json() == client.as_json()
    assert [finding.id for finding in again.findings()] == ["ML1", "ML2", "ML4"]
    # What an older file, or one of another program, says of it.
    odd = Caught(1, 0.0, "", (), 0, summary(b""), {"peer": None, "colour": "red"}, frozenset())
    assert client_of(odd).peer == ""
