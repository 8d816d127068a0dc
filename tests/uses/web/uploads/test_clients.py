"""Clients that we did not write."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SERVER = """
import asyncio, sys
from socketkit.http import serve
from socketkit.uses.web.files import Files
from socketkit.uses.web.tree import Tree
from socketkit.uses.web.uploads import Uploads

async def main():
    with Tree(sys.argv[1]) as tree:
        uploads = Uploads(tree, free_bytes=0, **eval(sys.argv[2]))
        async with serve("tcp://127.0.0.1:0", Files(tree, changes=uploads), body_bytes=uploads.body_bytes) as service:
            print(service.local.port, flush=True)
            await asyncio.sleep(100)

asyncio.run(main())
"""


@contextmanager
def serving(root: Path, **options: Any) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    words = [sys.executable, "-c", SERVER, str(root), repr(options)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}", process
        finally:
            process.kill()


@pytest.fixture
def curl(program: Any) -> Any:
    path = program("curl")

    def run(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [path, "-sS", "-w", "\n%{http_code} %{size_upload}", *words], capture_output=True, text=True, timeout=60
        )
        text, _, told = done.stdout.rpartition("\n")
        return int(told.split()[0]), text + told.split()[1]

    return run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(os.urandom(3_000_017))
    return path


@pytest.mark.slow
def test_curl(root: Path, data: Path, curl: Any) -> None:
    whole = data.read_bytes()
    with serving(root, max_bytes=7_000_000) as (url, _):
        assert curl("-T", str(data), f"{url}/sub/")[0] == 201
        assert (root / "sub" / "data.bin").read_bytes() == whole
        status, words = curl("-T", str(data), f"{url}/sub/")
        assert status == 409
        assert words.endswith("\n0")  # refused before anything was sent: Expect: 100-continue
        assert curl("-H", "Transfer-Encoding: chunked", "-T", str(data), f"{url}/chunked")[0] == 201
        assert curl("-F", f"file=@{data}", "-F", f"file=@{data};filename=second", url)[0] == 201
        for name in ("chunked", "data.bin", "second"):
            assert (root / name).read_bytes() == whole
        with data.open("ab") as file:
            file.write(bytes(5_000_000))
        status, words = curl("-T", str(data), f"{url}/large")
        assert (status, words.endswith("\n0")) == (413, True)
    assert not list(root.rglob(".*"))


@pytest.mark.slow
def test_curl_goes_on_behind_a_killed_server(root: Path, data: Path, curl: Any, program: Any) -> None:
    whole = data.read_bytes()
    with serving(root) as (url, process):
        words = [program("curl"), "-sS", "--limit-rate", "2M", "-T", str(data), f"{url}/a"]
        with subprocess.Popen(words, stderr=subprocess.DEVNULL) as sending:
            while not any(path.stat().st_size for path in root.glob(".socketkit-*")):
                assert sending.poll() is None
            process.send_signal(signal.SIGKILL)
    (part,) = root.glob(".socketkit-*")
    at = part.stat().st_size
    assert 0 < at < len(whole)
    assert whole.startswith(part.read_bytes())
    with serving(root) as (url, _):
        assert curl("-C", str(at), "-T", str(data), f"{url}/a")[0] == 201
    assert (root / "a").read_bytes() == whole
    assert not part.exists()


@pytest.mark.slow
def test_tuspy(root: Path, data: Path) -> None:
    from tusclient.client import TusClient
    from tusclient.exceptions import TusCommunicationError

    whole = data.read_bytes()
    with data.open("rb") as file, serving(root) as (url, process):
        client = TusClient(f"{url}/sub/")
        uploader = client.uploader(
            file_stream=file, chunk_size=700_000, metadata={"filename": "a.bin"}, upload_checksum=True
        )
        uploader.upload(stop_at=1_400_000)
        assert not (root / "sub" / "a.bin").exists()
        process.kill()
    with data.open("rb") as file, serving(root) as (other, _):
        where = uploader.url.replace(url, other)
        again = TusClient(f"{other}/sub/").uploader(file_stream=file, url=where, chunk_size=900_000)
        assert again.offset == 1_400_000
        again.upload()
        assert (root / "sub" / "a.bin").read_bytes() == whole
        with pytest.raises(TusCommunicationError) as refused:
            TusClient(f"{other}/sub/").uploader(file_stream=file, metadata={"filename": "a.bin"}).upload()
        assert refused.value.status_code == 409

        async def main() -> None:
            client = TusClient(f"{other}/")
            await client.async_uploader(file_stream=file, chunk_size=1_000_000, metadata={"filename": "b"}).upload()

        asyncio.run(main())
    assert (root / "b").read_bytes() == whole
    assert not list(root.rglob(".*"))
