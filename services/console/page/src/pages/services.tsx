// Services: is each instance alive, how much it does, how far it is behind, and who reads what from whom.
import { useComputed } from "@preact/signals";
import type { JSX } from "preact";
import type { ServiceRow, Services } from "../documents";
import { documentOf, type Held } from "../live/store";
import { sorted } from "../parts/facts";
import { Ago } from "../parts/instant";
import { List } from "../parts/list";
import { Panel, Shown } from "../parts/panel";
import { State } from "../parts/state";
import type { Column } from "../parts/table";
import { duration } from "../values/instants";
import { bytes, count, percent, rate, things } from "../values/numbers";
import { SEVERITY } from "../values/order";
import { Bar } from "./now";
import { Topology } from "./topology";

export function ServicesPage(): JSX.Element {
  const held = documentOf("services");
  const isThere = useComputed(() => held.value.value != null).value;
  return (
    <main id="main">
      <h1 tabIndex={-1}>Services</h1>
      {isThere ? <Parts held={held} /> : <Shown held={held}>{() => null}</Shown>}
    </main>
  );
}

const Parts = ({ held }: { held: Held<Services> }): JSX.Element => (
  <>
    <Panel title="Instances" held={held} id="instances">
      <List caption="Instances of services" columns={INSTANCES} rows={() => held.value.value?.instances} compare={(a, b) => SEVERITY[a.mark] - SEVERITY[b.mark]} noun="instance" none="No service has reported. They are started by: headrace up" />
    </Panel>
    <Panel title="Topology" held={held} id="topology"><Topology held={held} /></Panel>
  </>
);

const INSTANCES: readonly Column<ServiceRow>[] = [
  { key: "service", head: "service", cell: (row) => <><State mark={row.mark} isQuiet /> <span class="strong">{row.service}</span> <span class="soft">{row.instance}</span></> },
  { key: "word", head: "state", cell: (row) => row.word },
  { key: "rate", head: "records/s", isNumber: true, cell: (row) => rate(row.handled_per_s) },
  { key: "behind", head: "behind", isNumber: true, cell: (row) => <Behind row={row} /> },
  { key: "silent", head: "last report", isNumber: true, cell: (row) => `${duration(Math.round(row.silent_s))} ago` },
  { key: "shards", head: "shards", isNumber: true, cell: (row) => count(row.shards.length) },
  { key: "state_bytes", head: "memory of what is bounded", cell: (row) => <StateBytes row={row} /> },
  { key: "dead", head: "dead letters", isNumber: true, cell: (row) => (row.dead_letters ? <a href="/dead-letters">{count(row.dead_letters)}</a> : "0") },
  { key: "started", head: "started", cell: (row) => <><Ago at_s={row.started_s} />{row.code_version && <span class="soft"> {row.code_version}</span>}</> },
];

function Behind({ row }: { row: ServiceRow }): JSX.Element {
  const lag = sorted(row.lag).filter(([, records]) => records > 0);
  if (!lag.length) return <>{count(row.behind_records)}</>;
  return <details><summary>{count(row.behind_records)}</summary><ul>{lag.map(([topic, records]) => <li key={topic}>{topic} <span class="figure">{count(records)}</span></li>)}</ul></details>;
}

/** Every bounded state with its bound: the fullest stands for all. */
function StateBytes({ row }: { row: ServiceRow }): JSX.Element {
  const states = sorted(row.state_bytes);
  if (!states.length) return <span class="soft">none</span>;
  const fullest = states.reduce((a, b) => (b[1][0] / b[1][1] > a[1][0] / a[1][1] ? b : a));
  const share = shareOf(fullest[1]);
  return (
    <details>
      <summary><Bar share={share} /> {percent(share)} <span class="soft">{fullest[0]}{states.length > 1 && ` (fullest of ${things(states.length, "state")})`}</span></summary>
      <ul>{states.map(([name, [used, most]]) => <li key={name}>{name} <span class="figure">{bytes(used)}</span> <span class="soft">of {bytes(most)}</span></li>)}</ul>
    </details>
  );
}

const shareOf = ([used, most]: [number, number]): number => (most > 0 ? used / most : 0);
