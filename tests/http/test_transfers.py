"""Downloads from a server that breaks in every way, from nginx, and from Python's own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from socketkit import BrokenConnection, ConnectError, Identity, PeerViolation
from socketkit.http import Client, claiming, transfers
from socketkit.http.partial import TargetError
from socketkit.http.transfers import Download, Report, UnexpectedStatus, WrongDigest
from tests.conftest import Run
from tests.http.files import Files

CONTENT = bytes(os.urandom(100_000))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits before the next attempt, and small files are large."""
    monkeypatch.setattr(transfers, "FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(transfers, "MOST_WAIT_SECONDS", 0.01)
    for module in (transfers, claiming):
        monkeypatch.setattr(module, "PART_BYTES", 8_192)
    monkeypatch.setattr(transfers, "SAVE_SECONDS", 0.0)


class Fetched:
    """What a download came to, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.target = folder / "file.bin"
        self.said: list[str] = []
        self.report: Report | None = None

    async def get(self, url: str, **options: Any) -> Report:
        async with Client(stall_seconds=5) as client:
            download = Download(client, url, self.target, tell=self.said.append, **options)
            self.report = await download.run()
            return self.report

    def check(self, content: bytes = CONTENT) -> None:
        assert self.target.read_bytes() == content
        assert [path.name for path in self.target.parent.iterdir()] == ["file.bin"]


@pytest.fixture
def fetched(tmp_path: Path) -> Fetched:
    (tmp_path / "downloads").mkdir()
    return Fetched(tmp_path / "downloads")


def ranges(files: Files) -> list[str]:
    return [asked.get("range", "") for asked in files.asked]


def test_a_file(run: Run, fetched: Fetched) -> None:
    files = Files(CONTENT)

    async def main() -> None:
        async with files.open() as url:
            report = await fetched.get(url)
            assert (report.total_bytes, report.received_bytes, report.resumed_bytes) == (100_000, 100_000, 0)
            assert (report.url, report.connections, report.fingerprint) == (url, 1, None)

    run(main())
    fetched.check()
    assert (ranges(files), fetched.said) == ([""], [])


@pytest.mark.parametrize("says_length", [True, False])
def test_an_empty_file(run: Run, fetched: Fetched, says_length: bool) -> None:
    files = Files(b"")
    files.says_length = says_length

    async def main() -> None:
        async with files.open() as url:
            await fetched.get(url, connections=2)

    run(main())
    fetched.check(b"")


def test_what_is_cut_is_gone_on_with(run: Run, fetched: Fetched) -> None:
    files = Files(CONTENT)
    files.cuts = [30_000, 20_000, 0, 0]

    async def main() -> None:
        async with files.open() as url:
            assert (await fetched.get(url)).received_bytes == 100_000

    run(main())
    fetched.check()
    assert ranges(files) == ["", "bytes=30000-99999", *["bytes=50000-99999"] * 3]
    assert files.asked[1]["if-range"] == '"one"'
    assert "trying again, 30,000 bytes are there" in fetched.said[0]


def test_not_for_ever(run: Run, fetched: Fetched) -> None:
    files = Files(CONTENT)
    files.cuts = [10] + [0] * 50

    async def main() -> None:
        async with files.open() as url:
            with pytest.raises(BrokenConnection):
                await fetched.get(url, attempts=4)

    run(main())
    assert len(files.asked) == 5
    assert not fetched.target.exists()


def test_another_run_goes_on(run: Run, fetched: Fetched) -> None:
    files = Files(CONTENT)
    files.cuts = [60_000, 0]

    async def main() -> None:
        async with files.open() as url:
            with pytest.raises(BrokenConnection):
                await fetched.get(url, attempts=1)
            names = {path.name for path in fetched.target.parent.iterdir()}
            assert names == {"file.bin.part", "file.bin.part.json"}
            report = await fetched.get(url)
            assert (report.resumed_bytes, report.received_bytes) == (60_000, 40_000)

    run(main())
    fetched.check()
    assert "60,000 bytes are there: going on behind them" in fetched.said


def test_cancelled(run: Run, fetched: Fetched) -> None:
    files = Files(CONTENT)

    async def main() -> None:
        async with files.open() as url:
            files.cuts = [50_000] + [0] * 9
            task = asyncio.create_task(fetched.get(url))
            while not fetched.said:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            files.cuts = []
            assert (await fetched.get(url)).resumed_bytes == 50_000

    run(main())
    fetched.check()


@pytest.mark.parametrize("heeds", [True, False])
@pytest.mark.parametrize("connections", [1, 3])
def test_another_version_is_not_mixed_in(run: Run, fetched: Fetched, heeds: bool, connections: int) -> None:
    files = Files(CONTENT)
    files.heeds_if_range = heeds  # a server that does not is found out by the ETag of its answer
    other = bytes(os.urandom(90_000))

    async def main() -> None:
        async with files.open() as url:
            files.cuts = [60_000, 0]
            with pytest.raises(BrokenConnection):
                await fetched.get(url, attempts=1)
            files.content, files.tag = other, '"two"'
            assert (await fetched.get(url, connections=connections)).resumed_bytes == 0

    run(main())
    fetched.check(other)
    assert any("the file has changed on the server" in words and "starting again" in words for words in fetched.said)


def test_a_server_that_knows_no_ranges(run: Run, fetched: Fetched) -> None:
    files = Files(CONTENT)
    files.knows_ranges = False
    files.cuts = [60_000]

    async def main() -> None:
        async with files.open() as url:
            assert (await fetched.get(url)).received_bytes == 160_000

    run(main())
    fetched.check()
    assert "the server sends no parts of a file: starting again" in fetched.said


def test_a_server_that_tells_no_versions_apart(run: Run, fetched: Fetched) -> None:
    files = Files(CONTENT)
    files.tag = None
    files.cuts = [60_000]

    async def main() -> None:
        async with files.open() as url:
            await fetched.get(url)
            files.cuts = [10, 0, 0]
            with pytest.raises(BrokenConnection):
                await fetched.get(url, attempts=2, overwrite=True)

    run(main())
    fetched.check()  # nothing that could not be used is left
    assert ranges(files)[:2] == ["", ""]
    assert any("does not tell versions apart: starting again" in words for words in fetched.said)


def test_a_weak_tag_is_none(run: Run, fetched: Fetched) -> None:
    files = Files(CONTENT)
    files.tag = 'W/"one"'
    files.cuts = [60_000]

    async def main() -> None:
        async with files.open() as url:
            await fetched.get(url, connections=2)

    run(main())
    fetched.check()
    assert all("if-range" not in asked for asked in files.asked)


def test_a_server_that_sends_another_part(run: Run, fetched: Fetched) -> None:
    files = Files(CONTENT)
    files.cuts = [60_000]
    files.shifts = 1

    async def main() -> None:
        async with files.open() as url:
            with pytest.raises(PeerViolation, match="another part than the one"):
                await fetched.get(url)

    run(main())
    assert not fetched.target.exists()


@pytest.mark.parametrize("connections", [1, 3])
def test_a_part_that_is_longer_than_it_says(run: Run, fetched: Fetched, connections: int) -> None:
    files = Files(CONTENT)
    files.cuts = [60_000] if connections == 1 else []
    files.extra = b"x"

    async def main() -> None:
        async with files.open() as url:
            with pytest.raises(PeerViolation, match="more than it has announced"):
                await fetched.get(url, connections=connections)

    run(main())
    assert not fetched.target.exists()


def test_no_length(run: Run, fetched: Fetched) -> None:
    files = Files(CONTENT)
    files.says_length = False

    async def main() -> None:
        async with files.open() as url:
            assert (await fetched.get(url)).total_bytes == 100_000

    run(main())
    fetched.check()


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_status_that_is_no_file(run: Run, fetched: Fetched, status: int) -> None:
    files = Files(CONTENT)
    files.statuses = [(status, "")]

    async def main() -> None:
        async with files.open() as url:
            with pytest.raises(UnexpectedStatus, match=f"file.bin: {status} X"):
                await fetched.get(url)

    run(main())
    assert not list(fetched.target.parent.iterdir())


def test_a_server_that_is_busy(run: Run, fetched: Fetched) -> None:
    files = Files(CONTENT)
    files.statuses = [(503, "retry-after: 0\r\n"), (429, "retry-after: 99999999\r\n"), (502, "")]

    async def main() -> None:
        async with files.open() as url:
            await fetched.get(url)

    run(main())
    fetched.check()


def test_nobody_there(run: Run, fetched: Fetched) -> None:
    async def main() -> None:
        async with Files(b"").open() as url:
            pass
        with pytest.raises(ConnectError):
            await fetched.get(url)

    run(main())
    assert not list(fetched.target.parent.iterdir())


def test_sha256(run: Run, fetched: Fetched) -> None:
    right = hashlib.sha256(CONTENT).hexdigest()

    async def main() -> None:
        async with Files(CONTENT).open() as url:
            with pytest.raises(WrongDigest, match=f"its SHA-256 is {right}, expected was 00"):
                await fetched.get(url, sha256="0" * 64)
            assert not list(fetched.target.parent.iterdir())
            assert (await fetched.get(url, sha256=right.upper())).sha256 == right

    run(main())
    fetched.check()


def test_it_is_not_written_over(run: Run, fetched: Fetched) -> None:
    fetched.target.write_text("mine")
    files = Files(CONTENT)

    async def main() -> None:
        async with files.open() as url:
            with pytest.raises(TargetError, match="--force"):
                await fetched.get(url)
            assert not files.asked
            await fetched.get(url, overwrite=True)

    run(main())
    fetched.check()


# --- several connections


def test_in_parts(run: Run, fetched: Fetched) -> None:
    files = Files(CONTENT)

    async def main() -> None:
        async with files.open() as url:
            report = await fetched.get(url, connections=4)
            assert (report.received_bytes, report.connections) == (100_000, 4)

    run(main())
    fetched.check()
    asked = sorted(int(wanted[6:].split("-")[0]) for wanted in ranges(files))
    assert len(set(asked)) == len(asked) > 4
    assert all(request.get("if-range") == '"one"' for request in files.asked[1:])


def test_parts_that_are_cut(run: Run, fetched: Fetched) -> None:
    files = Files(CONTENT)

    async def main() -> None:
        async with files.open() as url:
            files.cuts = [8_192, 3_000, 1_000, 5_000]
            await fetched.get(url, connections=3)

    run(main())
    fetched.check()


def test_parts_of_a_server_that_knows_none(run: Run, fetched: Fetched) -> None:
    files = Files(CONTENT)
    files.knows_ranges = False

    async def main() -> None:
        async with files.open() as url:
            assert (await fetched.get(url, connections=3)).connections == 1

    run(main())
    fetched.check()
    assert "the server sends no parts of a file: one connection it is" in fetched.said


def test_a_server_that_allows_fewer_connections(run: Run, fetched: Fetched) -> None:
    files = Files(CONTENT)

    async def main() -> None:
        async with files.open() as url, Client() as client:
            download = Download(client, url, fetched.target, connections=3)
            first = download._probe

            async def probe() -> bool:
                found = await first()
                files.statuses = [(503, ""), (503, "")]
                return found

            download._probe = probe  # type: ignore[method-assign]
            await download.run()

    run(main())
    fetched.check()


def test_a_version_that_has_shrunk_under_its_tag(run: Run, fetched: Fetched) -> None:
    files = Files(CONTENT)

    async def main() -> None:
        async with files.open() as url:
            files.cuts = [99_999, 0]
            with pytest.raises(BrokenConnection):
                await fetched.get(url, attempts=1)
            files.content = CONTENT[:99_999]
            assert (await fetched.get(url)).resumed_bytes == 0

    run(main())
    fetched.check(CONTENT[:99_999])


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12, deadline=None)
@given(cuts=st.lists(st.integers(0, 60_000), max_size=4), connections=st.integers(1, 5), tag=st.booleans())
def test_whatever_is_cut(run: Run, fetched: Fetched, cuts: list[int], connections: int, tag: bool) -> None:
    files = Files(CONTENT)
    files.cuts = list(cuts)
    files.tag = '"one"' if tag else None

    async def main() -> None:
        async with files.open() as url:
            await fetched.get(url, connections=connections, overwrite=True)

    run(main())
    fetched.check()


# --- servers that we did not write


@pytest.fixture
def python_server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "file.bin").write_bytes(CONTENT)
    os.utime(tmp_path / "www" / "file.bin", (1_700_000_000, 1_700_000_000))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "www"))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/file.bin"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("connections", [1, 3])
def test_python_s_own_server(run: Run, fetched: Fetched, python_server: str, connections: int) -> None:
    run(fetched.get(python_server, connections=connections))
    fetched.check()


@pytest.fixture
def nginx(program: Callable[[str], str], tmp_path: Path, home: Path) -> Iterator[str]:
    """nginx under TLS, with our identity's key; its address."""
    import socket

    www = tmp_path / "www"
    www.mkdir()
    (www / "file.bin").write_bytes(CONTENT)
    own = Identity.of_user()
    (tmp_path / "key.pem").write_bytes(own._pem)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {tmp_path}/pid; error_log stderr; worker_rlimit_nofile 512;
        events {{ worker_connections 64; }}
        http {{
          access_log off; client_body_temp_path {tmp_path}/b; proxy_temp_path {tmp_path}/p;
          fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;
          server {{
            listen 127.0.0.1:{port} ssl; ssl_protocols TLSv1.3; root {www};
            ssl_certificate {tmp_path}/key.pem; ssl_certificate_key {tmp_path}/key.pem;
            location /moved {{ return 302 /file.bin; }}
            location /slow {{ alias {www}/file.bin; limit_rate 200k; }}
          }}
        }}""")
    words = [program("nginx"), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", "stderr"]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                pass
        yield f"https://127.0.0.1:{port}/file.bin#pin={own.fingerprint}"
        process.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("connections", [1, 4])
def test_nginx(run: Run, fetched: Fetched, nginx: str, connections: int) -> None:
    report = run(fetched.get(nginx, connections=connections))
    fetched.check()
    assert report.fingerprint == Identity.of_user().fingerprint
    assert report.connections == connections


@pytest.mark.slow
def test_nginx_resumed_and_redirected(run: Run, fetched: Fetched, nginx: str) -> None:
    async def main() -> None:
        task = asyncio.create_task(fetched.get(nginx.replace("file.bin", "slow")))
        part = fetched.target.with_name("file.bin.part.json")
        while not part.exists():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        report = await fetched.get(nginx.replace("file.bin", "slow"))
        assert 0 < report.resumed_bytes < 100_000
        assert report.received_bytes == 100_000 - report.resumed_bytes
        fetched.check()
        await fetched.get(nginx.replace("file.bin", "moved"), overwrite=True)
        fetched.check()

    run(main())


@pytest.mark.slow
def test_as_curl_does(run: Run, fetched: Fetched, nginx: str, program: Callable[[str], str], tmp_path: Path) -> None:
    url = nginx.partition("#")[0]
    subprocess.run([program("curl"), "-sk", "-o", tmp_path / "curl", url], check=True, timeout=30)
    run(fetched.get(nginx, sha256=hashlib.sha256((tmp_path / "curl").read_bytes()).hexdigest()))
    fetched.check((tmp_path / "curl").read_bytes())
