"""Processes: what /proc tells of them, and that a number used again is not taken for the one before."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from socketkit.inspect.processes import Process, container_of, process, start_ticks, unit_of, user_name, why_hidden


def test_our_own_process() -> None:
    own = process(os.getpid())
    assert own.pid == os.getpid()
    assert own.executable == os.readlink("/proc/self/exe")
    assert not own.deleted
    assert own.uid == os.geteuid()
    assert own.user == user_name(os.geteuid())
    assert own.command == tuple(Path("/proc/self/cmdline").read_text().removesuffix("\0").split("\0"))
    assert own.name == Path("/proc/self/comm").read_text().strip()
    assert own.cgroup is not None
    assert own.started is not None
    assert 0 <= time.time() - own.started < 86_400


def test_it_is_the_same_at_another_look() -> None:
    assert process(os.getpid()) == process(os.getpid())
    assert hash(process(os.getpid())) == hash(process(os.getpid()))
    assert process(os.getpid()) != process(os.getppid())
    assert repr(process(os.getpid())).startswith(f"<Process {os.getpid()} ")


def test_it_is_frozen() -> None:
    with pytest.raises(AttributeError):
        process(os.getpid()).pid = 1
    with pytest.raises(AttributeError):
        del process(os.getpid()).pid


def test_one_that_ended_tells_nothing() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    ended = process(child.pid)
    child.communicate()
    assert (ended.name, ended.executable, ended.uid, ended.cgroup, ended.command) == ("", None, None, None, ())
    assert start_ticks(child.pid) is None


def test_a_number_that_is_used_again_is_another_process() -> None:
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    before = Process(os.getpid(), ticks - 1)
    assert (before.name, before.command, before.user) == ("", (), None)
    assert before != process(os.getpid())
    gone = Process(os.getpid(), None)
    assert (gone.name, gone.started) == ("", None)


def test_a_program_that_was_replaced(tmp_path: Path) -> None:
    copy = tmp_path / "cat"
    shutil.copy(shutil.which("cat") or "/bin/cat", copy)
    child = subprocess.Popen([copy], stdin=subprocess.PIPE)
    try:
        copy.unlink()
        replaced = process(child.pid)
        assert (replaced.executable, replaced.deleted) == (str(copy), True)
    finally:
        child.communicate()


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("/system.slice/ssh.service", "ssh.service"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox.scope", "app-firefox.scope"),
        ("/user.slice/user-1000.slice/session-3.scope/deeper", "session-3.scope"),
        ("/init.scope", None),
        ("/", None),
        ("", None),
    ],
)
def test_units(cgroup: str, unit: str | None) -> None:
    assert unit_of(cgroup) == unit


NUMBER = "0123456789ab" + "c" * 52


@pytest.mark.parametrize(
    ("cgroup", "container"),
    [
        (f"/system.slice/docker-{NUMBER}.scope", "0123456789ab"),
        (f"/docker/{NUMBER}", "0123456789ab"),
        (f"/machine.slice/libpod-{NUMBER}.scope/container", "0123456789ab"),
        (f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{NUMBER}.scope", "0123456789ab"),
        ("/lxc.payload.web/system.slice/nginx.service", "web"),
        ("/machine.slice/machine-de\\x2dbian.scope", "de-bian"),
        ("/machine.slice/systemd-nspawn@web.service", "web"),
        ("/system.slice/ssh.service", None),
        ("/", None),
    ],
)
def test_containers(cgroup: str, container: str | None) -> None:
    assert container_of(cgroup) == container


def test_users() -> None:
    assert user_name(0) == "root"
    assert user_name(3_999_999_999) == "3999999999"


@pytest.mark.parametrize(("uid", "words"), [(0, "not even root may look there"), (1000, "run it with sudo")])
def test_nobody_is_told_to_become_what_he_is(monkeypatch: pytest.MonkeyPatch, uid: int, words: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert why_hidden() == words
