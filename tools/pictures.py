#!/usr/bin/env python3
"""Takes the pictures of docs/pictures: the page of `watch --web` and the screen of `watch`, over a made-up network.

    sudo .venv/bin/python tools/pictures.py          in a minute and a half
    sudo .venv/bin/python tools/pictures.py FOLDER   into another folder

A server, a laptop and a phone are network namespaces. On the server run real programs (nginx, redis, mosquitto,
dnsmasq), whose traffic the others cause; what is watched is the server's namespace alone, so nothing of the machine
that takes the pictures is in them.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "python")]

from tests.browser import opened  # noqa: E402
from tests.threats.namespaces import Host, Network  # noqa: E402

if TYPE_CHECKING:
    from playwright.async_api import Page


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        own = Path(stack.enter_context(TemporaryDirectory(prefix="socketkit-pictures-")))
        own.chmod(0o755)  # the programs give up root, and read their files in it
        os.environ["SOCKETKIT_HOME"] = str(own / "socketkit")
        network = stack.enter_context(Network("server", "laptop", "phone"))
        services(network["server"], own)
        stack.enter_context(network["server"].entered())
        asyncio.run(pictures(network, own, folder))


async def pictures(network: Network, own: Path, folder: Path) -> None:
    from socketkit.cli.watch_screen import WatchApp
    from socketkit.inspect.watch import watch

    page_of = subprocess.Popen(  # noqa: ASYNC220  # it is started before anything else runs
        [sys.executable, "-m", "socketkit", "watch", "--web", "--own", "--port", str(PORT), SELECTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
    )
    try:
        assert page_of.stdout is not None
        url = page_of.stdout.readline().decode().strip()
        async with watch(SELECTED, namespaces="own") as watching:
            app = WatchApp(watching)
            async with app.run_test(size=(150, 30)) as pilot:
                traffic(network)
                await asyncio.sleep(MINUTE)  # the lines of the last minute are to be full
                await pilot.pause()
                app.update()
                screen = app.export_screenshot(title="socketkit watch")
                await take(url, screen, own, folder)
    finally:
        page_of.kill()
        page_of.communicate()


async def take(url: str, screen: str, own: Path, folder: Path) -> None:
    async with opened("/usr/bin/chromium", own / "browser", width=1240, height=620) as page:
        await page.goto(url)
        await page.locator("#audit b").wait_for()
        await page.screenshot(path=folder / "watch-light.png")
        await page.emulate_media(color_scheme="dark")
        await page.set_viewport_size({"width": 1340, "height": 580})
        await page.locator(".row", has_text="mosquitto").first.click()
        await page.locator("#detail dt").first.wait_for()
        await page.screenshot(path=folder / "watch-dark.png")
        await page.keyboard.press("Escape")
        await page.emulate_media(color_scheme="light")
        await page.get_by_role("button", name="listeners").click()
        await page.locator(".badge").first.wait_for()
        await page.set_viewport_size({"width": 390, "height": 640})
        await settled(page)
        await page.screenshot(path=folder / "watch-narrow.png")
    async with opened("/usr/bin/chromium", own / "second", width=1300, height=760, page_errors=False) as page:
        await page.set_content(f"<style>body {{ margin: 0 }}</style>{screen}")
        await page.locator("svg").screenshot(path=folder / "watch-terminal.png", omit_background=True)


async def settled(page: Page) -> None:
    """Wait until what has been drawn was seen by two frames."""
    await page.evaluate("new Promise(seen => requestAnimationFrame(() => requestAnimationFrame(seen)))")


# --- the network


def services(server: Host, own: Path) -> None:
    (own / "files").mkdir()
    (own / "files" / "film").write_bytes(os.urandom(64_000_000))
    (own / "files" / "index.html").write_text("<p>Hello</p>\n")
    words = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=server"]
    subprocess.run(
        ["openssl", "req", "-x509", *words, "-keyout", own / "key.pem", "-out", own / "certificate.pem"],
        check=True,
        capture_output=True,
    )
    (own / "nginx.conf").write_text(NGINX.format(own=own))
    (own / "mosquitto.conf").write_text("listener 1883\nallow_anonymous true\n")
    server.start("nginx", "-c", f"{own}/nginx.conf", "-e", "/dev/null", "-g", "daemon off;")
    server.start("redis-server", "--port", "6379", "--bind", "127.0.0.1", "--save", "", "--dir", str(own))
    server.start("mosquitto", "-c", f"{own}/mosquitto.conf")
    server.start("dnsmasq", "-k", "-C", "/dev/null", "-R", "-h", "--address=/example/192.0.2.1", "-x", f"{own}/dns.pid")


def traffic(network: Network) -> None:
    """What the others do, for as long as the network is there."""
    server, laptop, phone = network["server"], network["laptop"], network["phone"]
    film = f"https://{server.ip4}/film"
    laptop.start("sh", "-c", f"while :; do curl -sk --limit-rate 2M {film} -o /dev/null; sleep 5; done")
    phone.start("sh", "-c", f"while :; do curl -sk --limit-rate 300k {film} -o /dev/null; sleep 1; done")
    phone.start("sh", "-c", f"while :; do curl -s http://{server.ip4}/ -o /dev/null; sleep 3; done")
    phone.start("mosquitto_sub", "-h", server.ip4, "-t", "house/#")
    publish = f"mosquitto_pub -h {server.ip4} -t house/heat -l"
    laptop.start("sh", "-c", f"seq 1000000 | while read n; do echo $n; sleep 1; done | {publish}")
    laptop.start("sh", "-c", f"while :; do dig @{server.ip4} www.example >/dev/null; sleep 2; done")
    server.start("redis-cli", "-r", "-1", "-i", "0.2", "incr", "visits")


PORT = 8600  # of the server's own namespace, where nobody else is
SELECTED = f"tcp port!={PORT} !closed or udp"  # the page itself is left out, and its browser
MINUTE = 62
NGINX = """
worker_processes 1;
pid {own}/nginx.pid;
error_log /dev/null;
events {{}}
http {{
    access_log off;
    server {{
        listen 80;
        listen 443 ssl;
        ssl_certificate {own}/certificate.pem;
        ssl_certificate_key {own}/key.pem;
        root {own}/files;
    }}
}}
"""

if __name__ == "__main__":
    main()
