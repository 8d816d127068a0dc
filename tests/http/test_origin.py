"""Who asks, by what a browser says of it."""

from __future__ import annotations

import pytest

from socketkit.http.origin import is_foreign, is_page_of_browser

VISIT = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


def asked(method: str = "GET", **headers: str) -> bool:
    pairs = {"host": "localhost:8000"} | {name.replace("_", "-"): value for name, value in headers.items()}
    found = [(name.encode(), value.encode()) for name, value in pairs.items()]
    return is_foreign({"type": "http", "method": method, "headers": found})


@pytest.mark.parametrize(("site", "foreign"), [("same-origin", 0), ("none", 0), ("same-site", 1), ("cross-site", 1)])
def test_by_fetch_metadata(site: str, foreign: bool) -> None:
    assert asked(sec_fetch_site=site) == foreign
    assert asked("POST", sec_fetch_site=site, origin="http://localhost:8000") == foreign


def test_a_person_follows_a_link() -> None:
    for site in ("same-site", "cross-site"):
        visit = {"sec-fetch-site": site, **VISIT}
        assert not asked(**visit)
        assert not asked("HEAD", **visit)
        assert asked("POST", **visit)  # a form of another site
        assert asked(**visit | {"sec-fetch-dest": "iframe"})
        assert asked(**visit | {"sec-fetch-mode": "no-cors"})


@pytest.mark.parametrize(
    ("origin", "foreign"),
    [
        ("http://localhost:8000", False),
        ("https://localhost:8000", False),  # TLS was taken off before us
        ("http://localhost:3000", True),
        ("http://evil.example", True),
        ("http://localhost:8000.evil.example", True),
        ("localhost:8000", True),
        ("null", True),
        ("", True),
    ],
)
def test_by_origin(origin: str, foreign: bool) -> None:
    assert asked("POST", origin=origin) == foreign


def test_programs_say_nothing() -> None:
    assert not asked()
    assert not asked("POST")
    assert not is_foreign({"type": "websocket", "headers": []})


def test_a_person_opens_a_page() -> None:
    assert is_page_of_browser([(b"sec-fetch-mode", b"navigate"), (b"accept", b"*/*")])
    assert not is_page_of_browser({b"sec-fetch-mode": b"cors", b"accept": b"text/html"})
    assert is_page_of_browser({b"accept": b"text/html,*/*"})  # an older one, or plain text
    assert not is_page_of_browser({b"accept": b"*/*"})
    assert not is_page_of_browser([])
