// The course of a deployment: quality, drift, traffic and latency in one column on one time axis, with one cursor.
import { type ReadonlySignal, useComputed } from "@preact/signals";
import type { JSX } from "preact";
import type { Series, Threshold } from "../documents";
import { parameter, withParameter } from "../live/address";
import { minute_s } from "../live/clock";
import { documentOf, eventTimeOf, type Held } from "../live/store";
import { Panel, Shown } from "../parts/panel";
import { chosenRange, type Drawn, instants, isTogether, latencyLines, placed, qualityLines, type Range, rangeOf, RANGES, trafficLines, windowLine } from "../values/axis";
import { count, figure, limit, milliseconds, percent, rate } from "../values/numbers";
import { Chart, type Picture } from "./chart";
import { Marks } from "./marks";

export function Charts({ name }: { name: string }): JSX.Element {
  const held = documentOf(`series/${name}`);
  const isThere = useComputed(() => held.value.value != null).value;
  return (
    <Panel title="Course" held={held} id="course" beside={<Ranges held={held} />}>
      {isThere ? <Groups name={name} held={held} /> : <Shown held={held}>{() => null}</Shown>}
    </Panel>
  );
}

export function Ranges({ held }: { held: Held<{ windows: Record<string, unknown> }> }): JSX.Element {
  const current = useComputed(() => held.value.value && chosenRange(parameter("range"), held.value.value)).value;
  return (
    <nav class="ranges" aria-label="Range of the charts">
      {Object.keys(RANGES).map((name) => <a key={name} href={withParameter("range", name)} data-keep aria-current={name === current ? "true" : undefined}>{name}</a>)}
    </nav>
  );
}

type Clock = "event" | "wall";
interface Axis { clock: Clock; together: boolean; range: Range }

function Groups({ name, held }: { name: string; held: Held<Series> }): JSX.Element {
  const series = useComputed(() => held.value.value ?? NOTHING);
  const event_s = eventTimeOf(name);
  const together = useComputed(() => isTogether(event_s.value, minute_s.value, documentOf(`deployment/${name}`).value.value?.horizon_s));
  const axis = (clock: Clock): ReadonlySignal<Axis> => useComputed(() => axisOf(series.value, clock, together.value, event_s.value, minute_s.value));
  const event = axis("event");
  const wall = axis("wall");
  const metric = useComputed(() => series.value.metrics[0] ?? "").value;
  const hasWindows = useComputed(() => Object.keys(series.value.windows).length > 0).value;
  const hasTraffic = useComputed(() => Object.keys(series.value.traffic).length > 0).value;
  const isOne = together.value;
  if (!hasWindows && !hasTraffic) return <p class="soft">No evaluation window has closed, and no minute of traffic was reported.</p>;
  return (
    <>
      {hasWindows && <p class="soft axis-name">{isOne ? "One axis for event time and wall clock (UTC)" : "Event time (UTC): evaluation windows by their end"}</p>}
      {hasWindows && <Windows series={series} axis={event} metric={metric} isLast={!isOne || !hasTraffic} />}
      {hasTraffic && !isOne && <p class="soft axis-name">Wall clock (UTC): traffic by the minute</p>}
      {hasTraffic && <Traffic series={series} axis={isOne ? event : wall} isFirst={!isOne || !hasWindows} />}
      <Marks series={series} />
    </>
  );
}

const NOTHING: Series = { metrics: [], windows: {}, traffic: {}, marks: {}, thresholds: [], kept_s: 0 };

/** From and to of an axis. One axis for both clocks ends now; that of a replay ends at the deployment's own clock. */
function axisOf(series: Series, clock: Clock, together: boolean, event_s: number | null, now_s: number): Axis {
  const of = clock === "event" || together ? instants(series.windows) : [];
  const traffic = clock === "wall" || together ? instants(series.traffic) : [];
  const all = [...of, ...traffic];
  const to = clock === "wall" || together ? now_s : Math.max(event_s ?? 0, of.at(-1) ?? 0);
  const first = all.reduce((a, b) => Math.min(a, b), Infinity);
  return { clock, together, range: rangeOf(chosenRange(parameter("range"), series), Number.isFinite(first) ? first : to, to) };
}

/** The picture of a chart: its lines, limits and marks within the axis. */
function usePicture(series: ReadonlySignal<Series>, axis: ReadonlySignal<Axis>, metric: string, lines: (series: Series, range: Range) => Drawn, band?: (series: Series, drawn: Drawn) => Picture["band"]): ReadonlySignal<Picture> {
  return useComputed(() => {
    const { clock, together, range } = axis.value;
    const drawn = lines(series.value, range);
    const around = band?.(series.value, drawn);
    return {
      ...drawn, range,
      limits: series.value.thresholds.filter((one) => one.metric === metric).map(({ value, text }: Threshold) => ({ value, text, short: `limit ${limit(value)}` })),
      marks: placed(series.value.marks, clock, together, range),
      ...(around ? { band: around } : {}),
    };
  });
}

function Windows({ series, axis, metric, isLast }: { series: ReadonlySignal<Series>; axis: ReadonlySignal<Axis>; metric: string; isLast: boolean }): JSX.Element {
  const quality = usePicture(series, axis, metric, (of, range) => qualityLines(of, metric, range), LOSSES.has(metric) ? lossBand : undefined);
  const drift = usePicture(series, axis, "statistic", (of, range) => windowLine(of, "statistic", (at) => of.windows[at]?.statistic, range));
  const missing = usePicture(series, axis, "missing_share", (of, range) => windowLine(of, "missing", (at) => of.windows[at]?.missing_share, range));
  const labels = usePicture(series, axis, "labels", (of, range) => {
    const requests = windowLine(of, "requests", (at) => of.windows[at]?.requests, range);
    const labelled = windowLine(of, "labelled", (at) => of.windows[at]?.labelled, range);
    return { x: requests.x, lines: [...requests.lines, ...labelled.lines.map((line) => ({ ...line, isDashed: true }))] };
  });
  const common = { group: "axis-event", clock: "event" } as const;
  // A deployment without a detector, or without features, has no chart of nothing.
  const isDrawn = (picture: ReadonlySignal<Picture>): boolean => useComputed(() => picture.value.lines.some((line) => line.values.some(Boolean))).value;
  return (
    <>
      {metric && <Chart {...common} title={`Quality (${metric.replaceAll("_", " ")})`} picture={quality} write={figure} isFirst />}
      {isDrawn(drift) && <Chart {...common} title="Drift statistic" picture={drift} write={figure} isFirst={!metric} />}
      {isDrawn(missing) && <Chart {...common} title="Missing feature values" picture={missing} write={short} />}
      <Chart {...common} title="Requests and labels of a window" picture={labels} write={count} isLast={isLast} />
    </>
  );
}

const short = (share: number | null | undefined): string => percent(share, share != null && share > 0 && share < 0.1 ? 1 : 0);

// The figures that the standard errors of a window are of.
const LOSSES = new Set(["loss", "log_loss", "squared_error"]);

/** Two standard errors around the loss of the newest champion that is drawn. */
function lossBand(series: Series, drawn: Drawn): Picture["band"] {
  const champion = drawn.x.map((at) => series.windows[at]?.champion).findLast((version) => version != null);
  const values = drawn.lines.find((one) => one.version != null && one.version === champion)?.values ?? [];
  const edge = (sign: number): (number | null)[] => drawn.x.map((at, index) => {
    const error = series.windows[at]?.errors[String(champion)];
    return error == null || values[index] == null ? null : values[index] + sign * 2 * error;
  });
  return { low: edge(-1), high: edge(1) };
}

function Traffic({ series, axis, isFirst }: { series: ReadonlySignal<Series>; axis: ReadonlySignal<Axis>; isFirst: boolean }): JSX.Element {
  const traffic = usePicture(series, axis, "traffic", trafficLines);
  const latency = usePicture(series, axis, "p99_ms", latencyLines);
  const common = { group: isFirst ? "axis-wall" : "axis-event", clock: "wall" } as const;
  return (
    <>
      <Chart {...common} title="Answers per second" picture={traffic} write={rate} isFirst={isFirst} />
      <Chart {...common} title="Latency" picture={latency} write={milliseconds} isLast />
    </>
  );
}
