"""Every bound is finite, checked when it is given, and in the pages; values that contradict each other are refused."""

from __future__ import annotations

import copy
import ipaddress
import pickle
import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from socketkit import Limits
from socketkit.limits import CONNECTIONS, FIELDS

SECONDS = [name for name in FIELDS if name.endswith("_seconds")]
MAY_BE_ZERO = ["penalty_seconds", "penalty_active_seconds", "connect_seconds", "close_seconds", "grace_seconds"]
COUNTS = [name for name in FIELDS if not name.endswith(("_seconds", "_fraction", "_ratio")) and name != "trusted"]
INTS = [
    "backlog",
    "source_connections",
    "source_rate_per_second",
    "source_burst",
    "notsent_bytes",
    "receive_buffer_bytes",
]
# One that contradicts nothing, whatever else is changed.
WIDE = Limits(write_low_bytes=0, message_bytes=1, penalty_seconds=0, penalty_active_seconds=0)
PAGE = Path(__file__).parents[1] / "docs" / "limits.md"


def test_defaults_are_finite() -> None:
    for name in FIELDS:
        value = getattr(Limits(), name)
        assert value is None or name == "trusted" or 0 < value < 1e9
    assert 1 <= Limits().most_connections() <= CONNECTIONS


def test_frozen_equal_and_hashable() -> None:
    assert Limits() == Limits() == Limits(backlog=1024)
    assert Limits(idle_seconds=5) != Limits()
    assert Limits() != "Limits()"
    assert hash(Limits(backlog=5)) == hash(Limits(backlog=5))
    with pytest.raises(AttributeError, match=r"frozen: limits.replace\(backlog=...\)"):
        Limits().backlog = 5  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del Limits().backlog  # type: ignore[misc]
    with pytest.raises(TypeError):
        Limits(5)  # type: ignore[call-arg]


def test_repr_is_what_one_would_write() -> None:
    assert repr(Limits()) == "Limits()"
    limits = Limits(trusted=[], idle_seconds=7.5, backlog=1024)  # type: ignore[arg-type]
    assert repr(limits) == "Limits(trusted=(), idle_seconds=7.5)"
    for preset in (Limits.interactive(), Limits.bulk(), Limits.unlimited()):
        assert eval(repr(preset)) == preset


def test_copies_and_pickles() -> None:
    for limits in (Limits(), Limits.bulk()):
        for same in (copy.copy(limits), copy.deepcopy(limits), pickle.loads(pickle.dumps(limits))):
            assert same == limits


def test_replace() -> None:
    limits = Limits(backlog=5, idle_seconds=20)
    assert limits.replace() == limits
    assert limits.replace(backlog=6) == Limits(backlog=6, idle_seconds=20)
    assert limits.backlog == 5
    with pytest.raises(ValueError, match=r"Limits.backlog"):
        limits.replace(backlog=0)
    with pytest.raises(ValueError, match="between 0 and write_high_bytes"):
        limits.replace(write_high_bytes=10)


def test_unknown_name() -> None:
    for make in (Limits, Limits().replace):
        with pytest.raises(TypeError, match="Limits has no 'idle': help"):
            make(idle=5)


@pytest.mark.parametrize("name", SECONDS)
def test_times(name: str) -> None:
    good = 600 if name == "penalty_most_seconds" else 1
    assert getattr(WIDE.replace(**{name: good}), name) == good
    assert getattr(WIDE.replace(**{name: 0.001}), name) == 0.001
    for wrong in (-0.001, 1e9, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"Limits.{name} must be"):
            WIDE.replace(**{name: wrong})
    for wrong in ("5", None):
        with pytest.raises(TypeError, match=f"Limits.{name} must be a number, not"):
            WIDE.replace(**{name: wrong})
    if name in MAY_BE_ZERO:
        assert getattr(WIDE.replace(**{name: 0}), name) == 0
    else:
        for wrong in (0, 0.0009):
            with pytest.raises(ValueError, match=f"Limits.{name} must be at least 0.001"):
                WIDE.replace(**{name: wrong})


def test_the_kernel_keeps_the_user_timeout_in_milliseconds() -> None:
    assert Limits(user_timeout_seconds=2_147_483).user_timeout_seconds == 2_147_483
    with pytest.raises(ValueError, match=r"at most 2,147,483 \(the kernel's\)"):
        Limits(user_timeout_seconds=2_147_484)


@pytest.mark.parametrize("name", [name for name in COUNTS if name != "write_low_bytes"])
def test_counts(name: str) -> None:
    most = (1 << 31) - 1 if name in INTS else (1 << 62) - 1
    for good in (1, most):
        limits = WIDE if name != "message_bytes" else WIDE.replace(memory_bytes=most)
        assert getattr(limits.replace(**{name: good}), name) == good
    for wrong in (0, -1, most + 1):
        with pytest.raises(ValueError, match=f"Limits.{name} must be at least 1 and"):
            WIDE.replace(**{name: wrong})
    for wrong in ("5", 5.0, float("inf"), *([] if name == "connections" else [None])):
        with pytest.raises(TypeError, match=f"Limits.{name} must be an int, not"):
            WIDE.replace(**{name: wrong})


def test_fraction() -> None:
    for good in (1, 0.001):
        assert Limits(memory_shed_fraction=good).memory_shed_fraction == good
    for wrong in (0, -0.5, 1.001, float("nan")):
        with pytest.raises(ValueError, match=r"Limits.memory_shed_fraction must be above 0 and at most 1"):
            Limits(memory_shed_fraction=wrong)


def test_low_is_not_above_high() -> None:
    Limits(write_high_bytes=10, write_low_bytes=10)
    for wrong in (11, -1):
        with pytest.raises(ValueError, match="between 0 and write_high_bytes"):
            Limits(write_high_bytes=10, write_low_bytes=wrong)


def test_penalties_can_grow_as_far_as_they_must() -> None:
    Limits(penalty_seconds=20, penalty_active_seconds=20, penalty_most_seconds=20)
    for name in ("penalty_seconds", "penalty_active_seconds"):
        with pytest.raises(ValueError, match=f"Limits.{name} is above penalty_most_seconds"):
            Limits(**{"penalty_most_seconds": 20, name: 20.001})


def test_a_message_fits_into_the_memory() -> None:
    Limits(message_bytes=100, memory_bytes=100)
    with pytest.raises(ValueError, match=r"Limits.message_bytes is above memory_bytes"):
        Limits(message_bytes=101, memory_bytes=100)


def test_trusted_networks() -> None:
    good = (
        "10.0.0.0/8",
        "0.0.0.0/0",
        "192.0.2.7",
        "192.0.2.7/32",
        "::/0",
        "2001:db8::/32",
        "::1",
        "::ffff:10.0.0.0/104",
    )
    assert Limits(trusted=good).trusted == good
    assert Limits(trusted=()).trusted == ()
    networks = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_address("::1")]
    assert Limits(trusted=networks).trusted == ("10.0.0.0/8", "::1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not begin with an IP address"),
        ("localhost", "does not begin with an IP address"),
        ("10.0.0/8", "does not begin with an IP address"),
        ("010.0.0.0/8", "does not begin with an IP address"),
        (" 10.0.0.0/8", "does not begin with an IP address"),
        ("10.0.0.0\0/8", "does not begin with an IP address"),
        ("fe80::1%eth0", "does not begin with an IP address"),
        ("10.0.0.0/33", "must end with the length of its prefix, a number from 0 to 32"),
        ("10.0.0.0/", "must end with the length of its prefix, a number from 0 to 32"),
        ("10.0.0.0/08", "must end with the length of its prefix, a number from 0 to 32"),
        ("10.0.0.0/+8", "must end with the length of its prefix, a number from 0 to 32"),
        ("10.0.0.0/255.0.0.0", "must end with the length of its prefix, a number from 0 to 32"),
        ("10.0.0.0/\u0668", "must end with the length of its prefix, a number from 0 to 32"),
        ("10.0.0.0/" + "8" * 5000, "must end with the length of its prefix, a number from 0 to 32"),
        ("::/129", "must end with the length of its prefix, a number from 0 to 128"),
        ("10.0.0.7/8", "has bits set behind its prefix: the network is 10.0.0.0/8"),
        ("2001:db8::1/32", "has bits set behind its prefix: the network is 2001:db8::/32"),
    ],
)
def test_what_is_no_network(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(f"Limits.trusted: {text!r} {reason}") + "$"):
        Limits(trusted=("::1", text))


def test_one_network_is_not_several() -> None:
    with pytest.raises(TypeError, match=r"must be several networks: \('10.0.0.0/8',\) for one"):
        Limits(trusted="10.0.0.0/8")  # type: ignore[arg-type]


@pytest.fixture
def descriptors() -> Iterator[Callable[[int], None]]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda count: resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_follow_the_descriptors(descriptors: Callable[[int], None]) -> None:
    for limit, most in ((132, 90), (64, 28)):
        descriptors(limit)
        assert Limits().most_connections() == most
        assert Limits(connections=500).most_connections() == 500
        assert Limits(descriptor_reserve=42).most_connections() == int(0.9 * (limit - 42))
        assert Limits(descriptor_reserve=500).most_connections() == 1


def test_connections_without_a_bound_on_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert Limits().most_connections() == CONNECTIONS


# --- presets


def test_interactive_is_patient_and_small() -> None:
    usual, interactive = Limits(), Limits.interactive()
    for name in ("first_message_seconds", "idle_seconds", "slow_window_seconds", "write_stalled_seconds"):
        assert getattr(interactive, name) > getattr(usual, name)
    for name in ("write_high_bytes", "notsent_bytes", "receive_buffer_bytes", "message_bytes"):
        assert getattr(interactive, name) < getattr(usual, name)


def test_bulk_has_room_for_all_its_connections() -> None:
    bulk = Limits.bulk()
    assert bulk.connections is not None
    assert bulk.connections * (bulk.write_high_bytes + bulk.receive_buffer_bytes) <= bulk.memory_bytes
    assert bulk.message_bytes > Limits().message_bytes


def test_unlimited_is_finite_and_leaves_waiting_as_it_is() -> None:
    unlimited, usual = Limits.unlimited(), Limits()
    same = {name for name in FIELDS if getattr(unlimited, name) == getattr(usual, name)}
    waiting = {"connect_seconds", "close_seconds", "grace_seconds", "backlog", "descriptor_reserve"}
    buffers = {"write_high_bytes", "write_low_bytes", "notsent_bytes", "receive_buffer_bytes"}
    without_penalty = {"penalty_most_seconds", "penalty_active_seconds", "penalty_sources"}
    assert same == waiting | buffers | without_penalty
    assert all(getattr(unlimited, name) < 1 << 62 for name in FIELDS if name != "trusted")


# --- what is written about them


def as_written(value: object) -> str:
    return f"{value:,g}" if isinstance(value, float) and value < 1000 else f"{value:,}"


@pytest.mark.parametrize("name", FIELDS)
def test_every_limit_is_in_its_page_and_its_docstring(name: str) -> None:
    default = getattr(Limits, name)
    rows = [row for row in PAGE.read_text().splitlines() if row.startswith(f"| `{name}` |")]
    assert len(rows) == 1
    if name not in ("connections", "trusted"):
        assert rows[0].split("|")[2].startswith(f" {as_written(default)}")
        assert f"`{name}` ({as_written(default)})" in re.sub(r"\s+", " ", Limits.__doc__ or "")


def test_every_row_of_the_page_is_a_limit() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(FIELDS)


@pytest.mark.parametrize("name", ["interactive", "bulk", "unlimited"])
def test_every_preset_has_its_reason(name: str) -> None:
    assert f"`Limits.{name}()`: " in PAGE.read_text()
    assert (getattr(Limits, name).__doc__ or "").startswith("For ")
