"""Which address a pattern means: `bob@example.org`, `*@example.org`, `bob@*`; letters of any case are the same."""

from __future__ import annotations


def matches(address: str, pattern: str) -> bool:
    from fnmatch import fnmatchcase

    # Brackets are no ranges: `a[b]@c` is an address.
    return fnmatchcase(address.casefold(), pattern.casefold().replace("[", "[[]"))
