"""`attachment(name)`: the header that has a browser save what it gets, under a name that others have chosen (RFC 6266).

Whatever the name is, the header stays one line of ASCII, and the name stays one of a file in the browser's own folder.
"""

from __future__ import annotations

from urllib.parse import quote


def attachment(name: str, otherwise: str = "attachment") -> str:
    """The value of Content-Disposition; `otherwise` is the name where there is none."""
    name = name.replace("\\", "/").rpartition("/")[2]
    name = "".join(char for char in name if char.isprintable() and char not in '"').strip(" .")
    name = _short(name) or otherwise
    plain = name.encode("ascii", "replace").decode().replace("%", "_").replace("?", "_")
    encoded = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'attachment; filename="{plain}"{encoded}'


def _short(name: str) -> str:
    """What a file system takes, with its ending."""
    if len(name) <= MOST_LETTERS:
        return name
    stem, dot, ending = name.rpartition(".")
    if not dot or len(ending) > MOST_ENDING:
        return name[:MOST_LETTERS]
    return f"{stem[: MOST_LETTERS - len(ending) - 1]}.{ending}"


MOST_LETTERS = 60  # of four bytes each they are within the 255 of a name
MOST_ENDING = 12
