import assert from "node:assert/strict";
import { test } from "node:test";
import { bytes, count, figure, limit, milliseconds, percent, rate, signed, things } from "./numbers";

test("figures keep what means something, without a nought before the point", () => {
  assert.deepEqual([0.7839, -0.006, 0, 12.44, 1.5, 123.4, 101600].map((v) => figure(v)), [".784", "−.006", "0", "12.4", "1.50", "123", "101,600"]);
});

test("a small figure is not rounded to nought", () => {
  assert.equal(figure(0.00002), ".00002");
  assert.equal(percent(0.0001, 1), "< 0.1 %");
  assert.equal(percent(0, 1), "0.0 %");
});

test("what is not known is a dash, never nought", () => {
  assert.deepEqual([figure(null), count(null), percent(undefined), milliseconds(null), rate(null), bytes(null)], ["–", "–", "–", "–", "–", "–"]);
});

test("a difference has its sign", () => {
  assert.deepEqual([0.0123, -0.006, 0, null].map(signed), ["+.012", "−.006", "0", "–"]);
});

test("a limit is written as it was chosen", () => {
  assert.deepEqual([0.76, 0.1, 1, 1.5, 100, 1000, 0.002, 0, null].map(limit), [".76", ".1", "1", "1.5", "100", "1,000", ".002", "0", "–"]);
});

test("units change with the size", () => {
  assert.deepEqual([milliseconds(0.84), milliseconds(14.2), milliseconds(1240)], ["0.8 ms", "14 ms", "1.2 s"]);
  assert.deepEqual([bytes(307), bytes(1_600_000), bytes(250_000_000)], ["307 B", "1.6 MB", "250 MB"]);
  assert.deepEqual([rate(0.24), rate(311.2), rate(0)], ["0.2", "311", "0"]);
  assert.deepEqual([things(1, "label"), things(1200, "label")], ["1 label", "1,200 labels"]);
});
