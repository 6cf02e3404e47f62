// Who writes a topic and who reads it, as columns from left to right in the order in which records flow.
import { useComputed } from "@preact/signals";
import type { JSX } from "preact";
import type { Edge, Services } from "../documents";
import type { Held } from "../live/store";
import { State } from "../parts/state";
import { count } from "../values/numbers";

// Records that a reader may have before it without being called behind.
const FEW = 1000;

export function Topology({ held }: { held: Held<Services> }): JSX.Element {
  const topics = useComputed(() => byTopic(Object.values(held.value.value?.edges ?? {}))).value;
  if (!topics.length) return <p class="soft">No topic is written or read yet.</p>;
  return (
    <table class="topology">
      <caption class="unseen">Topics with their writers and readers</caption>
      <thead><tr><th scope="col">topic</th><th scope="col">written by</th><th scope="col">read by, and how many records each is behind</th></tr></thead>
      <tbody>
        {topics.map(([topic, edges]) => (
          <tr key={topic}>
            <th scope="row">{topic}</th>
            <td data-head="written by">{[...new Set(edges.map((edge) => edge.writer))].filter(Boolean).join(", ") || <span class="soft">from outside</span>}</td>
            <td data-head="read by">{readers(edges).map((edge) => <Reader key={edge.reader} edge={edge} />)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const Reader = ({ edge }: { edge: Edge }): JSX.Element => (
  <span class="pair">
    <span aria-hidden="true" class="soft">→</span> {edge.reader}{" "}
    {edge.behind_records == null ? null // it follows the whole topic, and says no number
      : edge.behind_records > FEW ? <State mark="attention" word={`${count(edge.behind_records)} behind`} />
      : <span class="soft figure">{count(edge.behind_records)}</span>}
  </span>
);

/** Several writers of a topic give several edges to one reader. */
const readers = (edges: readonly Edge[]): Edge[] => [...new Map(edges.map((edge) => [edge.reader, edge])).values()].sort((a, b) => a.reader.localeCompare(b.reader));

function byTopic(edges: readonly Edge[]): [string, Edge[]][] {
  const topics = new Map<string, Edge[]>();
  for (const edge of edges) topics.set(edge.topic, [...(topics.get(edge.topic) ?? []), edge]);
  return [...topics].sort(([a], [b]) => a.localeCompare(b));
}
