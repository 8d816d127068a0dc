"""The pages are true: every link resolves, every Python example runs, every command and option shown exists.

How an example is read: each fenced `python` block is a program. One that serves or listens stays running while the
later blocks of its page run; any other must end by itself without an error. A block that cannot run says why in a
comment above it: `<!-- not run: reason -->`. Ports in the pages are replaced by free ones.
"""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "bench/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
SOCKETKIT = Path(sys.executable).parent / "socketkit"

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


# --- links


@pages
def test_links_resolve(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text)
    broken = [link for link in links if not link.startswith(("https://", "mailto:")) and not resolves(page, link)]
    assert not broken


def resolves(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    listed = [(ROOT / "docs" / link).resolve() for link in re.findall(r"\]\(([^)#\s]+)", index)]
    assert not set((ROOT / "docs").rglob("*.md")) - {*listed} - {ROOT / "docs" / "README.md"}
    assert [page.name for page in listed if listed.count(page) > 1] == []


# --- examples


@dataclass(frozen=True)
class Example:
    line: int
    language: str
    code: str
    not_run: str | None

    @property
    def address(self) -> tuple[str, int] | None:
        """Where the program waits for others, if it does."""
        opened = re.search(r"\b(?:serve|listen)\(\s*\"tcp://(localhost):(\d+)\"", self.code)
        return (opened[1], int(opened[2])) if opened else None


def examples(page: Path, language: str, ports: dict[str, str] | None = None) -> list[Example]:
    text = page.read_text()
    for written, free in (ports or {}).items():
        text = text.replace(f":{written}", f":{free}")
    fence = re.compile(r"(?:<!-- not run: (.+?) -->\n+)?^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    found = [
        Example(text.count("\n", 0, block.start(2)) + 1, block[2], block[3], block[1]) for block in fence.finditer(text)
    ]
    return [example for example in found if example.language == language]


@pytest.mark.slow
@pages
def test_python_examples_run(page: Path, tmp_path: Path) -> None:
    ports = {written: str(free_port()) for written in sorted(set(re.findall(r"localhost:(\d+)", page.read_text())))}
    with ExitStack() as servers:
        for example in examples(page, "python", ports):
            if example.not_run:
                continue
            program = tmp_path / f"line_{example.line}.py"
            program.write_text(example.code)
            if example.address:
                servers.enter_context(running(program, example.address))
            else:
                done = subprocess.run(
                    [sys.executable, program], cwd=tmp_path, capture_output=True, text=True, timeout=60
                )
                assert done.returncode == 0, f"{page.name}, line {example.line}:\n{done.stderr}"


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def running(program: Path, address: tuple[str, int]) -> Iterator[None]:
    """Runs the program from the moment its port answers to the end of the block; it must not end before."""
    with subprocess.Popen([sys.executable, program], stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until_it_answers(process, address)
            yield
            assert process.poll() is None, f"{program.name} ended early"
        finally:
            process.kill()


def wait_until_it_answers(process: subprocess.Popen[str], address: tuple[str, int]) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(address, timeout=5).close()
            return
        except ConnectionResetError:
            return  # somebody is there; a relay's target is not, and it may say so before we have looked
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                pytest.fail(f"nobody answers on {address}: {process.communicate()[1]}")
            time.sleep(0.02)


@pytest.mark.slow
@pages
def test_commands_exist(page: Path) -> None:
    unknown = [
        command
        for example in examples(page, "console")
        for line in example.code.splitlines()
        if line.startswith("$ ")
        for command in line[2:].split(" | ")
        if not is_known(shlex.split(command, comments=True))
    ]
    assert not unknown


def is_known(words: list[str]) -> bool:
    if words[0] == "make":
        return re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE) is not None
    if words[0] != "socketkit":
        return True  # another program's command line is not ours to check
    shown = {word.partition("=")[0] for word in words if word.startswith("--")}
    command = () if words[1].startswith("-") else tuple(words[1:2])
    if command and len(words) > 2 and words[2] in subcommands_of(*command):
        command = (*command, words[2])
    options = options_of(*command)
    return options is not None and options >= shown


def options_of(*command: str) -> set[str] | None:
    """The options that the command's help names; None if there is no such command."""
    text = help_of(*command)
    return None if text is None else set(re.findall(r"--[a-z][\w-]*", text))


def subcommands_of(command: str) -> list[str]:
    """The words that stand first in the list of the help."""
    _, _, listed = (help_of(command) or "").partition("\nCommands:\n")
    return re.findall(r"^  ([a-z]+)  ", listed, re.MULTILINE)


@cache
def help_of(*command: str) -> str | None:
    shown = subprocess.run([SOCKETKIT, *command, "--help"], capture_output=True, text=True, timeout=60)
    return shown.stdout if shown.returncode == 0 else None
