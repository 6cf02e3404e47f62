"""The page of the console in a real Chromium, against the real console on a log in memory."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from tests.console.browser import chromium, settled, sideways, tab, violations
from tests.console.scene import FINDING, PAGES, Scene

from headrace.events.registry import RollBack

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path)
    await scene.set_up()
    return scene


async def test_every_page_is_accessible_and_fits_a_narrow_screen(scene: Scene, browser: Browser) -> None:
    """No axe violation, no complaint of the browser (also none about the content security policy), 380 px."""
    scene.open_finding()
    scene.alert("firing")
    scene.monitor()
    scene.switch_and_arm()
    found, wide = [], {}
    async with scene.running(), tab(browser, scene.url) as page:
        for path in PAGES:
            await page.goto(path)
            await settled(page)
            found += await violations(page)
            wide[path] = await sideways(page)
    assert found == []
    assert {path: pixels for path, pixels in wide.items() if pixels > 0} == {}


async def test_a_stranger_sees_no_button_that_acts(scene: Scene, browser: Browser) -> None:
    scene.alert("firing")
    async with scene.running(), tab(browser, scene.url) as page:
        for path in ("/", "/deployments/delay", "/deployments/delay/versions/3", "/alerts"):
            await page.goto(path)
            await settled(page)
            assert await page.locator(".offers button").count() == 0


async def test_a_runbook_is_a_link_where_it_can_be_read(tmp_path: Path, browser: Browser) -> None:
    scene = Scene(tmp_path, runbook_url="https://ops.example/runbooks/")
    await scene.set_up()
    scene.open_finding()
    async with scene.running(), tab(browser, scene.url) as page:
        await page.goto(f"/deployments/delay/findings/{FINDING}")
        link = page.get_by_role("link", name="runbook")
        await expect(link).to_have_attribute("href", "https://ops.example/runbooks/ModelDrift.md")


async def test_a_finding_says_what_it_rests_on(scene: Scene, browser: Browser) -> None:
    scene.open_finding()
    async with scene.running(), tab(browser, scene.url) as page:
        await page.goto(f"/deployments/delay/findings/{FINDING}")
        facts = page.locator("main .facts")
        await expect(facts.first).to_contain_text("warning")
        await expect(facts.nth(1)).to_contain_text(
            "carrier MQ: .900 there, .400 in the rest (loss in excess of the expected one). 300 requests, 20 % of all"
        )
        await expect(facts.nth(1)).to_contain_text("weather.temp null share .400 (usually .010)")
        await facts.nth(1).get_by_role("link", name="its record").click()
        await expect(page).to_have_url(re.compile("/records/registry.facts/0/0$"))


async def test_monitoring_shows_charts_estimates_columns_and_what_is_left_of_the_budget(
    scene: Scene, browser: Browser
) -> None:
    scene.monitor()
    async with scene.running(), tab(browser, scene.url) as page:
        await page.goto("/deployments/delay")
        await page.get_by_role("link", name="Monitoring").click()
        await expect(page.locator("h1")).to_be_focused()
        await expect(page.locator("#budget")).to_contain_text("1 page in the newest period")
        await expect(page.locator("#budget")).to_contain_text("nothing is left in this period")
        await expect(page.locator("#charts canvas")).to_have_count(4)
        await page.get_by_text("1 chart of segments").click()
        await expect(page.get_by_role("figure", name="level where carrier=MQ", exact=True)).to_be_visible()
        await expect(page.locator("#estimates")).to_contain_text("in 30 of 30 windows whose labels came")
        await expect(page.locator("#columns").get_by_role("row", name="miles")).to_contain_text("moved")
        await page.goto("/deployments/plain/monitoring")
        await expect(page.locator("#charts")).to_contain_text("No chart yet")
        await expect(page.locator("#budget")).to_contain_text("No budget of pages was reported")


async def test_a_published_back_test_is_a_plot_with_a_table(scene: Scene, browser: Browser) -> None:
    scene.monitor()
    async with scene.running(), tab(browser, scene.url) as page:
        await page.goto("/deployments/delay/monitoring")
        panel = page.locator("#backtest")
        await expect(panel).to_contain_text("No back-test was published")
        scene.back_test()
        await expect(panel.get_by_role("figure")).to_contain_text("as declared +.021")
        await expect(panel.locator("canvas")).to_have_count(1)
        row = panel.get_by_role("row", name="as declared")
        await expect(row).to_contain_text("+.011 to +.031")
        await expect(row).to_contain_text("2 of 2 asked")
        await expect(panel.get_by_role("row", name="deaf")).to_contain_text("too few rows for bounds")
        await expect(panel).to_contain_text("Planted: flip=.3@2026-10-20..3d.")


async def test_the_switch_and_the_arm_are_shown_once_they_were_measured(scene: Scene, browser: Browser) -> None:
    async with scene.running(), tab(browser, scene.url) as page:
        await page.goto("/deployments/delay/monitoring")
        panel = page.locator("#worth")
        await expect(panel).to_contain_text("No switch was measured yet")
        await expect(panel).to_contain_text("is not known")
        scene.switch_and_arm()
        await expect(panel).to_contain_text("v2 gained +.006 per request on v1 (90 %: −.002 to +.014)")
        await expect(panel).to_contain_text("6 of 20 trials (95 %: 11.9 % to 54.3 %; stated: at most 5 %)")
        await expect(panel.locator(".state")).to_have_text(re.compile("more often than stated"))


async def test_labels_of_a_narrow_table_do_not_overlap(scene: Scene, browser: Browser) -> None:
    """A label that is longer than its line makes its cell higher."""
    async with scene.running(), tab(browser, scene.url) as page:
        await page.set_viewport_size({"width": 380, "height": 800})
        await page.goto("/services")
        await settled(page)
        cell = page.locator('td[data-head="memory of what is bounded"]').first
        assert await cell.evaluate("cell => cell.getBoundingClientRect().height") >= 48


async def test_a_rollout_is_seen_moving(scene: Scene, browser: Browser) -> None:
    async with scene.running(), tab(browser, scene.url) as page:
        await page.goto("/deployments/delay")
        step = page.locator(".steps [aria-current=step]")
        await expect(step).to_contain_text("1 %")
        await expect(page.get_by_role("row", name="level")).to_contain_text("INCONCLUSIVE")
        scene.advance(0.25, 1)
        await expect(step).to_contain_text("25 %")


async def test_a_finding_opens_and_is_resolved_before_ones_eyes(scene: Scene, browser: Browser) -> None:
    async with scene.running(), tab(browser, scene.url) as page:
        await page.goto("/deployments/delay")
        await expect(page.locator("#findings")).to_contain_text("Nothing was found")
        scene.open_finding()
        await page.get_by_role("link", name=re.compile("log-loss .685")).first.click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("log-loss .685")
        await expect(page.locator(".title .state")).to_contain_text("open")
        scene.resolve_finding()
        await expect(page.locator(".title .state")).to_contain_text("resolved")


async def test_an_alert_needs_a_person_until_it_is_resolved(scene: Scene, browser: Browser) -> None:
    async with scene.running(), tab(browser, scene.url) as page:
        await page.goto("/")
        await settled(page)
        scene.alert("firing")
        await expect(page.locator(".needs")).to_contain_text("ranking fell")
        scene.alert("resolved")
        await expect(page.locator("main")).not_to_contain_text("ranking fell")
        await page.get_by_role("link", name="Alerts").click()
        await expect(page.locator("#ended")).to_contain_text("RankingFell")


async def test_the_card_of_a_version_is_text_and_never_code(scene: Scene, browser: Browser) -> None:
    async with scene.running(), tab(browser, scene.url) as page:
        await page.goto("/deployments/delay/versions/2")
        await expect(page.locator(".card strong")).to_have_text("101,600")
        await expect(page.locator(".card")).to_contain_text("<script>alert(1)</script>")


async def test_an_operator_rolls_back_by_a_button_and_sees_the_record(tmp_path: Path, browser: Browser) -> None:
    scene = Scene(tmp_path)
    scene.give_keys(otto="operator")
    await scene.set_up(has_rollout=False)
    async with scene.running(), scene.registry() as taken, tab(browser, scene.url) as page:
        await page.goto("/deployments/delay")
        await settled(page)
        assert await page.locator(".offers button").count() == 0
        await page.get_by_role("button", name="sign in").click()
        await page.get_by_label("Your key").fill("otto")
        await page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
        await page.get_by_role("button", name="roll back to v1").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("Give all traffic of delay back to v1; v2 will be rejected for ever")
        confirm = dialog.get_by_role("button", name="roll back to v1")
        await expect(confirm).to_be_disabled()
        await dialog.get_by_label("Why?").fill("x" * 501)
        await expect(dialog).to_contain_text("A reason has 500 characters at most, this one has 501.")
        await expect(confirm).to_be_disabled()
        await dialog.get_by_label("Why?").fill("it does harm")
        await expect(dialog).to_contain_text("12 of 500 characters")
        assert await violations(page) == []
        await confirm.click()
        await expect(dialog.locator(".done")).to_contain_text("Done.")
        await dialog.get_by_role("link", name="registry.commands/0/0").click()
        await expect(page.locator("main")).to_contain_text("it does harm")
    assert taken == [RollBack("delay", 2, "it does harm", "otto")]


async def test_an_operator_silences_an_alert_and_ends_the_silence_by_the_page(tmp_path: Path, browser: Browser) -> None:
    scene = Scene(tmp_path)
    scene.give_keys(otto="operator")
    await scene.set_up(has_rollout=False)
    scene.alert("firing")
    async with scene.running(), tab(browser, scene.url) as page:
        await page.goto("/alerts")
        await page.get_by_role("button", name="sign in").click()
        await page.get_by_label("Your key").fill("otto")
        await page.get_by_role("dialog").get_by_role("button", name="Sign in").click()
        dialog, silences = page.get_by_role("dialog"), page.locator("#silences")
        await page.locator("#firing").get_by_role("button", name="silence").click()
        await dialog.get_by_label("For how long?").select_option("4 hours")
        await dialog.get_by_label("Why?").fill("the feed is down")
        await dialog.get_by_role("button", name="silence").click()
        await expect(dialog.locator(".done")).to_contain_text("alerts.silences/0/0")
        await dialog.get_by_role("button", name="Close").click()
        await expect(page.locator("#firing")).to_contain_text("by otto: the feed is down")
        await expect(silences.get_by_role("row", name="RankingFell")).to_contain_text("the feed is down, by otto")
        await page.get_by_role("link", name="Now", exact=True).first.click()
        await expect(page.locator(".state-line")).to_contain_text("1 silenced")
        await page.goto("/alerts")
        await silences.get_by_role("button").click()
        await dialog.get_by_label("Why?").fill("it is back")
        await dialog.locator("button.main").click()
        await expect(dialog.locator(".done")).to_contain_text("the silence has ended")
        await dialog.get_by_role("button", name="Close").click()
        await expect(silences).to_contain_text("Nothing is silenced.")


async def test_from_outside_reading_needs_the_key_of_a_person(tmp_path: Path, browser: Browser) -> None:
    scene = Scene(tmp_path, http_host="0.0.0.0")
    scene.give_keys(vera="viewer")
    await scene.set_up()
    async with scene.running(), tab(browser, scene.url, is_cut=True) as page:
        await page.goto("/")
        await page.get_by_label("Your key").fill("vera")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator(".deployments")).to_contain_text("delay")


async def test_a_search_is_in_the_address(scene: Scene, browser: Browser) -> None:
    async with scene.running(), tab(browser, scene.url) as page:
        await page.goto("/?q=pla")
        await expect(page.locator(".deployments tbody tr")).to_have_count(1)
        await page.get_by_role("searchbox").fill("")
        await expect(page.locator(".deployments tbody tr")).to_have_count(2)
        assert page.url.endswith("/")


async def test_a_deployment_is_found_by_keyboard_alone(scene: Scene, browser: Browser) -> None:
    async with scene.running(), tab(browser, scene.url) as page:
        await page.goto("/")
        await settled(page)
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
        await page.keyboard.press("Control+k")
        await page.keyboard.type("dela")
        await expect(page.get_by_role("dialog").get_by_role("option", name="delay").first).to_be_visible()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_be_focused()
        assert page.url.endswith("/deployments/delay")


# Returns what has the focus before the browser can hand on the key that is pressed next.
FOCUS_AFTER_THE_KEY = """async () => {
  dispatchEvent(new KeyboardEvent("keydown", { key: "k", ctrlKey: true, bubbles: true }));
  for (let turn = 0; turn < 10; turn++) await null;
  return document.activeElement.getAttribute("role");
}"""


async def test_no_letter_that_is_typed_after_the_shortcut_goes_elsewhere(scene: Scene, browser: Browser) -> None:
    async with scene.running(), tab(browser, scene.url) as page:
        await page.goto("/")
        await settled(page)
        assert await page.evaluate(FOCUS_AFTER_THE_KEY) == "combobox"


async def test_rows_keep_their_place_while_somebody_looks(scene: Scene, browser: Browser) -> None:
    scene.open_finding()
    async with scene.running(), tab(browser, scene.url) as page:
        await page.goto("/")
        await page.locator(".needs tbody tr").first.hover()
        scene.alert("firing")
        fresh = page.get_by_role("button", name="1 new thing: show")
        await expect(fresh).to_be_visible()
        await expect(page.locator(".needs tbody tr")).to_have_count(1)
        await fresh.click()
        await expect(page.locator(".needs tbody tr").first).to_contain_text("ranking fell")


async def test_a_chosen_theme_is_kept(scene: Scene, browser: Browser) -> None:
    async with scene.running(), tab(browser, scene.url) as page:
        await page.goto("/")
        await page.get_by_role("button", name="dark").click()
        await page.reload()
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 21, 24)"


async def test_a_lost_connection_says_so_at_once(scene: Scene, browser: Browser) -> None:
    async with scene.running() as stop, tab(browser, scene.url, is_cut=True) as page:
        await page.goto("/")
        await settled(page)
        stop.set()
        await expect(page.locator(".state-line")).to_contain_text("connection lost")
