// The address is the state of the page: which thing it shows, and every filter.
import { batch, computed, signal } from "@preact/signals";
import { routeOf, titleOf } from "../values/routes";

const path = signal(location.pathname);
const query = signal(location.search);

export const route = computed(() => routeOf(path.value));
const parameters = computed(() => new URLSearchParams(query.value));
export const parameter = (name: string): string => parameters.value.get(name) ?? "";

function read(): void {
  batch(() => {
    path.value = location.pathname;
    query.value = location.search;
  });
}

/** Goes to another page, and there to what the address names behind `#`. */
export function go(to: string): void {
  if (to === location.pathname + location.search + location.hash) return;
  history.pushState(null, "", to);
  read();
  scrollTo(0, 0);
  arrive();
}

let arriving: MutationObserver | undefined;

/** What stands behind `#` may come with a document that is not here yet: it is shown as soon as it is there. */
function arrive(): void {
  arriving?.disconnect();
  const wanted = decodeURIComponent(location.hash.slice(1));
  const isShown = (): boolean => {
    const found = document.getElementById(wanted);
    found?.scrollIntoView();
    return found != null;
  };
  if (!wanted || isShown()) return;
  arriving = new MutationObserver((_, observer) => {
    if (isShown()) observer.disconnect();
  });
  arriving.observe(document.body, { childList: true, subtree: true });
}

/** Writes a filter into the address, without a step in the history. */
export function setParameter(name: string, value: string): void {
  const wanted = new URLSearchParams(location.search);
  if (value) wanted.set(name, value);
  else wanted.delete(name);
  const text = wanted.toString();
  history.replaceState(null, "", location.pathname + (text && `?${text}`));
  read();
}

/** The address of this page with one parameter changed: for links that sort and filter. */
export function withParameter(name: string, value: string): string {
  const wanted = new URLSearchParams(query.value);
  if (value) wanted.set(name, value);
  else wanted.delete(name);
  const text = wanted.toString();
  return path.value + (text && `?${text}`);
}

addEventListener("popstate", read);
// Links of the page are followed without loading it again; `data-keep` marks those that only sort or filter.
document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const anchor = event.target instanceof Element ? event.target.closest<HTMLAnchorElement>("a[href]") : null;
  if (!anchor || anchor.target || anchor.origin !== location.origin || anchor.getAttribute("href")?.startsWith("#")) return;
  event.preventDefault();
  if ("keep" in anchor.dataset) {
    history.replaceState(null, "", anchor.href);
    read();
  } else go(anchor.pathname + anchor.search + anchor.hash);
});
if (location.hash) addEventListener("DOMContentLoaded", arrive);
route.subscribe((current) => {
  document.title = titleOf(current);
});
