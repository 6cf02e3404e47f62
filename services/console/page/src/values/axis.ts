// The charts of a deployment on one time axis. Windows live in event time and traffic in wall time: where the two clocks
// are together (production), one axis has all; in a replay each clock has its own, and says so.
import type { Series, SeriesMark, TrafficPoint } from "../documents";

/** `hue`: of a line that is of no version, and has a colour all the same. */
export type Line = { label: string; version: number | null; values: (number | null)[]; isDashed?: boolean; hue?: number };
export type Drawn = { x: number[]; lines: Line[] };
export type Range = { from: number; to: number };
export type Placed = { x: number; mark: SeriesMark };

const HOUR = 3600;
// Windows close when their labels are in: they are as old as the horizon, and the window before them.
const WINDOW_S = 8 * 24 * HOUR;
export const MOST_LINES = 5;
export const RANGES: Record<string, number> = { "1h": HOUR, "24h": 24 * HOUR, "7d": 168 * HOUR, "30d": 720 * HOUR, all: Infinity };
const FEW_WINDOWS = 20;

/** Instants of a map by instant, in order. The keys are digits, which may be beyond what a language sorts by itself. */
export const instants = (map: Record<string, unknown>): number[] => Object.keys(map).map(Number).sort((a, b) => a - b);

/** Are both clocks those of now? Then they are drawn on one axis. `horizon_s`: of the labels. */
export const isTogether = (event_s: number | null | undefined, wall_s: number, horizon_s: number | null | undefined): boolean =>
  event_s == null || Math.abs(event_s - wall_s) <= WINDOW_S + (horizon_s ?? 0);

/** The range that shows enough windows to see a course, where none was chosen. */
export function chosenRange(name: string | null, series: { windows: Record<string, unknown> }): string {
  if (name && name in RANGES) return name;
  const x = instants(series.windows);
  const last = x.at(-1) ?? 0;
  return Object.keys(RANGES).find((key) => x.filter((at) => at >= last - (RANGES[key] ?? 0)).length >= FEW_WINDOWS) ?? "all";
}

/** The part of the axis that is drawn: it ends at `to`, and has at least an hour. */
export function rangeOf(name: string, first: number, to: number): Range {
  const from = Math.max(first, to - (RANGES[name] ?? Infinity));
  return { from: Math.min(from, to - HOUR), to };
}

/** At most five versions: the newest that have a value, in order. */
export function shownVersions(present: Iterable<string>): number[] {
  return [...new Set([...present].map(Number))].sort((a, b) => a - b).slice(-MOST_LINES);
}

/** A metric of the windows, one line per version, and one for the prior (version 0), which is no model. */
export function qualityLines(series: Series, metric: string, range: Range): Drawn {
  const x = instants(series.windows).filter((at) => at >= range.from && at <= range.to);
  const figures = x.map((at) => series.windows[at]?.figures ?? {});
  const present = figures.flatMap((by) => Object.keys(by).filter((version) => by[version]?.[metric] != null));
  const lines = shownVersions(present).map((version): Line => {
    const values = figures.map((by) => by[version]?.[metric] ?? null);
    return version ? { label: `v${version}`, version, values } : { label: "prior", version: null, values, isDashed: true };
  });
  return { x, lines };
}

/** Another figure of the windows as one line. */
export function windowLine(series: Series, label: string, read: (at: number) => number | null | undefined, range: Range): Drawn {
  const x = instants(series.windows).filter((at) => at >= range.from && at <= range.to);
  return { x, lines: [{ label, version: null, values: x.map((at) => read(at) ?? null) }] };
}

// A report may be late by as much without being a gap.
const LATE_S = 90;
const MINUTE = 60;

/** Instants of traffic (of its minutes; of hours, further back) with gaps where nothing was reported: a service that was silent is
 * not drawn as if it had answered. */
function reported(series: Series, range: Range): number[] {
  const x = instants(series.traffic).filter((at) => at >= range.from && at <= range.to);
  const endOf = (at: number): number => at + (series.traffic[at]?.width_s ?? MINUTE);
  return x.flatMap((at, index) => {
    const end = index > 0 ? endOf(x[index - 1] ?? at) : at;
    return at - end > LATE_S ? [end, at] : [at];
  });
}

/** Of a count in a point of traffic, per second. */
const perSecond = (n: number, point: TrafficPoint): number => n / (point.width_s || MINUTE);

/** Answers per second by version, those of the fallback, and requests that got none. */
export function trafficLines(series: Series, range: Range): Drawn {
  const x = reported(series, range);
  const points = x.map((at) => series.traffic[at]);
  const versions = shownVersions(points.flatMap((point) => Object.keys(point?.versions ?? {}))).slice(-(MOST_LINES - 2));
  const lines: Line[] = versions.map((version) => ({
    label: `v${version}`, version, values: points.map((point) => (point ? perSecond(point.versions[version] ?? 0, point) : null)),
  }));
  for (const [label, is] of OTHERS) {
    const values = points.map((point) => (point ? perSecond(sum(point.outcomes, is), point) : null));
    if (values.some(Boolean)) lines.push({ label, version: null, values, isDashed: true });
  }
  return { x, lines };
}

// An invalid request is no answer of the fallback: its sender made a mistake.
const isFallback = (outcome: string): boolean => outcome.startsWith("fell_back");
const OTHERS: readonly [string, (outcome: string) => boolean][] = [["fell back", isFallback], ["not answered", (outcome) => outcome !== "served" && !isFallback(outcome)]];

/** The counts of some outcomes together. */
const sum = (outcomes: Record<string, number>, is: (outcome: string) => boolean): number =>
  Object.entries(outcomes).reduce((total, [outcome, n]) => (is(outcome) ? total + n : total), 0);

export function latencyLines(series: Series, range: Range): Drawn {
  const x = reported(series, range);
  const points = x.map((at) => series.traffic[at]);
  return {
    x,
    lines: [
      { label: "p99", version: null, values: points.map((point) => point?.p99_ms ?? null) },
      { label: "p50", version: null, values: points.map((point) => point?.p50_ms ?? null), isDashed: true },
    ],
  };
}

/** Where marks stand on the axis of a clock; those without an instant of this clock are left out. */
export function placed(marks: Record<string, SeriesMark>, clock: "event" | "wall", together: boolean, range: Range): Placed[] {
  return Object.values(marks)
    .flatMap((mark) => {
      const x = mark.clock === clock || together ? mark.at_s : clock === "wall" ? mark.wall_s : null;
      return x != null && x >= range.from && x <= range.to ? [{ x, mark }] : [];
    })
    .sort((a, b) => a.x - b.x);
}

type Values = readonly (number | null)[];
/** Lowest and highest value with a margin, limits and the band included. */
export function heights(lines: readonly Line[], limits: readonly number[], band?: { low: Values; high: Values }): [number, number] {
  const drawn = [...lines.map((line): Values => line.values), band?.low ?? [], band?.high ?? []];
  const values = [...drawn.flat().filter((value): value is number => value != null), ...limits];
  if (!values.length) return [0, 1];
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  const margin = (high - low) * 0.1 || Math.abs(high) * 0.1 || 0.5;
  return [low >= 0 && low - margin < 0 ? 0 : low - margin, high + margin];
}
