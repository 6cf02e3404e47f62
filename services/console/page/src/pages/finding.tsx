// A finding: what moved, by how much and since when.
import { useComputed } from "@preact/signals";
import type { JSX } from "preact";
import type { Finding, FindingEvidence } from "../documents";
import { documentOf, type Held } from "../live/store";
import { Place, Runbook } from "../parts/copy";
import { Facts, sorted } from "../parts/facts";
import { EventTime } from "../parts/instant";
import { Panel, Shown } from "../parts/panel";
import { State } from "../parts/state";
import { VersionName } from "../parts/version_name";
import { count, figure, limit, percent, words } from "../values/numbers";
import { href } from "../values/routes";
import { Heading } from "./heading";

export function FindingPage({ name, id }: { name: string; id: string }): JSX.Element {
  const held = documentOf(`finding/${name}/${id}`);
  const row = useComputed(() => held.value.value?.row).value;
  return (
    <main id="main">
      <Heading name={name} at="" title={row?.summary ?? "A finding"}>
        {row && <State mark={row.mark} word={row.resolved_at_s == null ? "open" : "resolved"} />}
      </Heading>
      <Shown held={held}>{(value) => <Parts value={value} held={held} />}</Shown>
    </main>
  );
}

function Parts({ value, held }: { value: Finding; held: Held<Finding> }): JSX.Element {
  const figures = sorted(value.values);
  return (
    <>
      <Panel title="What moved" held={held}><What value={value} /></Panel>
      <Panel title="What it rests on" held={held}>{value.evidence ? <Evidence deployment={value.deployment} evidence={value.evidence} compared={value.compared} /> : <p class="soft">Not recorded: the finding is older than the monitor that records it.</p>}</Panel>
      {figures.length > 0 && <Panel title="Measured" held={held}><Facts facts={figures.map(([metric, measured]) => [words(metric), figure(measured)] as const)} /></Panel>}
    </>
  );
}

/** The part of the requests that explains it, where it began, and what moved and changed with it. */
function Evidence({ deployment, evidence, compared }: { deployment: string; evidence: FindingEvidence; compared: string }): JSX.Element {
  const { segment } = evidence;
  return (
    <Facts
      facts={[
        ["segment", segment ? <><span class="strong">{segment.column} {segment.value}</span>: {figure(segment.measured)} there, {figure(segment.rest)} in the rest <span class="soft">({compared}). {count(segment.rows)} requests, {percent(segment.share)} of all, account for {percent(segment.explains)} of the change.</span></> : "no part of the requests stands out"],
        evidence.first_at_s != null && ["first", <><EventTime at_s={evidence.first_at_s} label /> <Place place={evidence.first_place} word="its record" /></>],
        ["moved with it", evidence.moved.length ? evidence.moved.map((one) => <span key={one.column + one.statistic} class="pair">{one.column} <span class="soft">{words(one.statistic)}</span> {figure(one.measured)}{one.before != null && <span class="soft"> (usually {figure(one.before)})</span>}</span>) : <span class="soft">no column</span>],
        evidence.producers.length > 0 && ["changed too", evidence.producers.join(", ")],
        evidence.charts.length > 0 && ["other charts", <>{evidence.charts.map(words).join(", ")} <a href={href.monitoring(deployment)}>charts</a></>],
        evidence.requests.length > 0 && ["requests", evidence.requests.map((id) => <span key={id} class="pair"><a class="wrap" href={href.decision(deployment, id)}>{id}</a></span>)],
      ]}
    />
  );
}

function What({ value }: { value: Finding }): JSX.Element {
  const { row } = value;
  return (
    <Facts
      facts={[
        ["measured", <><span class="strong">{words(value.metric)} {figure(row.measured)}</span>{row.limit != null && <span class="soft"> (limit {limit(row.limit)})</span>}</>],
        ["about", <>{row.about}{row.version != null && <> <VersionName deployment={value.deployment} version={row.version} /></>}</>],
        ["found by", words(row.detector || row.kind)],
        ["severity", words(value.severity)],
        ["found at", <><EventTime at_s={row.at_s} label /> <Place place={value.place} word="its record" /></>],
        value.changed_at_s != null && ["changed at", <EventTime at_s={value.changed_at_s} label />],
        value.window_from_s != null && value.window_to_s != null && ["window", <><EventTime at_s={value.window_from_s} label /> to <EventTime at_s={value.window_to_s} /></>],
        ["resolved", row.resolved_at_s == null ? <>not yet{value.back_at != null && <span class="soft">; it is when the figure is back at {limit(value.back_at)}</span>}</> : <><EventTime at_s={row.resolved_at_s} label />{value.resolved && `: ${value.resolved}`}</>],
        ["what followed", <a href={`${href.timeline(value.deployment)}${value.episode && `#${encodeURIComponent(value.episode)}`}`}>timeline of {value.deployment}</a>],
        value.runbook && ["runbook", <Runbook to={value.runbook} />],
      ]}
    />
  );
}
