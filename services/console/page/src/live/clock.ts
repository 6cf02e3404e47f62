// The wall clock as the console reads it, once a second: instants on the page are relative to it.
import { computed, signal } from "@preact/signals";
import { age, OLD_S } from "../values/instants";

let ahead_s = 0;
const own = (): number => Date.now() / 1000;

/** The console's wall clock, in seconds. */
export const now_s = signal(own());

/** The console's clock was this: a browser's own may be wrong by minutes. */
export function onServerTime(server_s: number): void {
  ahead_s = server_s - own();
  now_s.value = server_s;
}

setInterval(() => {
  // NB: nothing is drawn in a tab that nobody sees.
  if (!document.hidden) now_s.value = own() + ahead_s;
}, 1000);

/** The minute, for what need not be drawn each second. */
export const minute_s = computed(() => Math.floor(now_s.value / 60) * 60);

/** Seconds since a document was complete, whole; null where it never was. Below the limit it is 0: nothing is drawn anew. */
export function staleness(as_of_s: number | null): number | null {
  const old = age(as_of_s, now_s.value);
  return old == null ? null : old > OLD_S ? Math.floor(old) : 0;
}
