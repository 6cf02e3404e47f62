// Who answers: the versions of the route with their shares, and what answers when they cannot.
import { useComputed } from "@preact/signals";
import type { JSX } from "preact";
import type { Deployment, RouteShare } from "../documents";
import type { Held } from "../live/store";
import { Place } from "../parts/copy";
import { Panel } from "../parts/panel";
import { type Column, Table } from "../parts/table";
import { VersionName } from "../parts/version_name";
import { percent, words } from "../values/numbers";
import { Bar } from "./now";

export function Route({ name, held }: { name: string; held: Held<Deployment> }): JSX.Element {
  const order = useComputed(() => {
    const route = held.value.value?.route ?? {};
    return Object.keys(route).sort((a, b) => (route[b]?.share ?? 0) - (route[a]?.share ?? 0) || Number(b) - Number(a));
  });
  const n = useComputed(() => order.value.length).value;
  const fallback = useComputed(() => held.value.value?.fallback).value ?? [];
  const reason = useComputed(() => held.value.value?.reason).value;
  const place = useComputed(() => held.value.value?.place).value ?? "";
  return (
    <Panel title="Route" held={held} id="route">
      {n > 0 && <Table caption="Route" columns={columns(name)} order={order} row={(id) => held.value.value?.route[id]} noun="version" kind="fit" />}
      <p>
        {n > 0 ? "Who answers, in this order: " : "There is no version yet. Who would answer, in this order: "}
        {fallback.join(", then ")}; else the request is refused.
        {reason && <span class="soft"> The route is so because: {reason}.</span>} <Place place={place} word="its record" />
      </p>
    </Panel>
  );
}

const columns = (name: string): readonly Column<RouteShare>[] => [
  { key: "version", head: "version", cell: (row) => <VersionName deployment={name} version={row.version} /> },
  { key: "share", head: "share", isNumber: true, cell: (row) => <><Bar share={row.share} /> <span class="figure">{percent(row.share)}</span></> },
  { key: "roles", head: "role", cell: (row) => row.roles.join(", ") },
  { key: "state", head: "state", cell: (row) => words(row.state) },
];
