// A decision explained: what was answered and by whom, from which values, and why that version answered.
import { useSignal, useSignalEffect } from "@preact/signals";
import type { JSX } from "preact";
import type { DecisionView } from "../documents";
import { go } from "../live/address";
import { ask } from "../live/person";
import { Command, Id, Place } from "../parts/copy";
import { Facts, Plain, sorted } from "../parts/facts";
import { EventTime } from "../parts/instant";
import { State } from "../parts/state";
import { VersionName } from "../parts/version_name";
import { href } from "../values/routes";
import { Heading } from "./heading";
import { Step } from "./timeline";

type Found = { state: "none" } | { state: "reading" } | { state: "found"; view: DecisionView } | { state: "error"; error: string };

export function DecisionPage({ name, wanted }: { name: string; wanted: string }): JSX.Element {
  const found = useSignal<Found>({ state: "none" });
  useSignalEffect(() => {
    if (!wanted) return;
    found.value = { state: "reading" };
    void ask<DecisionView>(`/api/v1/decisions/${encodeURIComponent(name)}/${encodeURIComponent(wanted)}`).then((answer) => {
      found.value = "value" in answer ? { state: "found", view: answer.value } : { state: "error", error: answer.error };
    });
  });
  const current = found.value;
  return (
    <main id="main">
      <Heading name={name} at="decisions" title={<>Decisions<span class="unseen"> of {name}</span></>} />
      <Search name={name} wanted={wanted} />
      {current.state === "none" && <p class="soft">A decision is found by the id of its request, or by the unit that was asked about: then the newest one.</p>}
      {current.state === "reading" && <p class="soft waiting">Reading the log …</p>}
      {current.state === "error" && <p><State mark="unknown" word="not found" />: {current.error}</p>}
      {current.state === "found" && <Parts view={current.view} />}
    </main>
  );
}

function Search({ name, wanted }: { name: string; wanted: string }): JSX.Element {
  const text = useSignal(wanted);
  const submit = (event: Event): void => {
    event.preventDefault();
    if (text.value.trim()) go(href.decision(name, text.value.trim()));
  };
  return (
    <form class="search-form" role="search" onSubmit={submit}>
      <label>Request id or unit <input type="search" value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} /></label>
      <button type="submit">explain</button>
    </form>
  );
}

function Parts({ view }: { view: DecisionView }): JSX.Element {
  return (
    <>
      <section class="panel">
        <h2>What was answered</h2>
        <Facts
          facts={[
            ["request", <><Id id={view.request_id} /> <Place place={view.request_place} word="its record" /></>],
            ["unit", view.unit],
            ["decided at", <><EventTime at_s={view.at_s} label /> <Place place={view.place} word="its record" /></>],
            ["assigned to", <VersionName deployment={view.deployment} version={view.assigned} />],
            ...sorted(view.answer).map(([name, value]) => [name.replaceAll("_", " "), <Plain value={value} />] as const),
            Object.keys(view.failed).length > 0 && ["failed before", <Plain value={view.failed} />],
            Object.keys(view.shadows).length > 0 && ["shadows", <Plain value={view.shadows} />],
            ["outcome", view.outcome == null ? <State mark="unknown" word="not known yet" /> : <Plain value={view.outcome} />],
            view.recovered && ["recovered", "decided again after a restart, from the same record"],
            ["code", view.code_version],
          ]}
        />
      </section>
      <section class="panel">
        <h2>From which values</h2>
        <Row view={view} />
        <Facts facts={[["entities", <Plain value={view.entities} />], ["features as of", <Plain value={view.source_offsets} />]]} />
      </section>
      <section class="panel">
        <h2>Why this version</h2>
        {view.why.length > 0 && <p class="soft">The newest cause first, each with its time of the day on the wall clock and its event time, UTC.</p>}
        {view.why.length ? <ol class="story">{view.why.map((step) => <Step key={step.place + step.order} step={step} />)}</ol> : <p class="soft">The route has no cause on the log.</p>}
        <p class="soft">The same in the terminal:</p>
        <Command text={`headrace explain ${view.deployment} ${view.request_id}`} />
      </section>
    </>
  );
}

/** The row that was scored; values that were missing or stale say so. */
function Row({ view }: { view: DecisionView }): JSX.Element {
  const missing = new Set(view.missing);
  const stale = new Set(view.stale);
  const names = [...new Set([...Object.keys(view.row), ...view.missing])].sort();
  return (
    <table class="row-values">
      <caption class="unseen">The values that were scored</caption>
      <thead><tr><th scope="col">value</th><th scope="col" class="number">was</th><th scope="col">note</th></tr></thead>
      <tbody>
        {names.map((name) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td class="number">{missing.has(name) ? <span class="soft">none</span> : <Plain value={view.row[name]} />}</td>
            <td>{missing.has(name) ? <State mark="unknown" word="missing" /> : stale.has(name) ? <State mark="attention" word="stale" /> : ""}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
