import assert from "node:assert/strict";
import { test } from "node:test";
import { sparkPath } from "./spark";

test("a line goes from the left to the right, its highest value on top", () => {
  assert.equal(sparkPath([0, 10], true), "M0.0 15.0L64.0 1.0");
});

test("a gap breaks the line", () => {
  assert.equal(sparkPath([1, 1, null, 1, 1], true).split("M").length - 1, 2);
});

test("a flat course is no division by nought, and one value is no course", () => {
  assert.equal(sparkPath([5, 5], false), "M0.0 15.0L64.0 15.0");
  assert.equal(sparkPath([5, null], false), "");
});
