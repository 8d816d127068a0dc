"""The tables that names and ports are looked up in say uses that there are."""

from __future__ import annotations

from socketkit.inspect.use_tables import INSIDE, LABELS, NAMES, PORTS, PROGRAMS, USES


def test_every_use_is_one_of_the_table() -> None:
    told = {use for use, _ in PROGRAMS.values()} | {use for table in PORTS.values() for use, _ in table.values()}
    assert told | set(NAMES.values()) | set(INSIDE.values()) | set(LABELS.values()) <= set(USES)


def test_names_of_programs_are_as_long_as_the_kernel_keeps_them() -> None:
    assert not [name for name in PROGRAMS if len(name) > 15 and name[:15] not in PROGRAMS] or all(
        len(name) <= 16 for name in PROGRAMS
    )
    assert "Plex Media Serv" in PROGRAMS


def test_programs_are_believed_less_than_bytes_and_more_than_ports() -> None:
    assert all(0.6 <= sure <= 0.8 for _, sure in PROGRAMS.values())


def test_names_are_lower_case_and_whole_labels() -> None:
    assert all(name == name.lower() and not name.startswith(".") for name in NAMES)
