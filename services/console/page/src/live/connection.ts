// One stream of events from the console: snapshots, then merge patches. The browser reconnects by itself and says which event
// it had last; the page says at once that it does not know, and greys what it knew.
import { signal } from "@preact/signals";
import { now_s, onServerTime } from "./clock";
import { ask, isShutOut } from "./person";
import { type Change, documentOf, keepOnly, onAsOf, take } from "./store";

export type Link = { state: "connecting" } | { state: "live" } | { state: "lost"; since_s: number };
export const link = signal<Link>({ state: "connecting" });

// Numbers that change faster than they can be read are no use: what comes meanwhile is drawn in one.
const LEAST_GAP_MS = 500;
// The console says something each second: silence is a lost connection that nobody has noticed yet.
const MOST_SILENCE_S = 5;
const REST_MS = 60_000;

let stream: EventSource | null = null;
let followed = "";
let waiting: Change[] = [];
let drawn_ms = 0;
let isPlanned = false;
let heard_ms = 0;
let resting = 0;

/** Follows these documents, and no others. */
export function follow(keys: readonly string[]): void {
  const wanted = keys.map(encodeURIComponent).join(",");
  if (wanted === followed && stream && stream.readyState !== EventSource.CLOSED) return;
  followed = wanted;
  keepOnly(keys);
  keys.forEach(documentOf); // what comes for a key that is not held is dropped
  open();
}

function open(): void {
  stream?.close();
  waiting = [];
  heard_ms = performance.now();
  stream = new EventSource(`/api/v1/live?documents=${followed}`);
  stream.addEventListener("snapshot", (event) => on(JSON.parse(event.data)));
  stream.addEventListener("delta", (event) => on(JSON.parse(event.data)));
  stream.addEventListener("as_of", (event) => {
    const { as_of_s, now_s: server_s } = JSON.parse(event.data) as { as_of_s: Record<string, number>; now_s: number };
    onServerTime(server_s);
    onAsOf(as_of_s);
    onLife();
  });
  stream.onopen = onLife;
  stream.onerror = onLoss;
}

function on(change: Change): void {
  onLife();
  waiting.push(change);
  if (isPlanned) return;
  isPlanned = true;
  setTimeout(draw, Math.max(0, drawn_ms + LEAST_GAP_MS - performance.now()));
}

function draw(): void {
  isPlanned = false;
  drawn_ms = performance.now();
  const changes = waiting;
  waiting = [];
  take(changes);
}

function onLife(): void {
  heard_ms = performance.now();
  if (link.peek().state !== "live") link.value = { state: "live" };
}

function onLoss(): void {
  if (link.peek().state !== "lost") link.value = { state: "lost", since_s: now_s.peek() };
  // A stream that the server refused (it restarts, a key has ended) is not tried again by the browser.
  if (stream?.readyState !== EventSource.CLOSED) return;
  // The browser does not say why: an answer of 401 asks for a sign-in.
  void ask("/api/v1/documents/now").then((answer) => "error" in answer && answer.status === 401 && (isShutOut.value = true));
  setTimeout(() => !isShutOut.value && stream?.readyState === EventSource.CLOSED && open(), 2000);
}

now_s.subscribe(() => {
  if (stream && !document.hidden && performance.now() - heard_ms > MOST_SILENCE_S * 1000) onLoss();
});
addEventListener("offline", onLoss);
// A browser has six connections to one host: a tab that nobody sees gives its own back, and reads anew when it is looked at.
document.addEventListener("visibilitychange", () => {
  clearTimeout(resting);
  if (document.hidden) resting = setTimeout(() => stream?.close(), REST_MS);
  else if (stream && performance.now() - heard_ms > MOST_SILENCE_S * 1000) open();
});
