"""Addresses on the command line, and peers in words."""

from __future__ import annotations

import os

import pytest

from socketkit import Credentials, Endpoint, Peer
from socketkit.cli import main
from socketkit.cli.arguments import described


@pytest.mark.parametrize("words", [["connect"], ["listen"], ["serve", "echo"], ["relay", "tcp://localhost:0"]])
def test_mem_has_no_use_here(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "mem://x"]) == 2
    reason, address, caret = capsys.readouterr().err.splitlines()
    assert reason == "socketkit: mem:// reaches nobody outside this process (between programs: unix://@name)"
    assert (address.strip(), caret.strip()) == ("mem://x", "^")


def test_peer_by_its_endpoint() -> None:
    assert described(Peer(Endpoint.parse("tcp://192.0.2.1:80"))) == "tcp://192.0.2.1:80"


def test_peer_by_its_credentials() -> None:
    peer = Peer(Endpoint.parse("unix:///run/x"), credentials=Credentials(os.getpid(), 0, 0))
    assert described(peer) == f"unix:///run/x (pid {os.getpid()}, uid 0)"


@pytest.mark.parametrize(
    "words", [["connect", "raw+ethernet://lo"], ["relay", "udp://localhost:0", "raw+ethernet://lo?proto=0x88b5"]]
)
def test_nobody_connects_to_frames(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "raw+ethernet:// has no connections: `socketkit listen` shows what comes" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["icmp://", "raw+ip://localhost?proto=253", "raw+ethernet://lo"])
@pytest.mark.parametrize("words", [["serve", "echo"], ["serve", "time"], ["listen", "--echo"]])
def test_what_has_no_ports_has_no_echo(words: list[str], url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It would answer its own answers."""
    assert main([*words, url]) == 2
    scheme = url.partition("://")[0]
    assert (
        f"{words[1]}: {scheme}:// has no ports, so that answers would be taken for questions" in capsys.readouterr().err
    )
