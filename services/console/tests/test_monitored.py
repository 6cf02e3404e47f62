"""What the monitor says of charts, estimates, columns and the budget of pages, as the page shows it."""

from services.console.tests.known import DAY_S, LABEL, Known

from headrace.events.audit import AuditReported
from headrace.events.backtests import BacktestPolicy, BacktestReported
from headrace.events.charts import ChartPoint, ColumnSeen, Estimated
from headrace.events.efficacy import EfficacyReported
from headrace.events.monitor import BudgetReported, FindingEvidence, Segment, WindowEstimated
from headrace.project import Deployment, Multiclass, Number
from headrace_console.core.monitored import KEPT, MOST_CHARTS


def chart(name: str, segment: str = "", statistic: float = 1.0, rows: int = 90, version: int = 1) -> ChartPoint:
    return ChartPoint(name, version, 0.7, 0.01, rows, segment, 0.75, 0.02, statistic, 100.0, 0.04, 3)


def estimate(value: float, realised: float | None = None, metric: str = "log_loss", version: int = 1) -> Estimated:
    return Estimated(version, metric, value, value - 0.1, value + 0.1, "cbpe", realised)


def budget(at_s: float, spent: int) -> BudgetReported:
    return BudgetReported("d", 1.0, 30 * DAY_S, at_s, 4, 90 * DAY_S, spent, 1.0 - spent, spent, 0.0)


def test_a_log_from_before_such_records_is_a_document_with_nothing_in_it() -> None:
    found = Known().champion().window().document("monitoring/d")
    assert (found["charts"], found["windows"], found.get("ledger")) == ((), {}, None)
    assert Known().document("monitoring/nothing") is None


def test_charts_of_all_requests_come_first_in_their_order_and_of_two_versions_the_one_with_more_rows_counts() -> None:
    few = chart("ranking", rows=3, version=2)
    known = Known().window(charts=(chart("level"), chart("level", "carrier=MQ"), chart("ranking"), few))
    found = known.document("monitoring/d")
    assert found["charts"] == ("ranking", "level", "level@carrier=MQ")
    (window,) = found["windows"].values()
    assert window["charts"]["ranking"]["version"] == 1
    assert (window["charts"]["level"]["statistic"], window["charts"]["level"]["limit"]) == (1.0, 100.0)


def test_the_names_of_classes_come_with_the_charts_that_count_them() -> None:
    label = Multiclass("kind", classes=("cat", "dog", "elk"), horizon="1h")
    known = Known(Deployment("d", "u", [Number("x")], label=label)).window(charts=(chart("base_rate.1"),))
    found = known.document("monitoring/d")
    assert (found["charts"], found["classes"]) == (("base_rate.1",), ("cat", "dog", "elk"))


def test_of_many_segments_those_nearest_to_their_limit_are_kept() -> None:
    many = [chart("level", f"u={n:03}", statistic=float(n)) for n in range(60)]
    found = Known().window(charts=(chart("ranking"), *many)).document("monitoring/d")
    (window,) = found["windows"].values()
    assert len(window["charts"]) == MOST_CHARTS
    assert "level@u=059" in window["charts"]
    assert (len(found["charts"]), found["left_out"]) == (12, MOST_CHARTS - 12)


def test_an_estimate_stays_until_its_labels_came_and_is_never_put_back() -> None:
    early = WindowEstimated("d", 0.0, DAY_S, 110, 5, (estimate(0.5),))
    known = Known().take("monitor.windows", early)
    before = known.document("monitoring/d")["windows"][f"{DAY_S:.0f}"]["estimates"]["log_loss"]
    assert (before["value"], before.get("realised")) == (0.5, None)
    known.window(estimates=(estimate(0.5, 0.62), estimate(0.4, metric="auc"), estimate(0.9, version=2)))
    known.take("monitor.windows", early)
    found = known.document("monitoring/d")
    after = found["windows"][f"{DAY_S:.0f}"]["estimates"]
    assert (after["log_loss"]["realised"], found["metrics"]) == (0.62, ("log_loss", "auc"))


def test_columns_are_those_of_the_newest_window_that_compared_any() -> None:
    still = ColumnSeen("miles", 1, 90, 0.0, 0.01, 0.1, 3.0, 0.4, False, sketch=b"kll")
    moved = ColumnSeen("carrier", 1, 90, 0.0, 0.3, None, 30.0, 1e-6, True)
    known = Known().window(3, columns=(still, moved)).window(4).window(2, columns=(still,))
    found = known.document("monitoring/d")
    assert (list(found["columns"]), found["columns_to_s"]) == (["carrier", "miles"], 4 * DAY_S)
    assert "sketch" not in found["columns"]["miles"]


def test_the_ledger_is_the_newest_one() -> None:
    known = Known().take("monitor.windows", budget(5.0, 1)).take("monitor.windows", budget(4.0, 0))
    assert known.document("monitoring/d")["ledger"]["spent"] == 1


def test_what_the_newest_switch_brought_and_the_newest_rates_of_the_arm_are_shown() -> None:
    def arm(at_s: float, trials: int) -> AuditReported:
        return AuditReported("d", 0.1, 0.0, at_s, trials, 1, 1 / trials, 0.1, 0.9, 0.05, 0, 0.0, 0.0, 0.6, 0.01)

    def switch(at_s: float, gain: float) -> EfficacyReported:
        return EfficacyReported("d", 2, 1, 0.0, at_s, 3, 90, gain)

    known = Known(Deployment("d", unit="flight", inputs=[], label=LABEL, audit_share=0.1))
    assert (known.document("monitoring/d").get("audit"), known.document("monitoring/d")["audit_share"]) == (None, 0.1)
    for event in (arm(5.0, 2), arm(4.0, 1), switch(5.0, 0.02), switch(4.0, 0.01)):
        known.take("monitor.windows", event)
    found = known.document("monitoring/d")
    assert (found["audit"]["trials"], found["efficacy"]["gain"]) == (2, 0.02)


def test_the_newest_back_test_is_shown_until_it_is_deleted() -> None:
    def back_test(gain: float) -> BacktestReported:
        mine = BacktestPolicy("mine", 1, 0, 0, None, 1, (5.0,), gain, None, None, 50.0, 51.0, 52.0, (0.0, gain))
        return BacktestReported("d", 0.0, 10.0, 9, 8, "log-loss", 0.5, 0.1, 4, (mine,), (5.0, 10.0))

    known = Known()
    for gain in (0.1, 0.2):
        known.take("monitor.backtests", back_test(gain), key="d")
    found = known.document("monitoring/d")["backtest"]
    assert (found["policies"][0]["gain"], found["policies"][0]["curve"]) == (0.2, (0.0, 0.2))
    assert known.take("monitor.backtests", None, key="d").document("monitoring/d").get("backtest") is None


def test_windows_are_bounded() -> None:
    known = Known()
    for number in range(KEPT + 5):
        known.window(number, charts=(chart("level"),))
    windows = known.document("monitoring/d")["windows"]
    assert (len(windows), min(map(float, windows))) == (KEPT, 6 * DAY_S)


def test_a_finding_shows_what_it_rests_on_with_a_place_that_is_a_link() -> None:
    evidence = FindingEvidence("ns.inference.decisions.v1/0/7", 1.0, ("r1",), Segment("c", "MQ", 3, 0.2, 0.9, 0.4, 0.7))
    known = Known()
    known.world.namespace = "ns"
    found = known.finding(evidence=evidence, severity="page").document("finding/d/f1")
    assert (found["evidence"]["first_place"], found["severity"]) == ("inference.decisions/0/7", "page")
    assert found["evidence"]["segment"]["value"] == "MQ"
    assert Known().finding().document("finding/d/f1").get("evidence") is None
