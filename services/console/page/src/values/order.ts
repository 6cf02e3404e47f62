// In which order rows stand, and which rows a filter leaves. Filters are in the address: a page can be sent to a colleague.
import type { DeploymentRow } from "../documents";
import type { Mark } from "./marks";

export const SEVERITY: Record<Mark, number> = { page: 0, attention: 1, unknown: 2, ok: 3 };

export type Sort = { by: string; isDown: boolean };
export const sortOf = (text: string | null): Sort => ({ by: (text ?? "").replace(/^-/, ""), isDown: (text ?? "").startsWith("-") });
export const textOf = (sort: Sort): string => (sort.isDown ? `-${sort.by}` : sort.by);

/** What a click on a column's head asks for: its better end first, then the other, then the order of before. */
export function turned(sort: Sort, by: string, downFirst: boolean): string {
  if (sort.by !== by) return textOf({ by, isDown: downFirst });
  return sort.isDown === downFirst ? textOf({ by, isDown: !downFirst }) : "";
}

const FIGURES: Record<string, (row: DeploymentRow) => number | string | null | undefined> = {
  name: (row) => row.name,
  champion: (row) => row.champion_since_s,
  answers: (row) => row.answers_per_s,
  p99: (row) => row.p99_ms,
  fallback: (row) => row.fallback_share,
  quality: (row) => row.quality?.value,
  drift: (row) => -SEVERITY[row.drift],
  rollout: (row) => row.rollout?.share,
};

/** Ids of deployments in order. Unsorted, the worst stand first; what is not known always stands last. */
export function ordered(rows: Record<string, DeploymentRow>, sort: Sort): string[] {
  const figure = FIGURES[sort.by];
  const byName = (a: DeploymentRow, b: DeploymentRow): number => a.name.localeCompare(b.name);
  const compare = (a: DeploymentRow, b: DeploymentRow): number => {
    if (!figure) return SEVERITY[a.mark] - SEVERITY[b.mark] || byName(a, b);
    const [x, y] = [figure(a), figure(b)];
    if (x == null || y == null) return Number(x == null) - Number(y == null) || byName(a, b);
    const least = typeof x === "string" ? x.localeCompare(String(y)) : x - Number(y);
    return (sort.isDown ? -least : least) || byName(a, b);
  };
  return Object.entries(rows).sort(([, a], [, b]) => compare(a, b)).map(([id]) => id);
}

/** Does a deployment have every word of the search in its name, project, state or rollout? */
export function matches(row: DeploymentRow, search: string, project: string): boolean {
  if (project && row.project !== project) return false;
  const rollout = row.rollout ? `rollout ${row.rollout.policy} v${row.rollout.version} ${row.rollout.state}` : "";
  const text = `${row.name} ${row.project} ${row.mark} v${row.champion} ${row.drift_word} ${row.quality?.verdict ?? ""} ${rollout}`.toLowerCase();
  return search.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

/** The order that is shown while somebody looks: what was there keeps its place, what is gone leaves, what is new waits. */
export function held(shown: readonly string[], wanted: readonly string[]): { order: string[]; fresh: number } {
  const present = new Set(wanted);
  const order = shown.filter((id) => present.has(id));
  return { order, fresh: wanted.length - order.length };
}
