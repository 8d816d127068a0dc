"""A real browser for tests: Debian's Chromium, driven by Playwright. A folder's conftest.py imports the fixture.

    def test_page(browser: Browser) -> None:
        async def main() -> None:
            async with browser(width=400) as page:
                await page.goto("http://127.0.0.1:...")

        browser.run(main())

A process that runs tests starts one browser, with the first test that asks for it, and ends it with the last. Every
page has a context of its own: cookies, storage, cache, downloads and what its console says are no other's. A test that
needs more than that (a browser that was told of an authority) has a browser to itself by `opened`.

It finds no name but `localhost` and those under `.test`, which lead to 127.0.0.1, and talks to this machine only. What
the console calls an error, or an exception in the page, fails the test at the end of the block, unless
`page_errors=False` says that they are the subject.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from playwright.async_api import Browser as Chromium
    from playwright.async_api import BrowserContext, ConsoleMessage, Page, Playwright

T = TypeVar("T")


@pytest.fixture
def browser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """The browser of this process; `browser.run(main())` runs a test that opens pages by `browser(...)`."""
    path = shutil.which("chromium") or pytest.skip("chromium is not installed: apt install chromium")
    shared = request.session.stash.get(SHARED, None)
    if shared is None:
        shared = request.session.stash[SHARED] = Browser(path, tmp_path_factory.mktemp("browser"))
        request.session.addfinalizer(shared.close)
    shared.test, shared.told = request.node.nodeid, request.node.user_properties
    return shared


class Browser:
    """A Chromium that goes on from test to test, and the event loop that it is driven on.

    What Playwright gives belongs to the loop that it was made on. So that goes on, too, and `run` takes care that
    nothing else does: as with `asyncio.run`, the tasks and threads that a coroutine leaves are ended with it.
    """

    def __init__(self, path: str, folder: Path) -> None:
        self.test = ""  # whose turn it is, and what is told of it in the end
        self.told: list[tuple[str, object]] = []
        self.losses: list[str] = []
        self._path = path
        self._folder = folder
        self._runner: asyncio.Runner | None = None
        self._user = ""
        self._playwright = AsyncExitStack()
        self._chromium: Chromium | None = None
        self._process = -1
        self._drivers: set[asyncio.Task[Any]] = set()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Its result. A browser that ended by itself before is started anew, once; twice is a fault of its own."""
        if self._runner is None:
            self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        try:
            with ThreadPoolExecutor() as threads:
                self._runner.get_loop().set_default_executor(threads)
                return self._runner.run(self._run(coroutine))
        except Exception:
            raise
        except BaseException:  # broken off from outside, in the middle of whatever it did: nothing of it is kept
            self.close()
            raise
        finally:
            coroutine.close()  # one that was not begun would say so

    def close(self) -> None:
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        with runner, ThreadPoolExecutor() as threads:
            runner.get_loop().set_default_executor(threads)
            runner.run(self._end())

    @asynccontextmanager
    async def __call__(self, *, page_errors: bool = True, **look: Any) -> AsyncIterator[Page]:
        """A page in a context of its own; see `manner` for how it may look."""
        assert self._chromium is not None, "a page is opened within browser.run()"
        context = await self._chromium.new_context(**manner(**look))
        try:
            page = await context.new_page()
            async with watched(page, page_errors):
                yield page
        finally:
            await _close(context)

    async def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        await self._ready()
        try:
            return await coroutine
        except Exception as failure:
            if not await self._answers():
                failure.add_note("Chromium ended by itself, or hangs: the next test starts another")
            raise
        finally:
            left = asyncio.all_tasks() - self._drivers - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _ready(self) -> None:
        if self._chromium is not None:
            if await self._answers():
                self._user = self.test
                return
            self.losses.append(f"Chromium ended by itself, or hung, during or after {self._user}; another was started")
            self.told.append(("told", self.losses[-1]))
            await self._end()
        if len(self.losses) > 1:
            raise RuntimeError("Chromium is not started a third time: " + "; ".join(self.losses))
        async with AsyncExitStack() as stack:
            playwright, temporary = await stack.enter_async_context(driver())
            self._chromium = await playwright.chromium.launch(
                executable_path=self._path,
                args=ARGUMENTS,
                env=environment(self._folder, temporary),
                downloads_path=self._folder / "downloads",
            )
            self._playwright = stack.pop_all()
        told = await self._asked("SystemInfo.getProcessInfo")
        self._process = os.pidfd_open(next(each["id"] for each in told["processInfo"] if each["type"] == "browser"))
        self._user = self.test
        self._drivers = asyncio.all_tasks() - {asyncio.current_task()}

    async def _answers(self) -> bool:
        """Whether it is there and well. What Playwright believes of it was true when this loop ran last."""
        from playwright.async_api import Error

        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._asked("Browser.getVersion")
        except (Error, TimeoutError):
            return False
        return True

    async def _asked(self, question: str) -> Any:
        assert self._chromium is not None
        session = await self._chromium.new_browser_cdp_session()
        try:
            return await session.send(question)
        finally:
            await session.detach()

    async def _end(self) -> None:
        """One that does not end when it is asked to is killed: Playwright would wait for it."""
        from playwright.async_api import Error

        if self._chromium is None:
            return
        chromium, self._chromium = self._chromium, None
        with suppress(Error, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                await chromium.close()
        if self._process >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signal.SIGKILL)
            os.close(self._process)
            self._process = -1
        await self._playwright.aclose()


@asynccontextmanager
async def opened(chromium: str, folder: Path, *, page_errors: bool = True, **look: Any) -> AsyncIterator[Page]:
    """A page of a browser of its own, whose files and home are in `folder`."""
    async with driver() as (playwright, temporary):
        context = await playwright.chromium.launch_persistent_context(
            folder / "profile",
            executable_path=chromium,
            args=ARGUMENTS,
            env=environment(folder, temporary),
            **manner(**look),
        )
        try:
            async with watched(context.pages[0], page_errors):
                yield context.pages[0]
        finally:
            await _close(context)


@asynccontextmanager
async def driver() -> AsyncIterator[tuple[Playwright, str]]:
    """Playwright, and a folder for temporary files: it and its browsers leave some there that nobody removes.

    The folder's name is short, because a browser puts a socket into it, and a socket's path has 107 bytes at most.
    """
    from playwright.async_api import async_playwright  # it takes a third of a second, and most tests need none

    with TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as temporary:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TMPDIR", temporary)
            playwright = await async_playwright().start()
        try:
            yield playwright, temporary
        finally:
            await playwright.stop()


def trust(certutil: str, folder: Path, name: str, certificate: str) -> None:
    """Tell the browser whose home is `folder` of an authority."""
    store = folder / ".pki" / "nssdb"
    store.mkdir(parents=True)
    told = [certutil, "-d", f"sql:{store}"]
    subprocess.run([*told, "-N", "--empty-password"], check=True, timeout=30)
    subprocess.run(
        [*told, "-A", "-n", name, "-t", "C,,"], input=certificate, text=True, check=True, timeout=30
    )  # fmt: skip


def manner(
    *, width: int = 1280, height: int = 800, dark: bool = False, scale: float = 1, touch: bool = False
) -> dict[str, Any]:
    return {
        "viewport": {"width": width, "height": height},
        "device_scale_factor": scale,
        "color_scheme": "dark" if dark else "light",
        "has_touch": touch,
    }


@asynccontextmanager
async def watched(page: Page, page_errors: bool) -> AsyncIterator[None]:
    faults: list[str] = []
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    page.on("console", lambda message: _note(message, faults))
    page.set_default_timeout(WAIT_SECONDS * 1000)
    yield
    assert not (page_errors and faults), faults


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


def environment(folder: Path, temporary: str) -> dict[str, str | float | bool]:
    homes = {"HOME": str(folder), "XDG_CONFIG_HOME": f"{folder}/config", "XDG_CACHE_HOME": f"{folder}/cache"}
    return {**os.environ, **homes, "TMPDIR": temporary}


async def _close(context: BrowserContext) -> None:
    """Bounded: a browser that hangs is found out by who asks it next."""
    async with asyncio.timeout(WAIT_SECONDS):
        await context.close()


def _note(message: ConsoleMessage, faults: list[str]) -> None:
    if message.type == "error":
        faults.append(message.text)


SHARED = pytest.StashKey[Browser]()
WAIT_SECONDS = 25
ANSWER_SECONDS = 10  # at four tests on two processors it takes some tenths
NAMES = "MAP *.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
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
    f"--host-resolver-rules={NAMES}",
)
