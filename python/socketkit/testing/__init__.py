"""For the tests of whoever uses or extends socketkit: connected pairs, and the rules that every stream keeps.

`async with stream_pair() as (ours, theirs)`, `await check_stream(lambda: stream_pair("tcp://:0"))`.
"""

from __future__ import annotations

from .conformance import STREAM_RULES, check_rule, check_stream, name_of
from .pair import stream_pair

__all__ = ["STREAM_RULES", "check_rule", "check_stream", "name_of", "stream_pair"]
