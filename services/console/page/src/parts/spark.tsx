// The course of a figure in a line of text. The exact values are in the charts of the deployment.
import type { JSX } from "preact";
import { HEIGHT, sparkPath, WIDTH } from "../values/spark";

export function Spark({ values, isFromNought = false }: { values: readonly (number | null)[]; isFromNought?: boolean }): JSX.Element {
  return (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} aria-hidden="true">
      <path d={sparkPath(values, isFromNought)} />
    </svg>
  );
}
