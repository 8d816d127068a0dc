"""Who is let in, and who may change something."""

from __future__ import annotations

import re

import pytest

from socketkit.cli.watch_web.door import Door
from socketkit.http.exchange import Answer, Request

HOST = {"host": "127.0.0.1:7000"}


def asked(path: str = "/", method: str = "GET", query: dict[str, str] | None = None, **headers: str) -> Request:
    return Request(method, path, query or {}, HOST | {name.replace("_", "-"): value for name, value in headers.items()})


def entered(door: Door) -> tuple[Answer, str]:
    """The answer to whoever brings the token, and the cookie in it."""
    answer = door.entrance(asked(query={"token": door.token}))
    assert answer is not None
    return answer, dict(answer.headers)["set-cookie"]


def test_the_token_is_exchanged_for_a_cookie() -> None:
    door = Door()
    answer, cookie = entered(door)
    assert (answer.status, dict(answer.headers)["location"]) == (303, door.folder)
    assert {"HttpOnly", "SameSite=Strict", f"Path={door.folder}"} <= set(cookie.split("; "))
    assert door.token not in cookie
    assert door.admits(asked(door.folder, cookie=cookie.partition(";")[0]))
    assert door.admits(asked(door.folder, cookie=f"socketkit-watch=of-another; {cookie.partition(';')[0]}"))


def test_nothing_else_opens() -> None:
    door, other = Door(), Door()
    assert door.entrance(asked(query={"token": other.token})) is None
    assert door.entrance(asked(query={"token": ""})) is None
    assert door.entrance(asked()) is None
    assert door.entrance(asked(method="POST", query={"token": door.token})) is None
    assert not door.admits(asked(door.folder))
    assert not door.admits(asked(door.folder, cookie=entered(other)[1].partition(";")[0]))
    assert not door.admits(asked(door.folder, cookie=f"socketkit-watch={door.token}"))
    assert not door.admits(asked(door.folder, cookie="socketkit-watch=ü"))


def test_secrets_are_long_and_differ() -> None:
    door, other = Door(), Door()
    secrets = [door.token, door.key, door.folder, other.token, other.key, other.folder]
    assert len(set(secrets)) == 6
    assert all(re.fullmatch(r"[\w-]{43}", secret) for secret in (door.token, door.key))
    assert Door("given").token == "given"


@pytest.mark.parametrize(
    ("host", "let_in"),
    [
        ("127.0.0.1:7000", True),
        ("localhost:8080", True),  # through ssh -L
        ("LOCALHOST", True),
        ("[::1]:7000", True),
        ("evil.example:7000", False),  # DNS rebinding
        ("127.0.0.1.evil.example", False),
        ("127.0.0.1:7000@evil.example", False),
        ("localhost:x", False),
        ("192.0.2.1:7000", False),
        ("", False),
    ],
)
def test_it_is_asked_for_by_our_name_only(host: str, let_in: bool) -> None:
    refusal = Door().refusal(Request("GET", "/", {}, {"host": host}))
    assert (refusal is None) == let_in
    assert refusal is None or refusal.status == 403


def test_no_other_page_asks() -> None:
    door = Door()
    for site, own in (("same-origin", True), ("same-site", False), ("cross-site", False), ("none", False)):
        assert (door.refusal(asked(f"{door.folder}events", sec_fetch_site=site)) is None) == own
        assert door.refusal(asked(door.folder, sec_fetch_site=site)) is None  # a link, and then no cookie
    assert door.refusal(asked(f"{door.folder}events")) is None  # what is no browser says nothing


def test_only_the_page_changes_something() -> None:
    door = Door()
    whole = {
        "cookie": entered(door)[1].partition(";")[0],
        "origin": "http://127.0.0.1:7000",
        "content_type": "application/json",
        "x_socketkit_key": door.key,
    }
    assert door.admits_change(asked(method="POST", **whole))
    assert door.admits_change(asked(method="POST", **whole | {"content_type": "application/json; charset=utf-8"}))
    for name in whole:
        without = {key: value for key, value in whole.items() if key != name}
        assert not door.admits_change(asked(method="POST", **without))
        assert not door.admits_change(asked(method="POST", **whole | {name: "wrong"}))
    assert not door.admits_change(asked(method="POST", **whole | {"origin": "http://127.0.0.1:7001"}))
    assert not door.admits_change(asked(method="POST", **whole | {"origin": "null"}))


def test_programs_bring_the_token_itself() -> None:
    door = Door()
    assert door.admits_reader(asked(authorization=f"Bearer {door.token}"))
    assert door.admits_reader(asked(query={"token": door.token}))
    assert not door.admits_reader(asked(authorization=f"Basic {door.token}"))
    assert not door.admits_reader(asked(authorization="Bearer "))
    assert not door.admits_reader(asked(query={"token": f"{door.token}x"}))
    assert not door.admits_reader(asked())
