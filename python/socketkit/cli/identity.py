"""`socketkit identity`: who this user is to his peers."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from .. import identity as identities
from ..fingerprint import public_key_pin
from .arguments import address_option

if TYPE_CHECKING:
    from ..endpoint import Endpoint
    from ..identity import Identity

EPILOG = """\b
Examples:
  socketkit identity
  socketkit identity show --certificate > certificate.pem
  socketkit identity show --address tls://nas.example:7000 --qr
  socketkit identity new
"""


@click.group("identity", epilog=EPILOG, invoke_without_command=True, subcommand_metavar="[COMMAND]")
@click.pass_context
def command(context: click.Context) -> None:
    """Show who you are to your peers, or make a new key.

    The identity is a key of its own for this user, made when it is first needed. Its fingerprint (sk1:...) is what
    peers compare.
    """
    if context.invoked_subcommand is None:
        context.invoke(show)


@command.command("show")
@click.option("--certificate", is_flag=True, help="Print the certificate (PEM), for programs that ask for a file.")
@address_option("--address", "Print this address with the key in it, to be handed out.")
@click.option("--qr", is_flag=True, help="Print the fingerprint, or the address, as a QR code.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(certificate: bool = False, address: Endpoint | None = None, qr: bool = False, as_json: bool = False) -> None:
    """Show the fingerprint, its file, and the pin for curl.

    What `socketkit identity` does without another word, too.
    """
    if certificate + qr + as_json > 1:
        raise click.UsageError("--certificate, --qr and --json exclude each other")
    own = identities.Identity.of_user()
    where = None if address is None else str(_with_pin(address, own))
    if certificate:
        click.echo(own.certificate, nl=False)
    elif qr:
        from .qr import drawn

        # Capitals are half the size in a QR code; a parameter's name would not survive them.
        click.echo(drawn(where or own.fingerprint.upper(), coloured=sys.stdout.isatty()))
        click.echo(where or own.fingerprint)
    elif as_json:
        click.echo(json.dumps(_facts(own) | ({} if where is None else {"address": where})))
    elif where is not None:
        click.echo(where)
    else:
        click.echo(own.fingerprint)
        click.echo(f"  file  {identities.user_file()}")
        click.echo(f"  curl  --pinnedpubkey {public_key_pin(own.fingerprint)}")


@command.command("new")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def new(yes: bool, as_json: bool) -> None:
    """Make a new key; the old one stays beside it, as identity.pem.old.

    Peers that know the old key refuse the new one until they are told.
    """
    from os.path import exists

    from .prompt import confirm

    path = identities.user_file()
    replaced = exists(path)
    if replaced and not yes:
        answer = confirm(f"Peers that know the key in {path} will refuse the new one. Make it?")
        if answer is None:
            raise click.UsageError("there is no terminal to ask whether the old key may go: write --yes")
        if not answer:
            raise click.ClickException("nothing was changed")
    own = identities.renew()
    if as_json:
        click.echo(json.dumps(_facts(own) | {"old_file": f"{path}.old" if replaced else None}))
        return
    click.echo(own.fingerprint)
    if replaced:
        click.echo(f"the old key is in {path}.old; what runs keeps it until it is restarted", err=True)
        click.echo("where you are known as a server:  socketkit trust replace HOST:PORT " + own.fingerprint, err=True)
        click.echo("where you may connect:            socketkit trust add --authorized " + own.fingerprint, err=True)


def _facts(own: Identity) -> dict[str, str]:
    return {
        "fingerprint": own.fingerprint,
        "file": identities.user_file(),
        "public_key_pin": public_key_pin(own.fingerprint),
    }


def _with_pin(endpoint: Endpoint, own: Identity) -> Endpoint:
    query = {name: value for name, value in endpoint.query.items() if name not in ("ca", "trust")}
    return endpoint.replace(query={**query, "pin": own.fingerprint})
