"""QR codes: what they hold, and what is said without the package that makes them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from socketkit.cli.qr import PLAIN, WHITE_ON_BLACK, drawn
from tests.keys import A


def modules(picture: str) -> list[list[bool]]:
    """Dark or light, from the half blocks; the quiet zone included."""
    rows = []
    for line in picture.splitlines():
        rows.append([char in " ▄" for char in line])
        rows.append([char in " ▀" for char in line])
    return rows


def test_drawn() -> None:
    segno = pytest.importorskip("segno", reason="segno is not installed: make setup-dev")
    code = segno.make(A.upper(), error="l", micro=False)
    assert (code.version, code.mode) == (3, "alphanumeric")
    rows = modules(drawn(A.upper(), coloured=False))
    drawn_code = [row[2:-2] for row in rows[2 : 2 + len(code.matrix)]]
    assert drawn_code == [[bool(module) for module in row] for row in code.matrix]
    assert not any(rows[0]) and not any(rows[1])


def test_coloured() -> None:
    pytest.importorskip("segno", reason="segno is not installed: make setup-dev")
    plain, coloured = drawn(A, coloured=False), drawn(A, coloured=True)
    assert coloured.splitlines() == [f"{WHITE_ON_BLACK}{line}{PLAIN}" for line in plain.splitlines()]


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    with pytest.raises(click.ClickException, match=r"pip install 'socketkit\[qr\]'"):
        drawn(A, coloured=False)


@pytest.mark.slow
@pytest.mark.parametrize("text", [A.upper(), f"https://192.168.1.7:8443/~{'k3v9' * 6}ab/"])
def test_read_by_another_program(text: str, program: Callable[[str], str], tmp_path: Path) -> None:
    pytest.importorskip("segno", reason="segno is not installed: make setup-dev")
    rows = [[module for module in row for _ in range(4)] for row in modules(drawn(text, coloured=False))]
    pixels = bytes(0 if dark else 255 for row in rows for _ in range(4) for dark in row)
    picture = tmp_path / "code.pgm"
    picture.write_bytes(b"P5 %d %d 255\n" % (len(rows[0]), 4 * len(rows)) + pixels)
    read = subprocess.run([program("zbarimg"), "-q", "--raw", picture], capture_output=True, text=True, timeout=30)
    assert read.stdout == f"{text}\n"
