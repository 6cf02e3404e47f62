"""The demo's story on the page: its recording is played on a real broker while a real Chromium looks.

With HEADRACE_SCREENSHOTS=FOLDER the pictures of README and guides are written there (`make screenshots`).
"""

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from tests.console.browser import WIDE, chromium, settled, sideways, tab, violations
from tests.console.pictures import picture_of
from tests.console.player import Player, Wanted

from headrace.events.alerts import AlertChanged
from headrace.events.monitor import FindingOpened
from headrace.events.registry import RolloutAborted, RolloutAdvanced, RolloutCompleted, RouteChanged
from headrace.events.verdicts import VerdictGiven
from headrace.hosting.settings import Settings
from headrace.log.kafka import KafkaLog

pytestmark = [pytest.mark.kafka, pytest.mark.asyncio(loop_scope="module")]

HOME = "/deployments/flight-delay"
# A page of one thing: its kind (or none) and its name.
DOCUMENT = re.compile(r"/records/|/deployments/[^/?#]+(/(versions|findings|timeline)|$)")
RISEN = re.compile("log-loss of version 1 has risen from 0.415 to 0.748")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def player(settings: Settings) -> AsyncIterator[Player]:
    log = KafkaLog(settings)
    await log.start()
    yield Player(settings, log)
    await log.stop()


def drift(event: Any) -> bool:
    return isinstance(event, FindingOpened) and event.kind == "drift"


def promoted(version: int) -> Wanted:
    return lambda event: isinstance(event, RolloutCompleted) and event.version == version


def alert(status: str) -> Wanted:
    return lambda event: (
        isinstance(event, AlertChanged) and (event.labels["alertname"], event.status) == ("ModelDrift", status)
    )


def advanced(share: float) -> Wanted:
    return lambda event: isinstance(event, RolloutAdvanced) and (event.version, event.share) == (3, share)


def undecided(event: Any) -> bool:
    return isinstance(event, VerdictGiven) and (event.version, event.number, event.cycles) == (3, 2, 9)


def aborted(version: int) -> Wanted:
    return lambda event: isinstance(event, RolloutAborted) and event.version == version


def about(name: str) -> Wanted:
    return lambda event: isinstance(event, AlertChanged) and event.labels["alertname"] == name


async def picture(page: Page, name: str, height: int = 900) -> None:
    """A picture of what is seen, where they are asked for."""
    if folder := os.environ.get("HEADRACE_SCREENSHOTS"):
        await picture_of(page, Path(folder) / f"console-{name}.png", 1280, height)


async def picture_of_the_switch(page: Page) -> None:
    """A picture of the story of the drift, from its finding through to the switch."""
    await page.set_viewport_size({"width": 1280, "height": 1600})
    drift = page.locator(".panel", has=page.get_by_role("heading", name="drift → retrain → gates → switch"))
    await drift.evaluate("(panel) => panel.scrollIntoView()")
    switch = drift.locator(".step").filter(has_text="version 2 is champion in place of version 1")
    bottom = await switch.evaluate("(step) => Math.ceil(step.getBoundingClientRect().bottom)")
    await picture(page, "timeline", min(bottom + 16, 1600))
    await page.set_viewport_size(WIDE)


async def picture_of_the_charts(page: Page) -> None:
    """A picture of the budget of pages, and of charts with their detectors."""
    await page.set_viewport_size({"width": 1280, "height": 1200})
    await page.locator("#budget").evaluate("(panel) => scrollTo(0, panel.offsetTop - 108)")
    await picture(page, "monitoring", 1200)
    await page.set_viewport_size(WIDE)


async def links(page: Page, within: str) -> list[str]:
    """Where the links of a part of the page lead."""
    return await page.locator(f"{within} a[href]").evaluate_all("(all) => all.map((one) => one.getAttribute('href'))")


def document_of(path: str) -> str:
    """What the page at a path is made of.

    >>> document_of("/deployments/flight-delay/versions/2")
    'documents/version/flight-delay/2'
    """
    if path.startswith("/records/"):
        return path[1:]
    _, name, *rest = path.partition("#")[0].strip("/").split("/")
    kind = rest[0].removesuffix("s") if rest else "deployment"
    return "/".join(["documents", kind, name, *rest[1:]])


async def test_drift_retrain_and_switch_are_seen_as_they_happen(
    player: Player, browser: Browser, tmp_path: Path
) -> None:
    await player.load(alert("firing"))
    async with player.running(tmp_path) as url, tab(browser, url) as page:
        await page.goto("/")
        await expect(page.locator(".state-line")).to_contain_text("all is well")
        champion_cell = page.locator(".deployments .version")
        await expect(champion_cell).to_have_text("v1")
        await player.play_to(drift)
        await expect(page.locator(".needs")).to_contain_text(RISEN)
        await picture(page, "now", 600)
        await player.play_to(promoted(2))
        await expect(champion_cell).to_have_text("v2")
        await page.locator(".deployments tbody").get_by_role("link", name="drift").click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text(RISEN)
        await page.get_by_role("link", name="timeline of flight-delay").click()
        story = page.locator(f"[id='{page.url.rpartition('#')[2]}']")
        await expect(story).to_contain_text("drift → retrain → gates → switch")
        await expect(story.locator(".step")).to_contain_text(
            [RISEN, "retrain requested", "gate beats_prior PASS", "version 2 is champion in place of version 1"]
        )
        await player.play_to(alert("resolved"))
        await page.get_by_role("link", name="Alerts", exact=True).click()
        await expect(page.locator("#ended")).to_contain_text(RISEN)
        await expect(page.locator("#firing")).to_contain_text("No alert fires.")


async def test_charts_and_the_ledger_say_that_a_storm_is_no_page(
    player: Player, browser: Browser, tmp_path: Path
) -> None:
    """The loss rises with a storm, which one detector takes for drift. Charts of what moved do not, and spend no page."""
    await player.load(advanced(0.0))
    async with player.running(tmp_path) as url, tab(browser, url) as page:
        await page.goto(f"{HOME}/monitoring")
        await settled(page)
        await expect(page.locator("#budget")).to_contain_text("0 pages in the newest period")
        await expect(page.locator("#budget")).to_contain_text("charts, page hinkley of log loss")
        charts = page.locator("#charts")
        for chart in ("base rate", "ranking", "calibration", "slope", "level"):
            await expect(charts.get_by_role("figure", name=chart, exact=True)).to_be_visible()
            await expect(charts.get_by_role("figure", name=f"detector of {chart}")).to_contain_text("alarm")
        await expect(page.locator("#estimates")).to_contain_text(
            re.compile(r"in \d+ of \d\d windows whose labels came")
        )
        await expect(page.locator("#worth")).to_contain_text("v2 gained")
        await expect(page.locator("#worth")).to_contain_text("0 of 2 trials")
        await picture_of_the_charts(page)
        await page.goto(HOME)
        await page.locator("#findings").get_by_role("link", name=RISEN).click()
        evidence = page.locator(".panel", has=page.get_by_role("heading", name="What it rests on"))
        await expect(evidence).to_contain_text("carrier.delay_3h")
        await expect(evidence).to_contain_text("in the rest (loss in excess of the expected one)")


async def test_a_rollout_is_seen_going_from_share_to_share(player: Player, browser: Browser, tmp_path: Path) -> None:
    await player.load(advanced(0.0))
    async with player.running(tmp_path) as url, tab(browser, url) as page:
        await page.goto(HOME)
        rollout, step = page.locator("#rollout"), page.locator("#rollout [aria-current=step]")
        await expect(rollout.get_by_role("heading")).to_contain_text("Rollout of v3 (canary, against v2)")
        for share, words in ((0.0, "shadow"), (0.01, "1 %"), (0.05, "5 %"), (0.25, "25 %")):
            await player.play_to(advanced(share))
            await expect(step).to_contain_text(re.compile(rf"\b{words}"))
        # Also what is below the screen follows: it is read aloud, searched and printed.
        await player.play_to(lambda event: isinstance(event, RouteChanged))
        route = page.locator("#route")
        await expect(route.get_by_role("row", name="v3")).to_contain_text("25 %")
        await expect(route).not_to_be_in_viewport()


async def test_evidence_promotes_one_version_and_takes_two_back(
    player: Player, browser: Browser, tmp_path: Path
) -> None:
    await player.load(undecided)
    async with player.running(tmp_path) as url, tab(browser, url) as page:
        await player.play_to(undecided)
        await page.goto(HOME)
        await settled(page)
        rollout = page.locator("#rollout")
        level = rollout.get_by_role("row", name="level")
        await expect(level).to_contain_text(".01")
        await expect(level).to_contain_text("14 cycles, 9")
        await picture(page, "rollout")
        await player.play_to(promoted(3))
        await expect(rollout).to_contain_text("promoted")
        await expect(page.locator(".figures .version").first).to_have_text("v3")
        await player.play_to(aborted(4))
        await expect(rollout).to_contain_text("rolled back: gross: its Brier score is over 0.1 above its control's")
        await expect(rollout.locator(".steps .ended")).to_contain_text("rolled back here")
        await player.play_to(about("RolloutRolledBack"))
        await page.get_by_role("link", name="Now", exact=True).first.click()
        await expect(page.locator(".needs")).to_contain_text("version 4 was rolled back")
        await player.play_to(aborted(5))
        await page.goto(f"{HOME}/timeline")
        await expect(page.locator(".step").filter(has_text="errors: its share is over 0.02")).to_have_count(1)


async def test_every_page_of_the_real_story_is_whole(player: Player, browser: Browser, tmp_path: Path) -> None:
    """No complaint of the browser, no axe violation, 380 px; and what a page links to is there."""
    await player.load(None)
    found, wide, linked = [], {}, set[str]()
    async with player.running(tmp_path) as url, tab(browser, url) as page:
        await page.goto(HOME)
        await settled(page)
        version = await links(page, "#versions tbody tr:first-child")
        finding = await links(page, "#findings tbody tr:first-child")
        for path in (
            "/",
            HOME,
            f"{HOME}/monitoring",
            f"{HOME}/timeline",
            *version,
            *finding,
            "/alerts",
            "/features",
            "/services",
        ):
            await page.goto(path)
            await settled(page)
            found += await violations(page)
            wide[path] = await sideways(page)
            linked |= {path for path in await links(page, "main") if DOCUMENT.match(path)}
            if path.endswith("timeline"):
                await picture_of_the_switch(page)
        answers = {path: await page.request.get(f"/api/v1/{document_of(path)}") for path in linked}
        # NB: where a finding began is a decision, and the recording has none.
        whole = {path: answer for path, answer in answers.items() if "/records/inference.decisions/" not in path}
        lost = [path for path, answer in whole.items() if not answer.ok or (await answer.json())["value"] is None]
    assert found == []
    assert {path: pixels for path, pixels in wide.items() if pixels > 0} == {}
    assert len(linked) > 40
    assert lost == []
    assert [path for path in linked if player.settings.namespace in path] == []
