// Features: how fresh each source is, what is computed from it, and which deployments lack values.
import { useComputed } from "@preact/signals";
import type { JSX } from "preact";
import type { Features, SourceRow, ViewRow } from "../documents";
import { documentOf, type Held } from "../live/store";
import { sorted } from "../parts/facts";
import { EventTime } from "../parts/instant";
import { List } from "../parts/list";
import { Panel, Shown } from "../parts/panel";
import { State } from "../parts/state";
import type { Column } from "../parts/table";
import { count, percent, things } from "../values/numbers";
import { SEVERITY } from "../values/order";
import { href } from "../values/routes";
import { Bar } from "./now";

export function FeaturesPage(): JSX.Element {
  const held = documentOf("features");
  const isThere = useComputed(() => held.value.value != null).value;
  return (
    <main id="main">
      <h1 tabIndex={-1}>Features</h1>
      {isThere ? <Parts held={held} /> : <Shown held={held}>{() => null}</Shown>}
    </main>
  );
}

function Parts({ held }: { held: Held<Features> }): JSX.Element {
  const missing = useComputed(() => held.value.value?.missing).value;
  return (
    <>
      <Panel title="Sources" held={held} id="sources">
        <List caption="Sources" columns={SOURCES} rows={() => held.value.value?.sources} compare={(a, b) => SEVERITY[a.mark] - SEVERITY[b.mark]} noun="source" none="No project declares a source of events: deployments answer from their inputs alone." />
      </Panel>
      <Panel title="Views" held={held} id="views">
        <List caption="Feature views" columns={VIEWS} rows={() => held.value.value?.views} noun="view" none="No feature view is declared." />
      </Panel>
      {Object.keys(missing ?? {}).length > 0 && (
        <Panel title="Missing values" held={held} id="missing">
          <table class="fit">
            <caption class="unseen">Share of missing feature values, by deployment</caption>
            <thead><tr><th scope="col">deployment</th><th scope="col" class="number">missing in the newest window</th></tr></thead>
            <tbody>{sorted(missing).map(([name, share]) => <tr key={name}><th scope="row"><a href={href.deployment(name)}>{name}</a></th><td class="number"><Bar share={share} /> <span class="figure">{percent(share, 1)}</span></td></tr>)}</tbody>
          </table>
        </Panel>
      )}
    </>
  );
}

const SOURCES: readonly Column<SourceRow>[] = [
  { key: "source", head: "source", cell: (row) => <><State mark={row.mark} isQuiet /> <span class="strong">{row.source}</span> <span class="soft">{row.project}</span></> },
  { key: "newest", head: "newest event in the features", cell: (row) => (row.newest_event_s == null ? <span class="soft">{row.newest_word}</span> : <EventTime at_s={row.newest_event_s} label />) },
  { key: "behind", head: "not folded yet", isNumber: true, cell: (row) => count(row.behind_records) },
  { key: "late", head: "late", isNumber: true, cell: (row) => count(row.late) },
];

const VIEWS: readonly Column<ViewRow>[] = [
  { key: "view", head: "view", cell: (row) => <><span class="strong">{row.view}</span> <span class="soft">{row.project}</span></> },
  { key: "source", head: "of", cell: (row) => <>{row.source} <span class="soft">by {row.entity}</span></> },
  {
    key: "features", head: "features",
    cell: (row) => <details><summary>{things(Object.keys(row.features).length, "feature")}</summary><ul>{sorted(row.features).map(([feature, means]) => <li key={feature}>{feature} <span class="soft">{means}</span></li>)}</ul></details>,
  },
  { key: "used", head: "used by", cell: (row) => (row.used_by.length ? row.used_by.map((name, index) => <span key={name}>{index > 0 && ", "}<a href={href.deployment(name)}>{name}</a></span>) : <span class="soft">no deployment</span>) },
];
