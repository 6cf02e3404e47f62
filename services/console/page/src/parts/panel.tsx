// A part of a page with its heading and the instant as of which it holds. Old panels say so in red.
import { useComputed } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { staleness } from "../live/clock";
import type { Held } from "../live/store";
import { duration, timeOfDay } from "../values/instants";
import { SHAPE } from "../values/marks";

export function AsOf({ held }: { held: Held<unknown> }): JSX.Element {
  const old = useComputed(() => staleness(held.as_of_s.value)).value;
  const at = held.as_of_s.value;
  if (at == null) return <span class="as-of soft">not read yet</span>;
  if (!old) return <span class="as-of soft">as of {timeOfDay(at)}</span>;
  return (
    <span class="as-of page">
      <span aria-hidden="true">{SHAPE.page}</span> old: as of {timeOfDay(at)}, {duration(old)} ago
    </span>
  );
}

interface PanelProps {
  title: ComponentChildren;
  held: Held<unknown>;
  id?: string;
  /** What stands between the heading and its instant: filters, a count. */
  beside?: ComponentChildren;
  children: ComponentChildren;
}

export function Panel({ title, held, id, beside, children }: PanelProps): JSX.Element {
  return (
    <section class="panel" id={id}>
      <header>
        <h2>{title}</h2>
        {beside}
        <AsOf held={held} />
      </header>
      {children}
    </section>
  );
}

/** What a document shows once it is there; until then, and where there is no such thing, a sentence. */
export function Shown<T>({ held, children }: { held: Held<T>; children: (value: T) => ComponentChildren }): JSX.Element {
  const value = held.value.value;
  if (value === undefined) return <p class="soft waiting">Reading the log …</p>;
  if (value === null) return <p class="soft">{held.why.value || "There is no such thing on the log."}</p>;
  return <>{children(value)}</>;
}
