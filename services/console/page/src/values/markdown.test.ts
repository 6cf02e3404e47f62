import assert from "node:assert/strict";
import { test } from "node:test";
import { blocks, inline } from "./markdown";

test("headings, paragraphs, lists, tables and code", () => {
  const card = "# flight-delay v3\n\nTrained on\n**101,600** rows.\n\n- a\n- b\n  goes on\n\n| gate | verdict |\n|---|---|\n| auc | PASS |\n\n```\nx = 1\n```\n";
  assert.deepEqual(blocks(card), [
    { kind: "heading", level: 1, text: ["flight-delay v3"] },
    { kind: "paragraph", text: ["Trained on ", { kind: "strong", text: "101,600" }, " rows."] },
    { kind: "list", isOrdered: false, items: [["a"], ["b goes on"]] },
    { kind: "table", head: [["gate"], ["verdict"]], rows: [[["auc"], ["PASS"]]] },
    { kind: "code", text: "x = 1" },
  ]);
});

test("what stands before the text for machines is not shown", () => {
  assert.deepEqual(blocks("---\nmodel_name: a\n---\n# a\n"), [{ kind: "heading", level: 1, text: ["a"] }]);
  assert.equal(blocks("---\nnever closed\n").length, 1);
});

test("names with underscores are not emphasised", () => {
  assert.deepEqual(inline("the mean_delay_1h of *all*"), ["the mean_delay_1h of ", { kind: "em", text: "all" }]);
});

test("a link that is no page stays text, and so does HTML", () => {
  assert.deepEqual(inline("[x](javascript:alert(1))").some((part) => typeof part !== "string"), false);
  assert.deepEqual(inline("[x](//elsewhere)").some((part) => typeof part !== "string"), false);
  assert.deepEqual(inline("<b>x</b>"), ["<b>x</b>"]);
  assert.deepEqual(inline("[x](/alerts)"), [{ kind: "link", text: "x", href: "/alerts" }]);
});

test("a text without an end is no endless loop", () => {
  assert.deepEqual(blocks("```\nopen"), [{ kind: "code", text: "open" }]);
  assert.equal(blocks("| a |").length, 1);
  assert.equal(blocks("  \n\n").length, 0);
});
