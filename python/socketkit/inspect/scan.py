"""`scan`: which ports of hosts are open, and what listens there. It looks at what is named, and at nothing else.

Here are the targets, who is asked what he is, and the reports; the probes are sent by `tcp_scan` and `udp_scan`.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import aclosing, suppress
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ..errors import EndOfStream, raisable
from . import targets
from .identifying import Identity, Tls, identify
from .port_lists import COMMON_TCP, Ports, parsed
from .service_probes import Service
from .targets import Target, TargetError
from .tcp_scan import CLOSED, MOST_PER_SECOND, OPEN, PROHIBITED, SILENT, TcpScan
from .udp_scan import UdpScan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterable, Sequence
    from types import TracebackType

__all__ = ["HostReport", "OpenPort", "Ports", "Scanning", "Service", "TargetError", "Tls", "scan"]


class OpenPort(NamedTuple):
    """A port that is open."""

    host: str
    """As it was written: a name, an address, or an address out of a network."""
    address: str
    port: int
    protocol: str
    """`tcp` or `udp`."""
    service: str
    """What it speaks, by its bytes: `http`, `ssh`; "" if they told nothing, or nobody looked."""
    product: str
    """What it calls itself."""
    usual: str
    """What this machine's /etc/services calls the port; that says nothing of what listens."""
    tls: Tls | None
    rtt_seconds: float
    state: str = "open"


class HostReport(NamedTuple):
    """What is known of one host at the end."""

    host: str
    address: str
    open: tuple[OpenPort, ...]
    closed: int
    silent: int
    """Filtered: no answer in any round. With UDP that may be open, too."""
    prohibited: int
    """Filtered, as an ICMP error says."""
    unreachable: bool = False
    reason: str = ""
    """Why there is nothing: the name has no address, there is no way."""
    states: tuple[tuple[str, tuple[int, ...], bytes], ...] = ()
    """By protocol: the ports that were looked at, and of each its place in STATES."""

    def state(self, port: int, protocol: str = "tcp") -> str:
        """open, closed, silent, prohibited, or unknown for one that was not looked at."""
        for known, ports, states in self.states:
            if known == protocol and port in ports:
                return STATES[states[ports.index(port)]]
        return "unknown"


def scan(
    hosts: str | Iterable[str],
    ports: str | Ports | None = None,
    *,
    method: str = "auto",
    identify: bool = True,
    rate_per_second: float | None = None,
    family: int | None = None,
    seed: int | None = None,
) -> Scanning:
    """Find the open ports of hosts: names, addresses, and networks such as 192.0.2.0/28. Iterate over it:

        async for port in scan("192.0.2.7", "1-1024,udp:53"): ...

    or enter it, and have `reports` at the end; awaited, it gives those. Leaving the block, and cancellation, stop it at
    once. `ports` None: the system ports and some hundred that servers use; "-" all. `method` is syn (half-open, needs
    CAP_NET_RAW), connect, or auto: syn where that is permitted. With `identify` each open TCP port is connected, to see
    what listens there. `rate_per_second` bounds the probes. Names are resolved first. Raises TargetError for what
    cannot be scanned, and SocketError, which says how to be permitted, if this user may not.
    """
    if method not in ("auto", "syn", "connect"):
        raise TargetError(f"{method!r} is no way to scan: syn, connect or auto")
    if rate_per_second is not None and not 1 <= rate_per_second <= MOST_PER_SECOND:
        raise TargetError(f"the rate must be 1 to {MOST_PER_SECOND:,} probes per second")
    wanted = {None: None, 4: socket.AF_INET, 6: socket.AF_INET6}[family]
    wanted_ports = parsed(ports) if isinstance(ports, str) else ports or Ports(COMMON_TCP)
    if not wanted_ports.tcp and not wanted_ports.udp:
        raise TargetError("no ports to look at")
    written = [hosts] if isinstance(hosts, str) else list(hosts)
    known, names = targets.read(written, wanted)
    for target in known:
        _require_one_host(target)
    if (probes := (len(known) + len(names)) * max(map(len, wanted_ports))) > MOST_PROBES:
        raise TargetError(f"{probes:,} ports at once, and {MOST_PROBES:,} are the most: scan fewer, or in parts")
    return Scanning(known, names, wanted_ports, method, identify, rate_per_second, wanted, seed, written)


class Scanning:
    """A scan that goes on: made by `scan()`."""

    def __init__(
        self,
        known: list[Target],
        names: list[str],
        ports: Ports,
        method: str,
        identifies: bool,
        rate_per_second: float | None,
        family: int | None,
        seed: int | None,
        written: Sequence[str],
    ) -> None:
        self.ports = ports
        self.reports: list[HostReport] = []
        """At the end: one for each address, and for each name without one."""
        self.notes = [f"{text} is not private: scan only what is yours" for text in written if _is_foreign_range(text)]
        self._targets, self._names, self._family, self._seed = known, names, family, seed
        self._identifies, self._rate, self._method = identifies, rate_per_second, method
        self._nowhere: list[tuple[str, str]] = []
        self._queue: asyncio.Queue[OpenPort | BaseException | None] = asyncio.Queue()
        self._work: asyncio.Task[None] | None = None
        self._tcp: TcpScan | None = None
        self._udp: UdpScan | None = None
        self._open: list[list[OpenPort]] = []
        self._started = self._ended = 0.0

    # --- what callers use

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return (self._ended or time.monotonic()) - self._started if self._started else 0.0

    @property
    def method(self) -> str:
        """As it was asked for, then as it became: syn or connect."""
        return self._tcp.method if self._tcp else self._method

    @property
    def why(self) -> str:
        """Why it is not half-open, where it is not."""
        return self._tcp.why if self._tcp else ""

    @property
    def progress(self) -> dict[str, float]:
        """By name: sent, round, planned and over (of the round), pending, per_second, loss; of TCP."""
        return self._tcp.progress if self._tcp else {}

    @property
    def udp_progress(self) -> tuple[int, int]:
        """Probes that were sent, and the most that there may be."""
        return (self._udp.sent, self._udp.planned) if self._udp else (0, 0)

    def __aiter__(self) -> AsyncIterator[OpenPort]:
        return self._each()

    def __await__(self) -> Generator[Any, Any, list[HostReport]]:
        return self._whole().__await__()

    async def __aenter__(self) -> Self:
        if self._work is not None:
            raise RuntimeError("a scan runs once: make another one")
        self._started = time.monotonic()
        self._work = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = self._ended or time.monotonic()
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])

    async def receive(self) -> OpenPort:
        """The next port that is open; EndOfStream after the last one."""
        found = await self._queue.get()
        if isinstance(found, OpenPort):
            return found
        self._queue.put_nowait(found)
        if found is not None:
            raise found
        raise raisable(EndOfStream)("it is over")

    async def _each(self) -> AsyncIterator[OpenPort]:
        if self._work is None:
            async with self:
                async for port in self._each():
                    yield port
            return
        with suppress(EndOfStream):
            while True:
                yield await self.receive()

    async def _whole(self) -> list[HostReport]:
        async with self as scanning:
            async for _ in scanning:
                pass
        return self.reports

    # --- the work

    async def _run(self) -> None:
        try:
            await self._resolve()
            self._open = [[] for _ in self._targets]
            async with asyncio.TaskGroup() as group:
                if self.ports.tcp and self._targets:
                    group.create_task(self._scan_tcp(group))
                if self.ports.udp and self._targets:
                    group.create_task(self._scan_udp())
            self._report()
        except BaseExceptionGroup as failures:
            self._queue.put_nowait(failures.exceptions[0])
        except Exception as failure:
            self._queue.put_nowait(failure)
        else:
            self._queue.put_nowait(None)
        finally:
            self._ended = time.monotonic()
            if self._tcp is not None:
                self._tcp.close()

    async def _resolve(self) -> None:
        turn = asyncio.Semaphore(RESOLVED_AT_ONCE)

        async def resolve(name: str) -> Target | None:
            try:
                async with turn, asyncio.timeout(RESOLVE_SECONDS):
                    target = await targets.resolve(name, self._family)
                _require_one_host(target)
            except TimeoutError:
                self._nowhere.append((name, f"no name server answered in {RESOLVE_SECONDS:.0f} s"))
            except TargetError as failure:
                self._nowhere.append((name, str(failure)))
            except (OSError, UnicodeError) as failure:
                reason = getattr(failure, "strerror", None) or str(failure)
                self._nowhere.append((name, reason[:1].lower() + reason[1:]))
            else:
                return target
            return None

        found = await asyncio.gather(*map(resolve, self._names)) if self._names else []
        # An address that was written twice is looked at once.
        by_key: dict[tuple[Any, ...], Target] = {}
        for target in [*self._targets, *filter(None, found)]:
            by_key.setdefault(target.key, target)
        self._targets = list(by_key.values())

    async def _scan_tcp(self, group: asyncio.TaskGroup) -> None:
        self._tcp = TcpScan(self._targets, self.ports.tcp, self._method, self._rate, self._seed)
        turn = asyncio.Semaphore(IDENTIFIED_AT_ONCE)
        async with aclosing(self._tcp.found()) as found:
            async for place, port, rtt_seconds in found:
                if self._identifies:
                    group.create_task(self._identify(place, port, rtt_seconds, turn))
                else:
                    self._tell(place, port, rtt_seconds, "tcp", Identity(Service("")))

    async def _identify(self, place: int, port: int, rtt_seconds: float, turn: asyncio.Semaphore) -> None:
        target = self._targets[place]
        async with turn:
            host = target.address if target.swept else target.host
            identity = await identify(host, target.address, port, target.scope)
        self._tell(place, port, rtt_seconds, "tcp", identity)

    async def _scan_udp(self) -> None:
        rate = min(self._rate or UDP_PER_SECOND, UDP_PER_SECOND)
        self._udp = UdpScan(self._targets, self.ports.udp, rate)
        async for found in self._udp.answers():
            self._tell(found.target, found.port, found.rtt_seconds, "udp", Identity(found.service))

    def _tell(self, place: int, port: int, rtt_seconds: float, protocol: str, identity: Identity) -> None:
        target = self._targets[place]
        name, product = identity.service
        found = OpenPort(
            target.address if target.swept else target.host,
            target.address,
            port,
            protocol,
            name,
            product,
            usual_name(port, protocol),
            identity.tls,
            rtt_seconds,
        )
        self._open[place].append(found)
        self._queue.put_nowait(found)

    def _report(self) -> None:
        known = self._tcp.outcome() if self._tcp else [(b"", False)] * len(self._targets)
        for place, (target, (states, unreachable)) in enumerate(zip(self._targets, known, strict=True)):
            looked = [("tcp", self.ports.tcp, states)] if self.ports.tcp else []
            if self._udp:
                looked.append(("udp", self.ports.udp, self._udp_states(place)))
            # Nobody who has answered over UDP cannot be reached.
            unreachable = unreachable and not self._open[place]
            counts = [sum(part.count(state) for _, _, part in looked) for state in (CLOSED, SILENT, PROHIBITED)]
            self.reports.append(
                HostReport(
                    target.address if target.swept else target.host,
                    target.address,
                    tuple(sorted(self._open[place], key=lambda port: (port.protocol, port.port))),
                    counts[0],
                    counts[1],
                    counts[2],
                    unreachable,
                    UNREACHABLE if unreachable else "",
                    tuple(looked),
                )
            )
        self.reports += [HostReport(name, "", (), 0, 0, 0, True, reason) for name, reason in self._nowhere]

    def _udp_states(self, place: int) -> bytes:
        assert self._udp is not None
        sets = ((self._udp.open, OPEN), (self._udp.closed, CLOSED), (self._udp.prohibited, PROHIBITED))
        return bytes(next((state for ports, state in sets if port in ports[place]), SILENT) for port in self.ports.udp)


def usual_name(port: int, protocol: str) -> str:
    try:
        return socket.getservbyport(port, protocol)
    except OSError:
        return ""


def _require_one_host(target: Target) -> None:
    address = ip_address(target.address)
    if address.is_multicast or address.is_unspecified or target.address == "255.255.255.255":
        raise TargetError(f"{target.host} is not the address of one host: this machine's own are 127.0.0.1 and ::1")


def _is_foreign_range(text: str) -> bool:
    if "/" not in text:
        return False
    network = ip_network(text, strict=False)
    return not network.is_private and not network.is_link_local


UNREACHABLE = "it cannot be reached: there is no way, or nobody has that address"
STATES = ("silent", "open", "closed", "prohibited")
MOST_PROBES = 1 << 24
UDP_PER_SECOND = 1_000
IDENTIFIED_AT_ONCE = 32
RESOLVED_AT_ONCE = 32
RESOLVE_SECONDS = 15.0
