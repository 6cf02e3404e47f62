// What the page knows: a signal per document. Whatever shows a part of a document computes it from this signal and is drawn
// again only if that part has changed (`values/patch.ts` keeps the identity of the rest).
import { batch, computed, signal, type ReadonlySignal, type Signal } from "@preact/signals";
import type { Alerts, DeadLetters, Deployment, Features, Finding, Monitoring, Now, Series, Services, Timeline, Version } from "../documents";
import { merged } from "../values/patch";

/** `value`: null where there is no such thing, and `why` says why; undefined as long as nothing has come. */
export interface Held<T> {
  value: Signal<T | null | undefined>;
  why: Signal<string>;
  as_of_s: Signal<number | null>;
}

interface Documents {
  now: Now;
  alerts: Alerts;
  "dead-letters": DeadLetters;
  features: Features;
  services: Services;
}
type Kinds = { deployment: Deployment; series: Series; timeline: Timeline; monitoring: Monitoring; version: Version; finding: Finding };
type Of<K extends string> = K extends keyof Documents ? Documents[K] : K extends `${infer Kind extends keyof Kinds}/${string}` ? Kinds[Kind] : unknown;

const held = new Map<string, Held<unknown>>();

/** The document of a key; it is empty until the connection brings it. */
export function documentOf<K extends string>(key: K): Held<Of<K>> {
  let found = held.get(key);
  if (!found) {
    found = { value: signal(undefined), why: signal(""), as_of_s: signal(null) };
    held.set(key, found);
  }
  return found as Held<Of<K>>;
}

/** Documents that are no longer followed are forgotten: what they say may be wrong by now. */
export function keepOnly(keys: readonly string[]): void {
  for (const key of held.keys()) if (!keys.includes(key)) held.delete(key);
}

export interface Snapshot { document: string; value: unknown; why: string; as_of_s: number }
export interface Delta { document: string; patch: unknown; as_of_s: number }
export type Change = Snapshot | Delta;

/** Takes changes in their order, and lets what shows them be drawn once. */
export function take(changes: readonly Change[]): void {
  batch(() => {
    for (const change of changes) {
      const document = held.get(change.document);
      if (!document) continue;
      if ("patch" in change) document.value.value = merged(document.value.value, change.patch);
      else {
        document.value.value = change.value;
        document.why.value = change.why;
      }
      document.as_of_s.value = change.as_of_s;
    }
  });
}

/** Up to when each document is complete. */
export function onAsOf(as_of_s: Record<string, number>): void {
  batch(() => {
    for (const [key, at] of Object.entries(as_of_s)) {
      const document = held.get(key);
      if (document) document.as_of_s.value = at;
    }
  });
}

/** The first page's document is always followed: the top line needs it. */
export const now: Held<Now> = documentOf("now");
/** The event time that the page is about: that of a deployment, else the latest of all. */
export const eventTimeOf = (deployment: string): ReadonlySignal<number | null> =>
  computed(() => now.value.value?.deployments[deployment]?.event_at_s ?? now.value.value?.event_at_s ?? null);
