"""What receivers of alerts are sent: news once, state again and again, silences honoured, secrets in no text."""

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from headrace.errors import Misconfigured
from headrace.events.alerts import AlertChanged, AlertSilence, SilenceSet
from headrace.hosting.alerts import WATCHDOG, WATCHDOG_MISSED_S, Alarm, fire, resolve
from headrace.hosting.settings import SECRETS, Settings
from headrace_cli.forwarding.bodies import SLACK_LINES, to_alertmanager, to_slack, to_webhook
from headrace_cli.forwarding.desks import BELIEVED_S, MOST_AT_ONCE, RESEND_S, Heartbeat, News, Seen, State
from headrace_cli.forwarding.receivers import receivers_of, required_receivers
from headrace_cli.forwarding.silencing import body_of, changes
from headrace_cli.main import app, run

HOOK = "https://hooks.example/T0/SECRET"


def alarm(n: int = 0, deployment: str = "d", name: str = "SourceChanged") -> Alarm:
    return Alarm(name, {"deployment": deployment, "about": f"c{n}"}, "warning", f"column {n} & <co>", "headrace status")


def on(n: int = 0, at_s: float = 10.0, **about: str) -> AlertChanged:
    return fire(alarm(n, **about), at_s)


def off(alert: AlertChanged) -> AlertChanged:
    return resolve(alert, 20.0)


def quiet(alert: AlertChanged) -> AlertChanged:
    return replace(alert, silence=AlertSilence("s", "ann", "why", "1970-01-01T01:00:00Z"))


def sent(desk: News | State | Heartbeat, *alerts: AlertChanged, now_s: float = 10.0, old: bool = False) -> list[str]:
    taken = desk.take([Seen(alert, 10.0, old) for alert in alerts], now_s)
    return [
        f"{alert.status} {alert.labels.get('about', alert.labels['alertname'])}" for part in taken for alert in part
    ]


# news


def test_a_webhook_is_sent_the_beginning_and_the_end_once() -> None:
    desk, alert = News(), on()
    counted = replace(alert, annotations={**alert.annotations, "findings": "7"})
    assert sent(desk, alert, counted, alert) == ["firing c0"]
    assert sent(desk, off(alert)) == ["resolved c0"]
    assert sent(desk, on(at_s=30.0)) == ["firing c0"]
    worse = replace(on(at_s=30.0), labels={**alert.labels, "severity": "critical"})
    assert sent(desk, worse) == ["firing c0"]


def test_nothing_is_sent_of_an_alert_while_it_is_silenced() -> None:
    desk, alert = News(), on()
    assert sent(desk, quiet(alert)) == []
    assert sent(desk, alert) == ["firing c0"]
    assert sent(desk, quiet(alert), alert) == []
    assert sent(desk, quiet(off(alert))) == []
    assert sent(desk, quiet(on(1)), off(on(1))) == []


def test_a_receiver_that_is_new_is_not_sent_what_is_over_and_one_that_was_away_is() -> None:
    assert sent(News(), off(on()), on(1), old=True) == ["firing c1"]
    assert sent(News(), off(on())) == ["resolved c0"]


def test_after_a_restart_only_what_was_not_taken_is_sent() -> None:
    desk = News()
    desk.begin([Seen(on(), 10.0), Seen(on(1), 10.0), Seen(off(on(1)), 10.0)])
    assert sent(desk, on(), on(2), off(on())) == ["firing c2", "resolved c0"]


def test_news_is_grouped_by_alert_and_deployment_and_cut_where_it_is_much() -> None:
    desk = News()
    storm = [on(n) for n in range(MOST_AT_ONCE + 1)]
    taken = desk.take([Seen(alert, 1.0) for alert in (*storm, on(deployment="e"))], 1.0)
    assert [len(part) for part in taken] == [MOST_AT_ONCE, 1, 1]


# state


def test_alertmanager_is_sent_what_fires_again_and_what_is_over_once() -> None:
    desk = State()
    assert sent(desk, on(), on(1), now_s=0.0) == ["firing c0", "firing c1"]
    assert sent(desk, now_s=RESEND_S - 1) == []
    assert sent(desk, off(on(1)), now_s=RESEND_S - 1) == ["resolved c1"]
    assert sent(desk, now_s=RESEND_S) == ["firing c0"]
    assert sent(desk, now_s=RESEND_S - 5) == ["firing c0"]  # the clock was set back
    assert desk.until(100.0) == {on().fingerprint: 100.0 + BELIEVED_S}
    assert RESEND_S < BELIEVED_S / 2


def test_a_dead_man_record_is_sent_while_it_is_fresh_and_then_missed() -> None:
    beat = fire(Alarm(WATCHDOG, {"service": "monitor"}, "none", "", ""), 10.0)
    desk, late_s = State(), 10.1 + WATCHDOG_MISSED_S
    assert sent(desk, beat) == ["firing Watchdog"]
    assert desk.until(99.0) == {beat.fingerprint: 10.0 + WATCHDOG_MISSED_S}
    assert sent(desk, now_s=late_s) == []
    assert sent(News(), beat) == []
    assert sent(Heartbeat(), on(), beat, beat) == ["firing Watchdog"]
    assert sent(Heartbeat(), beat, now_s=late_s) == []


def test_a_dead_mans_switch_is_left_to_call_while_nobody_else_takes_alerts() -> None:
    beat = fire(Alarm(WATCHDOG, {"service": "monitor"}, "none", "", ""), 10.0)
    cut_off = Heartbeat(lambda: True)
    assert sent(cut_off, beat) == []
    cut_off.reaches_nobody = lambda: False
    assert sent(cut_off, beat) == ["firing Watchdog"]


# bodies


def test_the_bodies_have_the_shapes_that_receivers_know() -> None:
    alert, over = on(), off(on(1))
    (first, second) = to_alertmanager([alert, over], "ns", {alert.fingerprint: 400.0})
    assert (first["startsAt"], first["endsAt"]) == ("1970-01-01T00:00:10Z", "1970-01-01T00:06:40Z")
    assert (second["endsAt"], second["labels"]["namespace"]) == ("1970-01-01T00:00:20Z", "ns")
    body = to_webhook("webhook", [alert, over], "")
    assert (body["version"], body["status"], body["receiver"]) == ("4", "firing", "webhook")
    assert body["groupKey"] == '{}:alertname="SourceChanged",deployment="d"'
    assert body["commonLabels"] == {"alertname": "SourceChanged", "severity": "warning", "deployment": "d"}
    assert [one["endsAt"] for one in body["alerts"]] == ["0001-01-01T00:00:00Z", "1970-01-01T00:00:20Z"]
    assert to_webhook("webhook", [over], "")["status"] == "resolved"


def test_a_message_for_slack_is_short_and_calls_nobody_by_what_the_log_holds() -> None:
    text = to_slack([on()], "")["text"]
    assert text == "*warning: SourceChanged* deployment=d about=c0: column 0 &amp; &lt;co&gt;"
    linked = replace(on(), annotations={**on().annotations, "runbook_url": "https://h/SourceChanged.md"})
    assert to_slack([off(linked)], "")["text"].startswith("*resolved: SourceChanged*")
    assert to_slack([linked], "")["text"].endswith(" <https://h/SourceChanged.md|runbook>")
    lines = to_slack([on(n) for n in range(SLACK_LINES + 3)], "")["text"].splitlines()
    assert (len(lines), lines[-1]) == (SLACK_LINES + 1, "and 3 more of SourceChanged")


# silences


def there(body: dict, ident: str, state: str = "active") -> dict:
    return {**body, "id": ident, "status": {"state": state}}


def test_an_alertmanager_has_the_silences_that_are_in_force_and_keeps_those_of_others() -> None:
    silence = SilenceSet("s1", {"deployment": "d"}, 10.0, 100.0, "ann", "a storm")
    made, ended = changes({"s1": silence}, [], "", 50.0)
    assert (made[0]["comment"], made[0]["createdBy"], ended) == ("a storm [headrace - s1]", "ann", [])
    mine, other = there(made[0], "am-1"), there({**made[0], "comment": "by hand"}, "am-2")
    assert changes({"s1": silence}, [mine, other], "", 50.0) == ([], [])
    longer = replace(silence, ends_s=200.0)
    assert changes({"s1": longer}, [mine, other], "", 50.0) == ([body_of(longer, "")], ["am-1"])
    assert changes({}, [mine, other], "", 50.0) == ([], ["am-1"])
    assert changes({"s1": silence}, [mine], "", 100.0) == ([], ["am-1"])
    assert changes({"s1": silence}, [there(made[0], "am-1", "expired")], "", 50.0) == (made, [])
    assert changes({"s1": silence}, [mine], "ns", 50.0)[1] == []


# settings


def test_receivers_are_named_without_their_secrets() -> None:
    settings = Settings(
        alertmanager_url="http://a:9093/, http://b:9093", alert_webhook_url="https://w", alert_slack_url=HOOK,
        alert_watchdog_url="https://beat", alertmanager_authorization="Bearer x",
    )  # fmt: skip
    found = receivers_of(settings)
    assert [one.name for one in found] == ["alertmanager", "alertmanager-2", "webhook", "slack", "watchdog"]
    assert [one.url for one in found[:2]] == ["http://a:9093", "http://b:9093"]
    assert [one.authorization for one in found] == ["Bearer x", "Bearer x", "", "", ""]
    assert receivers_of(Settings()) == []


@pytest.mark.parametrize("name", ["alertmanager_url", "alert_webhook_url", "alert_slack_url", "alert_watchdog_url"])
def test_a_wrong_address_is_refused_in_one_sentence_that_has_no_secret(name: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        Settings.load({f"HEADRACE_{name.upper()}": "hooks.example/SECRET"})
    assert "such as https://host/path, got another text (a secret, not shown)" in str(refused.value)
    assert "SECRET" not in str(refused.value)


def test_secrets_are_not_shown_and_without_a_receiver_there_is_nothing_to_forward(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADRACE_ALERT_SLACK_URL", HOOK)
    shown = CliRunner().invoke(app, ["config", "show", "--json"])
    assert "HEADRACE_ALERT_SLACK_URL" in shown.output
    assert "SECRET" not in shown.output
    assert set(SECRETS) < set(Settings.__struct_fields__)


def test_without_a_receiver_forwarding_ends_with_the_names_of_the_settings(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Misconfigured, match="no receiver of alerts is set: set HEADRACE_ALERTMANAGER_URL,"):
        required_receivers(Settings())
    assert run(["alert", "forward"]) == 2
    assert capfd.readouterr().err.startswith("headrace: no receiver of alerts is set: set HEADRACE_ALERTMANAGER_URL")
