"""HTTP/1.1: a hello of an ASGI application, and 1 KiB of a file, requests per second, plain and over TLS.

The load is wrk, 32 connections that are kept. The hello is the same application under each server: uvicorn with uvloop
and httptools, granian with uvloop, one worker and one thread of its runtime. The 1 KiB are a file to nginx (one
process, its file cache open, no access log), and to socketkit an answer that was prepared (`http.Prepared`). Ratios as
in echo.py; the latencies are wrk's.

    python bench/http.py --tables hello,static --rounds 5
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from harness import (
    BENCH,
    Cores,
    Peer,
    PeerFailed,
    Samples,
    Server,
    bench,
    choose_peers,
    find_program,
    finished,
    free_port,
    granian,
    print_rates,
    python_peer,
    rounds,
    start_all,
    whole_seconds,
)
from options import Options

TABLES = ("hello", "static", "static-tls")
FLOORS = {"hello": {"uvicorn": 1.3}, "static": {"nginx": 0.6}, "static-tls": {"nginx": 0.5}}


def peers_of(name: str, folder: Path) -> list[Peer]:
    if name == "hello":
        return [
            python_peer("socketkit", "http_socketkit"),
            python_peer("socketkit-uvloop", "http_socketkit", "--uvloop"),
            uvicorn(),
            granian("http_hello:app", "--working-dir", str(BENCH / "peers")),
        ]
    tls = ("--tls", str(identity(folder))) if name == "static-tls" else ()
    ours = [
        python_peer("socketkit", "http_socketkit", "--static", *tls),
        python_peer("socketkit-uvloop", "http_socketkit", "--static", "--uvloop", *tls),
    ]
    try:
        return [*ours, nginx(folder, tls)]
    except PeerFailed as error:
        print(f"left out: nginx: {error}", flush=True)
        return ours


def uvicorn() -> Peer:
    port = free_port()
    words = ("--port", str(port), "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error")
    application = ("--app-dir", str(BENCH / "peers"), "http_hello:app")
    # -P: this folder, if it is the one where the bench was started, has an `http.py` that is not Python's.
    return Peer("uvicorn", (sys.executable, "-P", "-m", "uvicorn", *application, *words), port)


def identity(folder: Path) -> Path:
    """A key and its certificate, for all servers of the run."""
    pem = folder / "identity.pem"
    if not pem.exists():
        options = ["-x509", "-newkey", "ed25519", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        names = ["-keyout", str(folder / "key"), "-out", str(folder / "certificate")]
        program = find_program("openssl", "openssl")
        subprocess.run([program, "req", *options, *names], check=True, capture_output=True)
        pem.write_text((folder / "key").read_text() + (folder / "certificate").read_text())
        pem.chmod(0o600)
    return pem


def nginx(folder: Path, tls: Sequence[str]) -> Peer:
    program, port = find_program("nginx", "nginx-light"), free_port()
    (folder / "static").write_bytes(b"x" * 1024)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    secure = f"ssl_certificate {tls[1]}; ssl_certificate_key {tls[1]}; ssl_protocols TLSv1.3;" if tls else ""
    config = folder / f"nginx-{port}.conf"
    config.write_text(
        f"daemon off; master_process off; worker_processes 1; pid {folder}/pid-{port}; error_log stderr crit;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log off; {' '.join(f'{kind}_temp_path {folder}/scratch;' for kind in kinds)}\n"
        f"keepalive_requests 100000000; open_file_cache max=100; {secure}\n"
        f"server {{ listen 127.0.0.1:{port}{' ssl' if tls else ''}; root {folder}; }} }}\n"
    )
    return Peer("nginx", (program, "-p", str(folder), "-c", str(config)), port)


def measure(server: Server, core: int, url: str, seconds: float, connections: int) -> dict[str, float]:
    """One run of wrk."""
    command = [find_program("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{whole_seconds(seconds)}s", "--latency", url]
    with server.alone():
        before = server.cpu_ns()
        done = finished(command, core, seconds)
        cpu = server.cpu_ns() - before
        rss = server.rss_bytes()
    told = done.stdout.decode()
    requests = re.search(r"(\d+) requests in ([\d.]+)(ms|s)", told)
    if done.returncode or requests is None or requests[1] == "0":
        raise PeerFailed(f"wrk: {(done.stderr.decode() or told).strip()}; server: {server.why()}")
    count, wall = int(requests[1]), float(requests[2]) * UNITS[requests[3]] / 1e6
    errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", told)))
    return {
        "messages_per_second": count / wall,
        "cpu_us_per_message": cpu / 1000 / count,
        "p50_us": latency(told, "50%"),
        "p99_us": latency(told, "99%"),
        "waited": max(0.0, 1 - cpu / 1e9 / wall),
        "rss_bytes": rss,
        "errors": errors,
    }


def latency(told: str, share: str) -> float:
    found = re.search(rf"{share}\s+([\d.]+)(us|ms|s)\b", told)
    return float(found[1]) * UNITS[found[2]] if found else 0.0


UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


def main() -> None:
    parser = Options(__doc__, quick={"rounds": 1}, tables=TABLES, servers=True, rounds=5, seconds=1.0)
    parser.number("--connections", 32)
    options = parser.chosen()
    with tempfile.TemporaryDirectory() as folder:
        for name in options.tables:
            with bench(options) as (stack, cores):
                servers = start_all(stack, choose_peers(peers_of(name, Path(folder)), options.peers), cores.server)
                samples = run_table(name, servers, cores, options.rounds, options.seconds, options.connections)
                print_rates(samples, f"{name}, {options.connections} connections", "requests", "req", FLOORS[name].get)


def run_table(
    name: str, servers: Sequence[Server], cores: Cores, count: int, seconds: float, connections: int
) -> Samples:
    samples = Samples()
    scheme, path = ("https" if name == "static-tls" else "http"), ("" if name == "hello" else "static")
    for order in rounds(servers, count):
        for server in order:
            url = f"{scheme}://127.0.0.1:{server.port}/{path}"
            samples.take(server.peer.name, partial(measure, server, cores.load, url, seconds, connections))
    return samples


if __name__ == "__main__":
    main()
