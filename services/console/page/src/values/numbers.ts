// How numbers are written: at most three figures that mean something, a unit, and a dash for what is not known.

export const UNKNOWN = "–";
type Maybe = number | null | undefined;

const bare = (text: string): string => text.replace(/^(-?)0\./, "$1.").replace("-", "−");

/** A measured figure, as the terminal writes it: `.784`, `−.006`, `12.4`, `1,204`. */
export function figure(value: Maybe, digits = 3): string {
  if (value == null || !Number.isFinite(value)) return UNKNOWN;
  const size = Math.abs(value);
  if (size >= 1000) return count(value);
  if (size >= 100) return bare(value.toFixed(0));
  if (size >= 10) return bare(value.toFixed(1));
  if (size >= 1) return bare(value.toFixed(2));
  if (size === 0) return "0";
  if (size < 0.5 * 10 ** -digits) return bare(value.toPrecision(1).replace(/e([-+]\d+)/, "e$1"));
  return bare(value.toFixed(digits));
}

/** A difference, with its sign: `+.012`, `−.006`, `0`. */
export const signed = (value: Maybe): string => (value != null && value > 0 ? `+${figure(value)}` : figure(value));

/** A limit, which somebody has chosen: without the noughts that a measured figure ends with. */
export const limit = (value: Maybe): string => {
  const text = figure(value);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
};

/** A whole number with its thousands apart: `101,600`. */
export const count = (value: Maybe): string => (value == null ? UNKNOWN : bare(Math.round(value).toLocaleString("en-US")));

/** A share of 0..1 in percent: `0.0 %`, `5 %`, `61 %`. What is not nothing is never written as `0 %`. */
export function percent(share: Maybe, digits = 0): string {
  if (share == null) return UNKNOWN;
  const least = 0.5 * 10 ** -(digits + 2);
  if (share > 0 && share < least) return `< ${(2 * least * 100).toFixed(digits)} %`;
  return `${(share * 100).toFixed(digits).replace("-", "−")} %`;
}

/** Milliseconds: `0.8 ms`, `14 ms`, `1.2 s`. */
export function milliseconds(value: Maybe): string {
  if (value == null) return UNKNOWN;
  if (value >= 1000) return `${(value / 1000).toFixed(1)} s`;
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`;
}

/** Something per second: `0.2`, `12`, `1,240`. */
export function rate(value: Maybe): string {
  if (value == null) return UNKNOWN;
  return value > 0 && value < 9.95 ? value.toFixed(1) : count(value);
}

/** Bytes: `307 B`, `1.6 MB`. */
export function bytes(value: Maybe): string {
  if (value == null) return UNKNOWN;
  const units = ["B", "KB", "MB", "GB", "TB"];
  let size = value;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? size.toFixed(0) : size.toFixed(1)} ${units[unit]}`;
}

/** A name as words: `rolling out`, `rank correlation`. */
export const words = (name: string): string => name.replaceAll("_", " ");

/** A count of things with its noun: `1 label`, `2 labels`. */
export const things = (n: number, one: string, many = `${one}s`): string => `${count(n)} ${n === 1 ? one : many}`;
