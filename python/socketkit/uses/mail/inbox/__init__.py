"""The inbox of caught mail: a JSON API and a page over a `Store`, as one ASGI application.

from socketkit.http import serve
from socketkit.uses.mail import Store
from socketkit.uses.mail.inbox import Inbox

async with Store() as store, serve("tcp://localhost:8025", Inbox(store)):
    ...
"""

from __future__ import annotations

from .application import Inbox

__all__ = ["Inbox"]
