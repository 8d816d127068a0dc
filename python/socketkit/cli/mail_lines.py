"""Caught mail as lines: for a person at a terminal, and for a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .units import amount

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..endpoint import Endpoint
    from ..threats.finding import Finding
    from ..uses.mail.database import Caught


def caught_line(mail: Caught) -> str:
    """`12:00:01  #3  TLS 1.3     1.20 kB  ann@a.example -> bob@b.example  Your invoice`."""
    from datetime import datetime

    to = ", ".join(mail.recipients[:SHOWN])
    if mail.recipients[SHOWN:]:
        to += f" and {len(mail.recipients) - SHOWN} more"
    when = datetime.fromtimestamp(mail.received).strftime("%H:%M:%S")
    how = f"#{mail.id:<4} {way_of(mail.client):<25} {amount(mail.size):>8}"
    return f"{when}  {how}  {mail.sender or '<>'} -> {to}  {mail.summary.subject}"


def way_of(client: Mapping[str, Any]) -> str:
    """How it came: what a person should see first."""
    if client.get("tls"):
        return str(client["tls"]).replace("TLSv", "TLS ")
    return "plain text, PASSWORD SEEN" if client.get("password_in_clear") else "plain text"


def finding_line(finding: Finding) -> str:
    return f"{finding.severity} {finding.id}: {finding.title} ({finding.subject}: {finding.evidence}); {finding.remedy}"


def settings(addresses: Mapping[str, Endpoint], certificate: str | None) -> list[str]:
    """What to paste into the program under test."""
    lines = []
    for name, where in addresses.items():
        host = where.host if where.host not in (None, "*") else "localhost"
        lines.append(f"{name.upper()}_HOST={host} {name.upper()}_PORT={where.port}")
    if certificate is not None:
        lines.append(f"SSL_CERT_FILE={certificate}")
    return lines


SHOWN = 3
