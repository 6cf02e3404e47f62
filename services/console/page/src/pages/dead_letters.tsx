// Records that could not be read, and partitions that are stopped by one, with the commands that end the stop.
import { useComputed } from "@preact/signals";
import type { JSX } from "preact";
import type { DeadLetterRow, DeadLetters, Stop } from "../documents";
import { documentOf, type Held } from "../live/store";
import { Command, Place } from "../parts/copy";
import { sorted } from "../parts/facts";
import { Ago } from "../parts/instant";
import { List } from "../parts/list";
import { Panel, Shown } from "../parts/panel";
import { State } from "../parts/state";
import type { Column } from "../parts/table";
import { bytes, count } from "../values/numbers";

export function DeadLettersPage(): JSX.Element {
  const held = documentOf("dead-letters");
  const isThere = useComputed(() => held.value.value != null).value;
  return (
    <main id="main">
      <h1 tabIndex={-1}>Dead letters</h1>
      {isThere ? <Parts held={held} /> : <Shown held={held}>{() => null}</Shown>}
    </main>
  );
}

function Parts({ held }: { held: Held<DeadLetters> }): JSX.Element {
  const counts = useComputed(() => held.value.value?.counts).value;
  return (
    <>
      <Panel title="Stopped partitions" held={held} id="stops">
        <List caption="Stopped partitions" columns={STOPS} rows={() => held.value.value?.stops} compare={(a, b) => a.since_s - b.since_s} noun="stop" none="No partition is stopped." />
      </Panel>
      <Panel title="Newest letters" held={held} id="letters">
        {Object.keys(counts ?? {}).length > 0 && <p>Since the start of the log: {sorted(counts).map(([service, n]) => <span key={service} class="pair"><span class="soft">{service}</span> {count(n)}</span>)}</p>}
        <List caption="Newest dead letters" columns={LETTERS} rows={() => held.value.value?.letters} compare={(a, b) => b.at_s - a.at_s} noun="letter" none="Every record could be read." />
      </Panel>
    </>
  );
}

const STOPS: readonly Column<Stop>[] = [
  { key: "service", head: "service", cell: (row) => <State mark="page" word={row.service} /> },
  { key: "place", head: "stopped at", cell: (row) => <Place place={row.place} /> },
  { key: "reason", head: "why", cell: (row) => row.reason },
  { key: "since", head: "since", cell: (row) => <Ago at_s={row.since_s} /> },
  { key: "ways", head: "ways out", cell: (row) => row.commands.map((command) => <Command key={command} text={command} />) },
];

const LETTERS: readonly Column<DeadLetterRow>[] = [
  { key: "service", head: "service", cell: (row) => row.service },
  { key: "reason", head: "why", cell: (row) => <span class="wrap">{row.reason}</span> },
  { key: "origin", head: "could not be read", cell: (row) => <Place place={row.origin} /> },
  { key: "size", head: "size", isNumber: true, cell: (row) => bytes(row.size_bytes) },
  { key: "at", head: "at", cell: (row) => <Ago at_s={row.at_s} /> },
  { key: "place", head: "letter", cell: (row) => <Place place={row.place} /> },
];
