// The course of a figure as a line within a line of text.

export const WIDTH = 64;
export const HEIGHT = 16;

/** An SVG path through the values; a gap breaks it. `isFromNought`: the scale begins at 0, so that a flat course looks flat. */
export function sparkPath(values: readonly (number | null)[], isFromNought: boolean): string {
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
