"""`socketkit get`, with files from this process's own server and from Python's."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from socketkit.cli.get import Progress, _header, _target, words_of
from socketkit.http.transfers import Report
from tests.cli.programs import Result, Start
from tests.cli.terminals import Terminal
from tests.http.files import Files

Ran = Callable[..., Result]

pytestmark = pytest.mark.slow

CONTENT = os.urandom(3_000_000)


@contextmanager
def opened(files: Files) -> Iterator[str]:
    """A server in a thread of its own, so that the command can be waited for."""
    address: list[str] = []
    ready, done = threading.Event(), threading.Event()

    async def main() -> None:
        async with files.open() as url:
            address.append(url)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        assert ready.wait(20)
        yield address[0]
    finally:
        done.set()
        thread.join()


def test_a_file(ran: Ran, tmp_path: Path) -> None:
    with opened(Files(CONTENT)) as url:
        result = ran("get", url, cwd=tmp_path)
        again = ran("get", url, cwd=tmp_path)
    assert (result.status, result.out) == (0, b"")
    assert result.err.startswith("file.bin: 3.00 MB, ")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert (again.status, again.err.count("\n")) == (1, 1)
    assert "file.bin exists: --force writes over it, -o takes another name" in again.err


def test_json_and_parts(ran: Ran, tmp_path: Path) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    with opened(Files(CONTENT)) as url:
        result = ran("get", "--json", "--connections", "2", "--sha256", digest, "-o", str(tmp_path / "x"), url)
    report = json.loads(result.out)
    assert (report["total_bytes"], report["sha256"], report["url"]) == (3_000_000, digest, url)
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_the_wrong_file(ran: Ran, tmp_path: Path) -> None:
    with opened(Files(CONTENT)) as url:
        result = ran("get", "--sha256", "0" * 64, url, cwd=tmp_path)
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "nothing was kept" in result.err
    assert not list(tmp_path.iterdir())


def test_to_standard_output(ran: Ran, tmp_path: Path) -> None:
    with opened(Files(CONTENT)) as url:
        assert ran("get", "-o", "-", url).out == CONTENT
    files = Files(b"")
    files.statuses = [(404, "")]
    with opened(files) as url:
        result = ran("get", "-o", "-", url)
    assert (result.status, result.out) == (1, b"")
    assert "404" in result.err


def test_interrupted_and_gone_on_with(ran: Ran, socketkit: Start, tmp_path: Path) -> None:
    files = Files(CONTENT)
    files.cuts = [1_000_000] + [0] * 99
    with opened(files) as url:
        first = socketkit("get", url, cwd=tmp_path)
        first.said("trying again, 1,000,000 bytes are there")
        first.interrupt()
        assert first.finish().status == 130
        files.cuts = []
        second = ran("get", "--json", url, cwd=tmp_path)
    assert json.loads(second.out)["resumed_bytes"] == 1_000_000
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_pin_and_headers(ran: Ran, tmp_path: Path, home: Path) -> None:
    files = Files(b"secret", "tls://localhost:0")
    with opened(files) as url:
        result = ran("get", "-H", "X-Mine: 1", "-o", str(tmp_path), f"{url}#pin={files.pin}")
    assert result.status == 0, result.err
    assert (tmp_path / "file.bin").read_bytes() == b"secret"
    assert files.asked[0]["x-mine"] == "1"


def test_progress_on_a_terminal(socketkit: Start, tmp_path: Path) -> None:
    files = Files(CONTENT)
    files.cuts = [1_500_000] + [0] * 99
    terminal = Terminal()
    try:
        with opened(files) as url:
            getting = socketkit("get", url, cwd=tmp_path, stderr=terminal.theirs, **terminal.options())
            terminal.asked("░  50 %  1.50 MB of 3.00 MB")
            files.cuts = []
            assert getting.process.wait(30) == 0
    finally:
        terminal.close()
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ftp://a/"], "begins with http:// or https://"),
        (["http://192.0.2.7/x"], "plain text could be read"),
        (["--sha256", "abc", "https://a/"], "64 hexadecimal digits"),
        (["-H", "x", "https://a/"], "a header is NAME: VALUE"),
        (["-o", "-", "--json", "https://a/"], "--json is for files"),
        (["https://me:secret@a/"], "send it as a header: Authorization"),
    ],
)
def test_what_cannot_be(ran: Ran, words: list[str], said: str, tmp_path: Path) -> None:
    result = ran("get", *words, cwd=tmp_path)
    assert result.status in (1, 2)
    assert said in result.err
    assert "secret" not in result.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/a/film.mkv?x=1", "film.mkv"),
        ("/", "index.html"),
        ("/a/", "a"),
        ("/..%2f..%2fetc%2fpasswd", "etcpasswd"),
        ("/%2e%2e", "index.html"),
        ("/.bashrc", "bashrc"),
        ("/-rf", "rf"),
        ("/a%1b%5b31mb%0a", "a[31mb"),
        ("/" + "x" * 300, "x" * 200),
        ("/%ff", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_names(target: str, name: str, tmp_path: Path) -> None:
    assert _target(None, target) == Path(name)
    assert _target(str(tmp_path), target) == tmp_path / name
    assert _target("mine", target) == Path("mine")


def test_headers() -> None:
    assert _header("A: b: c ") == ("A", "b: c")
    with pytest.raises(click.UsageError):
        _header(": x")


def test_words() -> None:
    report = Report("f", "https://a/f", 3_000_000, 2_000_000, 1_000_000, 2.0, 3, "00", None)
    assert words_of(report) == (
        "f: 3.00 MB, 1.00 MB of it from before, 3 connections, 1.00 MB/s for 2.00 s, SHA-256 is right"
    )


def test_progress_without_a_length() -> None:
    async def main() -> None:
        coming: Any = SimpleNamespace(there_bytes=1_000, total_bytes=None, received_bytes=1_000)
        shown = Progress(coming)
        await asyncio.sleep(0.001)
        assert shown.text().startswith("1.00 kB  ")

    asyncio.run(main())
