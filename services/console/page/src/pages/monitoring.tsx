// How a deployment is monitored: its charts with what was expected, the budget of its pages, estimates beside what it was, columns.
import { type ReadonlySignal, useComputed, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { Chart, type Picture } from "../charts/chart";
import { Ranges } from "../charts/charts";
import { Marks } from "../charts/marks";
import type { BudgetReported, ColumnRow, Monitoring } from "../documents";
import { parameter } from "../live/address";
import { documentOf, eventTimeOf, type Held } from "../live/store";
import { Facts } from "../parts/facts";
import { EventTime } from "../parts/instant";
import { List } from "../parts/list";
import { Panel, Shown } from "../parts/panel";
import { State } from "../parts/state";
import type { Column } from "../parts/table";
import { VersionName } from "../parts/version_name";
import { chosenRange, type Drawn, instants, placed, type Range, rangeOf } from "../values/axis";
import { duration } from "../values/instants";
import { type Band, estimateLines, figureLines, held as inBounds, meaning, named, newest, statisticLine } from "../values/monitored";
import { count, figure, limit, percent, things, words } from "../values/numbers";
import { Heading } from "./heading";
import { Backtest } from "./monitoring_backtest";
import { Worth } from "./monitoring_worth";

export function MonitoringPage({ name }: { name: string }): JSX.Element {
  const held = documentOf(`monitoring/${name}`);
  const isThere = useComputed(() => held.value.value != null).value;
  return (
    <main id="main">
      <Heading name={name} at="monitoring" title={<><span class="unseen">{name} </span>Monitoring</>} />
      {isThere ? <Parts name={name} held={held} /> : <Shown held={held}>{() => null}</Shown>}
    </main>
  );
}

function Parts({ name, held }: { name: string; held: Held<Monitoring> }): JSX.Element {
  const of = useComputed(() => held.value.value ?? NOTHING);
  const charts = useComputed(() => of.value.charts.join("\n")).value.split("\n").filter(Boolean);
  const metrics = useComputed(() => of.value.metrics.join("\n")).value.split("\n").filter(Boolean);
  return (
    <>
      <Panel title="Pages and their budget" held={held} id="budget"><Ledger of={of} name={name} /></Panel>
      <Panel title="Charts" held={held} id="charts" beside={charts.length > 0 && <Ranges held={held} />}><Charts of={of} name={name} charts={charts} /></Panel>
      <Panel title="Estimated before labels, and as it was" held={held} id="estimates"><Estimates of={of} name={name} metrics={metrics} /></Panel>
      <Panel title="Columns against the training rows" held={held} id="columns"><Columns of={of} held={held} name={name} /></Panel>
      <Panel title="The newest switch, and the A/A arm" held={held} id="worth"><Worth of={of} name={name} /></Panel>
      <Panel title="Back-test" held={held} id="backtest"><Backtest of={of} name={name} /></Panel>
    </>
  );
}

const NOTHING: Monitoring = { charts: [], metrics: [], windows: {}, columns: {}, columns_to_s: null, ledger: null, efficacy: null, audit: null, marks: {}, declared: [], left_out: 0, backtest: null, audit_share: 0, classes: [] };

// The ledger

function Ledger({ of, name }: { of: ReadonlySignal<Monitoring>; name: string }): JSX.Element {
  const ledger = useComputed(() => of.value.ledger).value;
  const declared = useComputed(() => of.value.declared.join(", ")).value;
  const way = <p class="soft">Detectors of this deployment: {declared || "none are declared"}. Only findings of severity page spend the budget; the others warn. What fires now, and what is silenced: <a href="/alerts">alerts</a>.</p>;
  if (!ledger) return <><p class="soft">No budget of pages was reported: the project states none (<code>Charts(pages="1 per month")</code>), or no window has closed since.</p>{way}</>;
  return <><Facts facts={entries(ledger, name)} />{way}</>;
}

const entries = (ledger: BudgetReported, name: string): (readonly [string, JSX.Element | string])[] => [
  ["stated", `${limit(ledger.stated)} false ${ledger.stated === 1 ? "page" : "pages"} in ${duration(ledger.period_s)} of event time, divided among ${things(ledger.charts, "side")} of charts`],
  ["spent", <><span class="strong">{things(ledger.spent, "page")}</span> in the newest period{ledger.pages.length > 0 && <>: {ledger.pages.map((id, index) => <span key={id}>{index > 0 && ", "}<a href={`/deployments/${encodeURIComponent(name)}/findings/${id}`}>{id.slice(0, 8)}</a></span>)}</>}; {things(ledger.total, "page")} since <EventTime at_s={ledger.since_s} /></>],
  ["left", ledger.left > 0 ? limit(ledger.left) : <State mark="attention" word="nothing is left in this period" />],
  ["by theorem", `a false page after ${duration(ledger.patience_s)} on average, at least`],
  ["by bootstrap", ledger.measured == null ? "not measured: there are too few reference windows" : `${figure(ledger.measured)} false pages in a period of usual windows, at most ${figure(ledger.measured_high)} in 95 % of stretches of twelve periods`],
  ["as of", <EventTime at_s={ledger.at_s} label />],
];

// Charts

/** The part of event time that is drawn, up to the deployment's clock. */
function useRange(of: ReadonlySignal<Monitoring>, name: string): ReadonlySignal<Range> {
  const event_s = eventTimeOf(name);
  return useComputed(() => {
    const x = instants(of.value.windows);
    const to = Math.max(event_s.value ?? 0, x.at(-1) ?? 0);
    return rangeOf(chosenRange(parameter("range"), of.value), x[0] ?? to, to);
  });
}

function usePicture(of: ReadonlySignal<Monitoring>, range: ReadonlySignal<Range>, lines: (of: Monitoring, range: Range) => Drawn & { band?: Band }, limits: Picture["limits"] = []): ReadonlySignal<Picture> {
  return useComputed(() => ({ ...lines(of.value, range.value), range: range.value, limits, marks: placed(of.value.marks, "event", false, range.value) }));
}

interface Drawing { of: ReadonlySignal<Monitoring>; name: string }
const COMMON = { group: "axis-monitoring", clock: "event" } as const;

function Charts({ of, name, charts }: Drawing & { charts: string[] }): JSX.Element {
  const range = useRange(of, name);
  const isOpen = useSignal(false);
  const leftOut = useComputed(() => of.value.left_out).value;
  if (!charts.length) return <p class="soft">No chart yet. The monitor draws them for a version whose training left reference windows, once a window of it has closed; windows from before charts were recorded have none.</p>;
  const [whole, parts] = [charts.filter((chart) => !chart.includes("@")), charts.filter((chart) => chart.includes("@"))];
  return (
    <>
      <p class="soft axis-name">Event time (UTC): evaluation windows by their end. The band is what reference windows lead one to expect, two standard deviations wide on each side. A finding opens where a detector reaches its limit; that none is open does not mean that nothing has changed.</p>
      {whole.map((chart, index) => <Seen key={chart} of={of} range={range} chart={chart} isFirst={index === 0} isLast={index === whole.length - 1} />)}
      {parts.length > 0 && (
        <details class="behind" onToggle={(event) => (isOpen.value = event.currentTarget.open)}>
          <summary>{things(parts.length, "chart")} of segments{leftOut > 0 && `; ${count(leftOut)} more are not shown`}</summary>
          {isOpen.value && parts.map((chart, index) => <Seen key={chart} of={of} range={range} chart={chart} isLast={index === parts.length - 1} />)}
        </details>
      )}
      <Marks series={of} />
    </>
  );
}

const AT_LIMIT = [{ value: 0, text: "at its limit (1) it alarms", short: "alarm" }];
const factor = (power: number | null | undefined): string => (power == null ? figure(null) : figure(10 ** power));

function Seen({ of, range, chart, isFirst = false, isLast = false }: { of: ReadonlySignal<Monitoring>; range: ReadonlySignal<Range>; chart: string; isFirst?: boolean; isLast?: boolean }): JSX.Element {
  const seen = usePicture(of, range, (all, within) => figureLines(all, chart, within));
  const statistic = usePicture(of, range, (all, within) => statisticLine(all, chart, within), AT_LIMIT);
  const title = named(chart, useComputed(() => of.value.classes).value);
  const hasDetector = useComputed(() => statistic.value.lines[0]?.values.some((value) => value != null) ?? false).value;
  return (
    <>
      <Chart {...COMMON} title={title} picture={seen} write={figure} isFirst={isFirst} isLast={isLast && !hasDetector} />
      <Blind of={of} chart={chart} />
      {hasDetector && <Chart {...COMMON} title={`detector of ${title}`} picture={statistic} write={factor} isLast={isLast} />}
    </>
  );
}

/** What this chart cannot see. */
function Blind({ of, chart }: { of: ReadonlySignal<Monitoring>; chart: string }): JSX.Element {
  const one = useComputed(() => newest(of.value, chart)).value;
  if (one?.detectable == null) return <p class="soft">{meaning(chart)} How small a change it can see is not known: its reference is too short.</p>;
  return <p class="soft">{meaning(chart)} A lasting change of {figure(one.detectable)} is found within {things(one.within_windows ?? 0, "window")} in half of all cases, a smaller one later.</p>;
}

// Estimates

function Estimates({ of, name, metrics }: Drawing & { metrics: string[] }): JSX.Element {
  const range = useRange(of, name);
  if (!metrics.length) return <p class="soft">Nothing was estimated yet: it needs a version with scores of its training, and a window whose requests are all there.</p>;
  return (
    <>
      <p class="soft axis-name">Estimates know scores, and no labels: they do not see that what the scores mean has changed. The band has bounds of 90 %; it begins when five earlier estimates could be compared with what came.</p>
      {metrics.map((metric, index) => <Estimate key={metric} of={of} range={range} metric={metric} isFirst={index === 0} isLast={index === metrics.length - 1} />)}
    </>
  );
}

function Estimate({ of, range, metric, isFirst, isLast }: { of: ReadonlySignal<Monitoring>; range: ReadonlySignal<Range>; metric: string; isFirst: boolean; isLast: boolean }): JSX.Element {
  const picture = usePicture(of, range, (all, within) => estimateLines(all, metric, within));
  const { inside, all } = useComputed(() => inBounds(of.value, metric)).value;
  return (
    <>
      <Chart {...COMMON} title={words(metric)} picture={picture} write={figure} isFirst={isFirst} isLast={isLast} />
      <p class="soft">{all ? `The bounds held what it was in ${count(inside)} of ${things(all, "window")} whose labels came.` : "No label of an estimated window has come yet."}</p>
    </>
  );
}

// Columns

const byDistance = (a: ColumnRow, b: ColumnRow): number => b.psi - a.psi;
const those = (held: Held<Monitoring>, isMoved: boolean): Record<string, ColumnRow> =>
  Object.fromEntries(Object.entries(held.value.value?.columns ?? {}).filter(([, row]) => row.is_moved === isMoved));

function Columns({ of, held, name }: Drawing & { held: Held<Monitoring> }): JSX.Element {
  const to_s = useComputed(() => of.value.columns_to_s).value;
  const count_of = useComputed(() => Object.keys(of.value.columns).length).value;
  const usual = useComputed(() => Object.keys(those(held, false)).length).value;
  const isOpen = useSignal(false);
  const columns = COLUMNS(name);
  return (
    <>
      {to_s != null && <p class="soft">Window to <EventTime at_s={to_s} label />. A column has moved when its p is small enough for so many columns, beside how far one day of the training rows lies from the others. That makes a finding, and never a page.</p>}
      <List caption="Columns that moved" columns={columns} rows={() => those(held, true)} compare={byDistance} noun="column" none={count_of ? `None of ${things(count_of, "column")} has moved.` : "No window has compared columns yet: it needs a version whose training rows were profiled."} />
      {usual > 0 && (
        <details class="behind" onToggle={(event) => (isOpen.value = event.currentTarget.open)}>
          <summary>{things(usual, "column")} as usual</summary>
          {isOpen.value && <List caption="Columns as usual" columns={columns} rows={() => those(held, false)} compare={byDistance} noun="column" none="None." />}
        </details>
      )}
    </>
  );
}

const COLUMNS = (name: string): readonly Column<ColumnRow>[] => [
  { key: "column", head: "column", cell: (row) => <><span class="strong">{row.column}</span> <span class="soft">against <VersionName deployment={name} version={row.version} /></span></> },
  { key: "moved", head: "moved", cell: (row) => <State mark={row.is_moved ? "attention" : "ok"} word={row.is_moved ? "moved" : "as usual"} /> },
  { key: "psi", head: "PSI", isNumber: true, cell: (row) => figure(row.psi) },
  { key: "ks", head: "KS", isNumber: true, cell: (row) => figure(row.ks) },
  { key: "p", head: "p", isNumber: true, cell: (row) => figure(row.p_value) },
  { key: "null", head: "null", isNumber: true, cell: (row) => percent(row.null_share, 1) },
  { key: "unknown", head: "unknown", isNumber: true, cell: (row) => percent(row.unknown_share, 1) },
  { key: "distinct", head: "distinct values", isNumber: true, cell: (row) => row.distinct == null ? "" : count(row.distinct) },
  { key: "usual", head: "in training", isNumber: true, cell: (row) => row.usual_distinct == null ? "" : count(row.usual_distinct) },
  { key: "rows", head: "rows", isNumber: true, cell: (row) => count(row.rows) },
];
