"""The words that say where a service is opened."""

from __future__ import annotations

from typing import Any

import click
from click.testing import CliRunner

from socketkit.cli.hosting_options import ending_options, place_options, wanted_of
from socketkit.hosting import Wanted


@click.command
@place_options
def asked(**options: Any) -> None:
    qr = options.pop("qr")
    click.echo(f"{wanted_of(options)!r} {qr}")


def told(*words: str) -> str:
    return CliRunner().invoke(asked, words).output


def test_place_options() -> None:
    assert told() == f"{Wanted()!r} None\n"
    assert told("--lan", "--port", "8443", "--no-qr") == f"{Wanted(lan=True, port=8443)!r} False\n"
    assert told("--on", "eth0", "--public") == f"{Wanted(on='eth0', public=True)!r} None\n"
    assert told("--tls") == f"{Wanted(tls=True)!r} None\n"
    assert told("--token-file", "kept") == f"{Wanted(token_file='kept')!r} None\n"
    assert told("--name", "a.example", "--name", "b") == f"{Wanted(names=('a.example', 'b'))!r} None\n"
    assert "leaves it out" in told("--token-file", "kept", "--public")
    assert "contradict" in told("--lan", "--tls", "--plaintext")
    assert "--plaintext is for the network" in told("--plaintext")


def test_addresses() -> None:
    lines = told("--addresses").splitlines()
    assert lines[0].split() == ["address", "interface", "reached", "from", "not", "chosen", "because"]
    (loopback,) = [line for line in lines if line.startswith("127.0.0.1 ")]
    assert loopback.endswith("reached from this machine only")


def test_ending_options() -> None:
    @click.command
    @ending_options
    def ended(**options: Any) -> None:
        click.echo(repr(sorted(options.items())))

    def told(*words: str) -> str:
        return CliRunner().invoke(ended, words).output

    assert told() == "[('as_json', False), ('once', False), ('seconds', None)]\n"
    assert told("--for", "2m", "--once", "--json") == "[('as_json', True), ('once', True), ('seconds', 120.0)]\n"
    assert "a time is a number" in told("--for", "soon")
