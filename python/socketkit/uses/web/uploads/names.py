"""What a new file may be called: what any file system here keeps as it is, and no listing shows as something else."""

from __future__ import annotations

import unicodedata

from ..tree import PART_PREFIX

__all__ = ["fault_of"]


def fault_of(name: str) -> str | None:
    """What is wrong with the name of a new file, in words; None: nothing is."""
    if not name:
        return "the address names no file: put its name behind the folder's"
    if name in (".", ".."):
        return "this is the name of a folder: choose another one"
    if "/" in name or "\\" in name:
        return "a name has no slashes in it: upload into a folder by its address"
    if name.startswith(PART_PREFIX):
        return "names like this are kept for unfinished uploads: choose another one"
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return "a name is UTF-8: this one is not"
    if length > MOST_BYTES:
        return f"a name has at most {MOST_BYTES} bytes, this one has {length}: choose a shorter one"
    if any(unicodedata.category(letter) == "Cc" or letter in TURNING for letter in name):
        return "a name has no control characters in it: choose another one"
    return None


MOST_BYTES = 255
# They turn the order of what follows: `gpj.exe` would be read as `exe.jpg`.
TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")
