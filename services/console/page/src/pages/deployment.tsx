// A deployment: what it does now, its rollout in motion, its course, its versions and findings.
import { useComputed } from "@preact/signals";
import type { JSX } from "preact";
import type { Deployment, DeploymentRow, FindingRow, VersionRow } from "../documents";
import { documentOf, type Held } from "../live/store";
import { Charts } from "../charts/charts";
import { EventTime } from "../parts/instant";
import { Offers } from "../parts/offers";
import { HeldOut, stageOf } from "../parts/held_out";
import { Panel, Shown } from "../parts/panel";
import { State } from "../parts/state";
import { type Column, Table } from "../parts/table";
import { VersionName } from "../parts/version_name";
import { count, figure, limit, milliseconds, percent, rate, UNKNOWN } from "../values/numbers";
import type { Mark } from "../values/marks";
import { Heading } from "./heading";
import { NoLabels } from "./no_labels";
import { ChampionSince } from "./now";
import { Rollout } from "./rollout";
import { Route } from "./route";

export function DeploymentPage({ name }: { name: string }): JSX.Element {
  const held = documentOf(`deployment/${name}`);
  const row = useComputed(() => held.value.value?.row);
  const isThere = useComputed(() => held.value.value != null);
  return (
    <main id="main">
      <Heading name={name} at="now">
        {row.value && <State mark={row.value.mark} />}
        <Offers offers={useComputed(() => held.value.value?.offers).value} />
      </Heading>
      {isThere.value ? <Parts name={name} held={held} /> : <Shown held={held}>{() => null}</Shown>}
    </main>
  );
}

function Parts({ name, held }: { name: string; held: Held<Deployment> }): JSX.Element {
  const degraded = useComputed(() => held.value.value?.degraded).value;
  const training = useComputed(() => held.value.value?.training).value;
  const noLabels = useComputed(() => held.value.value?.no_labels && held.value.value.label).value;
  const example = useComputed(() => held.value.value?.label_example ?? 1).value;
  const unit = useComputed(() => held.value.value?.unit ?? "").value;
  const hasRollout = useComputed(() => held.value.value?.rollout != null).value;
  return (
    <>
      {degraded && <p class="notice"><State mark="attention" word="degraded" />: {degraded}</p>}
      {training && <p class="notice"><strong>training</strong>: {training}</p>}
      <Figures held={held} />
      {hasRollout && <Rollout name={name} held={held} />}
      <Route name={name} held={held} />
      {noLabels && <NoLabels name={name} label={noLabels} unit={unit} example={example} />}
      <Charts name={name} />
      <Versions name={name} held={held} />
      <Findings held={held} />
    </>
  );
}

/** The figures of now, each with its limit or its sample beneath. */
function Figures({ held }: { held: Held<Deployment> }): JSX.Element {
  const row = useComputed(() => held.value.value?.row).value;
  if (!row) return <></>;
  return (
    <Panel title="Now" held={held}>
      <dl class="figures">
        <div><dt>champion</dt><dd class="big"><VersionName deployment={row.name} version={row.champion} /></dd><dd class="soft">{row.champion_since_s != null ? <>since <ChampionSince row={row} /></> : "no model answers"}</dd></div>
        <div><dt>answers/s</dt><dd class="big">{rate(row.answers_per_s)}</dd><dd class="soft">of the last minute, wall clock</dd></div>
        <div><dt>p99</dt><dd class="big">{milliseconds(row.p99_ms)}</dd><dd class="soft">from request to answer</dd></div>
        <div><dt>fallback</dt><dd class="big">{percent(row.fallback_share, 1)}</dd><dd class="soft">{outcomes(row)}</dd></div>
        <Quality row={row} />
        <div><dt>drift</dt><dd class="big">{row.drift_link ? <a href={row.drift_link}><State mark={row.drift} word={row.drift_word} /></a> : <State mark={row.drift} word={row.drift_word} />}</dd></div>
      </dl>
    </Panel>
  );
}

function Quality({ row }: { row: DeploymentRow }): JSX.Element {
  const quality = row.quality;
  if (!quality) return <div><dt>quality</dt><dd class="big">{UNKNOWN}</dd><dd class="soft">no window has closed</dd></div>;
  return (
    <div>
      <dt>{quality.metric || "quality"}</dt>
      <dd class="big">{quality.value == null ? <State mark="unknown" word="UNMEASURED" /> : figure(quality.value)}</dd>
      <dd class="soft">
        {quality.value == null ? quality.why : <>{quality.limit != null && `limit ${quality.is_above ? "≥" : "≤"} ${limit(quality.limit)}, `}{count(quality.n)} labels</>}
      </dd>
      <dd class="soft">window to <EventTime at_s={quality.to_s} label /></dd>
    </div>
  );
}

/** Counts of the last minute: `1,204 served, 3 refused`. */
const outcomes = (row: DeploymentRow): string =>
  Object.entries(row.outcomes).map(([outcome, n]) => `${count(n)} ${outcome.replace("fell_back.", "by ").replaceAll("_", " ")}`).join(", ") || "no requests in the last minute";

function Versions({ name, held }: { name: string; held: Held<Deployment> }): JSX.Element {
  const order = useComputed(() => Object.keys(held.value.value?.versions ?? {}).sort((a, b) => Number(b) - Number(a)));
  const n = useComputed(() => order.value.length).value;
  return (
    <Panel title="Versions" held={held} id="versions">
      {n ? <Table caption="Versions" columns={versionColumns(name)} order={order} row={(id) => held.value.value?.versions[id]} noun="version" /> : <p class="soft">No version yet: the fallback answers.</p>}
    </Panel>
  );
}

const versionColumns = (name: string): readonly Column<VersionRow>[] => [
  { key: "version", head: "version", cell: (row) => <VersionName deployment={name} version={row.version} /> },
  { key: "stage", head: "stage", cell: (row) => stageOf(row) },
  { key: "gates", head: "gates", cell: (row) => <Gates row={row} /> },
  { key: "metrics", head: "on held-out rows", cell: (row) => <HeldOut metrics={row.metrics} most={3} /> },
  { key: "rows", head: "rows", isNumber: true, cell: (row) => count(row.trained_rows || null) },
  { key: "registered", head: "registered (event time)", cell: (row) => <EventTime at_s={row.registered_at_s} /> },
  { key: "by", head: "by", cell: (row) => <>{row.by}{row.approved_by && <span class="soft">, approved by {row.approved_by}</span>}{row.reason && <span class="soft detail">{row.reason}</span>}</> },
];

/** Gates in one line: all passed, or which did not. */
export function Gates({ row }: { row: VersionRow }): JSX.Element {
  const all = Object.entries(row.gates);
  if (!all.length) return <span class="soft">none</span>;
  const those = (is: (gate: string, verdict: string) => boolean): string[] => all.filter(([gate, verdict]) => is(gate, verdict)).map(([gate]) => gate);
  const isWaived = (gate: string): boolean => row.waived.includes(gate);
  const pairs: [string[], Mark, string][] = [
    [those((gate, verdict) => verdict === "FAIL" && !isWaived(gate)), "page", "FAIL"],
    [those((gate, verdict) => verdict === "FAIL" && isWaived(gate)), "attention", "FAIL, waived"],
    [those((_, verdict) => verdict === "INCONCLUSIVE"), "unknown", "INCONCLUSIVE"],
    [those((_, verdict) => !["FAIL", "PASS", "INCONCLUSIVE"].includes(verdict)), "unknown", "not measured"],
  ];
  const passed = those((_, verdict) => verdict === "PASS").length;
  return (
    <>
      {pairs.map(([gates, mark, word]) => gates.length > 0 && <span key={word} class="pair"><State mark={mark} word={`${gates.join(", ")} ${word}`} /></span>)}
      {passed > 0 && <span class="pair"><State mark="ok" word={`${passed} PASS`} /></span>}
    </>
  );
}

function Findings({ held }: { held: Held<Deployment> }): JSX.Element {
  const order = useComputed(() => {
    const rows = held.value.value?.findings ?? {};
    return Object.keys(rows).sort((a, b) => Number(rows[a]?.resolved_at_s != null) - Number(rows[b]?.resolved_at_s != null) || (rows[b]?.at_s ?? 0) - (rows[a]?.at_s ?? 0));
  });
  const n = useComputed(() => order.value.length).value;
  return (
    <Panel title="Findings" held={held} id="findings">
      {n ? <Table caption="Findings" columns={FINDINGS} order={order} row={(id) => held.value.value?.findings[id]} noun="finding" /> : <p class="soft">Nothing was found so far.</p>}
    </Panel>
  );
}

const FINDINGS: readonly Column<FindingRow>[] = [
  { key: "finding", head: "finding", cell: (row) => <><State mark={row.mark} word={row.resolved_at_s == null ? "open" : "resolved"} /> <a href={row.link}>{row.summary}</a></> },
  { key: "detector", head: "detector", cell: (row) => <>{row.detector}<span class="soft"> {row.about}</span></> },
  { key: "measured", head: "measured", isNumber: true, cell: (row) => <>{figure(row.measured)}{row.limit != null && <span class="soft"> (limit {limit(row.limit)})</span>}</> },
  { key: "since", head: "found (event time)", cell: (row) => <EventTime at_s={row.at_s} /> },
  { key: "until", head: "resolved (event time)", cell: (row) => (row.resolved_at_s == null ? <span class="soft">open</span> : <EventTime at_s={row.resolved_at_s} />) },
];
