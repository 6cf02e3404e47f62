import assert from "node:assert/strict";
import { test } from "node:test";
import type { DeploymentRow } from "../documents";
import { held, matches, ordered, sortOf, turned } from "./order";

const row = (name: string, more: Partial<DeploymentRow> = {}): DeploymentRow => ({
  name, project: "flights", mark: "ok", champion: 2, champion_since_s: null, answers_per_s: null, p99_ms: null, fallback_share: null,
  outcomes: {}, spark: [], quality: null, drift: "ok", drift_word: "none", drift_link: "", rollout: null, event_at_s: null, ...more,
});
const rows = { a: row("a", { p99_ms: 14 }), b: row("b", { mark: "page", p99_ms: 9 }), c: row("c", { mark: "unknown" }) };

test("unsorted, the worst stand first", () => {
  assert.deepEqual(ordered(rows, sortOf(null)), ["b", "c", "a"]);
});

test("what is not known stands last, whichever way a column is sorted", () => {
  assert.deepEqual(ordered(rows, sortOf("p99")), ["b", "a", "c"]);
  assert.deepEqual(ordered(rows, sortOf("-p99")), ["a", "b", "c"]);
});

test("a column's head turns its order round, and then gives the first order back", () => {
  assert.equal(turned(sortOf(""), "p99", true), "-p99");
  assert.equal(turned(sortOf("-p99"), "p99", true), "p99");
  assert.equal(turned(sortOf("p99"), "p99", true), "");
});

test("a search needs every word", () => {
  const canary = row("flight-delay", { rollout: { version: 3, policy: "canary", state: "5 %", share: 0.05, mark: "ok" } });
  assert.deepEqual([matches(canary, "delay canary", ""), matches(canary, "delay shadow", ""), matches(canary, "", "churn")], [true, false, false]);
});

test("rows keep their place while somebody looks: what is new waits, what is gone leaves", () => {
  assert.deepEqual(held(["a", "b", "c"], ["d", "c", "a"]), { order: ["a", "c"], fresh: 1 });
});
