"""Whom this side accepts as its peer, as a frozen value. What applies when none is given is in trusting.py."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, final

from .fingerprint import canonical

if TYPE_CHECKING:
    from typing import Literal, NoReturn

    from .endpoint import Endpoint

    Kind = Literal["system", "authority", "pin", "first_use", "danger_anyone"]


@final
class Trust:
    """One way to trust a peer. `kind` is its name; `path` is an authority's file, `pins` are fingerprints."""

    __slots__ = ("kind", "path", "pins")

    kind: Kind
    path: str | None
    pins: tuple[str, ...]

    def __new__(cls) -> Trust:
        raise TypeError("write Trust.system(), authority(path), pin(...), first_use() or danger_anyone()")

    @staticmethod
    def system() -> Trust:
        """Who has a certificate for the host's name from an authority that this machine trusts."""
        return _made("system")

    @staticmethod
    def authority(path: str | os.PathLike[str]) -> Trust:
        """Who has a certificate for the host's name from one of the authorities in this PEM file."""
        return _made("authority", path=os.path.abspath(os.fspath(path)))

    @staticmethod
    def pin(*fingerprints: str) -> Trust:
        """Who has one of these keys, and nobody else. Raises IdentityError for what is no fingerprint."""
        if not fingerprints:
            raise TypeError("Trust.pin() takes at least one fingerprint")
        return _made("pin", pins=tuple(sorted({canonical(text) for text in fingerprints})))

    @staticmethod
    def first_use() -> Trust:
        """The key that is known for the host; if none is, any key, which is the known one from then on."""
        return _made("first_use")

    @staticmethod
    def danger_anyone() -> Trust:
        """Anyone whose key is not revoked: who sits in the middle is not noticed."""
        return _made("danger_anyone")

    @staticmethod
    def of(endpoint: Endpoint) -> Trust | None:
        """What the address says by `ca`, `pin` or `trust` (it can hold one of them); None if it says nothing."""
        query = endpoint.query
        if "pin" in query:
            return Trust.pin(query["pin"])
        if "ca" in query:
            return Trust.authority(query["ca"])
        match query.get("trust"):
            case "system":
                return Trust.system()
            case "first_use":
                return Trust.first_use()
            case "danger_anyone":
                return Trust.danger_anyone()
        return None

    def __repr__(self) -> str:
        given = [self.path] if self.path is not None else self.pins
        return f"Trust.{self.kind}({', '.join(map(repr, given))})"

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if isinstance(other, Trust) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Trust is frozen")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Trust is frozen")

    def __reduce__(self) -> tuple[object, ...]:
        return _made, self._values()

    def _values(self) -> tuple[Kind, str | None, tuple[str, ...]]:
        return self.kind, self.path, self.pins


def _made(kind: Kind, path: str | None = None, pins: tuple[str, ...] = ()) -> Trust:
    value = object.__new__(Trust)
    object.__setattr__(value, "kind", kind)
    object.__setattr__(value, "path", path)
    object.__setattr__(value, "pins", pins)
    return value
