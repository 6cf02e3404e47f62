// Which elements are on the screen: what nobody sees is not kept up to date.
import { type Signal, useSignal } from "@preact/signals";
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

/** `ref` goes to the element. Until the browser has looked, it counts as seen. */
export function useSeen(): { is: Signal<boolean>; ref: (element: Element | null) => void } {
  const is = useSignal(true);
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
