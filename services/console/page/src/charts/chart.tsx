// One chart: uPlot in a box, with its legend above and its table below. Charts of a group share their range and their cursor.
import { effect, type ReadonlySignal, type Signal, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { theme } from "../frame/theme";
import { type Drawn, heights, type Placed, type Range } from "../values/axis";
import { colour, FONT, type Limit, paintLimits, paintMarks, strokeOf } from "./paint";
import { TableBehind } from "./table_behind";

export interface Picture extends Drawn {
  limits: readonly Limit[];
  marks: readonly Placed[];
  range: Range;
  /** The edges of a band. */
  band?: { low: readonly (number | null)[]; high: readonly (number | null)[] };
}

interface ChartProps {
  title: string;
  picture: ReadonlySignal<Picture>;
  write: (value: number | null | undefined) => string;
  group: string;
  clock: "event" | "wall";
  isFirst?: boolean;
  isLast?: boolean;
}

const HEIGHT = 112;
// What matters most has more room.
const FIRST_HEIGHT = 160;
const AXIS_HEIGHT = 32;
const TOP = 24;
// Charts follow the data at most once a second: a course does not change faster.
const LEAST_GAP_MS = 1000;

export function Chart(props: ChartProps): JSX.Element {
  const { title, picture, write, clock, isFirst, isLast } = props;
  const box = useRef<HTMLDivElement>(null);
  const at = useSignal<number | null>(null);
  useEffect(() => (box.current ? mounted(box.current, props, at) : undefined), [title]);
  return (
    <figure class="chart" aria-label={title}>
      <figcaption><span class="strong">{title}</span> <Legend picture={picture} write={write} at={at} /></figcaption>
      <div ref={box} class="canvas" style={{ height: `${(isFirst ? FIRST_HEIGHT : HEIGHT) + (isLast ? AXIS_HEIGHT : 0)}px` }} aria-hidden="true" />
      <TableBehind title={title} picture={picture} write={write} clock={clock} />
    </figure>
  );
}

/** Names of the lines with their value at the cursor, else their newest. */
function Legend({ picture, write, at }: { picture: ReadonlySignal<Picture>; write: ChartProps["write"]; at: Signal<number | null> }): JSX.Element {
  const { lines, limits } = picture.value;
  void theme.value;
  return (
    <span class="legend">
      {lines.map((line) => (
        <span key={line.label} class="pair">
          <span class={`swatch ${line.isDashed ? "dashed" : ""}`} style={{ background: line.isDashed ? undefined : strokeOf(line) }} aria-hidden="true" />
          {line.label} <span class="figure">{write(at.value == null ? line.values.findLast((value) => value != null) : line.values[at.value])}</span>
        </span>
      ))}
      {limits.map((limit) => <span key={limit.text} class="soft">{limit.text}</span>)}
    </span>
  );
}

function mounted(box: HTMLElement, props: ChartProps, at: Signal<number | null>): () => void {
  let plot: uPlot | null = null;
  let shape = "";
  let drawn_ms = -Infinity;
  let timer = 0;
  const draw = (): void => {
    const picture = props.picture.peek();
    drawn_ms = performance.now();
    const wanted = `${picture.lines.map((line) => `${line.label}${line.isDashed}`)} ${theme.peek()} ${!picture.band}`;
    if (!plot || wanted !== shape) {
      plot?.destroy();
      shape = wanted;
      plot = new uPlot(options(box, props, at), data(picture), box);
    } else plot.setData(data(picture));
  };
  const stop = effect(() => {
    void props.picture.value;
    void theme.value;
    clearTimeout(timer);
    const wait = drawn_ms + LEAST_GAP_MS - performance.now();
    if (wait <= 0) draw();
    else timer = setTimeout(draw, wait);
  });
  const sizes = new ResizeObserver(() => plot?.setSize({ width: box.clientWidth, height: box.clientHeight }));
  sizes.observe(box);
  return () => {
    stop();
    clearTimeout(timer);
    sizes.disconnect();
    plot?.destroy();
  };
}

const data = ({ x, lines, band }: Picture): uPlot.AlignedData => [x, ...(band ? [band.high, band.low] : []), ...lines.map((line) => line.values)] as uPlot.AlignedData;

function options(box: HTMLElement, { picture, write, group, isFirst = false, isLast = false }: ChartProps, at: Signal<number | null>): uPlot.Options {
  const { lines, band } = picture.peek();
  const axis = { font: FONT, stroke: colour("--soft"), ticks: { show: false }, grid: { stroke: colour("--line"), width: 1 } };
  const edge: uPlot.Series = { points: { show: false }, width: 0 };
  return {
    width: box.clientWidth,
    height: box.clientHeight,
    padding: [TOP, 40, isLast ? 0 : 8, 0],
    legend: { show: false },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
    cursor: { sync: { key: group, scales: ["x", null] }, y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: { x: { range: () => [picture.peek().range.from, picture.peek().range.to] }, y: { range: () => heights(picture.peek().lines, picture.peek().limits.map(({ value }) => value), picture.peek().band) } },
    axes: [
      { ...axis, show: isLast, size: AXIS_HEIGHT, space: 80, values: TIMES },
      { ...axis, size: 64, gap: 8, space: 32, values: (_, ticks) => ticks.map((tick) => write(tick)) },
    ],
    series: [
      {},
      ...(band ? [edge, edge] : []), // before the lines, which they would cover
      ...lines.map((line): uPlot.Series => ({ label: line.label, stroke: strokeOf(line), width: 1.5, dash: line.isDashed ? [4, 4] : [], points: { size: 4, show: line.values.length < 60, fill: strokeOf(line) } })),
    ],
    ...(band ? { bands: [{ series: [1, 2], fill: colour("--line") }] } : {}),
    hooks: {
      drawAxes: [(u) => paintMarks(u, picture.peek().marks, isFirst)],
      draw: [(u) => paintLimits(u, picture.peek().limits)],
      setCursor: [(u) => (at.value = u.cursor.idx ?? null)],
    },
  };
}

// Hours within a day, days within months: in numbers, as everywhere on the page.
const TIMES: uPlot.Axis.Values = (_, ticks, __, ___, step) =>
  ticks.map((tick) => {
    const text = new Date(tick * 1000).toISOString();
    return step >= 86_400 ? text.slice(0, 10) : tick % 86_400 === 0 ? text.slice(5, 10) : text.slice(11, 16);
  });
