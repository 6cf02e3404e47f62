// A version: what it is, its gates, its card, where it comes from, and how it does in each slice.
import { useComputed } from "@preact/signals";
import type { JSX } from "preact";
import type { GateRow, Version } from "../documents";
import { documentOf, type Held } from "../live/store";
import { Card } from "../parts/card";
import { Id, Place } from "../parts/copy";
import { type Fact, Facts, Plain, sorted } from "../parts/facts";
import { EventTime } from "../parts/instant";
import { List } from "../parts/list";
import { Offers } from "../parts/offers";
import { Panel, Shown } from "../parts/panel";
import { State, Verdict } from "../parts/state";
import type { Column } from "../parts/table";
import { VersionName } from "../parts/version_name";
import { bytes, count, figure, limit, things } from "../values/numbers";
import { HeldOut, stageOf } from "../parts/held_out";
import { Heading } from "./heading";

export function VersionPage({ name, version }: { name: string; version: string }): JSX.Element {
  const held = documentOf(`version/${name}/${version}`);
  const offers = useComputed(() => held.value.value?.offers).value;
  const stage = useComputed(() => held.value.value?.row.stage).value;
  return (
    <main id="main">
      <Heading name={name} at="" title={<><span class="unseen">{name} </span><VersionName version={Number(version)} /></>}>
        <span>{stage}</span><Offers offers={offers} />
      </Heading>
      <Shown held={held}>{(value) => <Parts value={value} held={held} />}</Shown>
    </main>
  );
}

function Parts({ value, held }: { value: Version; held: Held<Version> }): JSX.Element {
  return (
    <>
      <Panel title="What it is" held={held}><What value={value} /></Panel>
      <Panel title="Gates" held={held}>
        <List caption="Gates" columns={GATES} rows={() => held.value.value?.gates} noun="gate" none="No gate has judged this version." />
      </Panel>
      <Panel title="Card" held={held}>{value.card ? <Card text={value.card} /> : <p class="soft">This version has no card.</p>}</Panel>
      <Panel title="Where it comes from" held={held}><Facts facts={sorted(value.lineage).map(([name, part]) => isSaid(part) && origin(name, part))} /></Panel>
      <Panel title="Slices" held={held}><Slices slices={value.slices} /></Panel>
      <Panel title={`Inputs (${value.columns.length})`} held={held}>
        <p class="wrap">{value.columns.map((column, index) => <span key={column.name}>{index > 0 && ", "}{column.name}{column.values != null && <span class="soft"> ({things(column.values, "value")})</span>}</span>)}</p>
      </Panel>
    </>
  );
}

// A version of somebody else's making has little of it: what is not known is left out.
const isSaid = (part: unknown): boolean => Boolean(part) && !(typeof part === "object" && Object.keys(part as object).length === 0);

/** An entry of the lineage; names that end with `_s` are instants of event time. */
function origin(name: string, part: unknown): Fact {
  const words = name.replace(/_s$/, "").replaceAll("_", " ");
  return [words, typeof part === "number" && name.endsWith("_s") ? <EventTime at_s={part} label /> : <Plain value={part} />];
}

function What({ value }: { value: Version }): JSX.Element {
  const { row } = value;
  return (
    <Facts
      facts={[
        ["stage", stageOf(row)],
        ["registered", <><EventTime at_s={row.registered_at_s} label /> by {row.by || "the trainer"} <Place place={value.place} word="its record" /></>],
        row.approved_by && ["approved by", row.approved_by],
        value.owner && ["owner", value.owner],
        row.reason && ["why", row.reason],
        row.trained_rows > 0 && ["trained on", things(row.trained_rows, "row")],
        ["on held-out rows", <HeldOut metrics={row.metrics} />],
        ["artifact", <>{value.format}, {bytes(value.size_bytes)}, <Id id={value.artifact_digest} /></>],
        ["model", <Id id={value.model_digest} />],
        ...sorted(value.tags).map(([tag, text]) => [tag, text] as const),
      ]}
    />
  );
}

const GATES: readonly Column<GateRow>[] = [
  { key: "gate", head: "gate", cell: (row) => row.gate },
  { key: "measured", head: "measured", isNumber: true, cell: (row) => figure(row.measured) },
  { key: "limit", head: "limit", isNumber: true, cell: (row) => (row.limit == null ? <span class="soft">none</span> : limit(row.limit)) },
  { key: "verdict", head: "says", cell: (row) => <Says row={row} /> },
  { key: "detail", head: "on", cell: (row) => <>{row.artifact}{row.detail && <span class="soft detail">{row.detail}</span>}</> },
];

/** NB: what fails and is waived looks as in the list of versions: nobody is to stop at it. */
function Says({ row }: { row: GateRow }): JSX.Element {
  if (row.waived_by && row.verdict === "FAIL") return <State mark="attention" word={`FAIL, waived by ${row.waived_by}`} />;
  return <><Verdict verdict={row.verdict} />{row.waived_by && <span class="soft detail">waived by {row.waived_by}</span>}</>;
}

function Slices({ slices }: { slices: Version["slices"] }): JSX.Element {
  const rows = sorted(slices);
  const metrics = [...new Set(rows.flatMap(([, figures]) => Object.keys(figures)))];
  if (!rows.length) return <p class="soft">No slice was measured.</p>;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="slices">
      <table>
        <thead><tr><th scope="col">slice</th>{metrics.map((metric) => <th key={metric} scope="col" class="number">{metric}</th>)}</tr></thead>
        <tbody>{rows.map(([slice, figures]) => <tr key={slice}><th scope="row">{slice}</th>{metrics.map((metric) => <td key={metric} class="number">{metric === "rows" ? count(figures[metric]) : figure(figures[metric])}</td>)}</tr>)}</tbody>
      </table>
    </div>
  );
}
