// The newest published back-test: what each policy would have gained by when, beside never, always and calendars of as many retrains.
import { type ReadonlySignal, useComputed } from "@preact/signals";
import type { JSX } from "preact";
import { Chart, type Picture } from "../charts/chart";
import type { BacktestPolicy, BacktestReported, Monitoring } from "../documents";
import { Command } from "../parts/copy";
import { EventTime } from "../parts/instant";
import { List } from "../parts/list";
import type { Column } from "../parts/table";
import { curves, drawn, retrains, stretch } from "../values/backtest";
import { count, figure, limit, signed, things } from "../values/numbers";

export function Backtest({ of, name }: { of: ReadonlySignal<Monitoring>; name: string }): JSX.Element {
  const found = useComputed(() => of.value.backtest);
  const isThere = useComputed(() => found.value != null).value;
  if (!isThere) {
    return (
      <>
        <p class="soft">No back-test was published. One answers what other policies would have found and asked for on this log, beside never, always and calendars of as many retrains:</p>
        <Way name={name} />
      </>
    );
  }
  return <Published found={found as ReadonlySignal<BacktestReported>} name={name} />;
}

const Way = ({ name }: { name: string }): JSX.Element => <Command text={`headrace monitor backtest ${name} --from DAY --policy FILE --publish`} />;
const NEVER = [{ value: 0, text: "0: no retrain at all", short: "never" }];

function Published({ found, name }: { found: ReadonlySignal<BacktestReported>; name: string }): JSX.Element {
  const picture = useComputed((): Picture => ({ ...curves(found.value), range: stretch(found.value), limits: NEVER, marks: retrains(found.value) }));
  const of = found.value;
  const more = of.policies.length - drawn(of).length;
  return (
    <>
      <p class="soft">
        {things(of.requests, "request")} from <EventTime at_s={of.from_s} /> to <EventTime at_s={of.to_s} label />, {count(of.labelled)} with a label; {of.loss} {figure(of.never)} per request without any retrain;
        {" "}{things(of.always_retrains, "retrain")} at equal distances would have gained {signed(of.always)}.
        {of.faults.length > 0 && ` Planted: ${of.faults.join(", ")}.`}
      </p>
      <Chart title={`${of.loss} gained per request, by policy`} picture={picture} write={signed} group="axis-backtest" clock="event" isFirst isLast />
      <p class="soft">↻ retrains that answered. At 50 of 100 a policy does what a calendar of as many retrains does; it is worth its alarms only above.{more > 0 && ` ${things(more, "more policy", "more policies")} in the table.`}</p>
      <List caption="Policies of the back-test" columns={COLUMNS} rows={() => Object.fromEntries(found.value.policies.map((one) => [one.name, one]))} compare={(a, b) => b.gain - a.gain} noun="policy" none="It names no policy." />
      <Way name={name} />
    </>
  );
}

const COLUMNS: readonly Column<BacktestPolicy>[] = [
  { key: "policy", head: "policy", cell: (row) => <span class="strong">{row.name}</span> },
  { key: "alarms", head: "alarms", isNumber: true, cell: (row) => `${count(row.alarms)} (${things(row.pages, "page")})` },
  { key: "false", head: "not planted", isNumber: true, cell: (row) => <>{count(row.false_alarms)}{row.allowed != null && <span class="soft"> of {limit(row.allowed)} allowed</span>}</> },
  { key: "retrains", head: "retrains", isNumber: true, cell: (row) => `${count(row.retrains_s.length)} of ${count(row.asked)} asked` },
  { key: "gain", head: "gained (90 %)", isNumber: true, cell: (row) => <><span class="strong">{signed(row.gain)}</span> <span class="soft">{row.low == null ? "too few rows for bounds" : `${signed(row.low)} to ${signed(row.high)}`}</span></> },
  { key: "phases", head: "among phases", isNumber: true, cell: (row) => `${count(row.among_phases)} of 100` },
  { key: "random", head: "among random", isNumber: true, cell: (row) => `${count(row.among_random)} of 100` },
  { key: "timing", head: "by timing", isNumber: true, cell: (row) => `${count(row.by_timing)} of 100` },
];
