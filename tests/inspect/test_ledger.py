"""The book of what came and went, against a world in which looks and ends are told in any order that a kernel may."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socketkit import Endpoint
from socketkit.inspect.ledger import SPARK_SECONDS, Change, Ledger, Spark, Watched
from socketkit.inspect.uses import Use


@dataclass(frozen=True)
class Entry:
    """What the ledger asks of a row of the socket table."""

    cookie: int = 0
    inode: int = 0
    state: str = "established"
    received_bytes: int | None = 0
    sent_bytes: int | None = 0
    scheme: str = "tcp"
    namespace: int = 1
    local: Endpoint | None = Endpoint.parse("tcp://127.0.0.1:7000")  # noqa: RUF009 - frozen
    peer: Endpoint | None = None
    receive_queue: int = 0
    send_queue: int = 0
    retransmits: int | None = 0
    backlog: int | None = None
    processes: tuple[Any, ...] | None = field(default=("holder",))

    def with_addresses_of(self, other: Entry) -> Entry:
        return replace(self, local=self.local or other.local, peer=self.peer or other.peer)

    def ended(self) -> Entry:
        return replace(self, state="closed", inode=0, processes=())


def ledger(**options: Any) -> Ledger:
    return Ledger(purpose=lambda entry: Use("unknown", "", 0.0, "", "unknown"), **options)


def kinds(changes: Sequence[Change]) -> list[tuple[str, int]]:
    return [(change.kind, change.row.entry.cookie) for change in changes]


@pytest.fixture
def seen() -> tuple[Ledger, Callable[..., list[tuple[str, int]]]]:
    """A ledger after its first look, at an empty table."""
    book = ledger()
    assert book.seen([], 100.0) == []
    return book, lambda *entries, now=101.0: kinds(book.seen(entries, now))


def test_a_socket_comes_moves_and_goes() -> None:
    book = ledger()
    first = Entry(1)
    assert book.seen([first], 100.0) == []
    assert [row.there_before for row in book.rows] == [True]
    assert kinds(book.seen([first, Entry(2)], 101.0)) == [("opened", 2)]
    assert kinds(book.seen([first, Entry(2)], 102.0)) == []
    (moved,) = book.seen([first, Entry(2, received_bytes=500, sent_bytes=20)], 104.0)
    assert (moved.kind, moved.row.received_per_second, moved.row.sent_per_second) == ("moved", 250.0, 10.0)
    assert moved.row.spark[-2:] == (260.0, 260.0)
    assert len(moved.row.spark) == SPARK_SECONDS
    (closed,) = book.ended([Entry(2, received_bytes=900, sent_bytes=20).ended()], 104.5)
    row = closed.row
    assert (closed.kind, row.state, row.received_bytes, row.sent_bytes) == ("closed", "closed", 900, 20)
    assert (row.first_seen, row.closed_at, row.processes) == (101.0, 104.5, ("holder",))
    assert book.rows == [*[row for row in book.rows if row.entry.cookie == 1], row]
    assert (book.totals.opened, book.totals.closed, book.totals.received_bytes) == (1, 1, 900)
    assert sum(book.totals.received_spark.values(104.5)) == 900


def test_what_came_and_went_between_two_looks(seen: Any) -> None:
    book, _ = seen
    changes = book.ended([Entry(5, received_bytes=7, sent_bytes=3).ended()], 100.5)
    assert kinds(changes) == [("opened", 5), ("closed", 5)]
    row = changes[-1].row
    assert (row.received_bytes, row.sent_bytes, row.processes) == (7, 3, None)


def test_what_a_look_met_before_it_was_connected_has_the_addresses_of_its_end() -> None:
    """The look has its owner and no peer, the end its peer and no owner: whoever selects by either is told."""
    peer = Endpoint.parse("tcp://127.0.0.1:80")
    book = ledger(wanted=lambda row: row.entry.peer == peer)
    book.seen([], 100.0)
    assert kinds(book.seen([Entry(5, state="closed")], 101.0)) == []
    changes = book.ended([Entry(5, peer=peer).ended()], 101.5)
    assert kinds(changes) == [("opened", 5), ("closed", 5)]
    assert changes[-1].row.processes == ("holder",)


def test_what_was_reset_keeps_the_addresses_of_the_last_look() -> None:
    peer = Endpoint.parse("tcp://127.0.0.1:80")
    book = ledger()
    book.seen([Entry(5, peer=peer)], 100.0)
    (closed,) = book.ended([Entry(5).ended()], 101.5)
    assert closed.row.entry.peer == peer


def test_a_look_that_is_older_than_an_end_opens_nothing(seen: Any) -> None:
    book, look = seen
    assert kinds(book.ended([Entry(5).ended()], 100.5)) == [("opened", 5), ("closed", 5)]
    assert look(Entry(5)) == []
    assert look(Entry(6)) == [("opened", 6)]


def test_one_look_that_lacks_it_closes_nothing(seen: Any) -> None:
    _, look = seen
    assert look(Entry(5)) == [("opened", 5)]
    assert look() == []
    assert look(Entry(5)) == []
    assert look() == []
    assert look() == [("closed", 5)]


def test_what_looks_lack_has_time_for_its_end() -> None:
    book = ledger(patience_seconds=1.0)
    book.seen([Entry(5)], 100.0)
    for now in (100.1, 100.2, 101.0):
        assert book.seen([], now) == []
    assert kinds(book.seen([], 101.1)) == [("closed", 5)]


def test_an_end_that_is_told_after_two_looks_is_not_counted_again(seen: Any) -> None:
    book, look = seen
    assert [*look(Entry(5)), *look(), *look()] == [("opened", 5), ("closed", 5)]
    assert book.ended([Entry(5).ended()], 105.0) == []


def test_what_is_left_of_a_connection_is_no_socket(seen: Any) -> None:
    book, look = seen
    assert look(Entry(5, received_bytes=3)) == [("opened", 5)]
    assert look(Entry(5, state="fin-wait-2", received_bytes=None)) == []
    (closed,) = book.ended([Entry(5, received_bytes=4).ended()], 102.0)
    assert closed.row.received_bytes == 4
    assert look(Entry(5, state="time-wait", received_bytes=None), Entry(6, state="time-wait")) == []


def test_a_reset_forgets_no_count(seen: Any) -> None:
    book, look = seen
    look(Entry(5, received_bytes=300, sent_bytes=7))
    (closed,) = book.ended([Entry(5).ended()], 102.0)
    assert (closed.row.received_bytes, closed.row.sent_bytes) == (300, 7)


def test_the_end_has_the_last_word(seen: Any) -> None:
    """A look may have counted the peer's end as a byte."""
    book, look = seen
    look(Entry(5, received_bytes=31, sent_bytes=10))
    (closed,) = book.ended([Entry(5, received_bytes=30, sent_bytes=10).ended()], 102.0)
    assert (closed.row.received_bytes, closed.row.received_per_second) == (30, 0.0)
    assert book.totals.received_bytes == 30


def test_what_never_had_an_address_is_not_told(seen: Any) -> None:
    book, _ = seen
    assert book.ended([replace(Entry(5), local=None).ended()], 100.5) == []


def test_a_socket_keeps_its_row_when_the_kernel_numbers_it(seen: Any) -> None:
    _, look = seen
    assert look(Entry(inode=44, state="closed")) == [("opened", 0)]
    assert look(Entry(9, inode=44)) == [("moved", 9)]
    assert look(Entry(9, inode=44)) == []


def test_without_cookie_and_inode_its_addresses_tell_it(seen: Any) -> None:
    _, look = seen
    one, other = Entry(), Entry(local=Endpoint.parse("tcp://127.0.0.1:7001"))
    assert look(one, other) == [("opened", 0), ("opened", 0)]
    assert look(one, other) == []


def test_what_is_not_counted_has_no_rate(seen: Any) -> None:
    book, look = seen
    look(replace(Entry(5), scheme="udp", received_bytes=None, sent_bytes=None))
    (row,) = book.rows
    assert (row.received_bytes, row.received_per_second, row.sent_per_second, row.spark) == (None, None, None, ())


def test_wanted_rows_only_from_when_they_are() -> None:
    def large(row: Watched) -> bool:
        return (row.received_bytes or 0) > 10

    book = ledger(wanted=large)
    book.seen([Entry(1, received_bytes=50), Entry(2)], 100.0)
    assert [row.entry.cookie for row in book.rows] == [1]
    assert kinds(book.seen([Entry(1, received_bytes=50), Entry(2), Entry(3)], 101.0)) == []
    now_large = [Entry(1, received_bytes=50), Entry(2, received_bytes=11), Entry(3, received_bytes=11)]
    assert kinds(book.seen(now_large, 102.0)) == [("moved", 2), ("opened", 3)]
    ends = [Entry(3).ended(), Entry(4, received_bytes=20).ended(), Entry(5).ended()]
    assert kinds(book.ended(ends, 103.0)) == [("closed", 3), ("opened", 4), ("closed", 4)]
    assert book.totals.closed == 3


def test_use_is_asked_again_until_bytes_tell() -> None:
    asked: list[Entry] = []
    answers = [Use("web", "", 0.4, "", "unknown"), Use("web", "HTTP/1", 0.95, "", "no")]

    def purpose(entry: Any) -> Use:
        asked.append(entry)
        return answers[min(len(asked), 2) - 1]

    book = Ledger(purpose=purpose)
    book.seen([Entry(1)], 100.0)
    (row,) = book.rows
    assert [row.use.protocol, row.use.protocol] == ["", ""]
    assert len(asked) == 1
    for count in (1, 2, 3):
        book.seen([Entry(1, received_bytes=count)], 100.0 + count)
        assert row.use.protocol == "HTTP/1"
    assert len(asked) == 2


def test_closed_rows_are_dropped_after_their_time(seen: Any) -> None:
    book, look = seen
    book.ended([Entry(5).ended()], 101.0)
    look(now=110.9)
    assert kinds([Change("closed", row) for row in book.rows]) == [("closed", 5)]
    look(now=111.0)
    assert book.rows == []


def test_closed_rows_are_bounded() -> None:
    book = ledger(most_closed=3)
    book.seen([], 100.0)
    book.ended([Entry(number).ended() for number in range(1, 5)], 100.5)
    assert [row.entry.cookie for row in book.rows] == [2, 3, 4]


def test_more_ends_than_are_remembered() -> None:
    """Then a look opens nobody new, since it may be one of those: the next look does."""
    book = ledger(most_ended=2)
    book.seen([], 100.0)
    assert len(book.ended([Entry(number).ended() for number in (1, 2, 3)], 100.5)) == 6
    assert book.seen([Entry(3), Entry(4)], 101.0) == []
    assert kinds(book.seen([Entry(4)], 102.0)) == [("opened", 4)]


def test_ends_that_were_never_told_are_forgotten_at_last() -> None:
    book = ledger(most_ended=2)
    book.seen([Entry(number) for number in (1, 2, 3)], 100.0)
    book.seen([], 101.0)
    assert len(book.seen([], 102.0)) == 3
    assert list(book._passed_over) == [2, 3]


def test_spark() -> None:
    spark = Spark()
    assert spark.values(50.0) == ()
    spark.add(0, 49.0, 50.0)
    assert spark.values(50.0) == ()
    spark.add(300, 47.0, 50.0)
    assert spark.values(50.0)[-4:] == (0.0, 100.0, 100.0, 100.0)
    spark.add(60, 51.0, 52.0)
    assert spark.values(53.0)[-7:] == (0.0, 100.0, 100.0, 100.0, 0.0, 60.0, 0.0)
    assert spark.values(52.0 + SPARK_SECONDS) == ()
    spark.add(6_000, 0.0, 1_000.0)
    assert set(spark.values(1_000.0)) == {6.0}


# --- any order


@dataclass
class World:
    """Sockets that live and move, a look that is taken at one time and given later, ends that wait to be told."""

    alive: dict[int, Entry] = field(default_factory=dict)
    waiting: list[Entry] = field(default_factory=list)
    look: list[Entry] | None = None
    made: int = 0

    def open(self) -> None:
        self.made += 1
        self.alive[self.made] = Entry(self.made, inode=self.made)

    def move(self, pick: int, count: int) -> None:
        if self.alive:
            key = sorted(self.alive)[pick % len(self.alive)]
            entry = self.alive[key]
            self.alive[key] = replace(entry, received_bytes=(entry.received_bytes or 0) + count)

    def close(self, pick: int) -> None:
        if self.alive:
            self.waiting.append(self.alive.pop(sorted(self.alive)[pick % len(self.alive)]).ended())


steps = st.lists(
    st.one_of(
        st.just(("open",)),
        st.tuples(st.just("move"), st.integers(0, 30), st.integers(1, 1_000)),
        st.tuples(st.just("close"), st.integers(0, 30)),
        st.just(("take look",)),
        st.just(("give look",)),
        st.tuples(st.just("tell ends"), st.integers(1, 5)),
    ),
    max_size=60,
)


@given(steps, st.integers(1, 4))
def test_each_socket_is_opened_once_and_closed_once(happenings: list[tuple[Any, ...]], most_ended: int) -> None:
    world, book, now = World(), ledger(most_closed=5), 1_000.0
    bounded = ledger(most_ended=most_ended, most_closed=2)
    changes: list[Change] = []
    finals: dict[int, int] = {}

    def give(entries: list[Entry]) -> None:
        changes.extend(book.seen(entries, now))  # type: ignore[arg-type]
        bounded.seen(entries, now)  # type: ignore[arg-type]

    def tell(entries: list[Entry]) -> None:
        changes.extend(book.ended(entries, now))  # type: ignore[arg-type]
        bounded.ended(entries, now)  # type: ignore[arg-type]

    give([])
    for name, *values in happenings:
        now += 0.25
        match name:
            case "open":
                world.open()
            case "move":
                world.move(*values)
            case "close":
                world.close(*values)
            case "take look" if world.look is None:
                world.look = list(world.alive.values())
            case "give look" if world.look is not None:
                give(world.look)
                world.look = None
            case "tell ends":
                told, world.waiting = world.waiting[: values[0]], world.waiting[values[0] :]
                tell(told)
    if world.look is not None:
        give(world.look)
    while world.alive:
        world.close(0)
    tell(world.waiting)
    for _ in range(2):
        give([])

    counted = Counter(kinds([change for change in changes if change.kind != "moved"]))
    expected = [(kind, number) for number in range(1, world.made + 1) for kind in ("opened", "closed")]
    assert counted == Counter(expected)
    finals = {change.row.entry.cookie: change.row.received_bytes or 0 for change in changes}
    assert book.totals.received_bytes == sum(finals.values())
    assert (book.totals.opened, book.totals.closed) == (world.made, world.made)
    assert len(book.rows) <= 5
    assert not book._open and not book._ended
    for small in (bounded._ended, bounded._passed_over, bounded._closed):
        assert len(small) <= max(most_ended, 2)
    assert not bounded._open


def test_whose_it_was_is_told_of_what_no_look_saw() -> None:
    notes: dict[int, Any] = {1: "curl", 2: "nginx", 3: "cron"}
    book = ledger(owner=lambda entry: notes.pop(entry.cookie, None))
    book.seen([], 1.0)
    book.seen([Entry(1), Entry(4)], 2.0)
    assert 1 not in notes  # who holds it is seen: the note needs not wait
    changes = book.ended([Entry(1).ended(), Entry(2).ended(), Entry(5).ended()], 3.0)
    told = {change.row.entry.cookie: change.row.processes for change in changes if change.kind == "closed"}
    assert told == {1: ("holder",), 2: ("nginx",), 5: None}
    assert list(notes) == [3]


def test_whose_it_was_is_told_of_what_a_look_met_before_it_was_accepted() -> None:
    book = ledger(owner=lambda _: "nginx")
    book.seen([Entry(1, processes=()), Entry(2)], 1.0)
    changes = book.ended([Entry(1).ended(), Entry(2).ended()], 2.0)
    assert [change.row.processes for change in changes] == [("nginx",), ("holder",)]
