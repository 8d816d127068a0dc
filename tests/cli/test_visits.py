"""What makes a visit of the tour fail."""

from __future__ import annotations

import pytest

from socketkit.cli.visits import TourError, require


def test_what_is_not_so_is_an_error() -> None:
    require(True, "never said")
    with pytest.raises(TourError, match="came back changed"):
        require(False, "a message came back changed")
