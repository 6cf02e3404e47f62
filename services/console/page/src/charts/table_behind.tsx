// The numbers behind a chart, for screen readers and for doubts. They are drawn when the table is opened.
import { type ReadonlySignal, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { minute } from "../values/instants";
import type { Picture } from "./chart";

const MOST_ROWS = 200;

interface TableProps {
  title: string;
  picture: ReadonlySignal<Picture>;
  write: (value: number | null | undefined) => string;
  clock: "event" | "wall";
}

export function TableBehind(props: TableProps): JSX.Element {
  const isOpen = useSignal(false);
  return (
    <details class="behind" onToggle={(event) => (isOpen.value = event.currentTarget.open)}>
      <summary>table<span class="unseen"> of {props.title}</span></summary>
      {isOpen.value && <Numbers {...props} />}
    </details>
  );
}

function Numbers({ title, picture, write, clock }: TableProps): JSX.Element {
  const { x, lines, limits } = picture.value;
  const rows = x.map((at, index) => ({ at, index })).slice(-MOST_ROWS).reverse();
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={`table of ${title}`}>
      <table>
        <caption class="soft">{clock === "event" ? "Event time" : "Wall clock"}, UTC, the newest first{x.length > MOST_ROWS && `; the newest ${MOST_ROWS} of ${x.length}`}</caption>
        <thead><tr><th scope="col">instant</th>{lines.map((line) => <th key={line.label} scope="col" class="number">{line.label}</th>)}{limits.map((limit) => <th key={limit.text} scope="col" class="number">{limit.text}</th>)}</tr></thead>
        <tbody>
          {rows.map(({ at, index }) => (
            <tr key={at}><th scope="row">{minute(at)}</th>{lines.map((line) => <td key={line.label} class="number">{write(line.values[index])}</td>)}{limits.map((limit) => <td key={limit.text} class="number">{write(limit.value)}</td>)}</tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
