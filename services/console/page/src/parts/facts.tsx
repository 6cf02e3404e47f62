// Names and their values, one below the other; values that are maps stand as such, without braces.
import type { ComponentChildren, JSX } from "preact";
import { figure } from "../values/numbers";

export type Fact = readonly [name: string, value: ComponentChildren];

export function Facts({ facts }: { facts: readonly (Fact | null | false | "" | undefined)[] }): JSX.Element {
  const shown = facts.filter((fact): fact is Fact => Boolean(fact));
  return <dl class="facts">{shown.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>;
}

/** Any value of a record in words. */
export function Plain({ value }: { value: unknown }): JSX.Element {
  if (value == null || value === "") return <span class="soft">none</span>;
  if (typeof value === "number") return <>{Number.isInteger(value) ? String(value) : figure(value, 4)}</>;
  if (typeof value === "string" || typeof value === "boolean") return <span class="wrap">{String(value)}</span>;
  if (Array.isArray(value)) return value.length ? <>{value.map((part, index) => <span key={index}>{index > 0 && ", "}<Plain value={part} /></span>)}</> : <span class="soft">none</span>;
  const parts = Object.entries(value);
  if (!parts.length) return <span class="soft">none</span>;
  return <Facts facts={parts.map(([name, part]) => [name, <Plain value={part} />] as const)} />;
}

/** A map of names to values in the order of its names. */
export const sorted = <T,>(map: Record<string, T> | undefined | null): [string, T][] => Object.entries(map ?? {}).sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
