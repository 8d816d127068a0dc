"""`socketkit serve web` as a person starts it, asked by curl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.programs import Program, Start

pytestmark = pytest.mark.slow

APPLICATION = """
from fastapi import FastAPI, WebSocket
app = FastAPI()

@app.get("/hello")
def hello(name: str): return {"hello": name}

@app.websocket("/echo")
async def echo(socket: WebSocket):
    await socket.accept()
    await socket.send_text(await socket.receive_text())
"""


def curl(*words: str) -> str:
    done = subprocess.run(["curl", "-sS", "-m", "20", *words], capture_output=True, check=True)
    return done.stdout.decode()


def url_of(server: Program) -> str:
    return server.said("listening on ").removeprefix("listening on ")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / ".secret").write_text("mine")
    return tmp_path


def test_the_link_stays_good_from_start_to_start(socketkit: Start, folder: Path) -> None:
    kept = str(folder / ".token")
    links = []
    for _ in range(2):
        server = socketkit("serve", "web", "--token-file", kept, str(folder))
        links.append(url_of(server))
        assert curl(links[-1] + "a.txt") == "hello"
        server.interrupt()
        assert kept not in server.finish().err
    assert links[0].partition("/~")[2] == links[1].partition("/~")[2] == (folder / ".token").read_text().strip() + "/"
    os.chmod(kept, 0o644)
    refused = socketkit("serve", "web", "--token-file", kept, str(folder)).finish()
    assert (refused.status, "chmod 600" in refused.err) == (1, True)
    asked = socketkit("serve", "web", "--token-file", kept, "--password", kept, str(folder)).finish()
    assert (asked.status, "--password stands in place" in asked.err) == (2, True)


def test_uploads(socketkit: Start, folder: Path) -> None:
    given = folder / "given"
    given.mkdir()
    server = socketkit("serve", "web", "--upload", "--max-size", "10", "--quota", "1k", str(given))
    url = url_of(server)
    assert curl("-T", str(folder / "a.txt"), url) == "5 bytes are here as a.txt\n"
    assert (given / "a.txt").read_text() == "hello"
    assert "is not replaced" in curl("-T", str(folder / "a.txt"), url)
    assert 'id="upload"' in curl(url)
    assert "tus 1.0" in curl(f"{url}.socketkit/upload.js")
    (folder / "large").write_bytes(bytes(11))
    assert "10 bytes" in curl("-T", str(folder / "large"), url)
    server.interrupt()
    server.finish()


def test_a_link_to_one_file(socketkit: Start, folder: Path) -> None:
    log = folder / "log"
    server = socketkit("serve", "web", "--give", "a.txt", "--log", str(log), str(folder))
    link = server.said("once: ").removeprefix("once: ")
    assert curl(link) == "hello"
    assert curl("-o", "/dev/null", "-w", "%{http_code}", link) == "404"
    server.interrupt()
    server.finish()
    assert [line.split('"')[1] for line in log.read_text().splitlines()] == ["GET /=.../a.txt"] * 2


def test_a_program_reads_the_link_to_one_file(socketkit: Start, folder: Path) -> None:
    (folder / "b ü.txt").write_text("two")
    server = socketkit("serve", "web", "--json", "--give", "a.txt", "--give", "b ü.txt", str(folder))
    listening, *links = (json.loads(server.output.readline()) for _ in range(3))
    assert listening["event"] == "listening"
    assert [(link["event"], link["path"], link["uses"], link["seconds"]) for link in links] == [
        ("link", path, 1, 86_400) for path in ("a.txt", "b ü.txt")
    ]
    assert [curl(link["url"]) for link in links] == ["hello", "two"]
    server.interrupt()
    server.finish()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--quota", "1G"], "but not --upload"),
        (["--upload", "--max-size", "x"], "--max-size x"),
        (["--upload", "--keep-unfinished", "x"], "--keep-unfinished x"),
        (["--keep-unfinished", "1h"], "but not --upload"),
        (["--give", "none"], "nothing of this name"),
        (["--give", "sub"], "a folder"),
    ],
)
def test_what_uploads_and_links_cannot_be(socketkit: Start, folder: Path, words: list[str], told: str) -> None:
    (folder / "sub").mkdir()
    result = socketkit("serve", "web", *words, str(folder)).finish()
    assert result.status == 2
    assert told in " ".join(result.err.split())


def test_a_folder(socketkit: Start, folder: Path) -> None:
    log = folder / "log"
    server = socketkit("serve", "web", "--log", str(log), str(folder))
    url = url_of(server)
    assert curl(f"{url}a.txt") == "hello"
    assert curl("-o", "/dev/null", "-w", "%{http_code}", f"{url}.secret") == "404"
    assert curl("-o", "/dev/null", "-w", "%{http_code}", f"{url.partition('~')[0]}a.txt") == "403"
    server.interrupt()
    result = server.finish()
    assert result.status == 130
    assert "answered 3 requests, 2 refused" in result.err
    lines = log.read_text().splitlines()
    assert [line.split('"')[1] for line in lines] == ["GET /~.../a.txt", "GET /~.../.secret", "GET /a.txt"]
    assert log.stat().st_mode & 0o777 == 0o600


def test_one_file_once_and_json(socketkit: Start, folder: Path) -> None:
    server = socketkit("serve", "web", "--once", "--json", str(folder / "a.txt"))
    assert curl("-L", url_of(server)) == "hello"
    result = server.finish()
    assert result.status == 0
    events = result.events
    assert [event["status"] for event in events if event["event"] == "request"] == [302, 200]
    assert (events[-1]["reason"], events[-1]["requests"]) == ("the file was given away", 2)
    token = json.dumps(events[0]["url"]).partition("~")[2].partition("/")[0]
    assert token not in json.dumps(events[1:])


def test_encrypted_with_http2_and_a_password(socketkit: Start, folder: Path) -> None:
    secret = folder / "password"
    secret.write_text("sesame\n")
    secret.chmod(0o600)
    server = socketkit("serve", "web", "--tls", "--password", str(secret), str(folder))
    url = url_of(server)
    assert url.startswith("https://localhost:")
    said = ("-k", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", f"{url}/a.txt")
    assert curl("--http2", "-u", "me:sesame", *said) == "200 2"
    assert curl("--http1.1", "-u", "me:sesame", *said) == "200 1.1"
    assert curl("-u", "me:wrong", *said).startswith("401")
    secret.chmod(0o644)
    readable = socketkit("serve", "web", "--password", str(secret), str(folder)).finish()
    assert (readable.status, "chmod 600" in readable.err) == (2, True)


def test_curl_resumes_and_takes_parts(socketkit: Start, folder: Path) -> None:
    data = os.urandom(3_000_000)
    (folder / "data.bin").write_bytes(data)
    url = url_of(socketkit("serve", "web", str(folder)))
    half = folder / "half"
    half.write_bytes(data[:1_000_000])
    curl("-C", "-", "-o", str(half), f"{url}data.bin")
    assert half.read_bytes() == data
    curl("-r", "5-9", "-o", str(half), f"{url}data.bin")
    assert half.read_bytes() == data[5:10]
    several = subprocess.run(["curl", "-sSi", "-r", "0-1,-2", f"{url}data.bin"], capture_output=True, check=True).stdout
    assert b"multipart/byteranges" in several
    assert data[:2] in several
    assert data[-2:] in several


def test_wget_takes_a_whole_folder(socketkit: Start, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    wget = shutil.which("wget") or pytest.skip("wget is not installed: apt install wget")
    (folder / "sub" / "deeper").mkdir(parents=True)
    (folder / "sub" / "deeper" / "b c?.txt").write_text("deep")
    url = url_of(socketkit("serve", "web", str(folder)))
    got = tmp_path_factory.mktemp("got")
    words = ["-q", "-r", "-np", "-nH", "--cut-dirs=1", "-e", "robots=off", "--reject-regex", "[?]", "-P", str(got), url]
    subprocess.run([wget, *words], check=True, timeout=60, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert (got / "a.txt").read_text() == "hello"
    assert [path.read_text() for path in got.glob("sub/deeper/b*")] == ["deep"]


def test_an_application_with_a_websocket(socketkit: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from websockets.sync.client import connect

    (tmp_path / "shop.py").write_text(APPLICATION)
    monkeypatch.chdir(tmp_path)
    server = socketkit("serve", "web", "shop:app")
    url = url_of(server)
    assert json.loads(curl(f"{url}hello?name=Ann")) == {"hello": "Ann"}
    with connect(f"ws{url.removeprefix('http')}echo") as socket:
        socket.send("there and back")
        assert socket.recv(timeout=20) == "there and back"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing-here"], "MODULE:APP"),
        (["no_such_module:app"], "no_such_module.py"),
        (["--once", "."], "only one file"),
        (["--plaintext", "."], "for the network"),
        (["--plaintext", "--lan", "--password", "/dev/null", "."], "chmod 600"),
        (["--password", "/nowhere", "."], "/nowhere"),
    ],
)
def test_faults_of_the_caller(socketkit: Start, words: list[str], said: str) -> None:
    result = socketkit("serve", "web", *words).finish()
    assert result.status == 2
    assert said in result.err
    assert "Traceback" not in result.err
