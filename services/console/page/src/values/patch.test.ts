import assert from "node:assert/strict";
import { test } from "node:test";
import { merged } from "./patch";

test("the examples of RFC 7386, appendix A", () => {
  const examples: [unknown, unknown, unknown][] = [
    [{ a: "b" }, { a: "c" }, { a: "c" }],
    [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
    [{ a: "b" }, { a: null }, {}],
    [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
    [{ a: ["b"] }, { a: "c" }, { a: "c" }],
    [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
    [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
    [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
    [["a", "b"], ["c", "d"], ["c", "d"]],
    [{ a: "b" }, ["c"], ["c"]],
    [{ a: "foo" }, null, null],
    [{ a: "foo" }, "bar", "bar"],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: "b", c: null }, { a: "b" }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ];
  for (const [target, patch, result] of examples) assert.deepEqual(merged(target, patch), result);
});

test("what a patch does not change keeps its identity, so that nothing that shows it is drawn again", () => {
  const before = { rows: { a: { n: 1 }, b: { n: 2 } }, word: "well" };
  const after = merged(before, { rows: { a: { n: 3 } } }) as typeof before;
  assert.equal(after.rows.b, before.rows.b);
  assert.equal(before.rows.a.n, 1);
  assert.equal(merged(before, { rows: { a: { n: 1 } } }), before);
});
