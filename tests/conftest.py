"""What every test may ask for. The fixtures, by name:

- `run(coroutine, seconds=25)`: runs it on a fresh event loop, under asyncio and again under uvloop, bounded in time.
- `loop_factory`: what `run` is made of, for a test that starts its own loop.
- `program(name)`: the path of a program that we did not write (`program("socat")`).
- `openssl(*words)`: runs it, and gives what it prints.
- `python(code, *words, **environment)`: runs it in a process of its own, and gives what it prints.
- `home`: socketkit's folder for this test, without an identity yet. Every test has one: none touches the user's own.
- `no_leaks`: fails the test if it leaves a descriptor open.

`make test` runs several tests at once, in processes of their own (pytest-xdist): a name that a machine has once carries
the process's number, or is in the test's folder.

Markers: `slow`, `privileged` (needs root), `siege` (runs alone), `may_skip(reason)`. A skip is printed
by name with its reason; with CI set it is a failure, unless `may_skip` names what a kernel may lack.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import closing, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
from hypothesis import settings

from socketkit import relay
from socketkit.testing import stream_pair

T = TypeVar("T")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]

IN_CI = bool(os.environ.get("CI"))
FAILED = pytest.StashKey[bool]()

if not IN_CI:  # there hypothesis has a profile of its own, in which no test asserts a time either
    settings.register_profile("unhurried", deadline=None)
    settings.load_profile("unhurried")


class Run(Protocol):
    def __call__(self, coroutine: Coroutine[Any, Any, T], seconds: float = 25) -> T: ...


# --- event loops


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    """Makes an event loop; the test runs twice, once for each kind."""
    if request.param == "asyncio":
        return asyncio.new_event_loop
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed: make setup-dev")
    factory: LoopFactory = uvloop.new_event_loop
    return factory


@pytest.fixture
def run(loop_factory: LoopFactory) -> Run:
    """`run(coroutine, seconds=25)` gives its result, or raises TimeoutError; tasks left over are cancelled."""

    def run(coroutine: Coroutine[Any, Any, T], seconds: float = 25) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(seconds):
                return await coroutine

        with asyncio.Runner(debug=False, loop_factory=loop_factory) as runner:
            return runner.run(bounded())

    return run


# --- the machine


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that SOCKETKIT_HOME names, in this process and in those that it starts; it does not exist yet."""
    folder = tmp_path_factory.mktemp("home") / "socketkit"
    monkeypatch.setenv("SOCKETKIT_HOME", str(folder))
    return folder


@pytest.fixture
def program() -> Callable[[str], str]:
    """`program("socat")` gives its path, or skips the test naming the Debian package."""

    def find(name: str) -> str:
        # A user's PATH leaves out the folders of servers such as nginx and haproxy.
        folders = [os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"]
        path = shutil.which(name, path=os.pathsep.join(folders))
        return path or pytest.skip(f"{name} is not installed: apt install {DEBIAN_PACKAGES.get(name, name)}")

    return find


DEBIAN_PACKAGES = {
    "arpspoof": "dsniff",
    "capinfos": "wireshark-common",
    "cc": "build-essential",
    "certutil": "libnss3-tools",
    "dig": "bind9-dnsutils",
    "dnsmasq": "dnsmasq-base",
    "script": "bsdutils",
    "ip": "iproute2",
    "nc": "netcat-openbsd",
    "nft": "nftables",
    "nsenter": "util-linux",
    "nginx": "nginx-light libnginx-mod-stream",
    "mosquitto_pub": "mosquitto-clients",
    "mtr": "mtr-tiny",
    "ping": "iputils-ping",
    "ps": "procps",
    "redis-cli": "redis-tools",
    "setpriv": "util-linux",
    "ss": "iproute2",
    "ssh-keyscan": "openssh-client",
    "sshd": "openssh-server",
    "tc": "iproute2",
    "unshare": "util-linux",
    "zbarimg": "zbar-tools",
}


@pytest.fixture
def openssl(program: Callable[[str], str]) -> Callable[..., str]:
    """`openssl("x509", "-in", path)` gives what it prints; it must succeed."""
    path = program("openssl")

    def openssl(*words: object) -> str:
        done = subprocess.run([path, *map(str, words)], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return openssl


@pytest.fixture
def python() -> Callable[..., str]:
    """`python(code, *words, NAME=value)` gives what the program prints; it must succeed."""

    def python(code: str, *words: str, **environment: str) -> str:
        command = [sys.executable, "-c", code, *words]
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return python


@pytest.fixture
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails the test if a descriptor that it opened is still open five seconds after its end.

    One that has failed already is not asked: its traceback holds its frames, and with them what they had open.
    """
    with suppress(ImportError):
        import uvloop

        uvloop.new_event_loop().close()  # libuv keeps a pipe for the process from the first loop on
    start_threads()
    gc.collect()
    before = open_descriptors()
    yield
    if request.node.stash.get(FAILED, False):
        return
    deadline = time.monotonic() + 5
    while open_descriptors().items() - before.items():
        late = time.monotonic() > deadline
        # A dropped object closes with its last reference, a relay in the engine a moment after its streams. On a busy
        # machine a collection may take longer than the whole deadline, so there is always one more look behind it.
        gc.collect()
        if (leaked := open_descriptors().items() - before.items()) and late:
            pytest.fail(f"left open: {', '.join(f'{number} -> {target}' for number, target in sorted(leaked))}")
        time.sleep(0.01)


@cache
def start_threads() -> None:
    """The engine keeps a thread for relays and one for files for the process, with descriptors, once it needs them."""

    async def relay_nothing() -> None:
        async with stream_pair() as (left, a), stream_pair() as (right, b):
            left.abort()
            right.abort()
            await relay(a, b)

    async def send_much() -> None:
        with tempfile.TemporaryFile() as file:
            file.truncate(16 << 20)
            async with stream_pair("tcp://127.0.0.1:0") as (ours, theirs):
                sending, left = asyncio.ensure_future(ours.send_file(file)), 16 << 20
                while left:
                    left -= len(await theirs.receive())
                await sending

    asyncio.run(relay_nothing())
    asyncio.run(send_much())


def open_descriptors() -> dict[int, str]:
    """This process's descriptors by number, each with what it points to."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[int(entry.name)] = os.readlink(entry)
        except FileNotFoundError:  # the one that listed the folder
            continue
    return found


# --- memory


def pytest_collection_finish() -> None:
    """Let the collector leave alone what lives until the end: thousands of tests make every `gc.collect()` slow."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    gc.unfreeze()  # what is loaded for the report (hypothesis) asks the collector who holds an object


# --- turns


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: kind_of(item) == "siege")  # at the end: one that waits keeps a process from other tests


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before the time limits of the test begin
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    with closing(turn(kind_of(item), worker)) if worker else nullcontext():
        return (yield)


def kind_of(item: pytest.Item) -> str:
    return "siege" if item.get_closest_marker("siege") else "test"


class Held:
    """A file that a process holds locked; it is free again with the end of the process, however that comes."""

    def __init__(self, path: Path, *, wait: bool = True) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BaseException:
            os.close(self._fd)
            raise

    def close(self) -> None:
        os.close(self._fd)


def turn(kind: str, worker: str) -> Held:
    """Wait until a test of this kind may run: no test beside a siege, and one siege at a time."""
    folder = turns_folder(os.environ["PYTEST_XDIST_TESTRUNUID"])
    folder.mkdir(exist_ok=True)
    while True:
        with closing(Held(folder / "door")):
            running = [path.name.partition("-")[0] for path in folder.glob("*-*") if is_held(path)]
            if set(running) <= {kind} and (kind != "siege" or len(running) < SIEGES_AT_ONCE):
                return Held(folder / f"{kind}-{worker}")
        time.sleep(0.02)


def is_held(path: Path) -> bool:
    try:
        Held(path, wait=False).close()
    except BlockingIOError:
        return True
    return False


def turns_folder(run: str) -> Path:
    return Path(tempfile.gettempdir()) / f"socketkit-tests-{run}"


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        config.option.testrunuid = uuid.uuid4().hex  # else only the processes that run tests know it


def pytest_unconfigure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(turns_folder(config.option.testrunuid), ignore_errors=True)


SIEGES_AT_ONCE = 1


# --- skips


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("privileged") and os.geteuid() != 0:
        pytest.skip("needs root: sudo make test")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    if report.skipped and not hasattr(report, "wasxfail"):
        allowance = item.get_closest_marker("may_skip")
        if allowance is not None:
            report.user_properties.append(("may_skip", allowance.args[0]))
        elif IN_CI:
            refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped and IN_CI:
        refuse(report)
    return report


def refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"skipped where CI must run it: {reason}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", []):
        for name, words in report.user_properties:
            if name == "told" and report.when == "call":
                terminalreporter.write_line(f"{report.nodeid}: {words}")
    for report in terminalreporter.stats.get("skipped", []):
        for name, reason in getattr(report, "user_properties", []):
            if name == "may_skip":
                terminalreporter.write_line(f"allowed skip: {report.nodeid}: {reason}")
