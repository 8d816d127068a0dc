"""`socketkit send-mail`: a mail leaves, encrypted, and each recipient's fate is told."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .arguments import address_option

if TYPE_CHECKING:
    from ..endpoint import Endpoint
    from ..uses.mail.sending import Delivery, Login

EPILOG = """\b
Examples:
  socketkit send-mail --server tls://smtp.example.org:465 --from ann@example.org --to bob@example.com < text
  socketkit send-mail --server tcp://smtp.example.org:587 --user ann --from ann@example.org --to bob@example.com < text
  socketkit send-mail --mx --from ann@example.org --to bob@example.com --subject Hello < text
  socketkit send-mail --server tcp://localhost:1025 --from ann@example.org --to bob@example.com --raw < mail.eml

\b
tcp:// means STARTTLS, and a server without it gets nothing; plain text must be written out:
'tcp://HOST:25?plaintext=yes'. The password is read from the variable SOCKETKIT_MAIL_PASSWORD, from
--password-file, or asked for; never from the command line, where others could see it.

\b
Exit status: 0 all recipients were accepted, 1 some or all were not.
"""


@click.command("send-mail", epilog=EPILOG)
@address_option("--server", "The server: tls://HOST:465, or tcp://HOST:587 for STARTTLS.")
@click.option("--mx", is_flag=True, help="Without a server: ask DNS for those of the recipients' domains.")
@click.option("--from", "sender", required=True, metavar="ADDRESS", help="Who sends it.")
@click.option("--to", "recipients", required=True, multiple=True, metavar="ADDRESS", help="Who gets it; several times.")
@click.option("--subject", default="", help="Its subject.")
@click.option("--attach", multiple=True, metavar="FILE", help="Attach a file; several times.")
@click.option("--raw", is_flag=True, help="The input is a whole mail with its headers: send it as it is.")
@click.option("--user", help="Log in with this name.")
@click.option("--password-file", metavar="FILE", help="The password is the first line of this file.")
@click.option("--json", "as_json", is_flag=True, help="Print what was said to each recipient as JSON.")
def command(
    server: Endpoint | None,
    mx: bool,
    sender: str,
    recipients: tuple[str, ...],
    subject: str,
    attach: tuple[str, ...],
    raw: bool,
    user: str | None,
    password_file: str | None,
    as_json: bool,
) -> None:
    """Send a mail, encrypted, and say what became of it.

    Reads the text from standard input. Says for each recipient what the server answered.
    """
    from ..uses.mail.sending import DeliveryError, send
    from .running import run

    if (server is None) is not mx:
        raise click.UsageError("name a --server, or ask for those of the domains with --mx")
    if raw and (subject or attach):
        raise click.UsageError("--raw takes the mail as it is: leave --subject and --attach out")
    text = sys.stdin.buffer.read()
    content = text if raw else composed(text, sender, recipients, subject, attach)
    login = login_of(user, password_file)
    try:
        said = run(send(content, sender=sender, recipients=recipients, server=server, login=login))
    except DeliveryError as failure:
        said = list(failure.deliveries)
    except ValueError as fault:
        raise click.UsageError(str(fault)) from None
    _tell(said, as_json=as_json)
    if not all(delivery.accepted for delivery in said):
        click.get_current_context().exit(1)


def composed(text: bytes, sender: str, recipients: tuple[str, ...], subject: str, attach: tuple[str, ...]) -> bytes:
    """A mail with this text."""
    from email import policy
    from email.message import EmailMessage
    from email.utils import formatdate, make_msgid
    from mimetypes import guess_type

    message = EmailMessage(policy=policy.SMTP)
    message["Date"] = formatdate(localtime=True)
    message["From"] = sender
    message["To"] = ", ".join(recipients)
    if subject:
        message["Subject"] = subject
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or None)
    message.set_content(text.decode("utf-8", "replace"))
    for name in attach:
        kind, encoding = guess_type(name)
        main, _, sub = (kind if kind and encoding is None else "application/octet-stream").partition("/")
        message.add_attachment(Path(name).read_bytes(), maintype=main, subtype=sub, filename=Path(name).name)
    return message.as_bytes()


def login_of(user: str | None, password_file: str | None, option: str = "--user") -> Login | None:
    """Who logs in: the password is that of the variable, of the file, or asked for."""
    from ..uses.mail.sending import Login

    if user is None:
        if password_file is not None:
            raise click.UsageError(f"a file with a password needs a name: {option}")
        return None
    if password_file is not None:
        lines = Path(password_file).read_text().splitlines()
        return Login(user, lines[0] if lines else "")
    password = os.environ.get("SOCKETKIT_MAIL_PASSWORD")
    if password is None:
        from getpass import getpass

        password = getpass(f"password of {user}: ")
    return Login(user, password)


def _tell(said: list[Delivery], *, as_json: bool) -> None:
    if as_json:
        told: list[dict[str, Any]] = [{**each._asdict(), "accepted": each.accepted} for each in said]
        click.echo(json.dumps({"deliveries": told}))
        return
    for delivery in said:
        click.echo(str(delivery), err=not delivery.accepted)
