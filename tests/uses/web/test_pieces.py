from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from socketkit.uses.web.pieces import MOST_PIECES, joined

PIECE = st.tuples(st.integers(0, 40), st.integers(1, 10)).map(lambda piece: (piece[0], piece[0] + piece[1]))


def test_what_touches_is_one() -> None:
    assert joined([]) == []
    assert joined([(5, 9), (0, 5), (20, 30), (21, 22)]) == [(0, 9), (20, 30)]
    assert len(joined((3 * n, 3 * n + 1) for n in range(1_000))) == MOST_PIECES


@given(st.lists(PIECE, max_size=20))
def test_nothing_is_lost_or_won(pieces: list[tuple[int, int]]) -> None:
    whole = joined(pieces)
    assert {at for start, end in whole for at in range(start, end)} == {
        at for start, end in pieces for at in range(start, end)
    }
    assert all(end < start for (_, end), (start, _) in pairwise(whole))
