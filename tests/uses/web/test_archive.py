from __future__ import annotations

import asyncio
import io
import os
import shutil
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from socketkit.uses.web import archive
from socketkit.uses.web.archive import archived, send_archive, shown
from socketkit.uses.web.files import Files
from socketkit.uses.web.listing import Listing
from socketkit.uses.web.tree import Tree
from tests.uses.web.asking import ask


@pytest.fixture
def root(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    (top / "sub" / "deep").mkdir(parents=True)
    (top / "sub" / "deep" / "ünï 日本.txt").write_text("deep")
    (top / "a.bin").write_bytes(os.urandom(1_300_000))
    (top / "empty").mkdir()
    (top / "run.sh").write_text("#!/bin/sh\n")
    (top / "run.sh").chmod(0o755)
    (top / ".hidden").write_text("no")
    os.utime(top / "a.bin", (1_500_000_001, 1_500_000_001))
    return top


@pytest.fixture
def tree(root: Path) -> Iterator[Tree]:
    with Tree(root) as tree:
        yield tree


def made(tree: Tree, path: str = "/") -> zipfile.ZipFile:
    folder = tree.open(path)
    assert folder is not None
    with folder:
        return zipfile.ZipFile(io.BytesIO(b"".join(archived(tree, folder, "top"))))


def test_what_is_in_it(tree: Tree, root: Path) -> None:
    with made(tree) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == [
            "top/", "top/a.bin", "top/empty/", "top/run.sh", "top/sub/", "top/sub/deep/", "top/sub/deep/ünï 日本.txt",
        ]  # fmt: skip
        assert archive.read("top/a.bin") == (root / "a.bin").read_bytes()
    with made(tree, "/sub/deep/") as archive:
        assert archive.namelist() == ["top/", "top/ünï 日本.txt"]


def test_it_is_sent_as_it_is_made(tree: Tree) -> None:
    got = ask(Files(tree, Listing(tree)), "/sub/?zip")
    assert got.headers["content-type"] == "application/zip"
    assert got.headers["content-disposition"] == "attachment; filename=\"sub.zip\"; filename*=UTF-8''sub.zip"
    assert "content-length" not in got.headers
    assert zipfile.ZipFile(io.BytesIO(got.body)).namelist()[0] == "sub/"
    assert ask(Files(tree, Listing(tree)), "/sub/?zip", method="HEAD").body == b""


def test_unzip_agrees(tree: Tree, root: Path, tmp_path: Path) -> None:
    unzip = shutil.which("unzip") or pytest.skip("unzip is not installed: apt install unzip")
    (tmp_path / "top.zip").write_bytes(ask(Files(tree, Listing(tree)), "/?zip").body)
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    subprocess.run([unzip, "-q", tmp_path / "top.zip", "-d", tmp_path / "out"], check=True, env=environment)
    out = tmp_path / "out" / "top"
    assert (out / "sub" / "deep" / "ünï 日本.txt").read_text() == "deep"
    assert (out / "a.bin").read_bytes() == (root / "a.bin").read_bytes()
    assert (out / "a.bin").stat().st_mtime == 1_500_000_001
    assert (out / "run.sh").stat().st_mode & 0o777 == 0o755
    assert not (out / ".hidden").exists()


def test_links_that_lead_out_and_links_in_a_circle(tree: Tree, root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to("..")
    (root / "sub" / "round").symlink_to("..")
    (root / "sub" / "again").symlink_to("deep")
    (root / "inside").symlink_to("run.sh")
    os.mkfifo(root / "pipe")
    with made(tree) as archive:
        listed = archive.namelist()
        assert not [name for name in listed if "out" in name or "up" in name or "round" in name or "pipe" in name]
        assert len([name for name in listed if name.endswith("日本.txt")]) == 1
        assert archive.read("top/inside") == b"#!/bin/sh\n"


def test_names_that_no_system_can_have(tmp_path: Path) -> None:
    for name in (b"x\\..\\evil", b"a\xff", b"a\xfe", b"c:x", b"new\nline"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    with Tree(tmp_path) as tree, made(tree) as archive:
        assert sorted(archive.namelist()) == [
            "top/", "top/a\ufffd", "top/a\ufffd (2)", "top/c_x", "top/new_line", "top/x_.._evil",
        ]  # fmt: skip


def test_files_that_change_meanwhile(tree: Tree, root: Path) -> None:
    folder = tree.open("/")
    assert folder is not None
    with folder:
        pieces = archived(tree, folder, "top")
        first = next(pieces)
        with (root / "a.bin").open("ab") as file:
            file.write(bytes(500_000))
        (root / "run.sh").unlink()
        data = first + b"".join(pieces)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert len(archive.read("top/a.bin")) == 1_300_000
        assert "top/run.sh" not in archive.namelist()


def test_large_files_are_zip64(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "ZIP64_BYTES", 1_000_000)
    with made(tree) as large:
        assert large.testzip() is None
        assert large.getinfo("top/a.bin").file_size == 1_300_000


def test_too_many_files(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_ENTRIES", 3)
    with pytest.raises(OSError, match="too many for one archive"):
        made(tree)


def test_pieces_are_small(tree: Tree, root: Path) -> None:
    with (root / "huge").open("wb") as file:
        file.truncate(40_000_000)
    folder = tree.open("/")
    assert folder is not None
    with folder:
        sizes = [len(piece) for piece in archived(tree, folder, "top")]
    assert sum(sizes) > 41_000_000
    assert max(sizes) < 2 * archive.PIECE_BYTES


@pytest.mark.usefixtures("no_leaks")
def test_it_ends_with_its_client(tree: Tree) -> None:
    async def gone(event: Any) -> None:
        if event["type"] == "http.response.body":
            raise ConnectionResetError

    async def main() -> None:
        folder = tree.open("/")
        assert folder is not None
        with folder:
            await send_archive({"type": "http", "method": "GET"}, gone, tree, folder, "top")

    with pytest.raises(ConnectionResetError):
        asyncio.run(main())


def test_cancelled_while_a_piece_is_made(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, go_on = threading.Event(), threading.Event()
    read = os.read

    def slow(fd: int, count: int) -> bytes:
        reading.set()
        go_on.wait(20)
        return read(fd, count)

    async def main() -> None:
        async def send(event: Any) -> None: ...

        folder = tree.open("/")
        assert folder is not None
        with folder:
            task = asyncio.create_task(send_archive({"type": "http", "method": "GET"}, send, tree, folder, "top"))
            await asyncio.to_thread(reading.wait, 20)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        go_on.set()
        async with asyncio.timeout(20):
            while len(os.listdir("/proc/self/fd")) > opened:
                await asyncio.sleep(0.01)

    async def count() -> int:
        await asyncio.to_thread(time.time)
        return len(os.listdir("/proc/self/fd"))

    opened = asyncio.run(count())
    monkeypatch.setattr(os, "read", slow)
    asyncio.run(main())


def test_shown_names() -> None:
    assert shown('a/b\\c:"d"') == "a_b_c__d_"
