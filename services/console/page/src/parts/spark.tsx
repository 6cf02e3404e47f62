// The course of a figure in a line of text. The exact values are in the charts of the deployment.
import type { JSX } from "preact";

const WIDTH = 64;
const HEIGHT = 16;

type Points = readonly (number | null)[];

/** Points of one or more lines; a gap breaks the line. From nought, so that a flat course looks flat. */
export function path(values: Points, isFromNought: boolean): string {
  const known = values.filter((value): value is number => value != null);
  if (known.length < 2) return "";
  const low = isFromNought ? Math.min(0, ...known) : Math.min(...known);
  const span = Math.max(...known) - low || 1;
  const step = WIDTH / (values.length - 1);
  let isDown = false;
  const parts = values.map((value, index) => {
    if (value == null) {
      isDown = false;
      return "";
    }
    const to = `${isDown ? "L" : "M"}${(index * step).toFixed(1)} ${(HEIGHT - 1 - ((value - low) / span) * (HEIGHT - 2)).toFixed(1)}`;
    isDown = true;
    return to;
  });
  return parts.join("");
}

export function Spark({ values, isFromNought = false }: { values: Points; isFromNought?: boolean }): JSX.Element {
  return (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} aria-hidden="true">
      <path d={path(values, isFromNought)} />
    </svg>
  );
}
