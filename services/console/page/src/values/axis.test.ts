import assert from "node:assert/strict";
import { test } from "node:test";
import type { Series, SeriesMark, WindowPoint } from "../documents";
import { chosenRange, heights, isTogether, placed, qualityLines, rangeOf, trafficLines } from "./axis";

const point = (champion: number, figures: WindowPoint["figures"]): WindowPoint => ({
  from_s: 0, to_s: 0, requests: 100, labelled: 90, verdict: "PASS", champion, figures, errors: {}, label_mean: null, missing_share: 0, statistic: null,
});
const series = (more: Partial<Series>): Series => ({ metrics: ["auc"], windows: {}, traffic: {}, marks: {}, thresholds: [], kept_s: 604800, ...more });
const ALL = { from: 0, to: 1e12 };

test("windows stand in the order of time, not in that of their digits", () => {
  const drawn = qualityLines(series({ windows: { "1000": point(1, { "1": { auc: 0.7 } }), "900": point(1, { "1": { auc: 0.8 } }) } }), "auc", ALL);
  assert.deepEqual(drawn, { x: [900, 1000], lines: [{ label: "v1", version: 1, values: [0.8, 0.7] }] });
});

test("a window without a figure is a gap", () => {
  const drawn = qualityLines(series({ windows: { "1": point(1, { "1": { auc: 0.7 } }), "2": point(1, { "1": { auc: null } }), "3": point(1, {}) } }), "auc", ALL);
  assert.deepEqual(drawn.lines[0]?.values, [0.7, null, null]);
});

test("the prior is a line without the colour of a version", () => {
  const drawn = qualityLines(series({ windows: { "1": point(1, { "0": { auc: 0.5 }, "1": { auc: 0.7 } }) } }), "auc", ALL);
  assert.deepEqual(drawn.lines.map((line) => [line.label, line.version]), [["prior", null], ["v1", 1]]);
});

test("at most five lines, the newest versions", () => {
  const figures = Object.fromEntries([1, 2, 3, 4, 5, 6, 10].map((version) => [String(version), { auc: 0.7 }]));
  const drawn = qualityLines(series({ windows: { "1": point(10, figures) } }), "auc", ALL);
  assert.deepEqual(drawn.lines.map((line) => line.version), [3, 4, 5, 6, 10]);
});

test("minutes without a report are a gap in the traffic, and fallbacks are a line of their own", () => {
  const traffic = {
    "0": { outcomes: { served: 60 }, versions: { "2": 60 }, p50_ms: 1, p99_ms: 2, width_s: 60 },
    "600": { outcomes: { served: 60, "fell_back.prior": 30, refused: 30 }, versions: { "2": 60 }, p50_ms: 1, p99_ms: 2, width_s: 60 },
  };
  const drawn = trafficLines(series({ traffic }), ALL);
  assert.deepEqual(drawn.x, [0, 60, 600]);
  assert.deepEqual(drawn.lines.map((line) => [line.label, line.values]), [["v2", [1, null, 1]], ["fell back", [0, null, 0.5]], ["not answered", [0, null, 0.5]]]);
});

test("hours of traffic are rates too, and stand beside minutes without a gap", () => {
  const hour = { outcomes: { served: 7200 }, versions: { "2": 7200 }, p50_ms: 1, p99_ms: 2, width_s: 3600 };
  const drawn = trafficLines(series({ traffic: { "0": hour, "3600": { ...hour, versions: { "2": 60 }, width_s: 60 } } }), ALL);
  assert.deepEqual([drawn.x, drawn.lines[0]?.values], [[0, 3600], [2, 1]]);
});

test("in a replay a mark of event time is placed on the wall clock by its wall instant only", () => {
  const mark = (more: Partial<SeriesMark>): SeriesMark => ({ at_s: 10, clock: "event", kind: "finding", text: "", link: "", wall_s: null, ...more });
  const marks = { a: mark({ wall_s: 500 }), b: mark({}), c: mark({ clock: "wall", at_s: 400 }) };
  assert.deepEqual(placed(marks, "wall", false, ALL).map(({ x }) => x), [400, 500]);
  assert.deepEqual(placed(marks, "event", false, ALL).map(({ x }) => x), [10, 10]);
  assert.deepEqual(placed(marks, "event", true, ALL).map(({ x }) => x), [10, 10, 400]);
});

test("the clocks are together in production, and in a replay they are not", () => {
  assert.deepEqual([isTogether(1e9, 1e9 + 60, 0), isTogether(1e9, 1e9 + 20 * 86400, 30 * 86400), isTogether(1e9, 1.7e9, 86400), isTogether(null, 1e9, 0)], [true, true, false, true]);
});

test("the range that shows a course is chosen, unless the address names one", () => {
  const windows = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [String(i * 3600), point(1, {})]));
  assert.deepEqual([chosenRange(null, series({ windows })), chosenRange("7d", series({ windows })), chosenRange("x", series({}))], ["24h", "7d", "all"]);
  assert.deepEqual(rangeOf("all", 1000, 5000), { from: 1000, to: 5000 });
  assert.deepEqual(rangeOf("24h", 4900, 5000), { from: 1400, to: 5000 });
});

test("limits are within what is drawn", () => {
  const [low, high] = heights([{ label: "", version: 1, values: [0.5, null, 0.6] }], [0.9]);
  assert.ok(low < 0.5 && high > 0.9);
  assert.deepEqual(heights([], []), [0, 1]);
});
