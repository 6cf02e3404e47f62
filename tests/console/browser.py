"""A real Chromium, and what is asked of every page: no console error, no axe violation, no scrolling sideways."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, ViewportSize, async_playwright, expect

from headrace_console.adapters.bundle import Bundle

# Slow is not broken: a condition has as long as a busy machine may need.
WAIT_MS = 20_000
expect.set_options(timeout=WAIT_MS)
WIDE: ViewportSize = {"width": 1280, "height": 900}
NARROW: ViewportSize = {"width": 380, "height": 800}
NAMES = ("chromium", "chromium-browser", "google-chrome")
AXE = Path(__file__).parents[2] / "services" / "console" / "page" / "node_modules" / "axe-core" / "axe.min.js"


def found_chromium() -> str:
    """The path of Chromium. What is missing skips the test, and fails it where HEADRACE_CI is 1."""
    path = next((found for name in NAMES if (found := shutil.which(name))), "")
    missing = [
        reason
        for is_there, reason in (
            (bool(path), "no Chromium on this machine"),
            (Bundle().is_built, "the page is not built (`make page`)"),
            (AXE.exists(), "npm has not installed axe-core (`make page`)"),
        )
        if not is_there
    ]
    if missing and os.environ.get("HEADRACE_CI") != "1":
        pytest.skip(f"the page is not tested: {', '.join(missing)}")
    assert missing == []
    return path


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser without a window."""
    path = found_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        await browser.close()


@asynccontextmanager
async def tab(browser: Browser, url: str, *, is_cut: bool = False) -> AsyncIterator[Page]:
    """A page of the console; whatever its console complains about fails the test. `is_cut`: the console goes
    away in it, or refuses it.
    """
    context = await browser.new_context(base_url=url, viewport=WIDE, color_scheme="light")
    page = await context.new_page()
    page.set_default_timeout(WAIT_MS)
    complaints: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"{message.text} ({message.location})")

    page.on("console", on_console)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    await context.close()
    assert [one for one in complaints if not (is_cut and ("ERR_" in one or "401" in one))] == []


async def settled(page: Page) -> None:
    """Wait until a page shows what it is about: its heading is there, and nothing waits for the log."""
    await page.wait_for_selector("main h1", state="attached")
    await expect(page.locator(".waiting, .as-of.page")).to_have_count(0)
    await expect(page.locator(".state-line .as-of")).to_contain_text("as of")


async def violations(page: Page) -> list[str]:
    """What axe-core finds wrong in both themes, with the first element of each kind. Only colours differ in the dark."""
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run().then((result) => result.violations)")
    await page.emulate_media(color_scheme="dark")
    found += await page.evaluate("axe.run({runOnly: ['color-contrast']}).then((result) => result.violations)")
    await page.emulate_media(color_scheme="light")
    return [f"{page.url}: {one['id']} ({one['help']}): {one['nodes'][0]['html']}" for one in found]


async def sideways(page: Page) -> int:
    """By how many pixels the page is wider than a narrow window."""
    await page.set_viewport_size(NARROW)
    pixels = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    await page.set_viewport_size(WIDE)
    return pixels
