"""A folder served: requests/s of a file of 1 KiB, and bytes/s of one of 100 MB, plain and under TLS.

Beside nginx with one worker, granian with one worker, one thread and its own static files (`--static-path-mount`: they
never reach Python), Starlette's StaticFiles on uvicorn (uvloop and httptools), and http.server with threads,
which sends head and body apart and waits for the acknowledgement between them (Nagle): its requests/s say that, and no
more. The load is wrk with one thread on 16 kept connections for the small file, curl for the large one. socketkit is
what `serve web --public` runs. `rate` is socketkit's ratio to the peer: above 1, socketkit is faster; `cpu`: cheaper.

    python bench/web.py --peers socketkit,nginx --rounds 3
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from harness import (
    BENCH,
    OURS,
    Peer,
    PeerFailed,
    Samples,
    Server,
    against_floor,
    bench,
    choose_peers,
    find_program,
    finished,
    free_port,
    granian,
    rounds,
    start_all,
    table,
    times,
    whole_seconds,
)
from options import Options

SMALL_FLOORS = {False: {"nginx": 0.6}, True: {"nginx": 0.5}}  # by whether it is under TLS
LARGE_FLOORS = {"nginx": 1.0}
SMALL_BYTES = 1_024
LARGE_BYTES = 100_000_000
CONNECTIONS = 16
GRACE_SECONDS = 30
BELOW = {"granian": "files"}  # the name that stands before a file's, by peer


def main() -> None:
    options = Options(__doc__, quick={"rounds": 1}, servers=True, rounds=5, seconds=1.0).chosen()
    with bench(options) as (stack, cores):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="socketkit-bench-")))
        os.environ["SOCKETKIT_HOME"] = str(folder / "home")
        fill(folder)
        for encrypted in (False, True):
            with ExitStack() as servers_stack:
                servers = start_all(servers_stack, choose_peers(peers(folder, encrypted), options.peers), cores.server)
                small, large = Samples(), Samples()
                for order in rounds(servers, options.rounds):
                    for server in order:
                        name = server.peer.name
                        small.take(name, partial(requests, server, cores.load, options.seconds, encrypted))
                        large.take(name, partial(download, server, cores.load, encrypted))
            how = "TLS" if encrypted else "plain"
            show(f"1 KiB, {CONNECTIONS} connections, {how}", small, "requests/s", 1, SMALL_FLOORS[encrypted])
            show(f"100 MB, {how}", large, "MB/s", 1e6, LARGE_FLOORS)


def fill(folder: Path) -> None:
    (folder / "files").mkdir()
    (folder / "files" / "small.bin").write_bytes(os.urandom(SMALL_BYTES))
    (folder / "files" / "large.bin").write_bytes(os.urandom(1_000_000) * (LARGE_BYTES // 1_000_000))
    words = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    key, certificate = folder / "key", folder / "certificate"
    made = ["openssl", "req", "-x509", *words, "-keyout", str(key), "-out", str(certificate)]
    if subprocess.run(made, capture_output=True, timeout=GRACE_SECONDS).returncode:
        raise SystemExit("bench: openssl made no certificate")
    (folder / "pem").write_bytes(key.read_bytes() + certificate.read_bytes())


def peers(folder: Path, encrypted: bool) -> list[Peer]:
    tls = ("--tls", str(folder / "pem")) if encrypted else ()
    words = (sys.executable, str(BENCH / "peers" / "web_.py"), "--folder", str(folder / "files"), *tls, "--with")
    python = [Peer("socketkit", (*words, "socketkit")), Peer("uvicorn", (*words, "uvicorn", "--uvloop"))]
    python.append(Peer("http.server", (*words, "http.server")))
    python.append(served_by_granian(folder, encrypted))
    try:
        return [*python, nginx(folder, encrypted)]
    except PeerFailed as failure:
        print(f"left out: nginx: {failure}")
        return python


def served_by_granian(folder: Path, encrypted: bool) -> Peer:
    """Its own static files, which it has below a name only; an application is there because it starts with none."""
    files = ("--static-path-mount", str(folder / "files"), "--static-path-route", f"/{BELOW['granian']}")
    tls = ("--ssl-certificate", str(folder / "certificate"), "--ssl-keyfile", str(folder / "key")) if encrypted else ()
    return granian("http_hello:app", "--working-dir", str(BENCH / "peers"), *files, *tls)


def nginx(folder: Path, encrypted: bool) -> Peer:
    program, port = find_program("nginx", "nginx-light"), free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    config, scratch = folder / f"nginx-{encrypted}.conf", folder / "scratch"
    pem = folder / "pem"
    config.write_text(
        f"daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log stderr crit;\n"
        "user root; events { worker_connections 4096; }\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;\n"
        f"{' '.join(f'{kind}_temp_path {scratch};' for kind in kinds)}\n"
        f"ssl_certificate {pem}; ssl_certificate_key {pem}; ssl_protocols TLSv1.3;\n"
        f"server {{ listen 127.0.0.1:{port}{' ssl' if encrypted else ''} backlog=1024; root {folder}/files; }} }}\n"
    )
    return Peer("nginx", (program, "-p", str(folder), "-c", str(config)), port)


def requests(server: Server, core: int, seconds: float, encrypted: bool) -> dict[str, float]:
    wrk = find_program("wrk", "wrk")
    fetched(server, core, "small.bin", SMALL_BYTES, encrypted)  # what wrk counts is the file, and not a page beside it
    words = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{whole_seconds(seconds)}s", url(server, "small.bin", encrypted)]
    before = server.cpu_ns()
    said = loaded(server, core, words, seconds)
    count, rate = re.search(r"(\d+) requests in", said), re.search(r"Requests/sec:\s+([\d.]+)", said)
    if count is None or rate is None or not int(count[1]) or "Non-2xx" in said:
        raise PeerFailed(f"wrk says: {said.strip()[-200:]}")
    return {"rate": float(rate[1]), "cpu_us": (server.cpu_ns() - before) / 1_000 / int(count[1])}


def download(server: Server, core: int, encrypted: bool) -> dict[str, float]:
    before = server.cpu_ns()
    seconds = fetched(server, core, "large.bin", LARGE_BYTES, encrypted)
    return {"rate": LARGE_BYTES / seconds, "cpu_us": (server.cpu_ns() - before) / 1_000}


def fetched(server: Server, core: int, name: str, wanted_bytes: int, encrypted: bool) -> float:
    """The seconds that curl took."""
    form = "%{size_download} %{time_total} %{http_code}"
    words = [find_program("curl", "curl"), "-sk", "--http1.1", "-o", "/dev/null", "-w", form]
    size, seconds, status = loaded(server, core, [*words, url(server, name, encrypted)]).split()
    if (status, int(size)) != ("200", wanted_bytes):
        raise PeerFailed(f"curl got {size} bytes, status {status}")
    return float(seconds)


def url(server: Server, name: str, encrypted: bool) -> str:
    path = "/".join(part for part in (BELOW.get(server.peer.name), name) if part)
    return f"http{'s' if encrypted else ''}://127.0.0.1:{server.port}/{path}"


def loaded(server: Server, core: int, words: list[str], seconds: float = 0) -> str:
    with server.alone():
        done = finished(words, core, seconds)
    return (done.stdout + done.stderr).decode()


def show(title: str, samples: Samples, unit: str, factor: float, floors: dict[str, float]) -> None:
    rows = []
    for name in samples.by_peer:
        ratio = samples.ratio("rate", OURS, name)
        cheaper = samples.ratio("cpu_us", OURS, name)
        rows.append(
            [
                name,
                f"{samples.median(name, 'rate') / factor:,.0f}",
                samples.spread(name, "rate"),
                f"{samples.median(name, 'cpu_us'):,.1f}",
                times(ratio),
                times(1 / cheaper if cheaper else None),
                against_floor(ratio, floors.get(name)),
            ]
        )
    print(title)
    print(table(["peer", unit, "", "CPU us", "rate", "cpu", "target"], rows), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
