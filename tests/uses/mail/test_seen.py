"""What a client did, and what is wrong with it."""

from __future__ import annotations

import json

from socketkit.uses.mail.sasl import Login
from socketkit.uses.mail.seen import Client


def test_password_in_the_clear() -> None:
    client = Client("tcp://127.0.0.1:1", hello="app", mails=1)
    client.logged_in(Login("PLAIN", "ann"))
    assert [(finding.id, finding.severity) for finding in client.findings()] == [("ML1", "high"), ("ML4", "low")]
    told = client.as_json()
    assert (told["password_in_clear"], told["user"], told["tls"]) == (True, "ann", None)
    assert client.findings()[0].evidence == "PLAIN as ann before TLS, over smtp"


def test_under_tls_nothing_is_wrong() -> None:
    client = Client("tls://127.0.0.1:1", mails=3)
    client.encrypted_with(("TLS13_AES_256_GCM_SHA384", "X25519MLKEM768"))
    client.logged_in(Login("LOGIN", "ann"))
    assert client.findings() == []
    assert (client.tls, client.cipher, client.password_in_clear) == ("TLSv1.3", "TLS13_AES_256_GCM_SHA384", False)


def test_a_password_before_tls_stays_seen() -> None:
    client = Client("tcp://127.0.0.1:1")
    client.logged_in(Login("PLAIN", "ann"))
    client.encrypted_with(None)
    assert [finding.id for finding in client.findings()] == ["ML1"]


def test_faults() -> None:
    client = Client("tcp://127.0.0.1:1", faults={"injection", "bare_newline", "mistake"})
    assert [finding.id for finding in client.findings()] == ["ML2", "ML3"]
    assert client.as_json()["faults"] == ["bare_newline", "injection", "mistake"]
    for finding in client.findings():
        assert finding.as_json()["remedy"]


def test_the_text_says_what_the_json_does() -> None:
    client = Client('tcp://[::1%25"\\]:1', hello="ä\n", faults={"mistake", "injection"})
    assert json.loads(client.as_text()) == client.as_json()
    client.logged_in(Login("PLAIN", 'a"b'))
    client.encrypted_with(("TLS13_AES_256_GCM_SHA384", "X25519MLKEM768"))
    assert json.loads(client.as_text()) == client.as_json()
    assert list(json.loads(client.as_text())) == list(client.as_json())
