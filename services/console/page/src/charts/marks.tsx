// What the marks on the charts are: each with its instant, and a link to the thing that it stands for.
import { type ReadonlySignal, useComputed } from "@preact/signals";
import type { JSX } from "preact";
import type { SeriesMark } from "../documents";
import { Instant } from "../parts/instant";
import { things } from "../values/numbers";
import { shapeOf } from "./paint";

const MOST = 50;

export function Marks({ series }: { series: ReadonlySignal<{ marks: Record<string, SeriesMark> }> }): JSX.Element | null {
  const marks = useComputed(() => Object.values(series.value.marks).sort((a, b) => b.at_s - a.at_s)).value;
  if (!marks.length) return null;
  return (
    <details class="behind">
      <summary>{things(marks.length, "mark")} on the charts: versions, findings, retrains, rollouts</summary>
      <ol class="marks">
        {marks.slice(0, MOST).map((mark) => (
          <li key={`${mark.at_s}${mark.kind}${mark.text}`}>
            <span aria-hidden="true">{shapeOf(mark.kind)}</span> <Instant at_s={mark.at_s} clock={mark.clock} /> {mark.link ? <a href={mark.link}>{mark.text}</a> : mark.text}
          </li>
        ))}
      </ol>
    </details>
  );
}
