from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.web.answers import answer
from socketkit.uses.web.password import HELD_UP_SECONDS, MOST_HOSTS, MOST_WRONG, Password
from tests.uses.web.asking import Answer, ask


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def inside(scope: Any, receive: Any, send: Any) -> None:
    await answer(scope, send, 200, "text/plain", b"inside")


def basic(text: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(text.encode()).decode()}"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def door(clock: Clock) -> Password:
    return Password(inside, "pässword", clock=clock)


def call(door: Password, headers: dict[str, str] | None = None, host: str = "192.0.2.1") -> Answer:
    return ask(door, "/", headers=headers, client=(host, 5))


def test_who_knows_it_is_let_in(door: Password) -> None:
    assert call(door, basic("anybody:pässword")).body == b"inside"
    assert door.refused == 0


def test_who_does_not_is_asked(door: Password) -> None:
    asked = call(door)
    assert asked.status == 401
    assert asked.headers["www-authenticate"].startswith("Basic realm=")
    for wrong in ("x:wrong", "x", "x:", ":passwor"):
        assert call(door, basic(wrong)).status == 401
    assert call(door, {"Authorization": "Basic !!!"}).status == 401
    assert call(door, {"Authorization": "Bearer pässword".encode().decode("latin-1")[:20]}).status == 401


def test_guessing_is_held_up(door: Password, clock: Clock) -> None:
    for number in range(MOST_WRONG):
        assert call(door, basic(f"x:{number}")).status == 401
    held = call(door, basic("x:pässword"))
    assert (held.status, held.headers["retry-after"]) == (429, "60")
    assert call(door, basic("x:pässword"), "192.0.2.2").status == 200
    clock.now += HELD_UP_SECONDS
    assert call(door, basic("x:pässword")).status == 200


def test_the_table_of_guessers_is_bounded(door: Password) -> None:
    for number in range(MOST_HOSTS + 1):
        door._note_wrong(str(number))
    assert len(door._wrong) == MOST_HOSTS
    assert "0" not in door._wrong


def test_an_empty_password_is_none() -> None:
    with pytest.raises(ValueError, match="empty"):
        Password(inside, "")


@given(
    st.text(st.characters(exclude_characters=":", exclude_categories=["Cs"])),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_any_name_and_any_password(name: str, password: str) -> None:
    door = Password(inside, password)
    assert call(door, basic(f"{name}:{password}")).status == 200
    assert call(door, basic(f"{name}:{password}.")).status == 401


@given(
    st.one_of(
        st.text(),
        st.text().map(lambda text: f"Basic {text}"),
        st.binary().map(lambda raw: f"Basic {b64encode(raw).decode()}"),
    )
)
def test_whatever_is_sent_opens_nothing(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        return
    assert call(Password(inside, "pässword"), {"Authorization": value}).status == 401
