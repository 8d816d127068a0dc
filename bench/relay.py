"""Relays beside each other: bulk Gbit/s, new connections per second, and small echoes through them.

The far end of `bulk` and the near one are the same process, on the load's core; it counts what comes out, and drops it
in the kernel. `forward` goes from the connecting side to the accepting one, `back` the other way. Behind `connections`
and `echo` stands the C echo server, on the load's core too. CPU is the relay's own; socat forks a process per
connection, whose time is not counted. nginx and socat get buffers of 64 KiB (their own are 16 and 8). Ratios: above 1,
socketkit is faster.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from harness import (
    ATTEMPTS,
    LOAD_GRACE_SECONDS,
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
    least_disturbed,
    load_command,
    pinned,
    python_peer,
    rounds,
    run_load,
    table,
    times,
    with_waited,
)
from options import Options

NGINX_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
Factory = Callable[[int, Path], Peer]  # (the far end's port, a directory of its own)


# ---- the peers ----


def socketkit_relay(far: int, _: Path) -> Peer:
    return python_peer("socketkit", "socketkit_relay", str(far))


def socketkit_relay_uvloop(far: int, _: Path) -> Peer:
    return python_peer("socketkit-uvloop", "socketkit_relay", "--uvloop", str(far))


def nginx(far: int, directory: Path) -> Peer:
    program, port, config = find_program("nginx", "nginx-light"), free_port(), directory / "nginx.conf"
    if not NGINX_STREAM.exists():
        raise PeerFailed("no stream module; apt install libnginx-mod-stream")
    config.write_text(
        f"load_module {NGINX_STREAM};\n"
        f"daemon off; master_process off; worker_processes 1; pid {directory}/pid; error_log stderr crit;\n"
        "worker_rlimit_nofile 8192; events { worker_connections 4096; }\n"
        "stream { proxy_buffer_size 64k; server { "
        f"listen 127.0.0.1:{port} backlog=1024; proxy_pass 127.0.0.1:{far}; }} }}\n"
    )
    return Peer("nginx", (program, "-p", str(directory), "-c", str(config)), port)


def haproxy(name: str, options: str, far: int, directory: Path) -> Peer:
    program, port, config = find_program("haproxy", "haproxy"), free_port(), directory / "haproxy.cfg"
    config.write_text(
        "global\n  nbthread 1\n  maxconn 4096\n"
        f"defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n{options}"
        f"listen relay\n  bind 127.0.0.1:{port} backlog 1024\n  server far 127.0.0.1:{far}\n"
    )
    return Peer(name, (program, "-db", "-f", str(config)), port)


HAPROXY_SPLICE = "  option splice-request\n  option splice-response\n"  # splice-auto guesses; these always do


def socat(far: int, _: Path) -> Peer:
    port = free_port()
    near = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,backlog=1024"
    return Peer(
        "socat", (find_program("socat", "socat"), "-b65536", near, f"TCP:127.0.0.1:{far}"), port, single_process=False
    )


FACTORIES: dict[str, Factory] = {
    "socketkit": socketkit_relay,
    "socketkit-uvloop": socketkit_relay_uvloop,
    "nginx": nginx,
    "haproxy": partial(haproxy, "haproxy", ""),
    "haproxy-splice": partial(haproxy, "haproxy-splice", HAPROXY_SPLICE),
    "socat": socat,
}


# ---- what is measured ----


@contextmanager
def relay_to(name: str, far: int, core: int) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as directory, Server(FACTORIES[name](far, Path(directory)), core) as server:
        yield server


def run_bulk(name: str, cores: Cores, seconds: float, direction: str, size: int) -> dict[str, float]:
    """The load opens the far end first, so each run has a relay of its own that points there."""
    command = load_command("bulk", seconds=seconds, direction=direction, size=size)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, text=True, preexec_fn=pinned(cores.load), stdin=pipe, stdout=pipe, stderr=pipe
    ) as load:
        try:
            assert load.stdout
            with relay_to(name, int(load.stdout.readline()), cores.server) as server:
                process = server.process.pid if server.peer.single_process else 0
                output, errors = load.communicate(f"{server.port} {process}\n", timeout=seconds + LOAD_GRACE_SECONDS)
                if load.returncode:
                    raise PeerFailed(f"{errors.strip()}; relay: {server.why()}")
        except subprocess.TimeoutExpired as error:
            raise PeerFailed("the bulk transfer did not end") from error
        finally:
            load.kill()
    return with_waited(json.loads(output), crowded=False)


def bulk(names: list[str], options: argparse.Namespace, cores: Cores) -> dict[str, Samples]:
    taken = {direction: Samples() for direction in ("forward", "back")}
    for order in rounds(names, options.rounds):
        for name in order:
            for direction, samples in taken.items():
                run = partial(run_bulk, name, cores, options.seconds, direction, options.chunk)
                samples.take(name, partial(least_disturbed, run, 1 if options.one_core else ATTEMPTS))
    return taken


def through(servers: dict[str, Server], options: argparse.Namespace, cores: Cores) -> dict[str, Samples]:
    """Connections and echoes through relays that stay, paused but for their turn."""
    taken = {mode: Samples() for mode in ("churn", "echo")}
    for order in rounds(list(servers), options.rounds):
        for name in order:
            for mode, samples in taken.items():
                run = partial(run_load, servers[name], cores.load, mode, options.seconds, crowded=True)
                samples.take(name, partial(run, connections=options.connections, size=options.size))
    return taken


def print_samples(samples: Samples, title: str, field: str, cpu: str, floors: dict[str, float]) -> None:
    rows = []
    for name in samples.by_peer:
        ratio = samples.ratio(field, OURS, name)
        figure = samples.median(name, field)
        rows.append(
            [
                name,
                f"{figure:.2f}" if figure < 1000 else f"{figure:,.0f}",
                samples.spread(name, field),
                f"{samples.median(name, cpu):.1f}" if name != "socat" else "-",
                f"{100 * samples.median(name, 'waited'):.0f}%",
                f"{samples.total(name, 'errors'):.0f}",
                times(ratio),
                against_floor(ratio, floors.get(name)),
            ]
        )
    print(title)
    unit_of_cpu = "CPU ms/GB" if cpu == "cpu_ms_per_gigabyte" else "CPU us each"
    print(table(["peer", UNITS[field], "", unit_of_cpu, "waited", "errors", "rate", "target"], rows))
    print(flush=True)


UNITS = {"gbit_per_second": "Gbit/s", "messages_per_second": "per second"}
# Issue 2's targets.
BULK_FLOORS = {"nginx": 1.0, "socat": 1.0}
CONNECTION_FLOORS = {"haproxy": 0.9}
ECHO_FLOORS = {"haproxy": 0.8}


def main() -> None:
    parser = Options(__doc__, quick={"rounds": 1, "seconds": 0.2}, servers=True, rounds=3, seconds=0.5)
    parser.number("--connections", 64, "in flight, and echoing")
    parser.number("--size", 64, "of an echo", unit="BYTES")
    parser.number("--chunk", 262_144, "of a bulk write", unit="BYTES")
    options = parser.chosen()
    known = [Peer(name, ()) for name in FACTORIES]
    names = [peer.name for peer in choose_peers(known, options.peers)]
    with bench(options) as (stack, cores):
        far = stack.enter_context(Server(Peer("c", (build("echo_epoll"),)), cores.load))
        servers: dict[str, Server] = {}
        for name in names:
            try:
                servers[name] = stack.enter_context(relay_to(name, far.port, cores.server))
            except PeerFailed as error:
                print(f"left out: {name}: {error}", flush=True)
            else:
                servers[name].pause()
        for direction, samples in bulk(list(servers), options, cores).items():
            title = f"bulk {direction}, one connection"
            print_samples(samples, title, "gbit_per_second", "cpu_ms_per_gigabyte", BULK_FLOORS)
        taken = through(servers, options, cores)
        each = ("messages_per_second", "cpu_us_per_message")
        title = f"new connections with one echo of {options.size:,} B, {options.connections} in flight"
        print_samples(taken["churn"], title, *each, CONNECTION_FLOORS)
        title = f"echoes of {options.size:,} B on {options.connections} connections"
        print_samples(taken["echo"], title, *each, ECHO_FLOORS)


if __name__ == "__main__":
    main()
