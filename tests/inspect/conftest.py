"""`chain`: three routers between two hosts, whose ICMP errors are not limited; `chains(n)`: another number of them.

Programs in it are run by `host.run(...)`; `ours(host, *words)` runs socketkit there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.inspect.chain import Chain
from tests.threats.namespaces import Host, in_namespace, remove_leftovers


@pytest.fixture(scope="session", autouse=True)
def no_leftovers() -> None:
    if os.geteuid() == 0:
        remove_leftovers()


@pytest.fixture
def chains(program: Callable[[str], str]) -> Iterator[Callable[[int], Chain]]:
    program("ip")
    program("nft")
    with ExitStack() as stack:

        def made(routers: int) -> Chain:
            chain = stack.enter_context(Chain(routers))
            chain.answer_at_once()
            return chain

        yield made


@pytest.fixture
def chain(chains: Callable[[int], Chain]) -> Chain:
    return chains(3)


Ours = Callable[..., "subprocess.CompletedProcess[str]"]

UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")


@pytest.fixture
def ours(program: Callable[[str], str]) -> Ours:
    """`ours(host, "ping", ...)` runs the command there; with `privileged=False` without any capability."""
    program("setpriv")

    def run(host: Host, *words: str, privileged: bool = True, seconds: float = 30) -> subprocess.CompletedProcess[str]:
        before = () if privileged else UNPRIVILEGED
        command = in_namespace(host.namespace, *before, sys.executable, "-m", "socketkit", *words)
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)

    return run
