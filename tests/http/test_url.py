"""Addresses of the web."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit import EndpointError
from socketkit.http.url import Url
from tests.keys import A


@pytest.mark.parametrize(
    ("text", "endpoint", "target", "authority"),
    [
        ("https://a.example", "tls://a.example:443", "/", "a.example"),
        ("HTTPS://A.example:443/x?y=1#top", "tls://a.example:443", "/x?y=1", "a.example"),
        ("http://localhost:8000/a%20b", "tcp://localhost:8000", "/a%20b", "localhost:8000"),
        ("https://[fd00::7]:8443/", "tls://[fd00::7]:8443", "/", "[fd00::7]:8443"),
        ("https://a.example?q", "tls://a.example:443", "/?q", "a.example"),
        ("https://a.example/ü", "tls://a.example:443", "/%C3%BC", "a.example"),
        ("https://ü.example/", "tls://xn--tda.example:443", "/", "xn--tda.example"),
    ],
)
def test_parse(text: str, endpoint: str, target: str, authority: str) -> None:
    url = Url.parse(text)
    assert (str(url.endpoint), url.target, url.authority) == (endpoint, target, authority)


def test_whom_to_trust_stands_behind_the_hash() -> None:
    url = Url.parse(f"https://192.168.1.7:8443/a#pin={A}")
    assert url.endpoint.query == {"pin": A}
    assert str(url) == "https://192.168.1.7:8443/a"
    assert Url.parse("https://a.example/#trust=system").endpoint.query == {"trust": "system"}
    with pytest.raises(EndpointError, match="proves nothing"):
        Url.parse(f"http://localhost/#pin={A}")
    with pytest.raises(EndpointError):
        Url.parse("https://a.example/#pin=sk1:nonsense")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ftp://a/", "begins with http"),
        ("a.example", "begins with http"),
        ("https:///a", "no host"),
        ("https://[::1/", "no host"),
        (f"https://{'ü' * 70}.example/", "no host"),
        ("https://a b/", "a space"),
        ("https://a/\r\nX: y", "a space or a control"),
        ("https://a:99999/", "no port"),
        ("https://me:secret@a.example/", "a name or a password"),
    ],
)
def test_what_is_none(text: str, words: str) -> None:
    with pytest.raises(EndpointError, match=words) as caught:
        Url.parse(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/x", "https://a.example/x"),
        ("x y", "https://a.example/d/x%20y"),
        ("//b.example/x", "https://b.example/x"),
        ("http://a.example/", "http://a.example/"),
        ("https://a.example:8443/x#part", "https://a.example:8443/x"),
        ("?q=1", "https://a.example/d/e?q=1"),
    ],
)
def test_joined(location: str, url: str) -> None:
    assert str(Url.parse("https://a.example/d/e").joined(location)) == url


def test_trust_goes_along_to_the_same_server_only() -> None:
    here = Url.parse(f"https://a.example/#pin={A}")
    assert here.joined("/x").endpoint == here.endpoint
    assert here.joined("https://b.example/").endpoint.query == {}
    assert here.joined(f"https://b.example/#pin={A}").endpoint.query == {}  # a server has no say in that


@given(st.one_of(st.text(), st.text("htps:/[]@#?%.0123456789ab ")).map(lambda text: f"https://{text}"))
def test_whatever_is_written(text: str) -> None:
    """It is an address, which means the same when it is read again, or an error of one kind."""
    try:
        url = Url.parse(text)
    except EndpointError:
        return
    assert Url.parse(str(url))._replace(endpoint=url.endpoint) == url
