// How charts are painted: colours of the page's style, limits as dashed lines, marks as lines through all charts with a shape
// at the top.
import type uPlot from "uplot";
import type { Line, Placed } from "../values/axis";
import { hueOf } from "../parts/version_name";

export const FONT = "12px system-ui, sans-serif";
/** `short`: its value, as it is written on the chart. */
export type Limit = { value: number; text: string; short: string };

const probe = document.createElement("span");
/** A colour of the style as a canvas understands it. NB: the property itself may be `light-dark(...)`; only a colour in use is resolved. */
export function colour(name: string): string {
  if (!probe.isConnected) {
    probe.hidden = true;
    document.body.append(probe);
  }
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}
/** A line's colour: of its version, else of text: grey is no state. */
export function strokeOf(line: Line): string {
  const hue = line.version ?? line.hue;
  return colour(hue == null ? (line.isDashed ? "--soft" : "--ink") : hueOf(hue));
}

const SHAPES: Record<string, string> = { version: "v", finding: "▲", resolved: "●", retrain: "↻", rollout: "→", rollback: "←" };
export const shapeOf = (kind: string): string => SHAPES[kind] ?? "·";

function vertical(u: uPlot, x: number, draw: (at: number) => void): void {
  const at = Math.round(u.valToPos(x, "x", true));
  if (at >= u.bbox.left && at <= u.bbox.left + u.bbox.width) draw(at);
}

/** Marks behind the lines; only the topmost chart has their shapes. */
export function paintMarks(u: uPlot, marks: readonly Placed[], hasShapes: boolean): void {
  const { ctx, bbox } = u;
  const scale = devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour("--soft");
  ctx.lineWidth = scale;
  ctx.globalAlpha = 0.6;
  ctx.font = `${12 * scale}px system-ui, sans-serif`;
  ctx.textAlign = "center";
  ctx.textBaseline = "bottom"; // some shapes reach below the line of writing
  let last = -Infinity;
  for (const { x, mark } of marks) {
    vertical(u, x, (at) => {
      ctx.beginPath();
      ctx.setLineDash(mark.kind === "version" ? [] : [2 * scale, 4 * scale]);
      ctx.moveTo(at, bbox.top);
      ctx.lineTo(at, bbox.top + bbox.height);
      ctx.stroke();
      if (!hasShapes || at - last < 16 * scale) return;
      last = at;
      ctx.globalAlpha = 1;
      ctx.fillText(shapeOf(mark.kind), at, bbox.top - 2 * scale);
      ctx.globalAlpha = 0.6;
    });
  }
  ctx.restore();
}

/** Limits in front of the lines, each with its words at the right. */
export function paintLimits(u: uPlot, limits: readonly Limit[]): void {
  const { ctx, bbox } = u;
  const scale = devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour("--page");
  ctx.lineWidth = scale;
  ctx.setLineDash([6 * scale, 4 * scale]);
  ctx.font = `${12 * scale}px system-ui, sans-serif`;
  ctx.textAlign = "right";
  for (const { value, short } of limits) {
    const at = Math.round(u.valToPos(value, "y", true));
    if (at < bbox.top || at > bbox.top + bbox.height) continue;
    ctx.beginPath();
    ctx.moveTo(bbox.left, at);
    ctx.lineTo(bbox.left + bbox.width, at);
    ctx.stroke();
    ctx.fillText(short, bbox.left + bbox.width, at - 4 * scale);
  }
  ctx.restore();
}
