"""The core of `trace`: which probe is sent when, what each answer says of the route, and the statistics of each hop.

Sans I/O: a clock (nanoseconds that never go back) and answers in, probes and events out. In the first round all hops
are probed at once, so the whole route is there after one round trip; later rounds ask only the hops that there are.

A probe is known by its number. Answers with a number that is not waited for change nothing but `ignored`.
"""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, Any, NamedTuple

from .spread import Spread
from .targets import TargetError

if TYPE_CHECKING:
    from .icmp import Refusal

KINDS = ("udp", "icmp", "tcp")


class RoutePlan(NamedTuple):
    """How it is done; `checked()` refuses what is not polite or cannot be."""

    kind: str = "udp"
    rounds: int | None = 1
    """None: until `stop()`."""
    interval_seconds: float = 1.0
    """From the begin of one round to that of the next."""
    wait_seconds: float = 2.0
    """For how long an answer is waited for."""
    max_hops: int = 30
    find_mtu: bool = False
    """Probes are as large as they can be, and may not be fragmented."""

    def checked(self) -> RoutePlan:
        if self.kind not in KINDS:
            raise TargetError(f"the probes are {', '.join(KINDS)}, not {self.kind!r:.40}")
        if self.rounds is not None and self.rounds < 1:
            raise TargetError("the count of rounds must be 1 at least")
        if not MIN_INTERVAL_SECONDS <= self.interval_seconds <= MAX_INTERVAL_SECONDS:
            raise TargetError(f"the interval must be {MIN_INTERVAL_SECONDS} to {MAX_INTERVAL_SECONDS:,.0f} seconds")
        if not 0 < self.wait_seconds <= MAX_WAIT_SECONDS:
            raise TargetError(f"the wait must be more than 0 and at most {MAX_WAIT_SECONDS:.0f} seconds")
        if not 1 <= self.max_hops <= MAX_HOPS:
            raise TargetError(f"the most hops must be 1 to {MAX_HOPS}")
        if self.find_mtu and self.kind == "tcp":
            raise TargetError("a TCP probe has no size of its own: find the MTU with UDP or ICMP")
        return self


class Probe(NamedTuple):
    """One to be sent now."""

    number: int
    hops: int
    packet_bytes: int
    """Of the whole IP packet; 0: as small as it is."""


class Answer(NamedTuple):
    """A hop answered."""

    host: str
    round: int
    hop: int
    address: str
    rtt_seconds: float
    reached: bool = False
    """It is the host itself."""
    mark: str = ""
    """Why the route ends here, as traceroute has it: `!H`, `!X`."""
    reason: str = ""
    """The same in words."""


class Silence(NamedTuple):
    """A hop did not answer in time."""

    host: str
    round: int
    hop: int


class Shrunk(NamedTuple):
    """A router (this machine: no address) has no room for probes of that size on its next network."""

    host: str
    address: str
    mtu_bytes: int


class Round(NamedTuple):
    """Each hop of the route has answered in this round, or was given up."""

    host: str
    round: int
    hops: int
    reached: bool
    seconds: float


class Untraced(NamedTuple):
    """This machine could not send, or the name has no address."""

    host: str
    reason: str


RouteEvent = Answer | Silence | Shrunk | Round | Untraced


class Hop(Spread):
    """What came of the probes with so many hops; times are in seconds."""

    __slots__ = ("addresses", "lost", "mark", "number")

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.addresses: dict[str, int] = {}
        """How often each answered: more than one where several routes are taken in turn."""
        self.lost = 0
        self.mark = ""

    @property
    def sent(self) -> int:
        """Those that were answered or given up."""
        return self.received + self.lost

    @property
    def loss(self) -> float:
        return self.lost / self.sent if self.sent else 0.0

    def answered(self, address: str, rtt_seconds: float, mark: str) -> None:
        """A probe was answered from this address."""
        self.add(rtt_seconds)
        if address in self.addresses or len(self.addresses) < MAX_ADDRESSES:
            self.addresses[address] = self.addresses.get(address, 0) + 1
        self.mark = mark


class _Sent:
    __slots__ = ("hops", "packet_bytes", "round", "sent_ns", "settled")

    def __init__(self, hops: int, round_: int, packet_bytes: int, sent_ns: int) -> None:
        self.hops, self.round, self.packet_bytes, self.sent_ns = hops, round_, packet_bytes, sent_ns
        self.settled = False


class Route:
    """The route to one host."""

    def __init__(self, host: str, address: str, plan: RoutePlan, now_ns: int) -> None:
        self.host, self.address = host, address
        self.plan = plan.checked()
        self.round = 0
        """The one that goes on, or was the last."""
        self.end: int | None = None
        """The hop at which it ends, as far as is known."""
        self.reached = False
        self.remark = ""
        self.ignored = 0
        self.varied = False
        """Whether probes must differ in their ports: some router quotes too little of them to tell them apart."""
        self.mtu_bytes: int | None = None
        """The largest packet that the host has answered (find_mtu only)."""
        self.narrow: dict[str, int] = {}
        """Routers whose next network is smaller than the probes were, and its MTU."""
        self._packet_bytes = MAX_PACKET_BYTES if plan.find_mtu else 0
        self._hops: list[Hop] = []
        self._queue: list[tuple[int, int]] = []
        """What is to be sent, by round and hop: the nearest first, for a host may answer but a few probes in a row."""
        self._waiting: dict[int, _Sent] = {}
        self._open: dict[int, int] = {}
        """Probes that are not settled, by round."""
        self._began: dict[int, int] = {}
        self._number = 0
        self._next_round_ns = now_ns
        self._stopped = False
        self._interval_ns = int(plan.interval_seconds * 1e9)
        self._wait_ns = int(plan.wait_seconds * 1e9)

    @property
    def hops(self) -> list[Hop]:
        """As far as the route is known: to its end, or to the last hop that answered and one silent one."""
        if self.end is not None:
            return self._hops[: self.end]
        answered = max((hop.number for hop in self._hops if hop.received), default=0)
        return self._hops[: answered + 1]

    @property
    def finished(self) -> bool:
        return (self._stopped or self.round == self.plan.rounds) and not self._queue and not self._open

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped = True
        self._queue.clear()

    # --- what the driver does

    def due_ns(self) -> int | None:
        """When `take()` or `expire()` has something to do."""
        if self._queue:
            return 0
        due = []
        if not self._stopped and self.round != self.plan.rounds:
            due.append(self._next_round_ns)
        if self._waiting:
            due.append(next(iter(self._waiting.values())).sent_ns + self._wait_ns)
        return min(due, default=None)

    def take(self, now_ns: int) -> Probe | None:
        """The next probe that is due."""
        if not self._queue and not self._stopped and self.round != self.plan.rounds and now_ns >= self._next_round_ns:
            self._begin_round(now_ns)
        while self._queue:
            round_, hops = self._queue.pop(0)
            if self.end is not None and hops > self.end:
                self._close_one(round_)
                continue
            self._number = self._number % MAX_NUMBER + 1
            self._waiting[self._number] = _Sent(hops, round_, self._packet_bytes, now_ns)
            return Probe(self._number, hops, self._packet_bytes)
        return None

    def sent(self, probe: Probe, now_ns: int) -> None:
        """The clock just before the kernel took it."""
        if (sent := self._waiting.get(probe.number)) is not None:
            sent.sent_ns = now_ns

    def unsent(self, probe: Probe, reason: str, now_ns: int) -> list[RouteEvent]:
        """The kernel refused to send it. Untraced the first time that it gives this reason."""
        sent = self._waiting.pop(probe.number)
        self._hop(sent.hops).lost += 1
        events: list[RouteEvent] = [] if reason == self.remark else [Untraced(self.host, reason)]
        self.remark = reason
        return events + self._settled(sent.round, now_ns)

    def answered(self, number: int, source: str, refusal: Refusal | None, now_ns: int) -> list[RouteEvent]:
        """`source` answers the probe: with an ICMP error, or (None) as the host itself does."""
        sent = self._waiting.get(number)
        if sent is None:
            self.ignored += 1
            return []
        if refusal is not None and refusal.too_big:
            return self.too_large(number, source, refusal.mtu_bytes)
        del self._waiting[number]
        rtt_seconds = max(0, now_ns - sent.sent_ns) / 1e9
        expired = refusal is not None and refusal.expired
        reached = refusal is None or (refusal.port_unreachable and source == self.address)
        mark = "" if reached or refusal is None else refusal.mark
        reason = "" if reached or expired or refusal is None else refusal.words
        events: list[RouteEvent] = []
        if self._belongs(sent.hops):
            if not expired:
                self._end_at(sent.hops, reached=reached)
            elif sent.hops == self.end:
                self.end = None  # the route has grown: what lies behind is asked in the next round
                self.reached = False
            self._hop(sent.hops).answered(source, rtt_seconds, mark)
            if reached and sent.packet_bytes:
                self.mtu_bytes = sent.packet_bytes
            self.remark = reason
            events.append(Answer(self.host, sent.round, sent.hops, source, rtt_seconds, reached, mark, reason))
        return [*events, *self._settled(sent.round, now_ns)]

    def too_large(self, number: int, source: str, mtu_bytes: int) -> list[RouteEvent]:
        """`source` (empty: this machine) has no room for the probe: it is sent again, as large as there is room."""
        sent = self._waiting.get(number)
        if sent is None or not MIN_PACKET_BYTES <= mtu_bytes < (sent.packet_bytes or MAX_PACKET_BYTES):
            self.ignored += 1
            return []
        del self._waiting[number]
        insort(self._queue, (sent.round, sent.hops))
        if mtu_bytes >= self._packet_bytes:
            return []  # another probe has said so
        self._packet_bytes = mtu_bytes
        if source:
            self.narrow[source] = mtu_bytes
        return [Shrunk(self.host, source, mtu_bytes)]

    def anonymous(self, source: str, refusal: Refusal, now_ns: int) -> list[RouteEvent]:
        """An answer to some probe: its router quotes too little to tell to which. From now on ports tell."""
        if len(self._waiting) == 1:
            return self.answered(next(iter(self._waiting)), source, refusal, now_ns)
        self.ignored += 1
        if not self.varied:
            self.varied = True
            # Those that wait are asked anew: what is answered by such a router could not be told apart.
            for sent in self._waiting.values():
                insort(self._queue, (sent.round, sent.hops))
            self._waiting.clear()
        return []

    def expire(self, now_ns: int) -> list[RouteEvent]:
        """The probes whose time is over."""
        events: list[RouteEvent] = []
        while self._waiting:
            number, sent = next(iter(self._waiting.items()))
            if sent.sent_ns + self._wait_ns > now_ns:
                break
            del self._waiting[number]
            if self._belongs(sent.hops):
                self._hop(sent.hops).lost += 1
                events.append(Silence(self.host, sent.round, sent.hops))
            events += self._settled(sent.round, now_ns)
        return events

    # --- what that is made of

    def _begin_round(self, now_ns: int) -> None:
        self.round += 1
        last = self.plan.max_hops
        if self.round > 1:
            answered = max((hop.number for hop in self._hops if hop.received), default=0)
            last = self.end or min(last, answered + HOPS_BEHIND)
        self._queue.extend((self.round, hops) for hops in range(1, last + 1))
        self._open[self.round] = last
        self._began[self.round] = now_ns
        self._next_round_ns = max(self._next_round_ns + self._interval_ns, now_ns + self._interval_ns // 2)

    def _hop(self, number: int) -> Hop:
        while len(self._hops) < number:
            self._hops.append(Hop(len(self._hops) + 1))
        return self._hops[number - 1]

    def _belongs(self, hops: int) -> bool:
        """Whether the probe went no farther than the route; beyond its end, only the host answers, again and again."""
        return self.end is None or hops <= self.end

    def _end_at(self, hops: int, *, reached: bool) -> None:
        self.end = hops
        self.reached = reached
        del self._hops[hops:]

    def _close_one(self, round_: int) -> None:
        self._open[round_] -= 1
        if not self._open[round_]:
            del self._open[round_]

    def _settled(self, round_: int, now_ns: int) -> list[RouteEvent]:
        """A probe of this round is no longer waited for; Round if none is whose answer could matter."""
        if round_ in self._open:
            self._close_one(round_)
        if round_ not in self._began or self._matters(round_):
            return []
        # The rest are beyond the end.
        for number in [number for number, sent in self._waiting.items() if sent.round == round_]:
            del self._waiting[number]
        self._queue = [entry for entry in self._queue if entry[0] != round_]
        self._open.pop(round_, None)
        seconds = (now_ns - self._began.pop(round_)) / 1e9
        return [Round(self.host, round_, len(self.hops), self.reached, seconds)]

    def _matters(self, round_: int) -> bool:
        within = self.end or self.plan.max_hops
        return any(sent.round == round_ and sent.hops <= within for sent in self._waiting.values()) or any(
            entry == round_ and hops <= within for entry, hops in self._queue
        )

    def summary(self) -> dict[str, Any]:
        """For JSON: seconds, counts, and `loss` as a share."""
        return {
            "host": self.host,
            "address": self.address or None,
            "reached": self.reached,
            "rounds": self.round,
            "mtu_bytes": self.mtu_bytes,
            "remark": self.remark or None,
            "hops": [
                {
                    "hop": hop.number,
                    "addresses": list(hop.addresses),
                    "sent": hop.sent,
                    "received": hop.received,
                    "loss": round(hop.loss, 6),
                    "last": hop.last,
                    "average": hop.average,
                    "best": hop.min,
                    "worst": hop.max,
                    "deviation": hop.deviation,
                    "mark": hop.mark or None,
                    "mtu_bytes": next((self.narrow[each] for each in hop.addresses if each in self.narrow), None),
                }
                for hop in self.hops
            ],
        }


MIN_INTERVAL_SECONDS = 0.2
MAX_INTERVAL_SECONDS = 3_600.0
MAX_WAIT_SECONDS = 60.0
MAX_HOPS = 64
HOPS_BEHIND = 5
"""How many silent hops are asked behind the last that answered, from the second round on."""
MAX_ADDRESSES = 8
MAX_NUMBER = 0xFFFF
MIN_PACKET_BYTES = 68  # RFC 791: every network takes so much
MAX_PACKET_BYTES = 65_535
