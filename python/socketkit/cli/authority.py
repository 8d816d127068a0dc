"""`socketkit authority`: the certificate authority of this user, for browsers."""

from __future__ import annotations

import json
import os
import sys
from shutil import which
from typing import TYPE_CHECKING

import click

from .. import home
from ..hosting import authority as authorities

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..hosting.authority import Authority

EPILOG = """\b
Examples:
  socketkit authority make
  socketkit authority show --certificate > authority.crt
  socketkit authority trust | sh
  socketkit authority trust --undo | sh
"""


@click.group("authority", epilog=EPILOG, subcommand_metavar="COMMAND")
def command() -> None:
    """Make a certificate authority of your own, for browsers.

    They then take your services without a warning. It can vouch for private addresses, .local names and this machine,
    and for nothing else. Its key stays in your folder; its certificate is installed once on each telephone and computer
    that is to trust it.
    """


@command.command("show")
@click.option("--certificate", is_flag=True, help="Print the certificate (PEM), to be installed elsewhere.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(certificate: bool, as_json: bool) -> None:
    """Show its name, its fingerprint and its file."""
    own = _existing()
    if certificate:
        click.echo(own.certificate, nl=False)
    else:
        _print(own, as_json=as_json)


@command.command("make")
@click.option(
    "--replace", is_flag=True, help="Make a new one though there is one; who trusted the old one warns again."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def make(replace: bool, as_json: bool) -> None:
    """Make one, and from now on use it for services that are opened to browsers."""
    _print(authorities.make(replace=replace), as_json=as_json)
    if not as_json:
        click.echo("on this machine:  socketkit authority trust | sh", err=True)
        click.echo("elsewhere:        install what `socketkit authority show --certificate` prints", err=True)


@command.command("remove")
def remove() -> None:
    """Take it away, its key with it; services vouch for themselves again."""
    if not authorities.remove():
        raise click.ClickException("there is no authority")
    click.echo("removed; take it out where it is trusted, too", err=True)


@command.command("trust")
@click.option("--undo", is_flag=True, help="Print what takes it out again.")
def trust(undo: bool) -> None:
    """Print the shell commands that make the programs of this machine trust it.

    Nothing is changed before you run them: read them, then `socketkit authority trust | sh`.
    """
    for line in commands(_existing(), undo=undo):
        click.echo(line)
    if sys.stdout.isatty():
        click.echo("these lines do it: socketkit authority trust" + (" --undo" if undo else "") + " | sh", err=True)


def commands(own: Authority, *, undo: bool) -> Iterator[str]:
    """For the stores that this machine has: the system's, and those of NSS, which Chromium and Firefox read."""
    from shlex import quote

    sudo = "" if os.geteuid() == 0 else "sudo "
    name = own.name.replace(" ", "-")
    export = "socketkit authority show --certificate"
    yield "set -e"
    for folder, update in SYSTEM_STORES:
        if os.path.isdir(folder) and which(update.split()[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
            file = quote(f"{folder}/{name}.crt")
            yield f"{sudo}rm -f {file}" if undo else f"{export} | {sudo}tee {file} > /dev/null"
            yield f"{sudo}{update}"
            break
    databases = list(_databases())
    if databases and which("certutil") is None:
        yield "# browsers keep their own list: apt install libnss3-tools, then once more"
        return
    for database in databases:
        where = f"-d {quote(f'sql:{database}')} -n {quote(own.name)}"
        yield f"certutil -D {where}" if undo else f"{export} | certutil -A {where} -t C,,"


def _databases() -> Iterator[str]:
    """Where this user's browsers keep their certificates."""
    from glob import glob

    for pattern in NSS_DATABASES:
        for file in sorted(glob(os.path.expanduser(f"{pattern}/cert9.db"))):
            yield os.path.dirname(file)


def _existing() -> Authority:
    own = authorities.existing()
    if own is None:
        raise click.ClickException("there is no authority yet: `socketkit authority make`")
    return own


def _print(own: Authority, *, as_json: bool) -> None:
    from datetime import UTC, datetime

    facts = {
        "name": own.name,
        "fingerprint": own.fingerprint,
        "file": home.file(authorities.FILE),
        "expires": f"{datetime.fromtimestamp(own.expires, UTC):%Y-%m-%d}",
    }
    if as_json:
        click.echo(json.dumps(facts))
        return
    click.echo(own.name)
    click.echo(f"  SHA-256  {own.fingerprint}")
    click.echo(f"  file     {facts['file']}")
    click.echo(f"  until    {facts['expires']}")


# Folder for the administrator's own authorities, and what makes one file of all: Debian, Fedora, Arch.
SYSTEM_STORES = (
    ("/usr/local/share/ca-certificates", "update-ca-certificates"),
    ("/etc/pki/ca-trust/source/anchors", "update-ca-trust"),
    ("/etc/ca-certificates/trust-source/anchors", "trust extract-compat"),
)
NSS_DATABASES = (
    "~/.pki/nssdb",
    "~/.mozilla/firefox/*",
    "~/snap/firefox/common/.mozilla/firefox/*",
    "~/snap/chromium/current/.pki/nssdb",
)
