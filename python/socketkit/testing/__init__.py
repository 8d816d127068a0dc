"""For the tests of whoever uses or extends socketkit: connected pairs, and the rules that every connection keeps.

`async with stream_pair() as (ours, theirs)`, `await check_stream(lambda: stream_pair("tcp://:0"))`; in the same manner
`message_pair` and `check_messages`, `datagram_pair` and `check_datagrams`.
"""

from __future__ import annotations

from .conformance import (
    STREAM_RULES,
    check_datagrams,
    check_messages,
    check_rule,
    check_stream,
    datagram_rules,
    message_rules,
    name_of,
)
from .pair import datagram_pair, message_pair, stream_pair

__all__ = [
    "STREAM_RULES",
    "check_datagrams",
    "check_messages",
    "check_rule",
    "check_stream",
    "datagram_pair",
    "datagram_rules",
    "message_pair",
    "message_rules",
    "name_of",
    "stream_pair",
]
