"""The link, and the token in it."""

from __future__ import annotations

import hmac
import pickle

import pytest

from socketkit import Endpoint
from socketkit.hosting import link as links
from socketkit.hosting.link import ALPHABET, TOKEN_LETTERS, Link, new_token, web_base


def test_url() -> None:
    link = Link("https://192.168.1.7:8443", "abc")
    assert (link.url, link.prefix) == ("https://192.168.1.7:8443/~abc/", "/~abc")
    assert Link("tcp://localhost:7").url == "tcp://localhost:7"


def test_it_does_not_show_its_token() -> None:
    link = Link("https://a:1", "secret")
    assert "secret" not in repr(link)
    assert link.hidden("GET /~secret/a HTTP/1.1") == "GET /~.../a HTTP/1.1"
    assert link.hidden("GET /%7Esec%72et/a%20b") == "GET /~.../a b"
    assert link.hidden("GET /a%20b") == "GET /a%20b"
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(link)
    with pytest.raises(AttributeError, match="frozen"):
        link.base = ""
    with pytest.raises(AttributeError, match="frozen"):
        del link.base


def test_equality() -> None:
    assert Link("a", "b") == Link("a", "b") != Link("a", "c")
    assert len({Link("a", "b"), Link("a", "b"), Link("a")}) == 2
    assert Link("a") != "a"


def test_admits_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(links, "hmac", type("fake", (), {"compare_digest": staticmethod(compare)}))
    link = Link("a", "right")
    assert link.admits("right") and not link.admits("wrong") and not link.admits("ü")
    assert len(compared) == 3
    assert not Link("a").admits("")


def test_tokens_cannot_be_guessed() -> None:
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(len(token) == TOKEN_LETTERS and set(token) <= set(ALPHABET) for token in tokens)
    assert len(set(ALPHABET)) ** TOKEN_LETTERS > 2**128


@pytest.mark.parametrize(
    ("address", "base"),
    [
        ("tls://192.168.1.7:8443", "https://192.168.1.7:8443"),
        ("tls://192.168.1.7:443", "https://192.168.1.7"),
        ("tcp://localhost:80", "http://localhost"),
        ("tcp://:8000", "http://localhost:8000"),
        ("tls://[fd00::7]:8443", "https://[fd00::7]:8443"),
        ("tls://[fe80::7%25eth0]:8443", "https://[fe80::7%25eth0]:8443"),
    ],
)
def test_web_base(address: str, base: str) -> None:
    assert web_base(Endpoint.parse(address)) == base
