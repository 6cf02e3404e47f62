// Alerts that fire, those that ended, and silences. Their instants are wall clock.
import { useComputed } from "@preact/signals";
import type { JSX } from "preact";
import type { AlertRow, Alerts, SilenceRow } from "../documents";
import { documentOf, type Held } from "../live/store";
import { Command, Place, Runbook } from "../parts/copy";
import { Ago } from "../parts/instant";
import { List } from "../parts/list";
import { Offers } from "../parts/offers";
import { Panel, Shown } from "../parts/panel";
import { State } from "../parts/state";
import type { Column } from "../parts/table";
import { SEVERITY } from "../values/order";

export function AlertsPage(): JSX.Element {
  const held = documentOf("alerts");
  const isThere = useComputed(() => held.value.value != null).value;
  return (
    <main id="main">
      <h1 tabIndex={-1}>Alerts</h1>
      {isThere ? <Parts held={held} /> : <Shown held={held}>{() => null}</Shown>}
    </main>
  );
}

const isFiring = (alert: AlertRow): boolean => alert.ends_s == null;
const those = (held: Held<Alerts>, wanted: (alert: AlertRow) => boolean): Record<string, AlertRow> =>
  Object.fromEntries(Object.entries(held.value.value?.alerts ?? {}).filter(([, alert]) => wanted(alert)));

function Parts({ held }: { held: Held<Alerts> }): JSX.Element {
  return (
    <>
      <Panel title="Firing" held={held} id="firing">
        <List caption="Alerts that fire" columns={FIRING} rows={() => those(held, isFiring)} compare={(a, b) => SEVERITY[a.mark] - SEVERITY[b.mark] || b.starts_s - a.starts_s} noun="alert" none="No alert fires." />
      </Panel>
      <Panel title="Silences" held={held} id="silences">
        <List caption="Silences" columns={SILENCES} rows={() => held.value.value?.silences} compare={(a, b) => a.ends_s - b.ends_s} noun="silence" none="Nothing is silenced." />
      </Panel>
      <Panel title="Ended" held={held} id="ended">
        <List caption="Alerts that ended" columns={ENDED} rows={() => those(held, (alert) => !isFiring(alert))} compare={(a, b) => (b.ends_s ?? 0) - (a.ends_s ?? 0)} noun="alert" none="No alert has ended yet." />
      </Panel>
    </>
  );
}

const NAME: Column<AlertRow> = { key: "name", head: "alert", cell: (row) => <><State mark={row.mark} word={row.severity} /> <span class="strong">{row.name}</span>{row.about && <span class="soft detail">{row.about}</span>}</> };
const SUMMARY: Column<AlertRow> = { key: "summary", head: "what", cell: (row) => <>{row.summary}{row.silenced && <span class="soft detail">silenced {row.silenced}</span>}</> };
const RECORD: Column<AlertRow> = { key: "record", head: "record", cell: (row) => <Place place={row.place} /> };

const FIRING: readonly Column<AlertRow>[] = [
  NAME, SUMMARY,
  { key: "since", head: "since", cell: (row) => <Ago at_s={row.starts_s} /> },
  {
    key: "ways", head: "ways out",
    cell: (row) => <span class="ways"><Runbook to={row.runbook} /><Offers offers={row.offers} />{row.command && <Command text={row.command} />}</span>,
  },
  RECORD,
];

const ENDED: readonly Column<AlertRow>[] = [
  { ...NAME, cell: (row) => <><span class="strong">{row.name}</span>{row.about && <span class="soft detail">{row.about}</span>}</> },
  SUMMARY,
  { key: "since", head: "began", cell: (row) => <Ago at_s={row.starts_s} /> },
  { key: "until", head: "ended", cell: (row) => row.ends_s != null && <><State mark="ok" word="resolved" /> <Ago at_s={row.ends_s} /></> },
  RECORD,
];

const SILENCES: readonly Column<SilenceRow>[] = [
  { key: "what", head: "silenced", cell: (row) => Object.entries(row.matchers).map(([name, value]) => <span key={name} class="pair"><span class="soft">{name}</span> {value}</span>) },
  { key: "why", head: "why", cell: (row) => <>{row.reason}<span class="soft">, by {row.by}</span></> },
  { key: "until", head: "ends", cell: (row) => <Ago at_s={row.ends_s} /> },
  { key: "ways", head: "ways out", cell: (row) => <Offers offers={row.offers} /> },
  { key: "record", head: "record", cell: (row) => <Place place={row.place} /> },
];
