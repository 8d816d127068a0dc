"""Peers that we did not write, each on a free port of its own."""

from __future__ import annotations

from tests.cli.programs import Program, Start


def socat(start: Start, path: str, other: str, **options: object) -> str:
    """socat listens for one connection and joins it to `other`; returns its address."""
    program = start([path, "-d", "-d", "-t", "20", "TCP-LISTEN:0,bind=127.0.0.1", other], **options)
    return f"tcp://127.0.0.1:{program.said('listening on').rpartition(':')[2]}"


def netcat(start: Start, path: str, *flags: str, **options: object) -> tuple[Program, str]:
    """nc listens for one connection; returns it and its address."""
    program = start([path, "-v", "-n", *flags, "-l", "127.0.0.1", "0"], **options)
    return program, f"tcp://127.0.0.1:{program.said('Listening on').split()[-1]}"
