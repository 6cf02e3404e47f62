"""What needs a person, the most pressing first.

| order | what                                                              | mark      |
|-------|-------------------------------------------------------------------|-----------|
| 0     | pages that fire and are not silenced                              | page      |
| 1     | partitions that are stopped                                       | attention |
| 2     | versions that wait for an approval                                | attention |
| 3     | rollouts that are paused, or that nobody judges                   | attention |
| 4     | other alerts                                                      | attention |
| 5     | findings that are open and that no alert stands for               | attention |
| 6     | services that should run and are not ready, and deployments that a fallback answers for | attention |
| 7     | alerts that fire and are silenced: nobody is needed, but nothing is plainly well | unknown |

An alert about what is on the list anyway (an approval, a rollout, a service) is not listed a second time.
"""

from collections.abc import Iterator

from headrace.events.alerts import AlertChanged, SilenceSet
from headrace.hosting.alerts import AWAITS_APPROVAL, alarm_name, runbook_of
from headrace.hosting.alerts import UNJUDGED as UNJUDGED_ALERT
from headrace.log.envelope import parse_instant
from headrace.registry.state import PAUSED, UNJUDGED
from headrace_console.core.acts import awaited, rollout_offers
from headrace_console.core.alerts import about_of, mark_of, silence_offer, unsilence_offer, words_of
from headrace_console.core.documents import Need
from headrace_console.core.links import deployment_link, finding_link, version_link
from headrace_console.core.reports import FRESH_S
from headrace_console.core.world import World

PAGE, STOPPED, APPROVAL, ROLLOUT, WARNING, FINDING, SERVICE, SILENCED = range(8)
# Alerts that stand for what is listed by itself.
_COVERED = (AWAITS_APPROVAL, UNJUDGED_ALERT)
Line = tuple[str, Need]


def needs_of(world: World, now_s: float) -> dict[str, Need]:
    """Everything that needs a person, by key, in order."""
    lines = [*_alerts(world, now_s), *_stops(world), *_rollouts(world), *_findings(world), *_degraded(world, now_s)]
    lines += _services(world, now_s)
    return dict(sorted(lines, key=lambda line: (line[1].order, -(line[1].since_s or 0.0), line[0])))


def _alerts(world: World, now_s: float) -> Iterator[Line]:
    for key, (alert, _) in world.alarms.firing().items():
        name = alert.labels.get("alertname", "")
        if name in _COVERED:
            continue
        silence = world.alarms.silencing(alert, now_s)
        if silence is not None:
            yield f"alert/{key}", _silenced(alert, silence)
            continue
        mark = mark_of(alert)
        deployment, is_page = alert.labels.get("deployment", ""), mark == "page"
        yield (
            f"alert/{key}",
            Need(
                PAGE if is_page else WARNING,
                mark,
                "page" if is_page else "warning",
                about_of(alert),
                alert.annotations.get("summary", name),
                name,
                parse_instant(alert.starts_at),
                "wall",
                deployment_link(deployment) if deployment else "/alerts",
                alert.annotations.get("runbook_url", ""),
                alert.annotations.get("command", ""),
                (silence_offer(alert),),
            ),
        )


def _silenced(alert: AlertChanged, silence: SilenceSet) -> Need:
    name, deployment = alert.labels.get("alertname", ""), alert.labels.get("deployment", "")
    return Need(
        SILENCED,
        "unknown",
        "silenced",
        about_of(alert),
        alert.annotations.get("summary", name),
        f"silenced {words_of(silence)}",
        parse_instant(alert.starts_at),
        "wall",
        deployment_link(deployment) if deployment else "/alerts",
        alert.annotations.get("runbook_url", ""),
        "",
        (unsilence_offer(silence),),
    )


def _stops(world: World) -> Iterator[Line]:
    for key, (stop, since_s) in world.letters.stops.items():
        title = f"{stop.service} has stopped reading {stop.topic}/{stop.partition}"
        command = f"headrace topic resume {stop.topic}"
        yield (
            f"stop/{key}",
            Need(
                STOPPED,
                "attention",
                "stopped",
                stop.topic,
                title,
                stop.reason,
                since_s,
                "wall",
                "/dead-letters",
                "",
                command,
            ),
        )


def _rollouts(world: World) -> Iterator[Line]:
    for name in world.names():
        entry, story = world.releases.entry(name), world.releases.story(name)
        definition = world.definition(name)
        version, rollout = awaited(entry, definition), entry.rollout
        offers = rollout_offers(name, entry, definition)
        if version is not None:
            approvals = tuple(offer for offer in offers if offer.act == "approve")
            title, link = f"v{version} waits for an approver", version_link(name, version)
            detail = rollout.reason if rollout is not None else entry.queued.reason if entry.queued is not None else ""
            since_s = story.waits_since_s
            yield (
                f"approval/{name}/{version}",
                Need(APPROVAL, "attention", "approval", name, title, detail, since_s, "wall", link, offers=approvals),
            )
        if rollout is not None and rollout.standing in (PAUSED, UNJUDGED):
            is_paused = rollout.standing == PAUSED
            title = f"the rollout of v{rollout.version} is {'paused' if is_paused else 'not judged'}"
            link, since_s = deployment_link(name), story.stands_since_s
            yield (
                f"rollout/{name}",
                Need(
                    ROLLOUT, "attention", "rollout", name, title, rollout.reason, since_s, "wall", link, offers=offers
                ),
            )


def _findings(world: World) -> Iterator[Line]:
    firing = {
        (alert.labels.get("alertname", ""), alert.labels.get("deployment", ""), alert.labels.get("about", ""))
        for alert, _ in world.alarms.firing().values()
    }
    for name in world.names():
        for found in world.findings.open(name):
            opened = found.opened
            alarm = alarm_name(opened.kind, opened.about)
            if (alarm, name, "") in firing or (alarm, name, opened.about) in firing:
                continue
            link = finding_link(name, opened.finding)
            runbook = runbook_of(alarm) if alarm else ""
            about = f" of {opened.about}" if opened.about else ""
            yield (
                f"finding/{opened.finding}",
                Need(
                    FINDING, "attention", "finding", name, f"{opened.kind.replace('_', ' ')}{about}: {opened.summary}",
                    opened.detector, opened.at_s, "event", link, runbook,
                ),
            )  # fmt: skip


def _degraded(world: World, now_s: float) -> Iterator[Line]:
    """Deployments that a fallback answers for, until the alert about it is there."""
    alerted = {
        alert.labels.get("deployment", "")
        for alert, _ in world.alarms.firing().values()
        if alert.labels.get("alertname") == "DeploymentDegraded"
    }
    for report in world.reports.fresh("inference", now_s):
        for name, why in report.degraded.items():
            if name not in alerted:
                title, link = f"a fallback answers for {name}", deployment_link(name)
                yield (
                    f"degraded/{name}",
                    Need(SERVICE, "attention", "service", name, title, why, None, "wall", link, "", "headrace status"),
                )


def _services(world: World, now_s: float) -> Iterator[Line]:
    """Instances that are silent or not ready. Of a service that `ServiceDown` fires for, the alert is enough."""
    down = {
        alert.labels.get("service")
        for alert, _ in world.alarms.firing().values()
        if alert.labels.get("alertname") in ("ServiceDown", "MonitorDown")
    }
    for key, found in world.reports.shown(now_s).items():
        is_silent = now_s - found.seen_s > FRESH_S
        if (found.report.ready and not is_silent) or found.report.service in down:
            continue
        title = f"{found.report.instance} is {'silent' if is_silent else 'not ready'}"
        detail = "" if is_silent else found.report.reason
        yield (
            f"service/{key}",
            Need(
                SERVICE,
                "attention",
                "service",
                found.report.service,
                title,
                detail,
                found.seen_s,
                "wall",
                "/services",
                "",
                "headrace status",
            ),
        )
