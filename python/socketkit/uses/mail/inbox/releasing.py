"""`POST api/mails/ID/release`: a mail goes on to a real server, if whoever started the service has allowed it.

The body is JSON, and says so: a page of another site cannot send that without asking first (CORS), which it may not.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from ....errors import SocketError
from ....http.exchange import body_of
from ..sending import DeliveryError

if TYPE_CHECKING:
    from ....http.asgi import Receive
    from ....http.exchange import Request
    from ..release import Outlet
    from ..sending import Delivery
    from ..store import Store


class Refused(Exception):
    """Nothing has left: an answer of this status, with the reason."""

    def __init__(self, status: int, text: str, deliveries: tuple[Delivery, ...] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.deliveries = [as_json(each) for each in deliveries]


class Wish(NamedTuple):
    """What is asked for."""

    server: str | None = None
    recipients: list[str] | None = None


class Releasing:
    """The call of one inbox. Without an outlet nothing leaves."""

    def __init__(self, store: Store, outlet: Outlet | None) -> None:
        self._store = store
        self._outlet = outlet
        self._under_way = 0

    def offer(self) -> dict[str, Any] | None:
        """What the page may offer; None: nothing."""
        if self._outlet is None:
            return None
        return {"servers": [str(where) for where in self._outlet.servers], "to": list(self._outlet.gate.recipients)}

    async def __call__(self, request: Request, number: int, receive: Receive) -> list[dict[str, Any]]:
        """What was said to each recipient, of whom at least one was accepted. Raises Refused."""
        if self._outlet is None:
            raise Refused(403, CLOSED)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "Say what you want as application/json.")
        wish = wish_of(await body_of(receive, max_bytes=MOST_BODY_BYTES))
        if self._under_way >= MOST_UNDER_WAY:
            raise Refused(503, f"{MOST_UNDER_WAY} mails are on their way: wait for one of them.")
        self._under_way += 1
        try:
            said = await self._outlet.release(self._store, number, server=wish.server, recipients=wish.recipients)
        except PermissionError as failure:
            raise Refused(403, f"{failure}.") from None
        except LookupError:
            raise Refused(404, "This mail is not there, or not any more.") from None
        except DeliveryError as failure:
            raise Refused(502, str(failure), failure.deliveries) from None
        except SocketError as failure:
            raise Refused(502, str(failure)) from None
        except ValueError as failure:
            raise Refused(400, f"{failure}.") from None
        finally:
            self._under_way -= 1
        return [as_json(each) for each in said]


def wish_of(body: bytes | None) -> Wish:
    """Raises Refused for what is no wish."""
    try:
        asked = json.loads(body or b"")
    except (ValueError, RecursionError):
        asked = None
    if isinstance(asked, dict) and set(asked) <= {"server", "to"}:
        server, people = asked.get("server"), asked.get("to")
        named = people is None or (isinstance(people, list) and all(isinstance(each, str) for each in people))
        if named and (server is None or isinstance(server, str)) and people != []:
            return Wish(server, people)
    raise Refused(400, 'This takes {"server": "tls://...", "to": ["bob@example.org"]}, or {} for both as they are.')


def as_json(delivery: Delivery) -> dict[str, Any]:
    return {**delivery._asdict(), "accepted": delivery.accepted}


CLOSED = "Nothing leaves here: `socketkit serve mail --release SERVER --release-to PATTERN` allows it."
MOST_BODY_BYTES = 65_536
MOST_UNDER_WAY = 4
