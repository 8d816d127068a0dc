"""TLS 1.3 beside asyncio, uvloop, OpenSSL in C and nginx: echoes, bulk, handshakes, memory, and what limits cost.

The load offers one group, one cipher suite (TLS_AES_256_GCM_SHA384) and one kind of signature and resumes nothing, so
every server does the same work. A handshake counts from connect() until both ends have said that nothing follows.
Bulk `down` is what a server sends, `up` what it takes; nginx sends a file over HTTPS, which to the load is the same.
Memory is the growth of the server's resident size by connection, in a fresh process for every figure: connected only
(`silent`), after half of a ClientHello, after the whole, and established with one echo done (`idle`). Ratios as in
echo.py. The targets stand together at the end.

    python bench/tls.py --tables echo,handshakes --peers socketkit,uvloop-protocol,c
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from harness import (
    OURS,
    Cores,
    Peer,
    PeerFailed,
    Samples,
    Server,
    against_floor,
    bench,
    build,
    choose_peers,
    find_program,
    free_port,
    hold,
    load_command,
    print_rates,
    python_peer,
    rounds,
    run_load,
    start_all,
    table,
    times,
)
from options import Options

TABLES = ("echo", "bulk", "handshakes", "memory", "limits")
# Issue 3's targets. Of rates:
ECHO_FLOORS = {"uvloop-protocol": 1.2, "uvloop-streams": 2.0, "c": 0.8}
BULK_FLOORS = {"nginx": 1.0}
HANDSHAKE_FLOORS = {"asyncio-protocol": 1.3}
LIMITS_FLOORS = {"socketkit-unlimited": 0.97}
# ... and of memory by connection: how much smaller, and how large at most.
IDLE_FLOORS = {"asyncio-protocol": 3.0}
CEILINGS_KIB = {"silent": 4.0, "half": 4.0, "whole": 24.0}

GROUPS = ("X25519", "X25519MLKEM768")  # the second where the load's OpenSSL has it
KEYS = {  # what `openssl req` makes, and the signature that comes of it
    "ed25519": (("ed25519",), "ed25519"),
    "p256": (("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), "ecdsa_secp256r1_sha256"),
}


# ---- the peers ----


@dataclass(frozen=True)
class Material:
    """What servers are made from."""

    pem: Path  # the key, then the certificate
    directory: Path
    bulk_bytes: int


Factory = Callable[[Material], Peer]


def python_tls(name: str, script: str, *arguments: str, bulk: bool = False) -> Factory:
    def make(made: Material) -> Peer:
        size = ("--bulk", str(made.bulk_bytes)) if bulk else ()
        return python_peer(name, script, *arguments, "--tls", str(made.pem), *size, load="load_tls")

    return make


def c_echo(made: Material) -> Peer:
    return Peer("c", (build("echo_tls"), str(made.pem)), load="load_tls")


def c_bulk(made: Material) -> Peer:
    return Peer("c", (build("echo_tls"), str(made.pem), str(made.bulk_bytes)), load="load_tls")


def nginx(made: Material) -> Peer:
    """One process, which serves the file `bulk`."""
    program, port = find_program("nginx", "nginx-light"), free_port()
    directory, scratch = made.directory, made.directory / "scratch"
    with open(directory / "bulk", "wb") as file:
        file.truncate(made.bulk_bytes)  # a hole: the others send from one buffer, so nginx does not read memory either
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    config = directory / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; worker_processes 1; pid {directory}/pid; error_log stderr crit;\n"
        "worker_rlimit_nofile 8192; events { worker_connections 4096; }\n"
        f"http {{ access_log off; {' '.join(f'{kind}_temp_path {scratch};' for kind in kinds)}\n"
        f"ssl_certificate {made.pem}; ssl_certificate_key {made.pem}; ssl_protocols TLSv1.3;\n"
        f"server {{ listen 127.0.0.1:{port} ssl backlog=1024; root {directory}; }} }}\n"
    )
    return Peer("nginx", (program, "-p", str(directory), "-c", str(config)), port, load="load_tls")


ECHOES: dict[str, Factory] = {
    "socketkit": python_tls("socketkit", "socketkit_tls"),
    "socketkit-uvloop": python_tls("socketkit-uvloop", "socketkit_tls", "--uvloop"),
    "uvloop-protocol": python_tls("uvloop-protocol", "asyncio_protocol", "--uvloop"),
    "uvloop-streams": python_tls("uvloop-streams", "asyncio_streams", "--uvloop"),
    "asyncio-protocol": python_tls("asyncio-protocol", "asyncio_protocol"),
    "asyncio-streams": python_tls("asyncio-streams", "asyncio_streams"),
    "c": c_echo,
    "nginx": nginx,  # it only shakes hands
}
BULKS: dict[str, Factory] = {
    "socketkit": python_tls("socketkit", "socketkit_tls", bulk=True),
    "uvloop-protocol": python_tls("uvloop-protocol", "asyncio_bulk", "--uvloop", bulk=True),
    "asyncio-protocol": python_tls("asyncio-protocol", "asyncio_bulk", bulk=True),
    "c": c_bulk,
    "nginx": nginx,
}
PLAIN: dict[str, Factory] = {
    "socketkit": lambda _: python_peer("socketkit", "socketkit_"),
    "socketkit-unlimited": lambda _: python_peer("socketkit-unlimited", "socketkit_", "--unlimited"),
}
# Whom a table leaves out: what another row says as well, and what the peer does not do.
NOT_IN = {
    "echo": ("asyncio-protocol", "nginx"),
    "down": (),
    "up": ("nginx",),  # it takes the body of a request in steps of 4 KiB
    "handshakes": ("uvloop-streams", "asyncio-streams"),
    "memory": ("socketkit-uvloop", "uvloop-streams", "asyncio-streams", "nginx"),
    "limits": (),
}


@contextmanager
def material(key: str, bulk_bytes: int) -> Iterator[Material]:
    """A key and a certificate made now, in a folder of the bench's own; in memory where the system has such a place."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        directory = Path(folder)
        private, certificate, pem = (directory / name for name in ("key", "certificate", "pem"))
        names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
        command = [openssl(), "req", "-x509", "-newkey", *KEYS[key][0], "-nodes", "-days", "2"]
        command += ["-subj", "/CN=localhost", "-addext", names, "-keyout", str(private), "-out", str(certificate)]
        done = subprocess.run(command, capture_output=True, timeout=COMMAND_SECONDS, umask=0o077)
        if done.returncode:
            raise SystemExit(f"bench: openssl made no certificate: {done.stderr.decode().strip()}")
        pem.touch(mode=0o600)
        pem.write_bytes(private.read_bytes() + certificate.read_bytes())
        yield Material(pem, directory, bulk_bytes)


def openssl() -> str:
    program = shutil.which("openssl")
    if program is None:
        raise SystemExit("bench: no openssl; apt install openssl")
    return program


COMMAND_SECONDS = 10


# ---- what is measured ----


@dataclass
class Bench:
    options: argparse.Namespace
    cores: Cores
    made: Material
    verdicts: list[list[str]] = field(default_factory=list)

    @property
    def signature(self) -> str:
        return KEYS[self.options.key][1]

    def peers(self, table: str, factories: dict[str, Factory]) -> list[Peer]:
        """Those of --peers that the table has and this machine, too."""
        wanted = self.options.peers or list(factories)
        made = []
        for name, factory in factories.items():
            if name in wanted and name not in NOT_IN[table]:
                try:
                    made.append(factory(self.made))
                except PeerFailed as error:
                    print(f"left out: {name}: {error}", flush=True)
        return made

    def interleaved(
        self, peers: Sequence[Peer], measure: Callable[[Server], dict[str, float]], count: int | None = None
    ) -> Samples:
        """Servers that stay, paused but for their turn."""
        samples = Samples()
        with ExitStack() as stack:
            servers = start_all(stack, peers, self.cores.server)
            for order in rounds(servers, count or self.options.rounds):
                for server in order:
                    samples.take(server.peer.name, partial(measure, server))
        return samples

    def starting(self, peers: Sequence[Peer]) -> list[Peer]:
        """For those that are started for each figure: who does not start is named once."""
        with ExitStack() as stack:
            return [server.peer for server in start_all(stack, peers, self.cores.server)]

    def load(self, server: Server, mode: str, *, windows: int = 1, **more: Any) -> dict[str, float]:
        seconds = windows * self.options.seconds
        return run_load(server, self.cores.load, mode, seconds, signature=self.signature, **more)

    def judge(
        self, what: str, samples: Samples, figure: str, floors: dict[str, float], *, inverse: bool = False
    ) -> None:
        """A line of the last table for each floor."""
        for name, floor in floors.items():
            ratio = samples.ratio(figure, OURS, name)
            if inverse and ratio:
                ratio = 1 / ratio
            self.verdicts.append([f"{what} against {name}", times(ratio), against_floor(ratio, floor) or "-"])

    # ---- the tables ----

    def echo(self) -> None:
        size, connections = self.options.size, self.options.connections
        measure = partial(self.load, mode="echo", size=size, connections=connections)
        samples = self.interleaved(self.peers("echo", ECHOES), measure)
        title = f"echo of {size:,} B over TLS on {connections:,} connections"
        print_rates(samples, title, "messages", "msg", ECHO_FLOORS.get)
        self.judge("messages/s over TLS", samples, "messages_per_second", ECHO_FLOORS)

    def bulk(self) -> None:
        size = self.made.bulk_bytes
        for way, mode in (("down", "download"), ("up", "upload")):
            samples = self.interleaved(self.peers(way, BULKS), partial(self.load, mode=mode, size=size))
            floors = BULK_FLOORS if way == "down" else {}
            print(f"bulk {way}, {size >> 20:,} MiB on one connection")
            header = ["peer", "GB/s", "", "CPU ms/GB", "", "waited", "rate", "cpu", "target"]
            print(table(header, [bulk_row(samples, name, floors.get(name)) for name in samples.by_peer]))
            print(flush=True)
            self.judge(f"bulk {way}", samples, "gbit_per_second", floors)

    def handshakes(self) -> None:
        key, in_flight = self.options.key, self.options.in_flight
        for group in GROUPS:
            if lacking := why_not(group):
                print(f"left out: handshakes with {lacking}\n", flush=True)
                continue
            # Longer than the others: those in flight go in step, and the window's ends cut through a step.
            measure = partial(self.load, mode="churn", windows=2, size=0, connections=in_flight, group=group)
            samples = self.interleaved(self.peers("handshakes", ECHOES), measure)
            title = f"full handshakes, {group}, {key}, {in_flight} in flight"
            print_rates(samples, title, "handshakes", "each", HANDSHAKE_FLOORS.get)
            self.judge(f"handshakes with {group}", samples, "messages_per_second", HANDSHAKE_FLOORS)

    def memory(self) -> None:
        peers, count = self.starting(self.peers("memory", ECHOES)), self.options.stalled
        by_state = {state: Samples() for state in STATES}
        for order in rounds(peers, self.options.memory_rounds):
            for peer in order:
                for state, samples in by_state.items():
                    samples.take(peer.name, partial(self.grown, peer, state, count))
        print(f"KiB of the server's own memory by connection, {count:,} connections")
        header = ["peer", *(cell for state in STATES for cell in (state, "")), "idle: smaller", "target"]
        names = [peer.name for peer in peers if any(peer.name in samples.by_peer for samples in by_state.values())]
        print(table(header, [memory_row(by_state, name) for name in names]), end="\n\n", flush=True)
        for state, ceiling in CEILINGS_KIB.items():
            ours = OURS in by_state[state].by_peer
            kib = by_state[state].median(OURS, "each") / 1024 if ours else None
            verdict = f"<={ceiling:g}" + ("" if kib is None else " ok" if kib <= ceiling else " MISSED")
            self.verdicts.append([f"{STATES[state]}, KiB", "-" if kib is None else f"{kib:.1f}", verdict])
        self.judge("idle memory", by_state["idle"], "each", IDLE_FLOORS, inverse=True)

    def grown(self, peer: Peer, state: str, count: int) -> dict[str, float]:
        with Server(peer, self.cores.server) as server:
            # What the first connections load and keep is not of this one; few, so that they leave little to be reused.
            self.load(server, "echo", size=64, connections=2, messages=4, warmup=0)
            server.pause()
            if state == "idle":
                return hold(server, self.cores.load, "idle", count, size=64, signature=self.signature)
            return hold(server, self.cores.load, "stall", count, hello=state, signature=self.signature)

    def limits(self) -> None:
        size, connections = self.options.size, self.options.connections
        measure = partial(self.load, mode="echo", size=size, connections=connections)
        # A difference of 3 % is asked about: more rounds than for factors.
        samples = self.interleaved(self.peers("limits", PLAIN), measure, 2 * self.options.rounds)
        title = f"what limits cost: echo of {size:,} B, plain, on {connections:,} connections"
        print_rates(samples, title, "messages", "msg", LIMITS_FLOORS.get)
        self.judge("messages/s with limits", samples, "messages_per_second", LIMITS_FLOORS)


STATES = {
    "silent": "memory while nothing was sent",
    "half": "memory after half a ClientHello",
    "whole": "memory after a ClientHello",
    "idle": "memory of an idle connection",
}


def bulk_row(samples: Samples, name: str, floor: float | None) -> list[str]:
    ratio = samples.ratio("gbit_per_second", OURS, name)
    cpu = samples.ratio("cpu_ms_per_gigabyte", OURS, name)
    return [
        name,
        f"{samples.median(name, 'gbit_per_second') / 8:.2f}",
        samples.spread(name, "gbit_per_second"),
        f"{samples.median(name, 'cpu_ms_per_gigabyte'):,.0f}",
        samples.spread(name, "cpu_ms_per_gigabyte"),
        f"{100 * samples.median(name, 'waited'):.0f}%",
        times(ratio),
        times(1 / cpu if cpu else None),
        against_floor(ratio, floor),
    ]


def memory_row(by_state: dict[str, Samples], name: str) -> list[str]:
    cells = [name]
    for samples in by_state.values():
        there = name in samples.by_peer
        cells += [f"{samples.median(name, 'each') / 1024:.1f}" if there else "-"]
        cells += [samples.spread(name, "each") if there else ""]
    ratio = by_state["idle"].ratio("each", OURS, name)
    smaller = 1 / ratio if ratio else None
    return [*cells, times(smaller), against_floor(smaller, IDLE_FLOORS.get(name))]


def why_not(group: str) -> str | None:
    """What the load says about a group that it does not have."""
    command = load_command("version", load="load_tls", group=group)
    done = subprocess.run(command, capture_output=True, timeout=COMMAND_SECONDS)
    return done.stderr.decode().strip().removeprefix("load: ") if done.returncode else None


def print_versions(key: str) -> None:
    load = subprocess.run(load_command("version", load="load_tls"), capture_output=True, timeout=COMMAND_SECONDS)
    versions = [f"load and C: {load.stdout.decode().strip()}", f"Python: {ssl.OPENSSL_VERSION}"]
    try:
        command = [find_program("nginx", "nginx-light"), "-V"]
        said = subprocess.run(command, capture_output=True, timeout=COMMAND_SECONDS).stderr.decode()
        program, libraries = re.search(r"nginx/\S+", said), re.findall(r"with (OpenSSL \S+)", said)
        versions.append(f"{program[0] if program else 'nginx'}: {libraries[-1] if libraries else 'no OpenSSL'}")
    except PeerFailed as error:
        versions.append(f"nginx: {error}")
    print("; ".join(versions))
    print(f"TLS 1.3, TLS_AES_256_GCM_SHA384, X25519 unless another group is named, key {key}\n", flush=True)


def main() -> None:
    quick = {"rounds": 1, "memory_rounds": 1, "megabytes": 32, "stalled": 200}
    parser = Options(__doc__, quick=quick, tables=TABLES, servers=True, rounds=4, seconds=0.3)
    parser.add_argument("--key", choices=KEYS, default="ed25519", help="of the servers (default %(default)s)")
    parser.number("--size", 1024, "of an echo", unit="BYTES")
    parser.number("--connections", 64, "of the echoes")
    parser.number("--in-flight", 16, "handshakes", unit="K")
    parser.number("--megabytes", 256, "of a bulk transfer", unit="MIB")
    parser.number("--stalled", 500, "and idle, held for memory")
    parser.number("--memory-rounds", 2, "rounds for memory")
    options = parser.chosen()
    known = [Peer(name, ()) for name in {**ECHOES, **BULKS, **PLAIN}]
    choose_peers(known, options.peers)  # an unknown name ends it here
    with bench(options) as (stack, cores):
        build("load_tls")
        print_versions(options.key)
        made = stack.enter_context(material(options.key, options.megabytes << 20))
        run = Bench(options, cores, made)
        for name in options.tables:
            getattr(run, name)()
        print("targets")
        print(table(["", "measured", "target"], run.verdicts))


if __name__ == "__main__":
    main()
