"""What every bench needs: the C programs, servers pinned to one core, the load pinned to the other, and the table.

Rules: a server is stopped (SIGSTOP) while another is measured, so that nothing else runs on its core; every child dies
with the bench, however the bench ends; every wait has an end.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

BENCH = Path(__file__).resolve().parent
BUILD = BENCH / "build"
START_SECONDS = 15.0
SETTLE_SECONDS = 2.0
LOAD_GRACE_SECONDS = 60.0
T = TypeVar("T")


class PeerFailed(Exception):
    """A peer did not start, died or is not installed: its row is left out and the reason printed."""


# ---- the cores ----


@dataclass(frozen=True)
class Cores:
    server: int
    load: int

    @classmethod
    def choose(cls, one_core: bool) -> Cores:
        cores = sorted(os.sched_getaffinity(0))
        return cls(cores[0], cores[0] if one_core else cores[-1])


def pinned(core: int) -> Callable[[], None]:
    """What a child does before exec: sit on its core, and die with the bench."""
    libc = ctypes.CDLL(None)
    bench = os.getpid()

    def prepare() -> None:
        os.sched_setaffinity(0, {core})
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != bench:  # it ended before prctl took effect
            os._exit(1)

    return prepare


PR_SET_PDEATHSIG = 1


def raise_descriptor_limit() -> int:
    """Children inherit it. Returns what is allowed."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


# ---- the C programs ----


def build(name: str) -> str:
    """The path of bench/build/NAME, compiled when older than its sources."""
    program, (source, *flags) = BUILD / name, PROGRAMS[name]
    newest = max(path.stat().st_mtime for path in (BENCH / "c").iterdir())
    if not program.exists() or program.stat().st_mtime < newest:
        compiler = shutil.which("cc")
        if compiler is None:
            raise SystemExit("bench: no C compiler; apt install gcc libc6-dev")
        if "-lssl" in flags and not compiles(compiler, "#include <openssl/ssl.h>"):
            raise SystemExit("bench: no headers of OpenSSL; apt install libssl-dev")
        BUILD.mkdir(exist_ok=True)
        subprocess.run([compiler, "-O2", "-o", str(program), str(BENCH / "c" / source), *flags], check=True)
    return str(program)


PROGRAMS = {
    "echo_epoll": ("echo_epoll.c",),
    "echo_tls": ("echo_tls.c", "-lssl", "-lcrypto"),
    "echo_udp": ("echo_udp.c",),
    "flood": ("flood.c",),
    "load": ("load.c",),
    "load_mail": ("load_mail.c",),
    "load_tls": ("load.c", "-DTLS", "-lssl", "-lcrypto"),
    "load_udp": ("load_udp.c",),
}


def compiles(compiler: str, text: str) -> bool:
    return not subprocess.run([compiler, "-E", "-"], input=text.encode(), capture_output=True).returncode


def find_program(program: str, package: str) -> str:
    """Its path, also where only root's PATH would look."""
    found = shutil.which(program, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise PeerFailed(f"{program} is not installed; apt install {package}")
    return found


# ---- peers and their servers ----


@dataclass(frozen=True)
class Peer:
    name: str
    command: tuple[str, ...]
    port: int | None = None  # None: the server prints the port that it was given
    single_process: bool = True  # False: its CPU time cannot be read from one process
    workers: bool = False  # it serves in child processes that stay: CPU time and memory are those of all of them
    load: str = "load"  # the program that drives it


def python_peer(name: str, script: str, *arguments: str, load: str = "load") -> Peer:
    return Peer(name, (sys.executable, str(BENCH / "peers" / f"{script}.py"), *arguments), load=load)


def granian(*words: str) -> Peer:
    """One worker, one thread of its runtime; HTTP/1.1 alone, and no WebSocket, as in its makers' own benches."""
    port = free_port()
    one = ("--workers", "1", "--runtime-threads", "1", "--loop", "uvloop")
    plain = ("--interface", "asgi", "--http", "1", "--no-ws", "--no-access-log", "--log-level", "error")
    command = (sys.executable, "-m", "granian", *one, *plain, "--port", str(port), *words)
    return Peer("granian", command, port, workers=True)


def echo_peers() -> list[Peer]:
    return [
        python_peer("socketkit", "socketkit_"),
        python_peer("socketkit-uvloop", "socketkit_", "--uvloop"),
        python_peer("uvloop-protocol", "asyncio_protocol", "--uvloop"),
        python_peer("uvloop-streams", "asyncio_streams", "--uvloop"),
        python_peer("asyncio-protocol", "asyncio_protocol"),
        python_peer("asyncio-streams", "asyncio_streams"),
        python_peer("anyio-uvloop", "anyio_", "--uvloop"),
        python_peer("anyio", "anyio_"),
        python_peer("trio", "trio_"),
        Peer("c", (build("echo_epoll"),)),
    ]


def choose_peers(peers: Sequence[Peer], names: Sequence[str] | None) -> list[Peer]:
    if names is None:
        return list(peers)
    known = {peer.name: peer for peer in peers}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"bench: no peer {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names]


class Server:
    """One peer's server process. Enter it: it listens on `port`. Leave it: it is gone, with its children."""

    def __init__(self, peer: Peer, core: int) -> None:
        self.peer, self.core = peer, core
        self.port = 0

    def __enter__(self) -> Self:
        self.errors = tempfile.TemporaryFile()  # a pipe that nobody reads would block a talkative server
        try:
            self.process = subprocess.Popen(
                self.peer.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.peer.port is None else self.errors,
                stderr=self.errors,
                preexec_fn=pinned(self.core),
                start_new_session=True,
            )
        except OSError as error:
            raise PeerFailed(f"{self.peer.command[0]}: {error.strerror}") from error
        try:
            self.port = self._announced_port() if self.peer.port is None else self._opened_port(self.peer.port)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        self.errors.close()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Runs during the block only; settled (nothing left to do) before it is stopped again."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.settle()
            self._signal(signal.SIGSTOP)

    def pause(self) -> None:
        self.settle()
        self._signal(signal.SIGSTOP)

    def settle(self) -> None:
        """Waits until the server uses no more CPU time and waits for none, for SETTLE_SECONDS at most."""
        end, before = time.monotonic() + SETTLE_SECONDS, -1
        while time.monotonic() < end and (before != (now := self.cpu_ns()) or self._is_busy()):
            before = now
            time.sleep(0.01)

    def cpu_ns(self) -> int:
        # A process's own CPU clock, as clock_getcpuclockid(3) computes it: exact, where /proc counts in ticks.
        with suppress(OSError):
            return sum(time.clock_gettime_ns((~pid << 3) | CPUCLOCK_SCHED) for pid in self.pids())
        return 0

    def rss_bytes(self) -> int:
        with suppress(OSError):  # it died
            rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.pids()]
            return sum(int(line.split()[1]) * 1024 for text in rollups for line in text.splitlines() if "Rss:" in line)
        raise PeerFailed(f"it ended: {self.why()}")

    def pids(self) -> list[int]:
        """Of all processes that are counted as it."""
        found = [self.process.pid]
        if self.peer.workers:
            for pid in found:  # grows meanwhile
                with suppress(OSError):
                    for children in Path(f"/proc/{pid}/task").glob("*/children"):
                        found += map(int, children.read_text().split())
        return found

    def why(self) -> str:
        """The last line that it wrote on stderr."""
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def _is_busy(self) -> bool:
        """Runs, waits for a core, or for memory."""
        with suppress(OSError):  # it died
            stats = [Path(f"/proc/{pid}/stat").read_text() for pid in self.pids()]
            return any(text.rpartition(")")[2].split()[0] in "RD" for text in stats)
        return False

    def _announced_port(self) -> int:
        output = self.process.stdout
        assert output is not None
        ready, _, _ = select.select([output], [], [], START_SECONDS)
        line = output.readline() if ready else b""
        if not line.strip().isdigit():
            raise PeerFailed(self.why() if ready else f"no port after {START_SECONDS:.0f} s: {self.why()}")
        return int(line)

    def _opened_port(self, port: int) -> int:
        # Looked up, not tried: through a relay, a trial connection would reach the far end.
        end, listening = time.monotonic() + START_SECONDS, f" 0100007F:{port:04X} 00000000:0000 0A "
        while time.monotonic() < end and self.process.poll() is None:
            if listening in Path("/proc/net/tcp").read_text():
                return port
            time.sleep(0.02)
        raise PeerFailed(self.why())

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


CPUCLOCK_SCHED = 2


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """For programs that cannot bind port 0 and say what they got."""
    with socket.socket(type=kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def start_all(stack: ExitStack, peers: Iterable[Peer], core: int) -> list[Server]:
    """The servers that start, paused; the others are named with the reason."""
    servers = []
    for peer in peers:
        try:
            server = stack.enter_context(Server(peer, core))
        except PeerFailed as error:
            print(f"left out: {peer.name}: {error}", flush=True)
            continue
        server.pause()
        servers.append(server)
    return servers


# ---- the load ----


def load_command(mode: str, *, load: str = "load", **options: object) -> list[str]:
    """Options as the load spells them; True is a flag, False is none."""
    named = [
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in options.items()
        if value is not False
    ]
    return [build(load), mode, *named]


def run_load(
    server: Server, core: int, mode: str, seconds: float, *, crowded: bool = False, **options: object
) -> dict[str, float]:
    """One run against a server; the load's own JSON line. The server runs only meanwhile.

    A run that something else on the machine disturbed is repeated; of ATTEMPTS the least disturbed one counts.
    `crowded`: something of the bench's own shares the load's core.
    """
    cpu_of = server.process.pid if server.peer.single_process else 0
    command = load_command(mode, load=server.peer.load, port=server.port, seconds=seconds, cpu_of=cpu_of, **options)
    return run_command(server, core, command, seconds, crowded=crowded)


def run_command(
    server: Server, core: int, command: list[str], seconds: float, *, crowded: bool = False
) -> dict[str, float]:
    """`run_load` with another load, which says the same in its JSON line."""

    def run() -> dict[str, float]:
        with server.alone():
            result = json.loads(_finish(command, core, seconds, server))
            return with_waited({**result, "rss_bytes": server.rss_bytes()}, crowded)

    result = least_disturbed(run, 1 if core == server.core else ATTEMPTS)  # on one core, both wait for each other
    if result.get("messages") == 0:
        raise PeerFailed(f"nothing got through, {result['errors']} errors; server: {server.why()}")
    return result


def with_waited(result: dict[str, float], crowded: bool) -> dict[str, float]:
    """Adds the share of the time in which other programs or machines kept the server, or the load, from running."""
    waited = result["server_waited"] + (0 if crowded else result["load_waited"])
    return {**result, "waited": waited + result["stolen"]}


def least_disturbed(run: Callable[[], dict[str, float]], attempts: int) -> dict[str, float]:
    results = [run()]
    while results[-1]["waited"] >= DISTURBED_SHARE and len(results) < attempts:
        results.append(run())
    return min(results, key=lambda result: result["waited"])


def hold(server: Server, core: int, mode: str, connections: int, **options: object) -> dict[str, float]:
    """The server's resident size before, while and after the load holds so many connections."""
    command = load_command(mode, load=server.peer.load, port=server.port, connections=connections, **options)
    pipe = subprocess.PIPE
    with server.alone():
        before = server.rss_bytes()
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, preexec_fn=pinned(core)) as load:
            try:
                assert load.stdout and load.stderr
                ready, _, _ = select.select([load.stdout], [], [], LOAD_GRACE_SECONDS)
                if not ready or not load.stdout.readline():
                    load.kill()
                    raise PeerFailed(load.stderr.read().decode().strip() or "the connections were not open in time")
                server.settle()
                opened = server.rss_bytes()
                output, _ = load.communicate(timeout=LOAD_GRACE_SECONDS)
            except subprocess.TimeoutExpired as error:
                raise PeerFailed("the load did not end") from error
            finally:
                load.kill()
        if lost := json.loads(output)["lost"]:
            raise PeerFailed(f"it closed {lost} of {connections} connections before they were counted")
        server.settle()
        return {
            "before": before,
            "opened": opened,
            "each": (opened - before) / connections,
            "after": server.rss_bytes(),
        }


def _finish(command: list[str], core: int, seconds: float, server: Server) -> bytes:
    done = finished(command, core, seconds)
    if done.returncode:
        raise PeerFailed(f"{done.stderr.decode().strip()}; server: {server.why()}")
    return done.stdout


def finished(command: list[str], core: int, seconds: float) -> subprocess.CompletedProcess[bytes]:
    """A load that ran to its end, for `seconds` by its own clock; what it says is its caller's to judge."""
    limit = seconds + LOAD_GRACE_SECONDS
    try:
        return subprocess.run(command, capture_output=True, preexec_fn=pinned(core), timeout=limit)
    except subprocess.TimeoutExpired as error:
        raise PeerFailed(f"{Path(command[0]).name} did not end within {limit:.0f} s") from error


def whole_seconds(seconds: float) -> int:
    """For programs that know no others: wrk and iperf3 take 0.5 for 0, which is one moment or no end."""
    return max(1, round(seconds))


ATTEMPTS = 3
DISTURBED_SHARE = 0.03


def rounds(servers: Sequence[T], count: int) -> Iterator[list[T]]:
    """The order of each round: interleaved, and shifted so that nobody is always first."""
    for number in range(count):
        shift = number % max(1, len(servers))
        yield [*servers[shift:], *servers[:shift]]


class Samples:
    """Results by peer and round; a peer that fails once is out, with its reason."""

    def __init__(self) -> None:
        self.by_peer: dict[str, list[dict[str, float]]] = {}
        self.failed: dict[str, str] = {}

    def take(self, name: str, measure: Callable[[], dict[str, float]]) -> None:
        if name in self.failed:
            return
        try:
            self.by_peer.setdefault(name, []).append(measure())
        except PeerFailed as error:
            self.failed[name] = str(error)
            self.by_peer.pop(name, None)
            print(f"left out: {name}: {error}", flush=True)

    def median(self, name: str, field: str) -> float:
        return statistics.median(sample[field] for sample in self.by_peer[name])

    def total(self, name: str, field: str) -> float:
        return sum(sample[field] for sample in self.by_peer[name])

    def spread(self, name: str, field: str) -> str:
        """Half of the range, in percent of the median."""
        values = [sample[field] for sample in self.by_peer[name]]
        middle = statistics.median(values)
        return f"±{50 * (max(values) - min(values)) / middle:.0f}%" if middle else "-"

    def ratio(self, field: str, ours: str, theirs: str) -> float | None:
        """Median over the rounds of ours / theirs; None when one of them has nothing."""
        pairs = zip(self.by_peer.get(ours, ()), self.by_peer.get(theirs, ()), strict=False)
        quotients = [mine[field] / other[field] for mine, other in pairs if other[field]]
        return statistics.median(quotients) if quotients else None


# ---- what is printed ----


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """First column to the left, figures to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *others]).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)])


def print_rates(samples: Samples, title: str, many: str, one: str, floor: Callable[[str], float | None]) -> None:
    """What run_load measured, a row for each peer: `many` per second, and CPU time for `one`."""
    print(title)
    header = ["peer", f"{many}/s", "", "p50 us", "p99 us", f"CPU us/{one}", "", "busy", "waited", "RSS MiB", "errors"]
    rows = [rate_row(samples, name, floor(name)) for name in samples.by_peer]
    print(table([*header, "rate", "cpu", "target"], rows), end="\n\n", flush=True)


def rate_row(samples: Samples, name: str, floor: float | None) -> list[str]:
    rate, cpu = samples.median(name, "messages_per_second"), samples.median(name, "cpu_us_per_message")
    ratio = samples.ratio("messages_per_second", OURS, name)
    cheaper = samples.ratio("cpu_us_per_message", OURS, name)
    return [
        name,
        f"{rate:,.0f}",
        samples.spread(name, "messages_per_second"),
        f"{samples.median(name, 'p50_us'):,.0f}",
        f"{samples.median(name, 'p99_us'):,.0f}",
        f"{cpu:.2f}" if cpu < 100 else f"{cpu:,.0f}",
        samples.spread(name, "cpu_us_per_message"),
        f"{rate * cpu / 1e4:.0f}%",
        f"{100 * samples.median(name, 'waited'):.0f}%",
        f"{samples.median(name, 'rss_bytes') / 2**20:.0f}",
        f"{samples.total(name, 'errors'):.0f}",
        times(ratio),
        times(1 / cheaper if cheaper else None),
        against_floor(ratio, floor),
    ]


OURS = "socketkit"  # the row that ratios are about


def times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"


def against_floor(ratio: float | None, floor: float | None) -> str:
    """What an issue asks of this ratio, and whether it is there."""
    if floor is None:
        return ""
    return f">={floor:g}" if ratio is None else f">={floor:g} {'ok' if ratio >= floor else 'MISSED'}"


def print_machine(cores: Cores | None) -> None:
    processor = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    packages = ", ".join(f"{name} {installed(name)}" for name in ("socketkit", "uvloop", "anyio", "trio"))
    print(f"{processor}, {os.cpu_count()} cores; Linux {platform.release()}; load average {load}")
    print(f"Python {platform.python_version()}, {packages}")
    if cores:
        where = "the same core" if cores.server == cores.load else f"load on core {cores.load}"
        print(f"server on core {cores.server}, {where}")
    print(flush=True)


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of the work tree" if find_spec(package) else "not installed"


@contextmanager
def bench(options: Any) -> Iterator[tuple[ExitStack, Cores]]:
    """Prints the machine, gives the stack that owns all children, and ends quietly on Ctrl-C."""
    cores = Cores.choose(options.one_core)
    raise_descriptor_limit()
    build("load")
    print_machine(cores)
    try:
        with ExitStack() as stack:
            yield stack, cores
    except KeyboardInterrupt:
        raise SystemExit(130) from None
