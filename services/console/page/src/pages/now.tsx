// The first page: what needs a person, then the deployments.
import { useComputed } from "@preact/signals";
import type { JSX } from "preact";
import type { DeploymentRow, Need, Quality } from "../documents";
import { parameter, setParameter } from "../live/address";
import { minute_s, staleness } from "../live/clock";
import { now } from "../live/store";
import { Command, Runbook } from "../parts/copy";
import { Ago, Instant } from "../parts/instant";
import { Offers } from "../parts/offers";
import { Panel } from "../parts/panel";
import { Spark } from "../parts/spark";
import { State } from "../parts/state";
import { type Column, Table } from "../parts/table";
import { VersionName } from "../parts/version_name";
import { figure, limit as limitOf, milliseconds, percent, rate, UNKNOWN, words } from "../values/numbers";
import { matches, ordered, sortOf } from "../values/order";
import { href } from "../values/routes";

export function NowPage(): JSX.Element {
  const empty = useComputed(() => now.value.value?.empty ?? "").value;
  const isThere = useComputed(() => now.value.value != null).value;
  return (
    <main id="main">
      <h1 class="unseen" tabIndex={-1}>Now</h1>
      {!isThere ? <p class="soft waiting">Reading the log …</p> : empty ? <NoProject /> : <><Needs /><Deployments /></>}
    </main>
  );
}

/** Nothing is applied yet: the two commands that lead to a deployment. */
const NoProject = (): JSX.Element => (
  <section class="teach">
    <h2>No project yet</h2>
    <p>A project is a Python file that says what a deployment answers. These commands write one and bring it here:</p>
    <Command text="headrace new my-model" />
    <Command text="headrace apply my_model" />
    <p class="soft">This page shows the deployment as soon as it is on the log.</p>
  </section>
);

function Needs(): JSX.Element {
  const order = useComputed(() => {
    const needs = now.value.value?.needs ?? {};
    return Object.keys(needs).sort((a, b) => (needs[a]?.order ?? 0) - (needs[b]?.order ?? 0) || a.localeCompare(b));
  });
  const n = useComputed(() => order.value.length).value;
  const urgent = useComputed(() => order.value.filter((id) => now.value.value?.needs[id]?.kind !== "silenced").length).value;
  const isOld = useComputed(() => Boolean(staleness(now.as_of_s.value))).value;
  return (
    <Panel title={urgent ? `Needs a person (${urgent})` : isOld ? "Nobody knows what needs a person" : "Nothing needs a person"} held={now}>
      {n > 0 && <Table caption="What needs a person" columns={NEEDS} order={order} row={(id) => now.value.value?.needs[id]} noun="thing" kind="needs headless" />}
    </Panel>
  );
}

const NEEDS: readonly Column<Need>[] = [
  { key: "about", head: "about", cell: (need) => <><State mark={need.mark} word={need.kind} /> <a class="strong" href={need.link}>{need.about}</a></> },
  { key: "what", head: "what", cell: (need) => <><span>{need.title}</span>{need.detail && <span class="soft detail">{need.detail}</span>}{need.command && <Command text={need.command} />}</> },
  { key: "since", head: "since", cell: (need) => need.since_s != null && <span class="soft">{need.clock === "event" && "since "}<Instant at_s={need.since_s} clock={need.clock} /></span> },
  {
    key: "ways",
    head: "ways out",
    cell: (need) => (
      <span class="ways">
        <a href={need.link}>explain</a>
        <Runbook to={need.runbook} />
        <Offers offers={need.offers} />
      </span>
    ),
  },
];

function Deployments(): JSX.Element {
  const search = parameter("q");
  const project = parameter("project");
  const sort = sortOf(parameter("sort"));
  const order = useComputed(() => {
    const rows = now.value.value?.deployments ?? {};
    const [wanted, of] = [parameter("q"), parameter("project")];
    return ordered(rows, sortOf(parameter("sort"))).filter((id) => rows[id] && matches(rows[id], wanted, of));
  });
  const all = useComputed(() => Object.keys(now.value.value?.deployments ?? {}).length).value;
  const n = useComputed(() => order.value.length).value;
  const box = (
    <label class="search">
      <span class="unseen">Search deployments</span>
      <input type="search" placeholder="search" value={search} onInput={(event) => setParameter("q", event.currentTarget.value)} />
      <span class="soft" role="status">{search || project ? `${n} of ${all}` : ""}</span>
      {project && <a href="/">all projects</a>}
    </label>
  );
  return (
    <Panel title="Deployments" held={now} beside={box}>
      <Table caption="Deployments" columns={DEPLOYMENTS} order={order} row={(id) => now.value.value?.deployments[id]} sort={sort} search={`${search} ${project}`} noun="deployment" kind="deployments" isLively />
      {n === 0 && <p class="soft">No deployment has all of these words. <a href="/">Show all</a></p>}
    </Panel>
  );
}

const DEPLOYMENTS: readonly Column<DeploymentRow>[] = [
  { key: "name", head: "name", sorts: "up", cell: (row) => <><State mark={row.mark} isQuiet /> <a class="strong" href={href.deployment(row.name)}>{row.name}</a></> },
  {
    key: "champion", head: "champion", sorts: "down",
    cell: (row) => <><VersionName deployment={row.name} version={row.champion} /> <span class="soft"><ChampionSince row={row} /></span></>,
  },
  { key: "answers", head: "answers/s", isNumber: true, sorts: "down", cell: (row) => <><Spark values={row.spark} isFromNought /> <span class="figure">{rate(row.answers_per_s)}</span></> },
  { key: "p99", head: "p99", isNumber: true, sorts: "down", cell: (row) => milliseconds(row.p99_ms) },
  { key: "fallback", head: "fallback", isNumber: true, sorts: "down", cell: (row) => percent(row.fallback_share, 1) },
  { key: "quality", head: "quality", sorts: "up", cell: (row) => <QualityCell quality={row.quality} /> },
  { key: "drift", head: "drift", sorts: "down", cell: (row) => <Drift row={row} /> },
  { key: "rollout", head: "rollout", sorts: "down", cell: (row) => <Rollout row={row} /> },
];

const DAY_S = 86_400;
/** Since when the champion answers, by the wall clock. Where the deployment's own clock is another (a replay), that is written. */
export function ChampionSince({ row }: { row: DeploymentRow }): JSX.Element | null {
  const isApart = useComputed(() => row.event_at_s != null && Math.abs(row.event_at_s - minute_s.value) > DAY_S).value;
  return row.champion_since_s == null ? null : <><Ago at_s={row.champion_since_s} />{isApart && ", wall clock"}</>;
}

/** A value beside its limit; what could not be measured is written out, with the reason. */
export function QualityCell({ quality }: { quality: Quality | null | undefined }): JSX.Element {
  if (!quality) return <span class="soft">{UNKNOWN}</span>;
  const limit = quality.limit != null && <> <span class="soft figure">({quality.is_above ? "≥" : "≤"} {limitOf(quality.limit)})</span></>;
  if (quality.value == null) return <span title={quality.why}><State mark="unknown" word="UNMEASURED" /> <span class="soft">{quality.why}</span></span>;
  return <><span class="soft">{quality.metric}</span> <span class="figure">{figure(quality.value)}</span> <Spark values={quality.spark} />{limit}</>;
}

const Drift = ({ row }: { row: DeploymentRow }): JSX.Element =>
  row.drift_link ? <a href={row.drift_link}><State mark={row.drift} word={row.drift_word} /></a> : <State mark={row.drift} word={row.drift_word} />;

function Rollout({ row }: { row: DeploymentRow }): JSX.Element {
  const rollout = row.rollout;
  if (!rollout) return <span class="soft">{UNKNOWN}</span>;
  return (
    <>
      <State mark={rollout.mark} isQuiet /> <a href={href.deployment(row.name)}>{words(rollout.policy)} v{rollout.version}</a> {rollout.share > 0 && <Bar share={rollout.share} />} <span class="soft">{rollout.share > 0 && percent(rollout.share)} {rollout.state !== rollout.policy && words(rollout.state)}</span>
    </>
  );
}

/** A share of one, as a bar beside its number. */
export const Bar = ({ share }: { share: number }): JSX.Element => (
  <span class="share-bar" aria-hidden="true"><span style={{ width: `${Math.max(0, Math.min(1, share)) * 100}%` }} /></span>
);
