// A rollout in motion: its steps, what it waits for, and the evidence, each value beside its limit.
import { useComputed } from "@preact/signals";
import type { JSX } from "preact";
import type { Deployment, EvidenceRow, RolloutView } from "../documents";
import { Evidence } from "../charts/evidence";
import type { Held } from "../live/store";
import { Place } from "../parts/copy";
import { EventTime } from "../parts/instant";
import { Offers } from "../parts/offers";
import { Panel } from "../parts/panel";
import { State, Verdict } from "../parts/state";
import { type Column, Table } from "../parts/table";
import { VersionName } from "../parts/version_name";
import { count, figure, limit, percent, things, UNKNOWN, words } from "../values/numbers";

export function Rollout({ name, held }: { name: string; held: Held<Deployment> }): JSX.Element {
  const view = useComputed(() => held.value.value?.rollout).value;
  // What was never measured says nothing about a rollout that is over.
  const isLeftOut = (metric: string): boolean => Boolean(held.value.value?.rollout?.outcome) && held.value.value?.rollout?.evidence[metric]?.verdict === "UNMEASURED";
  const all = useComputed(() => Object.keys(held.value.value?.rollout?.evidence ?? {}).sort(byVerdict(held)));
  const order = useComputed(() => all.value.filter((metric) => !isLeftOut(metric)));
  const rest = useComputed(() => all.value.filter(isLeftOut));
  const n = useComputed(() => order.value.length).value;
  const m = useComputed(() => rest.value.length).value;
  const row = (id: string): EvidenceRow | undefined => held.value.value?.rollout?.evidence[id];
  if (!view) return <></>;
  const title = <>Rollout of <VersionName deployment={name} version={view.version} /> <span class="soft">({words(view.policy)}{view.control != null && <>, against v{view.control}</>})</span></>;
  return (
    <Panel title={title} held={held} id="rollout" beside={<Offers offers={view.offers} />}>
      <Steps view={view} />
      <Said view={view} />
      {n > 0 && <Table caption="Evidence" columns={EVIDENCE} order={order} row={row} noun="metric" kind="fit" />}
      {m > 0 && (
        <details class="behind">
          <summary>{things(m, "metric")} {m === 1 ? "was" : "were"} not measured</summary>
          <Table caption="Evidence that was not measured" columns={EVIDENCE} order={rest} row={row} noun="metric" kind="fit" />
        </details>
      )}
      <Evidence view={view} />
    </Panel>
  );
}

const ENDED: Record<string, string> = { promoted: "promoted", aborted: "aborted", rolled_back: "rolled back", completed: "completed" };

const DOT = { past: "●", current: "◐", ended: "◆", ahead: "○" };

/** The shares of the plan, from the first to all traffic. */
function Steps({ view }: { view: RolloutView }): JSX.Element {
  return (
    <ol class="steps" aria-label="Steps of the rollout">
      {view.steps.map((share, index) => {
        const state = index < view.at ? "past" : index > view.at ? "ahead" : view.outcome ? "ended" : "current";
        const word = share === 0 ? "shadow" : percent(share);
        return (
          <li key={index} class={state} aria-current={state === "current" ? "step" : undefined}>
            <span class="dot" aria-hidden="true">{DOT[state]}</span>
            <span>{word}</span>
            {state === "ended" ? <span>{ENDED[view.outcome]} here</span> : <span class="unseen"> ({state})</span>}
          </li>
        );
      })}
    </ol>
  );
}

function Said({ view }: { view: RolloutView }): JSX.Element {
  if (view.outcome) {
    const isBad = view.outcome === "aborted" || view.outcome === "rolled_back";
    return <p><State mark={isBad ? "attention" : "ok"} word={ENDED[view.outcome] ?? view.outcome} />{view.reason && `: ${view.reason}`}{view.by && <span class="soft">, by {view.by}</span>} <Place place={view.place} word="its record" /></p>;
  }
  return (
    <>
      <p>
        <strong>{view.state}</strong> at {percent(view.share)} of the traffic{view.since_s != null && <>, since <EventTime at_s={view.since_s} label /></>}
        {view.waits_for && <>. Waits for {view.waits_for}</>}. <Place place={view.place} word="its record" />
      </p>
      <p class="soft">
        {things(view.step_decisions, "decision")} in this step, {things(view.label_count, "label")}, {things(view.cycles, "whole cycle")}.
        Guardrails: {view.guardrails || "none yet"}. Labels: {view.labels || "none yet"}.
      </p>
    </>
  );
}

const RANK: Record<string, number> = { FAIL: 0, UNMEASURED: 1, INCONCLUSIVE: 1, PASS: 2 };
function byVerdict(held: Held<Deployment>): (a: string, b: string) => number {
  const rows = held.value.value?.rollout?.evidence ?? {};
  return (a, b) => (RANK[rows[a]?.verdict ?? ""] ?? 1) - (RANK[rows[b]?.verdict ?? ""] ?? 1) || a.localeCompare(b);
}

const EVIDENCE: readonly Column<EvidenceRow>[] = [
  { key: "metric", head: "evidence", cell: (row) => <>{words(row.metric)}{row.is_dry_run && <span class="soft"> (dry run: decides nothing)</span>}</> },
  { key: "measured", head: "now", isNumber: true, cell: (row) => <span class="figure">{figure(row.measured)}</span> },
  { key: "limit", head: "limit", isNumber: true, cell: (row) => (row.limit == null ? <span class="soft">none</span> : limit(row.limit)) },
  { key: "needs", head: "needs", cell: (row) => row.needs || <span class="soft">{row.verdict === "PASS" || row.verdict === "FAIL" ? "nothing more" : UNKNOWN}</span> },
  { key: "n", head: "from", isNumber: true, cell: (row) => <>{count(row.rows)} <span class="soft">{row.rows === 1 ? "row" : "rows"}{row.blocks > 0 && `, ${things(row.blocks, "block")}`}</span></> },
  { key: "verdict", head: "says", cell: (row) => <><Verdict verdict={row.verdict} />{row.bound && <span> {row.bound}</span>}{row.detail && <span class="soft detail">{row.detail}</span>}</> },
];
