"""From what a person asked for to an address."""

from __future__ import annotations

from pathlib import Path

import pytest

from socketkit import Endpoint
from socketkit.hosting import Wanted, at, place, places
from socketkit.hosting.addresses import Address

HERE = Address("192.168.1.7", "eth0", "the local network", True, "")


@pytest.fixture(autouse=True)
def one_network(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(on: str | None = None) -> Address:
        return HERE if on is None else HERE._replace(host=on, reach=places.reach_of(on))

    monkeypatch.setattr(places, "choose", choose)


def test_this_machine_without_a_word() -> None:
    made = place(Wanted())
    assert str(made.endpoint) == "tcp://:0"
    assert (made.identity, made.shown) == (None, None)
    link = made.link(Endpoint.parse("tcp://:8000"))
    assert link.base == "http://localhost:8000"
    assert made.token is not None and link.admits(made.token)


def test_this_machine_encrypted() -> None:
    made = place(Wanted(tls=True))
    assert str(made.endpoint) == "tls://:0?public=yes"
    assert made.shown is not None and made.identity is made.shown.identity


def test_the_network_is_encrypted_and_has_a_token() -> None:
    made = place(Wanted(lan=True, port=8443))
    assert str(made.endpoint) == "tls://192.168.1.7:8443?public=yes"
    assert made.token is not None
    assert made.link(made.endpoint).base == "https://192.168.1.7:8443"


def test_public_has_no_token() -> None:
    assert place(Wanted(lan=True, public=True)).token is None


def test_plain_text_says_so() -> None:
    assert str(place(Wanted(lan=True, plaintext=True)).endpoint) == "tcp://192.168.1.7:0?plaintext=yes"


def test_everywhere_is_called_by_the_best_address() -> None:
    made = place(Wanted(on="*"))
    assert str(made.endpoint) == "tls://*:0?public=yes"
    assert made.link(made.endpoint.replace(port=7)).base == "https://192.168.1.7:7"


def test_loopback_that_was_named_stays_plain() -> None:
    assert str(place(Wanted(on="127.0.0.1")).endpoint) == "tcp://127.0.0.1:0"


def test_others_than_browsers_show_keys() -> None:
    assert str(place(Wanted(lan=True), web=False).endpoint) == "tls://192.168.1.7:0"
    assert str(place(Wanted(lan=True, public=True), web=False).endpoint) == "tls://192.168.1.7:0?public=yes"
    assert str(place(Wanted(lan=True), web=False, scheme="seqpacket+tcp").endpoint) == "seqpacket+tls://192.168.1.7:0"
    assert place(Wanted(), web=False).token is None


def test_an_address_that_was_written() -> None:
    written = Endpoint.parse("unix:///tmp/x")
    assert at(written).endpoint is written
    assert at(written).link(written).url == "unix:///tmp/x"
