// A page whose code comes when it is first opened: a first visit loads less.
import { signal } from "@preact/signals";
import type { ComponentType, JSX } from "preact";
import { useEffect } from "preact/hooks";

export function later<Props extends object>(load: () => Promise<ComponentType<Props>>): (props: Props) => JSX.Element {
  const found = signal<ComponentType<Props> | null>(null);
  const isLost = signal(false);
  let isAsked = false;
  let hadFocus = false;
  const ask = (): void => {
    isAsked = true;
    load().then(
      (component) => {
        hadFocus = document.activeElement?.closest("#main") != null;
        found.value = component;
      },
      () => (isLost.value = true),
    );
  };
  return function Later(props: Props): JSX.Element {
    const Component = found.value;
    if (!isAsked) ask();
    useEffect(() => {
      // Who was led to the heading of the page that was still to come is led to that of the page that came.
      if (Component && hadFocus) document.querySelector<HTMLElement>("h1")?.focus({ preventScroll: true });
      hadFocus = false;
    }, [Component]);
    if (Component) return <Component {...props} />;
    return (
      <main id="main">
        <h1 tabIndex={-1}>{isLost.value ? "This page did not come" : "Loading"}</h1>
        {isLost.value ? <p>The console did not send its code: it was replaced by another version, or does not answer. <button type="button" onClick={() => location.reload()}>Load the page again</button></p> : <p class="soft waiting">Reading the page …</p>}
      </main>
    );
  };
}
