"""Findings that belong together raise one alert, which counts them, ends with the last, and outlives a restart."""

from msgspec.structs import replace

from headrace.events.alerts import AlertChanged
from headrace.events.monitor import FindingOpened, FindingResolved
from headrace_monitor.core.alerting import Alerting
from headrace_monitor.core.finding_groups import COUNT_EVERY_S, WITHIN_S
from headrace_monitor.core.liveness import Liveness
from headrace_monitor.core.now import Now


def finding(n: int, at_s: float = 100.0, kind: str = "contract", deployment: str = "d", **more: str) -> FindingOpened:
    return FindingOpened(
        f"f{deployment}{n}", deployment, kind, f"column {n} is null", at_s, about=f"column {n}", **more
    )


def over(found: FindingOpened) -> FindingResolved:
    return FindingResolved(found.finding, found.deployment, found.kind, "as usual", 200.0, found.about)


class Seen:
    """An `Alerting` with what it wrote."""

    def __init__(self) -> None:
        self.alerting, self.now_s, self.written = Alerting(Liveness()), 0.0, list[AlertChanged]()

    def publish(self, *facts: FindingOpened | FindingResolved) -> list[tuple[str, str, str]]:
        return self.take(self.alerting.published(facts, Now(self.now_s, self.now_s)))

    def look(self) -> list[tuple[str, str, str]]:
        return self.take(self.alerting.look((), Now(self.now_s, self.now_s)).facts)

    def take(self, facts: object) -> list[tuple[str, str, str]]:
        alerts = [fact for fact in facts if isinstance(fact, AlertChanged)]
        self.written += alerts
        return [(one.status, one.labels.get("about", ""), one.annotations["findings"]) for one in alerts]

    def restarted(self, *left: FindingOpened) -> "Seen":
        """Another monitor that has read what this one wrote. `left`: the findings that are open."""
        other = Seen()
        other.now_s = self.now_s
        for alert in self.written:
            other.alerting.on_history(alert, Now(self.now_s, self.now_s))
        other.alerting.on_start(left)
        return other


def test_a_thousand_findings_in_a_minute_are_one_alert_that_counts_them() -> None:
    seen, found = Seen(), [finding(n, at_s=100.0 + n * 0.06) for n in range(1_000)]
    begun = []
    for n, one in enumerate(found):
        seen.now_s = n * 0.06
        begun += seen.publish(one)
        begun += seen.look() if n % 20 == 0 else []
    assert [alert for alert in begun if alert[2] == "1"] == [("firing", "column 0", "1")]
    assert len({alert.fingerprint for alert in seen.written}) == 1
    assert len({alert.starts_at for alert in seen.written}) == 1
    assert len(seen.written) <= 1 + 60 / COUNT_EVERY_S
    seen.now_s += COUNT_EVERY_S
    assert seen.look() == [("firing", "column 0", "1000")]
    notes = seen.written[-1].annotations
    assert notes["summary"] == "column 0 is null"
    assert notes["description"] == "it stands for 1,000 findings of the group 'contract'"
    assert seen.publish(*map(over, found[:-1])) == []
    assert seen.publish(over(found[-1])) == [("resolved", "column 0", "1000")]
    assert seen.look() == []


def test_what_is_found_later_or_elsewhere_or_of_another_kind_has_an_alert_of_its_own() -> None:
    seen = Seen()
    others = [
        finding(2, 100.1 + WITHIN_S), finding(3, kind="traffic"), finding(4, deployment="e"), finding(5, severity="page"),
    ]  # fmt: skip
    assert seen.publish(finding(1), *others) == [("firing", f"column {n}", "1") for n in (1, 2, 3, 4, 5)]
    assert [alert.labels["severity"] for alert in seen.written] == ["warning"] * 4 + ["critical"]
    assert seen.publish(finding(6, 100.0 + WITHIN_S)) == []


def test_a_named_group_is_one_story_whatever_its_kinds_and_hours() -> None:
    seen = Seen()
    assert seen.publish(finding(1, group="g", severity="page")) == [("firing", "column 1", "1")]
    assert seen.publish(finding(2, 1e6, kind="traffic", group="g"), finding(3, group="g")) == []
    assert seen.publish(finding(4, group="h"), finding(5)) == [("firing", f"column {n}", "1") for n in (4, 5)]
    assert seen.written[0].annotations["group"] == "g"


def test_a_finding_for_information_raises_no_alert_and_ends_none() -> None:
    seen, quiet = Seen(), finding(1, severity="info")
    assert seen.publish(quiet) == []
    assert seen.publish(over(quiet)) == []
    assert seen.publish(finding(2)) == [("firing", "column 2", "1")]


def test_a_subject_found_again_while_its_group_stands_joins_it() -> None:
    seen, first, second = Seen(), finding(1), finding(2)
    seen.publish(first, second, over(first))
    again = replace(first, finding="again")
    assert seen.publish(again) == []
    assert seen.publish(over(second)) == []
    assert seen.publish(over(again)) == [("resolved", "column 1", "1")]


def test_a_restart_goes_on_with_its_groups_and_repeats_nothing() -> None:
    seen, found = Seen(), [finding(n) for n in range(5)]
    named = [finding(n, group="g", at_s=1e6 * n) for n in (6, 7)]
    seen.publish(*found, *named)
    seen.now_s = COUNT_EVERY_S
    assert seen.look() == [("firing", "column 0", "5"), ("firing", "column 6", "2")]
    seen.publish(over(found[0]), over(found[1]))
    after = seen.restarted(*found[2:], *named)
    assert after.look() == []
    assert after.publish(finding(8), finding(9, 5e6, group="g")) == []
    after.now_s += COUNT_EVERY_S
    assert after.look() == [("firing", "column 0", "6"), ("firing", "column 6", "3")]
    assert after.written[0].annotations["description"] == "it stands for 6 findings of the group 'contract'"
    assert after.publish(*map(over, found[2:])) == []
    assert after.publish(over(finding(8))) == [("resolved", "column 0", "6")]


def test_an_alert_from_before_groups_were_kept_ends_with_its_finding() -> None:
    seen, found = Seen(), finding(1)
    seen.publish(found)
    (alert,) = seen.written
    kept = {name: text for name, text in alert.annotations.items() if not name.startswith(("group", "findings"))}
    seen.written = [replace(alert, annotations=kept)]
    after = seen.restarted(found)
    assert [fact.status for fact in after.alerting.published([over(found)], Now(9.0, 9.0))[1:]] == ["resolved"]
