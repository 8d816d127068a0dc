"""A QR code on the terminal, to carry an identity to a telephone or past a typing error."""

from __future__ import annotations

from io import StringIO

import click


def drawn(text: str, *, coloured: bool) -> str:
    """The code in half blocks; `coloured` paints it light and dark itself, whatever the terminal's colours are."""
    try:
        import segno
    except ImportError:
        raise click.ClickException("QR codes need the package segno: pip install 'socketkit[qr]'") from None
    picture = StringIO()
    # The lowest grade of correction: a screen does not get scratched, and a small code fits it.
    segno.make(text, error="l", micro=False).terminal(picture, compact=True, border=2)
    lines = picture.getvalue().splitlines()
    return "\n".join(f"{WHITE_ON_BLACK}{line}{PLAIN}" if coloured else line for line in lines)


WHITE_ON_BLACK = "\x1b[38;5;231;48;5;16m"
PLAIN = "\x1b[0m"
