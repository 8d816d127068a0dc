"""What SMTP's server says: the replies that never change as bytes, and those that change with the server, made once."""

from __future__ import annotations

from functools import lru_cache

from . import sasl

OK = b"250 2.0.0 OK\r\n"
SENDER_OK = b"250 2.1.0 OK\r\n"
RECIPIENT_OK = b"250 2.1.5 OK\r\n"
BEGIN = b"354 Go on; the end is a dot on a line of its own\r\n"
GO_ON = b"250 2.0.0 Go on\r\n"
TAKEN = b"250 2.0.0 Taken\r\n"
CLOSING = 421
# Of those commands that cannot be understood or come at the wrong time; a refused mail is none.
MISTAKES = frozenset(("500", "501", "502", "503", "504", "553", "555"))


@lru_cache(16)
def greeting(host: str) -> bytes:
    """The first line that a client sees."""
    return f"220 {host} ESMTP socketkit\r\n".encode()


@lru_cache(16)
def extensions(host: str, message_bytes: int, tls: bool) -> bytes:
    """The answer to EHLO; `tls`: whether it can begin."""
    known = [f"{host} greets you", "PIPELINING", f"SIZE {message_bytes}", "8BITMIME", "SMTPUTF8"]
    known += ["CHUNKING", "ENHANCEDSTATUSCODES", f"AUTH {' '.join(sasl.MECHANISMS)}"]
    if tls:
        known.append("STARTTLS")
    return "".join([*(f"250-{line}\r\n" for line in known), "250 HELP\r\n"]).encode()
