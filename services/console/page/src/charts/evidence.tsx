// How the evidence of a rollout grew: each metric's value over event time, with its limit.
import { useComputed, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { RolloutView } from "../documents";
import { figure, limit as written } from "../values/numbers";
import { Chart, type Picture } from "./chart";

export function Evidence({ view }: { view: RolloutView }): JSX.Element | null {
  const isOpen = useSignal(false);
  const metrics = Object.keys(view.history).filter((metric) => (view.history[metric]?.length ?? 0) > 1);
  if (!metrics.length) return null;
  return (
    <details class="behind" onToggle={(event) => (isOpen.value = event.currentTarget.open)}>
      <summary>how the evidence grew</summary>
      {isOpen.value && metrics.map((metric, index) => <Grown key={metric} view={view} metric={metric} isFirst={index === 0} isLast={index === metrics.length - 1} />)}
    </details>
  );
}

function Grown({ view, metric, isFirst, isLast }: { view: RolloutView; metric: string; isFirst: boolean; isLast: boolean }): JSX.Element {
  const current = useSignal(view);
  useEffect(() => void (current.value = view), [view]);
  const picture = useComputed(() => pictureOf(current.value, metric));
  return <Chart title={metric} picture={picture} write={figure} group="axis-evidence" clock="event" isFirst={isFirst} isLast={isLast} />;
}

function pictureOf(view: RolloutView, metric: string): Picture {
  const all = Object.values(view.history).flat().map(([at]) => at);
  const points = view.history[metric] ?? [];
  const limit = view.evidence[metric]?.limit;
  return {
    x: points.map(([at]) => at),
    lines: [{ label: `v${view.version}`, version: view.version, values: points.map(([, value]) => value) }],
    limits: limit == null ? [] : [{ value: limit, text: "limit", short: `limit ${written(limit)}` }],
    marks: [],
    range: { from: Math.min(...all), to: Math.max(...all) },
  };
}
