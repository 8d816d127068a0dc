"""Caught mail as JSON, for the API and for lines that programs read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .seen import Client

if TYPE_CHECKING:
    from .database import Caught
    from .parsed import Parsed


def caught_as_json(mail: Caught) -> dict[str, Any]:
    """What a list says of it."""
    return {
        "id": mail.id,
        "received": mail.received,
        "from": mail.sender,
        "to": list(mail.recipients),
        "size": mail.size,
        "subject": mail.summary.subject,
        "header_from": mail.summary.author,
        "header_to": mail.summary.to,
        "message_id": mail.summary.message_id,
        "client": mail.client,
    }


def content_as_json(mail: Caught, parsed: Parsed) -> dict[str, Any]:
    """What is in it, and what is wrong with how it came. It is taken apart here, which takes time if it is large."""
    return {
        "text": parsed.text,
        "html": parsed.html,
        "headers": parsed.headers[:MOST_HEADERS],
        "parts": [part._asdict() for part in parsed.parts],
        "links": parsed.links[:MOST_LINKS],
        "findings": [finding.as_json() for finding in client_of(mail).findings()],
    }


def client_of(mail: Caught) -> Client:
    """Who sent it, as far as it was seen when the mail came."""
    known = {name: value for name, value in mail.client.items() if name in CLIENT and value is not None}
    return Client(**{"peer": "", **known, "faults": set(known.get("faults", ())), "mails": 1})


CLIENT = frozenset(Client.__dataclass_fields__)
MOST_HEADERS = 1_000
MOST_LINKS = 1_000
