"""What a process holds, seen from outside by /proc: a server under attack cannot be asked, nor believed."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

MEGABYTE = 1 << 20
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def memory_bytes(pid: int) -> int:
    """What is resident now."""
    return _status(pid, "VmRSS")


def peak_memory_bytes(pid: int) -> int:
    """The most that was resident since the start, or since `forget_peak`."""
    return _status(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # man 5 proc


def cpu_seconds(pid: int) -> float:
    # The name in brackets may hold spaces; behind it, utime and stime are fields 14 and 15 of man 5 proc.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def peers(pid: int, port: int) -> Counter[str]:
    """The connections to a local port that the kernel keeps in the process's namespace, by the peer's address.

    Those that nobody has accepted count, and those that are closed with data still to send: they hold memory too.
    """
    found = set()  # the kernel lists by the page: what comes and goes meanwhile can be listed twice
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            local, remote, state = line.split()[1:4]
            if int(local.rpartition(":")[2], 16) == port and state in HOLDING:
                found.add(remote)
    return Counter(_address(remote.partition(":")[0]) for remote in found)


# ESTABLISHED, FIN_WAIT1, CLOSE_WAIT, LAST_ACK, CLOSING (include/net/tcp_states.h). The others hold no buffers.
HOLDING = frozenset({"01", "04", "08", "09", "0B"})


def _address(digits: str) -> str:
    """An IPv4 address in dots, also one that is mapped into IPv6; another IPv6 address as the kernel prints it."""
    tail = digits[-8:]
    if len(digits) == 8 or digits.startswith("0000000000000000FFFF0000"):
        return ".".join(str(byte) for byte in bytes.fromhex(tail)[::-1])
    return digits


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no {field}: it has ended")
