// Which elements are on the screen: of a table with many lively rows, those that nobody sees follow slowly.
import { type ReadonlySignal, type Signal, signal, useComputed, useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { now_s } from "../live/clock";

const signals = new WeakMap<Element, Signal<boolean>>();
const observer = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const is = signals.get(entry.target);
      if (is) is.value = entry.isIntersecting;
    }
  },
  { rootMargin: "200px" },
);

/** Has the browser painted what is seen first? Then there is time for what is not. */
export const isPainted = signal(false);
export const onPainted = (): void => void setTimeout(() => (isPainted.value = true), 100);

const SLOW_S = 5;
/** Changes every five seconds; by `index` at different ones, so that not all rows are drawn at once. */
export const useSlowTurn = (index: number): ReadonlySignal<number> => useComputed(() => Math.floor((Math.floor(now_s.value) + index) / SLOW_S));

/** `ref` goes to the element. Until the browser has looked, `first` holds. */
export function useSeen(first: boolean): { is: Signal<boolean>; ref: (element: Element | null) => void } {
  const is = useSignal(first);
  const watched = useRef<Element | null>(null);
  const ref = useRef((element: Element | null) => {
    if (watched.current && watched.current !== element) observer.unobserve(watched.current);
    watched.current = element;
    if (!element) return;
    signals.set(element, is);
    observer.observe(element);
  }).current;
  return { is, ref };
}
