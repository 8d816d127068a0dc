"""What an address costs: parsing one, and turning a kernel's address into an endpoint for each packet.

Baseline: urllib.parse.urlsplit, and yarl (which keeps the last URLs) if it is installed.
Each figure is the median of rounds in which all rows take turns, and the distance of the quartiles; the cost of the
calling loop is taken off.
"""

from __future__ import annotations

import gc
import statistics
import time
import urllib.parse
from collections.abc import Callable
from importlib.util import find_spec
from itertools import repeat

from harness import print_machine, table
from options import Options

from socketkit.endpoint import Endpoint, _from_sockaddr

CALLS = 2_000

NAME = "tcp://example.org:8080"
IPV6 = "tcp://[2001:db8::1]:8080"
UNIX = "unix:///run/program.sock"
TLS = "tls://example.org:443?alpn=h2,http/1.1&sni=example.org"
PEERS = {"IPv4": ("192.0.2.1", 4711), "IPv6": ("2001:db8::1", 4711, 0, 0)}


def main() -> None:
    options = Options(__doc__, quick={"rounds": 3}, rounds=41).chosen()
    one, other = Endpoint.parse(NAME), Endpoint.parse(NAME)
    rows: dict[str, Callable[[], object]] = {}
    for text in (NAME, IPV6, UNIX, TLS):
        rows[f"Endpoint.parse       {text}"] = called(Endpoint.parse, text)
        rows[f"urlsplit             {text}"] = called(split, text)
        if find_spec("yarl"):
            from yarl import URL

            rows[f"yarl.URL             {text}"] = called(URL, text)
    for family, peer in PEERS.items():
        rows[f"from_sockaddr, seen  {family}"] = called(Endpoint.from_sockaddr, "tcp", peer)
        rows[f"from_sockaddr, new   {family}"] = called(_from_sockaddr, "tcp", peer)
    rows["hash                 (kept)"] = lambda: hash(one)
    rows["==                   equal, not the same"] = lambda: one == other
    rows["str                  (kept)"] = lambda: str(one)

    print_machine(None)
    figures = [
        [name, f"{median:.3f}", f"{spread:.3f}"] for name, (median, spread) in measured(rows, options.rounds).items()
    ]
    print(f"{options.rounds} rounds of {CALLS:,} calls")
    print(table(["", "median us", "spread us"], figures))


def called(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: function(*arguments)


def split(text: str) -> tuple[str | None, int | None]:
    # Around the cache of the last texts, and with the port, which is only checked when it is asked for.
    parts = urllib.parse.urlsplit.__wrapped__(text)  # type: ignore[attr-defined]
    return parts.hostname, parts.port


def measured(rows: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Microseconds per call of each row: median and distance of the quartiles."""
    taken: dict[str, list[float]] = {name: [] for name in rows}
    gc.disable()
    for _ in range(rounds):
        empty = _seconds(lambda: None)
        for name, call in rows.items():
            taken[name].append(max(0.0, _seconds(call) - empty) / CALLS * 1e6)
    gc.enable()
    result = {}
    for name, values in taken.items():
        low, median, high = statistics.quantiles(values, n=4)
        result[name] = median, high - low
    return result


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    for _ in repeat(None, CALLS):
        call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
