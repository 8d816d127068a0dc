"""`Session`: one test as its server sees it, from the request that opens it to its end. No I/O, no clock.

It takes requests and gives answers; who drives it looks at `started` and `stopped`, and moves the bytes. Every request
may come twice (datagrams get lost, and are sent again) and does no more then.
"""

from __future__ import annotations

from typing import Any

from ...errors import PeerViolation, raisable
from .counting import Side
from .plan import Plan
from .protocol import VERSION, session_number


class Session:
    """What was asked for, which flows have come, and what they have counted."""

    def __init__(self, token: str, plan: Plan, now_ns: int) -> None:
        self.token = token
        self.number = session_number(token)
        self.plan = plan
        self.side = Side(plan.flows if plan.up else 0, plan.flows if plan.down else 0)
        self.started = False
        self.stopped = False
        self.opened_ns = self.heard_ns = now_ns
        """`heard_ns`: when the other side last asked for something."""
        self._joined: set[tuple[str, int]] = set()
        self._sent: list[int] | None = None
        self._came = 0

    def join(self, request: dict[str, Any]) -> tuple[str, int]:
        """A connection takes the place of a flow: its direction and number. PeerViolation if there is no such place."""
        direction, flow = request.get("direction"), request.get("flow")
        wanted = {"up": self.plan.up, "down": self.plan.down}.get(str(direction))
        if not wanted or type(flow) is not int or not 0 <= flow < self.plan.flows or self.started:
            raise raisable(PeerViolation)("there is no such flow in this test")
        place = str(direction), flow
        self._joined.add(place)
        return place

    def answer(self, request: dict[str, Any], now_ns: int, cpu_ns: int) -> dict[str, Any]:
        """The answer to a request on the connection that has opened the test. PeerViolation for nonsense."""
        self.heard_ns = now_ns
        match request.get("do"):
            case "start":
                self._start(now_ns, cpu_ns)
            case "mark":
                self.side.begin(now_ns, cpu_ns)
            case "count":
                pass
            case "stop":
                self._sent = self._told(request.get("sent"))
                self.stop(now_ns, cpu_ns)
            case unknown:
                raise raisable(PeerViolation)(f"no request is called {unknown!r}")
        return self.side.report(now_ns, cpu_ns, self._sent)

    def stop(self, now_ns: int, cpu_ns: int) -> None:
        """Also when the other side has gone without a word."""
        self.stopped = True
        self.side.end(now_ns, cpu_ns)

    def abandoned(self, now_ns: int, lost_seconds: float) -> bool:
        """Whether the other side has neither asked nor sent for so long, or the whole has taken too long."""
        came = sum(flow.bytes + flow.arrivals.warm_up for flow in self.side.incoming)
        if came != self._came:
            self._came, self.heard_ns = came, now_ns
        return now_ns - self.heard_ns > lost_seconds * 1e9 or now_ns - self.opened_ns > self.expires_ns()

    def expires_ns(self) -> int:
        """How long it may take from its opening to its end."""
        return int((self.plan.warm_up_seconds + self.plan.seconds + GRACE_SECONDS) * 1e9)

    def _start(self, now_ns: int, cpu_ns: int) -> None:
        if len(self._joined) < len(self.side.incoming) + len(self.side.outgoing):
            raise raisable(PeerViolation)("the test starts before all of its flows have come")
        self.started = True
        if not self.plan.warm_up_seconds:
            self.side.begin(now_ns, cpu_ns)

    def _told(self, sent: object) -> list[int] | None:
        if sent is None:
            return None
        if not isinstance(sent, list) or len(sent) != len(self.side.incoming):
            raise raisable(PeerViolation)("`sent` is a number for each flow")
        if not all(type(count) is int and 0 <= count < 1 << 63 for count in sent):
            raise raisable(PeerViolation)("`sent` is a number for each flow")
        return sent


def require_version(request: dict[str, Any]) -> None:
    """PeerViolation, in words for the one who asks, if the two sides speak different versions."""
    if (theirs := request.get("bench")) != VERSION:
        raise raisable(PeerViolation)(
            f"this side speaks version {VERSION} of the bench protocol, the other one {theirs}: "
            "install the same version of socketkit at both ends"
        )


GRACE_SECONDS = 30.0
"""For opening the flows, and for the last answers."""
