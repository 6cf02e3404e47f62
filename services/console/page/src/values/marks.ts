// States: each has a shape, a word and a colour, so that no one of them carries the meaning alone.
import type { Need } from "../documents";

export type Mark = Need["mark"];

export const SHAPE: Record<Mark, string> = { ok: "●", attention: "◆", page: "▲", unknown: "○" };
export const WORD: Record<Mark, string> = { ok: "ok", attention: "attention", page: "page", unknown: "unknown" };

/** The state of a verdict. UNMEASURED and INCONCLUSIVE are not known, and never look like a pass. */
export function markOf(verdict: string): Mark {
  if (verdict === "PASS") return "ok";
  if (verdict === "FAIL") return "page";
  return "unknown";
}
