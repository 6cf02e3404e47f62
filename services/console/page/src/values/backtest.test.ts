import assert from "node:assert/strict";
import { test } from "node:test";
import type { BacktestPolicy, BacktestReported } from "../documents";
import { curves, drawn, retrains } from "./backtest";

const policy = (name: string, more: Partial<BacktestPolicy> = {}): BacktestPolicy => ({ name, alarms: 1, pages: 0, false_alarms: 0, allowed: null, asked: 1, retrains_s: [], gain: 0.2, low: null, high: null, among_phases: 50, among_random: 50, by_timing: 50, curve: [0.1, 0.2], ...more });
const of = (...policies: BacktestPolicy[]): BacktestReported => ({ deployment: "d", from_s: 100, to_s: 300, requests: 9, labelled: 9, loss: "log-loss", never: 0.5, always: 0.3, always_retrains: 4, policies, curve_at_s: [200, 300], faults: [] });

test("curves begin at nothing gained, each with a hue of its own", () => {
  const { x, lines } = curves(of(policy("mine"), policy("deaf", { curve: [0, 0] })));
  assert.deepEqual(x, [100, 200, 300]);
  assert.deepEqual(lines.map(({ label, hue, values }) => [label, hue, values]), [["mine", 1, [0, 0.1, 0.2]], ["deaf", 2, [0, 0, 0]]]);
});

test("at most five policies are drawn, the first ones", () => {
  assert.deepEqual(drawn(of(..."abcdefg".split("").map((name) => policy(name)))).map(({ name }) => name), ["a", "b", "c", "d", "e"]);
});

test("retrains are marks in order, without those outside of the stretch", () => {
  const found = retrains(of(policy("mine", { retrains_s: [250, 400] }), policy("other", { retrains_s: [150] })));
  assert.deepEqual(found.map(({ x, mark }) => [x, mark.kind, mark.text]), [[150, "retrain", "other"], [250, "retrain", "mine"]]);
});
