"""Mail: a catcher for what programs under test send, and sending. `service.serve` adds an inbox, and hosts both.

from socketkit.uses import mail

async with mail.Store() as store, mail.Catcher(store) as catcher:
    print(catcher.smtp)

await mail.send(message, sender="ann@example.org", recipients=["bob@example.com"], server="tls://smtp.example.org:465")
"""

from __future__ import annotations

from .database import Caught, Incoming, Keep
from .failures import Failures
from .parsed import Parsed, Part
from .release import Gate
from .seen import Client
from .sending import Delivery, DeliveryError, Login, send
from .serving import Catcher
from .smtp_events import Bounds
from .store import Change, Store

__all__ = [
    "Bounds",
    "Catcher",
    "Caught",
    "Change",
    "Client",
    "Delivery",
    "DeliveryError",
    "Failures",
    "Gate",
    "Incoming",
    "Keep",
    "Login",
    "Parsed",
    "Part",
    "Store",
    "send",
]
