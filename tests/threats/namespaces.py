"""Hosts that are network namespaces, joined by one wire: what the attacks run in, and never leave.

A network is a namespace with a bridge (the wire) and one namespace per host, each with one interface, `eth0`. None has
an interface in the machine's own namespace, so no packet can get out. Addresses are the same in every network
(10.77.0.0/16 and fd00:77::/64): two networks cannot see each other either.

Names carry the pid of the test run. `remove_leftovers` removes what a run that crashed has left.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Self

PREFIX = "sk-threats-"
FOLDER = Path("/run/netns")
FIRST_HOST = 1
SOURCES_OF_A_HOST = 250
CLONE_NEWNET = 0x40000000  # linux/sched.h


class Host:
    """A namespace with an address of each family; programs run in it until the network is closed."""

    def __init__(self, network: str, name: str, number: int) -> None:
        self.name = name
        self.namespace = f"{network}-{name}"
        self.number = number
        self.ip4 = f"10.77.0.{number}"
        self.ip6 = f"fd00:77::{number}"
        self._running: list[subprocess.Popen[Any]] = []

    def start(self, *words: str, **options: Any) -> subprocess.Popen[Any]:
        """Start a program in this namespace; it is killed when the network is closed."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options}
        process = subprocess.Popen(in_namespace(self.namespace, *words), **options)
        self._running.append(process)
        return process

    def run(self, *words: str, seconds: float = 30, status: int | None = 0) -> str:
        """Run a program to its end; its output. AssertionError if it ends with another status (None: any will do)."""
        done = subprocess.run(
            in_namespace(self.namespace, *words), capture_output=True, text=True, timeout=seconds, check=False
        )
        assert status is None or done.returncode == status, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What this thread opens meanwhile is opened in this namespace, and stays there."""
        with open("/proc/thread-self/ns/net") as own, open(FOLDER / self.namespace) as inside:
            _set_namespace(inside.fileno())
            try:
                yield
            finally:
                _set_namespace(own.fileno())

    def set(self, **values: int) -> None:
        """Set sysctls of `net` in this namespace: `ipv4__ip_forward=1`."""
        assignments = [f"net.{name.replace('__', '.')}={value}" for name, value in values.items()]
        self.run("sysctl", "-q", "-w", *assignments)

    def take_sources(self, number: int) -> list[str]:
        """So many addresses of its own more: one machine that attacks like a crowd."""
        assert number <= SOURCES_OF_A_HOST
        sources = [f"10.77.{self.number}.{last}" for last in range(1, number + 1)]
        _ip(f"addr add {source}/16 dev eth0" for source in sources)(self.namespace)
        return sources

    def hardware_address(self) -> str:
        return self.run("cat", "/sys/class/net/eth0/address").strip()

    def close(self) -> None:
        for process in self._running:
            process.kill()
        for process in self._running:
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        _kill_all_in(self.namespace)


class Network:
    """Hosts by name. `with Network("server", "honest") as network: network["server"]`."""

    _numbers = count(1)

    def __init__(self, *names: str) -> None:
        self.name = f"{PREFIX}{os.getpid()}-{next(self._numbers)}"
        self.hosts = {name: Host(self.name, name, number) for number, name in enumerate(names, FIRST_HOST)}
        self._wire = f"{self.name}-wire"
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill what runs in it, and remove it."""
        for host in self.hosts.values():
            host.close()
        for namespace in (*(host.namespace for host in self.hosts.values()), self._wire):
            _remove(namespace)

    def _make(self) -> None:
        hosts = self.hosts.values()
        namespaces = [self._wire, *(host.namespace for host in hosts)]
        _ip(f"netns add {namespace}" for namespace in namespaces)()
        _ip(
            f"link add eth0 netns {host.namespace} type veth peer name to-{host.name} netns {self._wire}"
            for host in hosts
        )()
        ports = [line for host in hosts for line in (f"link set to-{host.name} master wire", _up(f"to-{host.name}"))]
        _ip(["link add wire type bridge", _up("wire"), *ports])(self._wire)
        for host in hosts:
            # Else a second passes before it asks for its neighbours from its link-local address.
            host.set(ipv6__conf__all__accept_dad=0, ipv6__conf__eth0__accept_dad=0)
            _ip(
                [
                    _up("lo"),
                    _up("eth0"),
                    f"addr add {host.ip4}/16 dev eth0",
                    # No duplicate address detection: the address is usable at once.
                    f"addr add {host.ip6}/64 dev eth0 nodad",
                ]
            )(host.namespace)


def in_namespace(namespace: str, *words: str) -> list[str]:
    """The command that runs `words` in a namespace. The program keeps the pid of what is started."""
    return ["ip", "netns", "exec", namespace, *words]


def remove_leftovers() -> None:
    """Remove the networks of test runs that are no more."""
    if not FOLDER.is_dir():
        return
    for entry in FOLDER.iterdir():
        pid = entry.name.removeprefix(PREFIX).partition("-")[0]
        if entry.name.startswith(PREFIX) and pid.isdigit() and not Path(f"/proc/{pid}").exists():
            _kill_all_in(entry.name)
            _remove(entry.name)


def _set_namespace(fd: int) -> None:
    # os.setns needs Python 3.12.
    if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _up(interface: str) -> str:
    return f"link set {interface} up"


class _ip:  # noqa: N801  # it reads as the command that it is
    """`ip -batch`: two hundred addresses in one process."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = "".join(f"{line}\n" for line in lines)

    def __call__(self, namespace: str | None = None) -> None:
        where = ["-n", namespace] if namespace else []
        done = subprocess.run(
            ["ip", *where, "-batch", "-"], input=self._lines, capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 0, f"ip {where}: {done.stdout}{done.stderr}"


def _kill_all_in(namespace: str) -> None:
    """Kill what still runs in one of our namespaces, such as the child of a tool."""
    for _ in range(100):
        found = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
        pids = found.stdout.split() if (FOLDER / namespace).exists() else []
        if not pids:
            return
        for pid in pids:
            with suppress(ProcessLookupError):  # it ended between the listing and the kill
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.01)


def _remove(namespace: str) -> None:
    if (FOLDER / namespace).exists():
        done = subprocess.run(
            ["ip", "netns", "del", namespace], capture_output=True, text=True, timeout=20, check=False
        )
        # Of leftovers, another test run may have removed it meanwhile.
        assert done.returncode == 0 or not (FOLDER / namespace).exists(), done.stderr
