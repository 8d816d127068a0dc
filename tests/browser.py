"""A real browser for tests: Debian's Chromium, driven by Playwright. A folder's conftest.py imports the fixture.

    def test_page(browser: Browser) -> None:
        async def main() -> None:
            async with browser(width=400) as page:
                await page.goto("http://127.0.0.1:...")

        asyncio.run(main())

Every call starts a browser of its own with an empty profile, and ends it. It finds no name but `localhost` and those
that the test gives it, and talks to this machine only. What its console calls an error, or an exception in the page,
fails the test at the end of the block, unless `page_errors=False` says that they are the subject.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.async_api import ConsoleMessage, Page

    Browser = Callable[..., AbstractAsyncContextManager[Page]]


@pytest.fixture
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """`async with browser(...) as page`: see `opened` for what may be chosen."""
    path = shutil.which("chromium") or pytest.skip("chromium is not installed: apt install chromium")

    def start(**options: Any) -> AbstractAsyncContextManager[Page]:
        return opened(path, tmp_path_factory.mktemp("browser"), **options)

    return start


@asynccontextmanager
async def opened(
    chromium: str,
    folder: Path,
    *,
    width: int = 1280,
    height: int = 800,
    dark: bool = False,
    scale: float = 1,
    names: tuple[str, ...] = (),
    page_errors: bool = True,
) -> AsyncIterator[Page]:
    """A page of a new browser, whose files are in `folder`. `names` lead to 127.0.0.1 for it."""
    from playwright.async_api import async_playwright  # it takes a third of a second, and most tests need none

    rules = [*(f"MAP {name} 127.0.0.1" for name in names), "MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1", "EXCLUDE localhost"]
    homes = {"HOME": str(folder), "XDG_CONFIG_HOME": f"{folder}/config", "XDG_CACHE_HOME": f"{folder}/cache"}
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            folder / "profile",
            executable_path=chromium,
            args=[*ARGUMENTS, f"--host-resolver-rules={', '.join(rules)}"],
            env={**os.environ, **homes},
            viewport={"width": width, "height": height},
            device_scale_factor=scale,
            color_scheme="dark" if dark else "light",
        )
        try:
            page = context.pages[0]
            faults: list[str] = []
            page.on("pageerror", lambda fault: faults.append(str(fault)))
            page.on("console", lambda message: _note(message, faults))
            page.set_default_timeout(WAIT_SECONDS * 1000)
            yield page
            assert not (page_errors and faults), faults
        finally:
            await context.close()


async def until(page: Page, expression: str) -> None:
    """Wait until it is true in the page. Playwright's own way evaluates text, which the policy of a page may forbid."""
    from playwright.async_api import Error

    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                if await page.evaluate(expression):
                    return
            except Error as failure:
                if "context was destroyed" not in str(failure):  # by the page that comes next, which is asked then
                    raise
            await asyncio.sleep(0.05)


def _note(message: ConsoleMessage, faults: list[str]) -> None:
    if message.type == "error":
        faults.append(message.text)


WAIT_SECONDS = 25
ARGUMENTS = (
    "--headless",
    "--no-sandbox",  # its own needs what containers do not give; it sees pages of tests only
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
