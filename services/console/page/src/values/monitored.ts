// The charts of the monitor as lines: what was seen, what was expected, and how far the detector has come.
import type { Monitoring } from "../documents";
import { type Drawn, instants, type Range } from "./axis";

export type Band = { low: (number | null)[]; high: (number | null)[] };
export type Banded = Drawn & { band: Band };
type Maybe = number | null | undefined;

const within = (of: Monitoring, range: Range): number[] => instants(of.windows).filter((at) => at >= range.from && at <= range.to);
const known = (value: Maybe): number | null => value ?? null;
const around = (middle: Maybe, half: Maybe): number | null => (middle == null || half == null ? null : middle + half);

/** The figure of a chart, what the reference windows lead one to expect, and two of their standard deviations around that. */
export function figureLines(of: Monitoring, chart: string, range: Range): Banded {
  const x = within(of, range);
  const seen = x.map((at) => of.windows[at]?.charts[chart]);
  return {
    x,
    lines: [
      { label: "measured", version: null, values: seen.map((one) => known(one?.value)) },
      { label: "expected", version: null, values: seen.map((one) => known(one?.expected)), isDashed: true },
    ],
    band: { low: seen.map((one) => around(one?.expected, one?.spread == null ? null : -2 * one.spread)), high: seen.map((one) => around(one?.expected, one?.spread == null ? null : 2 * one.spread)) },
  };
}

/** The statistic of the detector as a share of its limit, in powers of ten: it grows by factors. */
export function statisticLine(of: Monitoring, chart: string, range: Range): Drawn {
  const x = within(of, range);
  return {
    x,
    lines: [{
      label: "of its limit", version: null,
      values: x.map((at) => {
        const one = of.windows[at]?.charts[chart];
        return one?.limit ? Math.log10(Math.max(one.statistic / one.limit, LEAST)) : null;
      }),
    }],
  };
}
const LEAST = 1e-4;

/** A metric as it was estimated before labels came, with its bounds, and as it was. */
export function estimateLines(of: Monitoring, metric: string, range: Range): Banded {
  const x = within(of, range).filter((at) => of.windows[at]?.estimates[metric]);
  const seen = x.map((at) => of.windows[at]?.estimates[metric]);
  return {
    x,
    lines: [
      { label: "as it was", version: null, values: seen.map((one) => known(one?.realised)) },
      { label: "estimated", version: null, values: seen.map((one) => known(one?.value)), isDashed: true },
    ],
    band: { low: seen.map((one) => known(one?.low)), high: seen.map((one) => known(one?.high)) },
  };
}

/** Of the estimates whose labels came, how many bounds held what it was; `0 of 0` says that none came. */
export function held(of: Monitoring, metric: string): { inside: number; all: number } {
  const seen = Object.values(of.windows).flatMap((window) => window.estimates[metric] ?? []).filter((one) => one.realised != null);
  return { inside: seen.filter((one) => one.realised != null && one.low <= one.realised && one.realised <= one.high).length, all: seen.length };
}

/** The newest point of a chart. */
export const newest = (of: Monitoring, chart: string): NonNullable<Monitoring["windows"][string]>["charts"][string] | undefined =>
  instants(of.windows).map((at) => of.windows[at]?.charts[chart]).findLast((one) => one != null);

/** A chart in words: `ranking`, `level where carrier=UA`, `base rate of cat`, or `base rate of class 2` where no name is known. */
export const named = (chart: string, classes: readonly string[] = []): string => {
  const [key = "", segment] = chart.split(/@(.*)/s);
  const [name = "", place] = key.split(".");
  const of = place === undefined ? "" : ` of ${classes[Number(place)] ?? `class ${place}`}`;
  return name.replace("_", " ") + of + (segment ? ` where ${segment}` : "");
};

const MEANINGS: Record<string, string> = {
  base_rate: "The share of positives, or the mean label. It moves with every hard week, and calls nobody.",
  ranking: "How well the scores put requests in order: 1 at best, of classes .5 by chance.",
  calibration: "By how much all scores lie too low or too high; 0 is right.",
  slope: "Whether scores are as sure as they may be: 1 is right, below it they are too sure.",
  level: "How far the errors lie above what the scores lead one to expect; of numbers the log of their mean size.",
};

/** What a chart shows, in a sentence. */
export const meaning = (chart: string): string => MEANINGS[chart.split(/[@.]/)[0] ?? ""] ?? "";
