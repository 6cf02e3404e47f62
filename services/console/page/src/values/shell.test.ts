import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { quoted } from "./shell";

for (const text of ["U-1", "a cat", "it's", "<b>bold</b> & $HOME", "arts/öffentlich", "100 %", "`ls`", "", '{"unit": "U-1", "label": "it\'s"}']) {
  test(`a shell reads ${text || "nothing"} as one word`, () => {
    assert.equal(execFileSync("sh", ["-c", `printf '[%s]' ${quoted(text)}`], { encoding: "utf8" }), `[${text}]`);
  });
}

test("a plain word stays as it is", () => assert.equal(quoted("FLIGHT-1"), "FLIGHT-1"));
