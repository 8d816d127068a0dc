"""The core of `ping`: which echo request is sent when, what each answer means, and the statistics.

Sans I/O: bytes and a clock in (nanoseconds that never go back), requests and events out; what is random comes from the
caller. The driver asks `take()`, `expire()` and `due_ns()`, and tells of answers by `replied()` and `refused()`.

An answer counts only if it is one to us: its identifier, its sequence and the token in its payload must be those of a
request that is remembered. What does not fit is counted in `ignored` and changes nothing else.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from .icmp import Refusal, echo_request
from .spread import Spread
from .targets import Target, TargetError, key_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .icmp import Echo


class Plan(NamedTuple):
    """How it is done; `checked()` refuses what is not polite or cannot be sent."""

    requests: int | None = None
    """To each host; None: until `stop()`."""
    interval_seconds: float = 1.0
    """Between two to the same host; 0 (flood only): as soon as the reply is there, and 100 a second at least."""
    wait_seconds: float = 2.0
    """For how long a reply is waited for."""
    payload_bytes: int = 56
    flood: bool = False
    """Lifts the lower bound of the interval."""

    def checked(self) -> Plan:
        if self.requests is not None and self.requests < 1:
            raise TargetError("the count must be 1 at least")
        if not 0 <= self.payload_bytes <= MAX_PAYLOAD_BYTES:
            raise TargetError(f"the payload must have 0 to {MAX_PAYLOAD_BYTES:,} bytes")
        if not 0 < self.wait_seconds <= MAX_WAIT_SECONDS:
            raise TargetError(f"the wait must be more than 0 and at most {MAX_WAIT_SECONDS:.0f} seconds")
        least = 0 if self.flood else MIN_INTERVAL_SECONDS
        if not least <= self.interval_seconds <= MAX_INTERVAL_SECONDS:
            raise TargetError(
                f"the interval must be {MIN_INTERVAL_SECONDS} to {MAX_INTERVAL_SECONDS:,.0f} seconds; "
                "--flood (flood=True) allows less: for networks that are yours"
            )
        return self


class Request(NamedTuple):
    """One to be sent now."""

    host_index: int
    sequence: int
    message: bytes


class Reply(NamedTuple):
    """An echo came back."""

    host: str
    address: str
    sequence: int
    rtt_seconds: float
    hops_left: int | None
    """Of the reply when it arrived (TTL, hop limit); None if the kernel did not say."""
    payload_bytes: int
    duplicate: bool = False
    reordered: bool = False
    """One that was sent later came back earlier."""
    late: bool = False
    """It had been given up by then."""
    corrupted: str = ""
    """What of the payload came back changed."""


class Refused(NamedTuple):
    """Someone on the way says why there will be no reply: `source` says `reason`."""

    host: str
    address: str
    sequence: int
    source: str
    reason: str


class Lost(NamedTuple):
    """There was no reply in time."""

    host: str
    address: str
    sequence: int


class Unsent(NamedTuple):
    """This machine did not send the request, or the name (sequence 0, no address) has no address."""

    host: str
    address: str
    sequence: int
    reason: str


Event = Reply | Refused | Lost | Unsent


class HostStatistics(Spread):
    """What came of one host so far; times are in seconds, None without a reply."""

    __slots__ = (
        "address",
        "corrupted",
        "due_ns",
        "duplicates",
        "errors",
        "highest",
        "host",
        "late",
        "remark",
        "reordered",
        "swept",
        "transmitted",
    )

    def __init__(self, host: str, address: str = "", *, swept: bool = False) -> None:
        super().__init__()
        self.host = host
        self.address = address
        self.swept = swept
        self.transmitted = self.duplicates = self.reordered = 0
        self.corrupted = self.late = self.errors = 0
        self.remark = ""
        """The last thing that was wrong, in words."""
        self.highest = 0
        self.due_ns = -1

    def __repr__(self) -> str:
        return f"<{self.host}: {self.received} of {self.transmitted} received>"

    @property
    def loss(self) -> float:
        """The share of requests without a reply, 0 to 1."""
        return 1 - self.received / self.transmitted if self.transmitted else 0.0

    def summary(self) -> dict[str, Any]:
        """For JSON: seconds, counts, and `loss` as a share."""
        return {
            "host": self.host,
            "address": self.address or None,
            "transmitted": self.transmitted,
            "received": self.received,
            "loss": round(self.loss, 6),
            "duplicates": self.duplicates,
            "reordered": self.reordered,
            "corrupted": self.corrupted,
            "late": self.late,
            "errors": self.errors,
            "rtt_seconds": None if self.min is None else {
                "min": self.min,
                "average": self.average,
                "max": self.max,
                "deviation": self.deviation,
            },
            "remark": self.remark or None,
        }  # fmt: skip


class _Sent:
    """A request that is remembered."""

    __slots__ = ("expired", "index", "replied", "sent_ns", "sequence", "settled")

    def __init__(self, index: int, sequence: int, sent_ns: int) -> None:
        self.index, self.sequence, self.sent_ns = index, sequence, sent_ns
        self.replied = False
        self.settled = False  # by a reply, an error, or because it was never sent
        self.expired = False


class RoundTrips:
    """Requests to many hosts, and what comes back.

    `token` is 8 random bytes that prove an answer ours, `filling` what the payload is filled with (repeated as needed);
    `identifiers` has the identifier of each family's socket.
    """

    def __init__(self, plan: Plan, token: bytes, filling: bytes, now_ns: int) -> None:
        self.plan = plan.checked()
        self.hosts: list[HostStatistics] = []
        self.ignored = 0
        self.identifiers: dict[int, int] = {}
        self._token = token
        self._filling = filling * (plan.payload_bytes // len(filling) + 1)
        self._proof_bytes = min(len(token), plan.payload_bytes)
        self._targets: list[Target] = []
        self._by_key: dict[tuple[Any, ...], int] = {}
        self._schedule: list[tuple[int, int]] = []
        self._remembered: dict[tuple[int, int], _Sent] = {}
        self._waiting: deque[_Sent] = deque()
        self._past: deque[_Sent] = deque()
        self._open = 0
        self._room = float(BURST)
        self._room_ns = now_ns
        self._held_ns = now_ns
        self._stopped = False
        self._interval_ns = int(plan.interval_seconds * 1e9) or FLOOD_INTERVAL_NS
        self._wait_ns = int(plan.wait_seconds * 1e9)

    # --- what the driver does

    def add(self, target: Target, now_ns: int) -> Unsent | None:
        """Another host; its first request is due now. Unsent if its replies could not be told from another one's."""
        index = len(self._targets)
        first = self._by_key.setdefault(target.key, index)
        if first != index and self.plan.payload_bytes < HEAD_BYTES:
            other = self.hosts[first].host
            reason = f"it has the address of {other}: a payload of {HEAD_BYTES} bytes tells the two apart"
            return self.unresolved(target.host, reason)
        self._targets.append(target)
        self.hosts.append(HostStatistics(target.host, target.address, swept=target.swept))
        self._plan(index, now_ns)
        return None

    def target(self, request: Request) -> Target:
        return self._targets[request.host_index]

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped = True

    @property
    def finished(self) -> bool:
        """All is sent, and each was answered or given up."""
        return not self._open and (self._stopped or not self._schedule)

    def due_ns(self) -> int | None:
        """When `take()` or `expire()` has something to do; None: only an answer can change anything."""
        due = []
        if self._schedule and not self._stopped:
            at = max(self._schedule[0][0], self._held_ns)
            due.append(at if self._room >= 1 else max(at, self._room_ns + REFILL_NS))
        self._retire_settled()
        if self._waiting:
            due.append(self._waiting[0].sent_ns + self._wait_ns)
        return min(due, default=None)

    def take(self, now_ns: int) -> Request | None:
        """The next request that is due; it counts as transmitted. None if none is."""
        self._refill(now_ns)
        if now_ns < self._held_ns:
            return None
        while self._schedule and not self._stopped and self._room >= 1 and self._schedule[0][0] <= now_ns:
            due_ns, index = heapq.heappop(self._schedule)
            if due_ns == self.hosts[index].due_ns:  # otherwise it was put forward meanwhile
                return self._request(index, now_ns)
        return None

    def sent(self, request: Request, now_ns: int) -> None:
        """The clock just before the kernel took it."""
        if (sent := self._remembered.get(_slot(request.host_index, request.sequence))) is not None:
            sent.sent_ns = now_ns

    def postpone(self, request: Request, now_ns: int) -> None:
        """The kernel has no room for it now: it was not sent, and nothing else will be for a moment."""
        host, sent = self.hosts[request.host_index], self._remembered.pop(_slot(request.host_index, request.sequence))
        self._settle(sent)
        host.transmitted -= 1
        self._held_ns = now_ns + HOLD_NS
        self._plan(request.host_index, now_ns)

    def unsent(self, request: Request, reason: str) -> Unsent:
        """The kernel refused to send it."""
        host, sent = self.hosts[request.host_index], self._remembered.get(_slot(request.host_index, request.sequence))
        host.errors += 1
        host.remark = reason
        self._settle(sent)
        return Unsent(host.host, host.address, request.sequence, reason)

    def unresolved(self, host: str, reason: str) -> Unsent:
        statistics = HostStatistics(host)
        statistics.errors, statistics.remark = 1, reason
        self.hosts.append(statistics)
        # Indexes of hosts and targets stay the same; no request and no answer ever has this one.
        self._targets.append(Target(host, 0, ("",)))
        return Unsent(host, "", 0, reason)

    def expire(self, now_ns: int, limit: int = 256) -> list[Lost]:
        """Requests whose time is over, at most `limit`."""
        lost: list[Lost] = []
        self._retire_settled()
        while len(lost) < limit and self._waiting and self._waiting[0].sent_ns + self._wait_ns <= now_ns:
            sent = self._retire()
            sent.expired = True
            self._open -= 1
            host = self.hosts[sent.index]
            host.remark = "no reply"
            lost.append(Lost(host.host, host.address, sent.sequence))
            self._retire_settled()
        return lost

    def replied(
        self, family: int, echo: Echo, source: Sequence[Any], hops_left: int | None, now_ns: int
    ) -> Reply | None:
        """An echo reply arrived at `now_ns`; None if it is none of ours."""
        sent = self._sent(family, echo, source) if len(echo.payload) >= self._proof_bytes else None
        if sent is None:
            self.ignored += 1
            return None
        host = self.hosts[sent.index]
        rtt_seconds = max(0, now_ns - sent.sent_ns) / 1e9
        corrupted = self._difference(echo.payload, self._payload(sent.index, sent.sequence))
        event = Reply(
            host.host,
            str(source[0]),
            sent.sequence,
            rtt_seconds,
            hops_left,
            len(echo.payload),
            duplicate=sent.replied,
            reordered=not sent.replied and sent.sequence < host.highest,
            late=sent.expired and not sent.replied,
            corrupted=corrupted,
        )
        self._count(host, event)
        sent.replied = True
        self._settle(sent)
        if self.plan.interval_seconds == 0 and not event.duplicate and sent.sequence == host.transmitted:
            self._plan(sent.index, now_ns)
        return event

    def refused(
        self, quoted: Echo, destination: Sequence[Any], source: Sequence[Any] | None, refusal: Refusal
    ) -> Refused | None:
        """`source` reported an error about the request that it quotes; None if that is none of ours."""
        sent = self._sent(refusal.family, quoted, destination)
        if sent is None or sent.settled:
            self.ignored += 1
            return None
        self._settle(sent)
        host = self.hosts[sent.index]
        host.errors += 1
        host.remark = refusal.words
        by = str(source[0]) if source else "this machine"
        return Refused(host.host, host.address, sent.sequence, by, refusal.words)

    # --- what that is made of

    def _plan(self, index: int, at_ns: int) -> None:
        host = self.hosts[index]
        if self.plan.requests is None or host.transmitted < self.plan.requests:
            host.due_ns = at_ns
            heapq.heappush(self._schedule, (at_ns, index))

    def _request(self, index: int, now_ns: int) -> Request:
        host = self.hosts[index]
        due_ns = host.due_ns
        host.transmitted += 1
        host.due_ns = -1
        sent = _Sent(index, host.transmitted, now_ns)
        if (replaced := self._remembered.get(_slot(index, sent.sequence))) is not None:
            self._settle(replaced)
        self._remembered[_slot(index, sent.sequence)] = sent
        self._waiting.append(sent)
        self._open += 1
        self._room -= 1
        # From when it was due, so that delays do not add up; but what was missed is not caught up in a burst.
        self._plan(index, max(due_ns + self._interval_ns, now_ns + self._interval_ns // 2))
        family = self._targets[index].family
        message = echo_request(
            family, self.identifiers[family], sent.sequence & 0xFFFF, self._payload(index, sent.sequence)
        )
        return Request(index, sent.sequence, message)

    def _payload(self, index: int, sequence: int) -> bytes:
        head = self._token + index.to_bytes(4, "big") + (sequence & 0xFFFFFFFF).to_bytes(4, "big")
        size = self.plan.payload_bytes
        return head[:size] + self._filling[: max(0, size - len(head))]

    def _sent(self, family: int, echo: Echo, peer: Sequence[Any]) -> _Sent | None:
        """The request that `echo` answers or quotes: ours by identifier and by token, if as much of it is there."""
        proof = self._token[: self._proof_bytes][: len(echo.payload)]
        if echo.identifier != self.identifiers.get(family) or not echo.payload.startswith(proof):
            return None
        if len(echo.payload) >= HEAD_BYTES:
            # A host of several addresses may answer from another one: whoever has the token has read the request.
            index = int.from_bytes(echo.payload[len(self._token) : len(self._token) + 4], "big")
            if sent := self._remembered.get(_slot(index, echo.sequence)):
                return sent
        index_of_peer = self._by_key.get(key_of(peer))
        return None if index_of_peer is None else self._remembered.get(_slot(index_of_peer, echo.sequence))

    def _retire_settled(self) -> None:
        while self._waiting and self._waiting[0].settled:
            self._retire()

    def _retire(self) -> _Sent:
        """Wait no more for the oldest one; it is remembered still, for duplicates and for what comes late."""
        sent = self._waiting.popleft()
        self._past.append(sent)
        if len(self._past) > REMEMBERED:
            self._forget(self._past.popleft())
        return sent

    def _settle(self, sent: _Sent | None) -> None:
        if sent is not None and not sent.settled:
            sent.settled = True
            if not sent.expired:
                self._open -= 1

    def _forget(self, sent: _Sent) -> None:
        slot = _slot(sent.index, sent.sequence)
        if self._remembered.get(slot) is sent:
            del self._remembered[slot]

    def _refill(self, now_ns: int) -> None:
        self._room = min(float(BURST), self._room + max(0, now_ns - self._room_ns) * RATE_PER_SECOND / 1e9)
        self._room_ns = now_ns

    @staticmethod
    def _difference(got: bytes, sent: bytes) -> str:
        if got == sent:
            return ""
        for at, (mine, other) in enumerate(zip(sent, got, strict=False)):
            if mine != other:
                return f"byte {at} came back as 0x{other:02x}, sent was 0x{mine:02x}"
        return f"{len(got):,} bytes came back, sent were {len(sent):,}"

    @staticmethod
    def _count(host: HostStatistics, reply: Reply) -> None:
        if reply.duplicate:
            host.duplicates += 1
        else:
            host.add(reply.rtt_seconds)
            host.remark = ""
        host.reordered += reply.reordered
        host.late += reply.late
        host.highest = max(host.highest, reply.sequence)
        if reply.corrupted:
            host.corrupted += 1
            host.remark = reply.corrupted


def _slot(index: int, sequence: int) -> tuple[int, int]:
    return index, sequence & 0xFFFF


HEAD_BYTES = 16  # token, index of the host, sequence

MIN_INTERVAL_SECONDS = 0.2
MAX_INTERVAL_SECONDS = 86_400.0
MAX_WAIT_SECONDS = 60.0
MAX_PAYLOAD_BYTES = 65_507  # what is left of an IPv4 packet

# What all hosts together get: a sweep of a large network must not be a flood of the link.
RATE_PER_SECOND = 10_000
BURST = 512
REFILL_NS = 1_000_000_000 // RATE_PER_SECOND * 16
HOLD_NS = 5_000_000
FLOOD_INTERVAL_NS = 10_000_000
REMEMBERED = 131_072
