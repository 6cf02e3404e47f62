// What stands of a version in a list and on its own page.
import type { JSX } from "preact";
import type { VersionRow } from "../documents";
import { figure, UNKNOWN, words } from "../values/numbers";

/** The stage, and the aliases that say more: `retired, previous`. */
export const stageOf = (row: VersionRow): string => [words(row.stage), ...row.aliases.filter((alias) => alias !== row.stage)].join(", ");

/** Metrics on rows that training did not see. */
export function HeldOut({ metrics, most }: { metrics: Record<string, number>; most?: number }): JSX.Element {
  const all = Object.entries(metrics).slice(0, most);
  return <>{all.length ? all.map(([metric, value]) => <span key={metric} class="pair"><span class="soft">{metric}</span> {figure(value)}</span>) : <span class="soft">{UNKNOWN}</span>}</>;
}
