#!/usr/bin/env python3
"""Takes the pictures of the inbox in docs/pictures, over mails that are made up.

.venv/bin/python tools/pictures_of_mail.py          in a quarter of a minute
.venv/bin/python tools/pictures_of_mail.py FOLDER   into another folder
"""

from __future__ import annotations

import asyncio
import os
import smtplib
import ssl
import sys
from email.message import EmailMessage
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "python")]

from tests.browser import opened  # noqa: E402
from tests.uses.mail.inbox.served import picture  # noqa: E402

if TYPE_CHECKING:
    from socketkit.uses.mail import Catcher


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="socketkit-pictures-") as own:
        os.environ["SOCKETKIT_HOME"] = f"{own}/socketkit"
        asyncio.run(pictures(Path(own), folder))


async def pictures(own: Path, folder: Path) -> None:
    from socketkit.hosting import Wanted, host, place
    from socketkit.hosting.web import web
    from socketkit.uses.mail import Catcher, Store
    from socketkit.uses.mail.inbox import Inbox

    async with Store() as store, Catcher(store, imap=None, pop3=None) as catcher:
        inbox = Inbox(store)
        async with host(web(inbox), place(Wanted())) as hosted:
            await asyncio.to_thread(send_all, catcher)
            await take(hosted.link.url, own, folder)
            inbox.end()


async def take(url: str, own: Path, folder: Path) -> None:
    async with opened("/usr/bin/chromium", own / "browser", width=1240, height=720, page_errors=False) as page:
        await page.goto(url)
        await page.locator("#mails a", has_text="order 20418").click()
        await page.frame_locator("#body iframe").locator("img[src]").first.wait_for()
        await page.screenshot(path=folder / "inbox-light.png")
        await page.emulate_media(color_scheme="dark")
        await page.locator("#mails a", has_text="Reset your password").click()
        await page.locator("#mail h2", has_text="Reset").wait_for()
        await page.get_by_role("tab", name="security").click()
        await page.screenshot(path=folder / "inbox-dark.png")
        await page.keyboard.press("Escape")
        await page.emulate_media(color_scheme="light")
        await page.set_viewport_size({"width": 390, "height": 680})
        await page.locator("#mails a", has_text="order 20418").click()
        await page.get_by_role("tab", name="HTML").click()
        await page.frame_locator("#body iframe").locator("img[src]").first.wait_for()
        await page.screenshot(path=folder / "inbox-narrow.png")


# --- the mails


def send_all(catcher: Catcher) -> None:
    send(catcher, mail("Nightly <cron@build.example>", "ops@shop.example", "Build 811 failed", "1 of 2,304 tests.\n"))
    send(catcher, mail("Shop <hello@shop.example>", "ann@mail.example", "Welcome to the shop, Ann", WELCOME), tls=True)
    send(catcher, mail("Forum <noreply@forum.example>", "bob@mail.example", "3 new answers to your question", "...\n"))
    reset = mail("Accounts <accounts@shop.example>", "bob@mail.example", "Reset your password", RESET)
    send(catcher, reset, password=True)
    news = mail(
        "Größen & Maße <news@shop.example>", "list@shop.example", "Herbst: Neues für den Garten", "Siehe HTML.\n"
    )
    news.add_alternative("<img src='https://track.example/1.gif'><p>Neues</p>", subtype="html")
    send(catcher, news, tls=True)
    send(catcher, order(), tls=True)


def send(catcher: Catcher, message: EmailMessage, *, tls: bool = False, password: bool = False) -> None:
    assert catcher.smtp is not None
    with smtplib.SMTP("localhost", catcher.smtp.port or 0, local_hostname="shop-worker-1", timeout=20) as client:
        if tls:
            client.starttls(context=ssl.create_default_context(cadata=catcher.identity.certificate))
        if password:
            client.login("shop", "not shown")
        client.send_message(message)


def mail(sender: str, to: str, subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message["Date"] = "Mon, 23 Nov 2026 10:14:00 +0000"
    message["Message-ID"] = f"<{abs(hash(subject))}@shop.example>"
    message.set_content(text)
    return message


def order() -> EmailMessage:
    message = mail(
        "Shop <orders@shop.example>", "Ann Example <ann@mail.example>", "Your order 20418 is on its way", ORDER
    )
    message["Cc"] = "warehouse@shop.example"
    message.add_alternative(ORDER_HTML, subtype="html")
    body = message.get_payload(1)
    assert isinstance(body, EmailMessage)
    body.add_related(picture(15, 118, 110, 36, 36), "image", "png", cid="<logo@shop.example>")
    message.add_attachment(b"%PDF-1.7\n" + bytes(83_000), "application", "pdf", filename="invoice-20418.pdf")
    message.add_attachment("BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", subtype="calendar", filename="delivery.ics")
    return message


WELCOME = "Hello Ann,\n\nplease confirm your address: https://shop.example/confirm/7f3a\n"
RESET = "Somebody, probably you, wants a new password:\n\nhttps://shop.example/reset/91c2\n"
ORDER = "Hello Ann,\n\nyour order is on its way: https://shop.example/orders/20418\n"
ORDER_HTML = """<!doctype html><html><head><style>
body { font-family: sans-serif; margin: 0; color: #222 }
.card { max-width: 520px; margin: 0 auto; padding: 20px }
table { width: 100%; border-collapse: collapse }
td { padding: 8px 0; border-bottom: 1px solid #e5e7eb }
td + td { text-align: right }
.total td { font-weight: bold; border: 0 }
.button { display: inline-block; background: #0f766e; color: #fff; padding: 10px 18px; border-radius: 6px;
  text-decoration: none }
.logo { display: flex; gap: 12px; align-items: center; font-size: 24px; font-weight: bold; color: #0f766e }
.small { font-size: 12px; color: #6b7280 }
</style></head><body><div class="card">
<p class="logo"><img src="cid:logo@shop.example" alt=""> Shop</p><h2>Your order is on its way</h2>
<p>Hello Ann, we have handed over order 20418. It should arrive on Wednesday.</p>
<table><tr><td>Watering can, 5 l</td><td>24.90</td></tr><tr><td>Seeds, wild flowers (3)</td><td>11.70</td></tr>
<tr class="total"><td>Together</td><td>36.60</td></tr></table>
<p><a class="button" href="https://shop.example/orders/20418">Where is it?</a></p>
<p class="small">Shop, 1 Garden Lane. <a href="https://shop.example/leave">No more of these</a></p>
<img src="https://track.example/open.gif?m=20418" width="1" height="1" alt=""><script>track()</script>
</div></body></html>
"""

if __name__ == "__main__":
    main()
