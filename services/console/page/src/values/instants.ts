// How instants and durations are written. All instants are seconds since the epoch, and all are shown in UTC.

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86_400;
type Maybe = number | null | undefined;

const iso = (at_s: number): string => new Date(Math.max(-8.64e12, Math.min(8.64e12, at_s)) * 1000).toISOString();

/** `2013-04-24 06:00:05 UTC` */
export const exact = (at_s: number): string => `${iso(at_s).slice(0, 10)} ${iso(at_s).slice(11, 19)} UTC`;
/** `2013-04-24 06:00` */
export const minute = (at_s: number): string => `${iso(at_s).slice(0, 10)} ${iso(at_s).slice(11, 16)}`;
/** `12:03:05` */
export const timeOfDay = (at_s: number): string => iso(at_s).slice(11, 19);

/** A duration by its two largest units: `41 s`, `2 h 10 min`, `3 d`; below a second `0.2 s`. */
export function duration(seconds: Maybe): string {
  if (seconds == null) return "–";
  const size = Math.abs(seconds);
  const sign = seconds < 0 ? "−" : "";
  if (size < 9.95) return `${sign}${size.toFixed(1).replace(".0", "")} s`;
  if (size < 100) return `${sign}${size.toFixed(0)} s`;
  if (size < 100 * MINUTE) return `${sign}${Math.round(size / MINUTE)} min`;
  if (size < 2 * DAY) return pair(sign, size, HOUR, "h", MINUTE, "min");
  if (size < 10 * DAY) return pair(sign, size, DAY, "d", HOUR, "h");
  return `${sign}${Math.round(size / DAY)} d`;
}

function pair(sign: string, size: number, unit_s: number, unit: string, part_s: number, part: string): string {
  const parts = Math.round(size / part_s);
  const per = unit_s / part_s;
  const rest = parts % per;
  return `${sign}${Math.floor(parts / per)} ${unit}${rest ? ` ${rest} ${part}` : ""}`;
}

/** An instant as seen from now: `12 s ago`, `3 d ago`, `in 2 h`. One unit only, so that it seldom changes. */
export function relative(at_s: number, now_s: number): string {
  const ago = now_s - at_s;
  const size = Math.abs(ago);
  const text =
    size < 5 ? "" : size < MINUTE ? `${Math.floor(size)} s` : size < HOUR ? `${Math.floor(size / MINUTE)} min`
    : size < 2 * DAY ? `${Math.floor(size / HOUR)} h` : `${Math.floor(size / DAY)} d`;
  if (!text) return "now";
  return ago < 0 ? `in ${text}` : `${text} ago`;
}

/** Older than this is shown in red: the panel may not say what is the case now. */
export const OLD_S = 10;

/** How old a document is, null where nothing is known of it. */
export const age = (as_of_s: Maybe, now_s: number): number | null => (as_of_s == null ? null : Math.max(0, now_s - as_of_s));
export const isOld = (as_of_s: Maybe, now_s: number): boolean => (age(as_of_s, now_s) ?? Infinity) > OLD_S;
