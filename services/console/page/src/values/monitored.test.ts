import assert from "node:assert/strict";
import { test } from "node:test";
import type { ChartSeen, EstimateSeen, Monitoring } from "../documents";
import { estimateLines, figureLines, held, meaning, named, newest, statisticLine } from "./monitored";

const seen = (value: number, statistic: number, more: Partial<ChartSeen> = {}): ChartSeen => ({ version: 1, value, error: 0.01, rows: 90, expected: 0.7, spread: 0.02, statistic, limit: 1000, detectable: null, within_windows: null, ...more });
const estimate = (value: number, realised: number | null): EstimateSeen => ({ version: 1, value, low: value - 0.1, high: value + 0.1, method: "cbpe", realised });
const of: Monitoring = {
  charts: ["ranking"], metrics: ["log_loss"], columns: {}, columns_to_s: null, ledger: null, efficacy: null, audit: null, marks: {}, declared: [], left_out: 0, backtest: null, audit_share: 0, classes: [],
  windows: {
    "200": { charts: { ranking: seen(0.6, 1000) }, estimates: { log_loss: estimate(0.5, 0.9) } },
    "100": { charts: { ranking: seen(0.7, 10) }, estimates: { log_loss: estimate(0.4, 0.45) } },
    "300": { charts: {}, estimates: { log_loss: estimate(0.6, null) } },
  },
};
const all = { from: 0, to: 1000 };

test("a chart has what was measured, what was expected, and two standard deviations around that", () => {
  const { x, lines, band } = figureLines(of, "ranking", all);
  assert.deepEqual(x, [100, 200, 300]);
  assert.deepEqual(lines.map((line) => line.values), [[0.7, 0.6, null], [0.7, 0.7, null]]);
  assert.deepEqual([band.low, band.high], [[0.7 - 0.04, 0.7 - 0.04, null], [0.7 + 0.04, 0.7 + 0.04, null]]);
});

test("a statistic is a share of its limit in powers of ten, and unknown without a limit", () => {
  assert.deepEqual(statisticLine(of, "ranking", all).lines[0]?.values, [-2, 0, null]);
  const bare = { ...of, windows: { "100": { charts: { ranking: seen(0.7, 10, { limit: null }) }, estimates: {} } } };
  assert.deepEqual(statisticLine(bare, "ranking", all).lines[0]?.values, [null]);
});

test("an estimate stands beside what it was, and how often its bounds held is counted where labels came", () => {
  const { x, lines, band } = estimateLines(of, "log_loss", { from: 150, to: 400 });
  assert.deepEqual(x, [200, 300]);
  assert.deepEqual(lines.map((line) => line.values), [[0.9, null], [0.5, 0.6]]);
  assert.deepEqual(band.low, [0.4, 0.5]);
  assert.deepEqual(held(of, "log_loss"), { inside: 1, all: 2 });
});

test("the newest point is that of the newest window which has the chart", () => {
  assert.equal(newest(of, "ranking")?.value, 0.6);
  assert.equal(newest(of, "level"), undefined);
  assert.equal(named("base_rate@carrier=UA"), "base rate where carrier=UA");
  assert.equal(named("base_rate.2"), "base rate of class 2");
  assert.equal(named("base_rate.2", ["cat", "dog", "elk"]), "base rate of elk");
  assert.equal(named("ranking@weight=1.5", ["cat"]), "ranking where weight=1.5");
  assert.match(meaning("base_rate.2@carrier=UA"), /calls nobody/);
});
