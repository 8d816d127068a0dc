"""Where the inbox of `socketkit serve mail` may send a mail on to: nowhere unless these options say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from .arguments import endpoints

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..uses.mail.release import Outlet

_C = TypeVar("_C", bound="Callable[..., Any]")


def release_options(command: _C) -> _C:
    """The command gets what `outlet_of` takes."""
    command = click.option(
        "--release-password-file",
        metavar="FILE",
        help="The password for --release-user is the first line of this file.",
    )(command)
    command = click.option("--release-user", metavar="NAME", help="Log in with this name where --release sends to.")(
        command
    )
    command = click.option(
        "--release-to",
        multiple=True,
        metavar="PATTERN",
        help="To whom --release may send, and to nobody else: '*@example.org'; may be given several times.",
    )(command)
    return click.option(
        "--release",
        multiple=True,
        metavar="ADDRESS",
        callback=endpoints,
        help="Let the inbox send mails on to this server: tls://HOST:465, tcp://HOST:587 (STARTTLS).",
    )(command)


def outlet_of(options: dict[str, Any]) -> Outlet | None:
    """What `release_options` gave, taken out of a command's options. UsageError for half of it."""
    servers, recipients = options.pop("release"), options.pop("release_to")
    user, password_file = options.pop("release_user"), options.pop("release_password_file")
    if not (servers or recipients or user or password_file):
        return None
    if not (servers and recipients):
        raise click.UsageError("mail goes on with both: --release says to which server, --release-to to whom")
    from ..uses.mail.release import Outlet
    from .send_mail import login_of

    return Outlet(servers, recipients, login=login_of(user, password_file, "--release-user"))
