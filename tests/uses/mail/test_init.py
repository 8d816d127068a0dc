"""The names of the package."""

from __future__ import annotations

from socketkit.uses import mail


def test_every_name_is_there() -> None:
    assert all(getattr(mail, name).__name__ == name for name in mail.__all__)
