"""`audit --watch` as it is run, in a network: a beacon is told and honest programs are not, nor what is declared.

The clock of its scores runs ten times as fast: what comes each half second comes each 5 s there.
"""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import accumulate
from pathlib import Path
from typing import Any, Self

import pytest

from socketkit import _core
from socketkit.threats import watching
from socketkit.threats.beacons import FLAGGED, Beacons, Contact
from socketkit.threats.view import View
from tests.threats.auditing import Auditor, until
from tests.threats.namespaces import Host, Network

pytestmark = [pytest.mark.privileged, pytest.mark.slow]

MakeNetwork = Callable[..., Network]
PORT = 7171
TIMES = 10
FASTER = f"""
import sys, time
from socketkit.cli import main
from socketkit.threats import watching
watching.clock = lambda: time.monotonic() * {TIMES}
watching.LOOK_SECONDS /= {TIMES}
sys.exit(main())
"""


WAITING = """
import socket, sys
for port in range(1, 41):
    with socket.socket() as caller:
        caller.connect_ex((sys.argv[1], port))
"""


class Told:
    """What a watching audit has told so far."""

    def __init__(self, auditor: Auditor, *words: str, faster: bool = False) -> None:
        self.findings: list[dict[str, Any]] = []
        command = (sys.executable, "-c", FASTER) if faster else ("socketkit",)
        self._process = auditor.started(*command, "audit", "--own", "--json", *words, "--watch")
        self._reader = threading.Thread(target=self._read)

    def __enter__(self) -> list[dict[str, Any]]:
        self._reader.start()
        assert self._process.stderr is not None
        while "watching for beacons" not in (line := self._process.stderr.readline()):
            assert line, "it has ended"
        return self.findings

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.findings.append(json.loads(line))

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._reader.join(10)
        with self._process:  # closes its pipes
            pass


@contextmanager
def shell(host: Host) -> Iterator[Callable[[str], None]]:
    """Runs lines in a host, each beside those before it."""
    words = ("sh", "-c", 'while read -r line; do sh -c "$line" & done; wait')
    with host.start(*words, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        pipe = process.stdin

        def run(line: str) -> None:
            pipe.write(f"{line}\n".encode())
            pipe.flush()

        yield run
        process.kill()


def irregular(seed: int) -> list[float]:
    """When a program is used that somebody uses now and then, in seconds."""
    luck = random.Random(seed)
    return list(accumulate(min(0.1 + luck.expovariate(1 / 0.6), 3.0) for _ in range(USES)))


USES = 16
SEEDS = (1, 9, 27, 32)


@pytest.mark.parametrize("seed", SEEDS)
def test_times_that_honest_programs_are_used_at_are_irregular(seed: int) -> None:
    """Else it would be chance whether they are told below."""
    beacons = Beacons()
    for at in irregular(seed):
        beacons.add(Contact(at * TIMES, "a", "b", 400))
        assert not beacons.scores(FLAGGED / 2)


class Listener:
    """Births, first bytes or ends: it says when it begins to listen, and when it does no more."""

    def __init__(self, name: str, story: list[str]) -> None:
        self._name, self._story = name, story
        story.append(name)

    def fileno(self) -> int:
        return 0

    def close(self) -> None:
        self._story.append(f"no {self._name}")


def test_who_waits_for_its_word_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    story: list[str] = []
    for module, name in ((watching, "_births"), (watching, "_first_bytes"), (_core, "EndedSockets")):
        monkeypatch.setattr(module, name, lambda name=name, **_: Listener(name, story))

    def listening() -> None:
        story.append("listening")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(watching.watch(View(), listening=listening))
    assert story[:4] == ["_births", "_first_bytes", "EndedSockets", "listening"]
    assert sorted(story[4:]) == ["no EndedSockets", "no _births", "no _first_bytes"]


class Servers:
    """What honest programs ask: real servers, in a host of their own."""

    def __init__(self, host: Host, program: Callable[[str], str], folder: Path) -> None:
        files = folder / "files"
        files.mkdir()
        (files / "file").write_text("content\n" * 100)
        git = program("git")
        subprocess.run([git, "init", "-q", "--bare", f"{files}/repository.git"], check=True)
        subprocess.run([git, "init", "-q", f"{folder}/clone"], check=True)
        rsync = folder / "rsyncd.conf"
        rsync.write_text(f"use chroot = no\n[files]\npath = {files}\n")
        host.start(sys.executable, "-m", "http.server", "80", "--directory", str(files))
        host.start(git, "daemon", f"--base-path={files}", "--export-all", "--reuseaddr")
        host.start(program("rsync"), "--daemon", "--no-detach", f"--config={rsync}", "--port=873")
        words = ("--port", "6379", "--save", "", "--protected-mode", "no", "--dir", str(folder))
        host.start(program("redis-server"), *words)
        for port in (80, 9418, 873, 6379):
            until(lambda port=port: f":{port} " in host.run("ss", "-ltnH"), lambda there: there)


@pytest.mark.siege  # it measures how regular something is
def test_beacon_is_told_and_honest_programs_are_not(
    network: MakeNetwork, program: Callable[[str], str], tmp_path: Path
) -> None:
    net = network("home", "far", "friend")
    home, far, friend = net["home"], net["far"], net["friend"]
    Servers(friend, program, tmp_path)
    agent = shutil.copy(program("nc"), tmp_path / "agent")
    report = f"echo report | {agent} -N -w 5 {far.ip4} {PORT}"
    host = friend.ip4
    honest = {
        1: f"{program('curl')} -s -o {tmp_path}/curl http://{host}/file",
        9: f"/usr/lib/apt/apt-helper download-file http://{host}:80/file {tmp_path}/apt",
        27: f"{program('git')} -C {tmp_path}/clone fetch -q git://{host}/repository.git",
        32: f"{program('rsync')} -q rsync://{host}/files/file {tmp_path}/rsync",
    }
    uses = [(at, line) for seed, line in honest.items() for at in irregular(seed)]
    over = threading.Event()

    def beat(run: Callable[[str], None]) -> None:
        """From one to the next, however late a busy machine is: who catches up is no beacon."""
        luck = random.Random(7)
        for _ in range(120):
            run(report)
            if over.wait(0.5 * luck.uniform(0.8, 1.2)):
                return

    auditor = Auditor(home, tmp_path)
    with (
        far.entered(),
        Echo() as echo,
        Told(auditor, faster=True) as told,
        Told(auditor, "--declare", far.ip4, faster=True) as declared,
        shell(home) as run,
        shell(home) as run_agent,
    ):
        agent_beats = threading.Thread(target=beat, args=(run_agent,))
        agent_beats.start()
        try:
            # It polls by one connection.
            run(f"{program('redis-cli')} -h {host} -r 100 -i 0.2 ping >/dev/null")
            started = time.monotonic()
            for at, line in sorted(uses):
                time.sleep(max(0.0, started + at - time.monotonic()))
                run(line)
            until(lambda: beacons(told), len)
        finally:
            over.set()
            agent_beats.join()
    for found in beacons(told):  # one that ends between two looks is nobody's, so there may be two names for it
        assert found["subject"].endswith(f" {far.ip4}:{PORT}/tcp"), found
        assert found["severity"] in ("medium", "high")
        assert "socketkit audit --declare" in found["remedy"]
    assert beacons(declared) == []
    assert echo.answered >= 12
    for file in ("curl", "apt", "rsync", "clone/.git/FETCH_HEAD"):  # the honest ones got what they came for
        assert (tmp_path / file).exists(), file


def test_scan_and_flood_of_questions_are_told_once(
    network: MakeNetwork, program: Callable[[str], str], tmp_path: Path
) -> None:
    net = network("home", "far")
    home, far = net["home"], net["far"]
    words = ("-k", "-C", "/dev/null", "--no-resolv", "--no-hosts", "--address=/#/192.0.2.7", "--pid-file=")
    far.start(program("dnsmasq"), *words)
    until(lambda: ":53 " in far.run("ss", "-lunH"), lambda there: there)
    questions = tmp_path / "questions"
    questions.write_text("".join(f"{number:08x}.evil.test A\n" for number in range(400)))
    with Told(Auditor(home, tmp_path)) as told:
        # Once only, and over in a twentieth of a second: it is watched from the line on.
        home.run(program("nmap"), "-n", "-Pn", "-sT", "-p1-60", far.ip4)
        (scan,) = until(lambda: [one for one in told if one["id"] == "PH5"], len)
        assert f"{far.ip4}:" in scan["evidence"]
        # The kernel forgets the port of what is refused while a program waits for it, and of what is
        # reset, as nmap does where a firewall drops.
        chain = "add table ip f; add chain ip f in { type filter hook input priority 0; };"
        far.run(program("nft"), f"{chain} add rule ip f in tcp dport 100-160 drop")
        words = ("-n", "-Pn", "-sT", "-p100-160", "--max-retries", "0", "--max-rtt-timeout", "200ms", far.ip4)
        home.run(shutil.copy(program("nmap"), tmp_path / "survey"), *words)
        home.run(sys.executable, "-c", WAITING, far.ip4)
        scans = until(lambda: [one for one in told if one["id"] == "PH5"], lambda found: len(found) == 3)
        assert len({one["subject"] for one in scans}) == 3
        # One question after another, 400 of them, each from a socket of its own.
        home.run(program("dig"), "+short", f"@{far.ip4}", "-f", str(questions), seconds=60)
        (asked,) = until(lambda: [one for one in told if one["id"] == "PH6"], len)
        assert int(asked["evidence"].split()[2].replace(",", "")) >= 300
        assert 0 < scan["first_seen"] <= asked["first_seen"]
        keys = [(one["id"], one["subject"]) for one in told]
        assert len(keys) == len(set(keys))


def beacons(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in found if one["id"] == "PH1"]


class Echo:
    """Answers whoever calls, in the namespace in which it was made."""

    def __init__(self) -> None:
        self.answered = 0
        self._listener = socket.create_server(("0.0.0.0", PORT))
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                with self._listener.accept()[0] as caller, suppress(OSError):
                    caller.settimeout(5)
                    caller.sendall(b"orders: " + caller.recv(100))
                    self.answered += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()
