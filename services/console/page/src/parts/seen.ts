// Which elements are on the screen: what nobody sees is not kept up to date.
import { type Signal, signal, useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";

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
