// Instants: relative where that says more, exact on hover and on focus, and with the clock that they were read from.
import { useComputed } from "@preact/signals";
import type { JSX } from "preact";
import { minute_s, now_s } from "../live/clock";
import { exact, minute, relative, timeOfDay } from "../values/instants";

const CLOCK = { event: "event time", wall: "wall clock" } as const;

/** An instant of the wall clock, seen from now. */
export function Ago({ at_s }: { at_s: number }): JSX.Element {
  // Seconds are counted for the first minute only; after it, the text changes once a minute at most.
  const text = useComputed(() => relative(at_s, now_s.value - at_s < 60 ? now_s.value : minute_s.value + 59));
  return (
    <time class="instant" dateTime={exact(at_s)} data-exact={`${exact(at_s)}, ${CLOCK.wall}`} tabIndex={0}>
      {text}
    </time>
  );
}

/** An instant of event time. It is not seen from now: in a replay that would be years. */
export function EventTime({ at_s, label = false }: { at_s: number; label?: boolean }): JSX.Element {
  return (
    <>
      {label && <span class="soft">event time </span>}
      <time class="instant" dateTime={exact(at_s)} data-exact={`${exact(at_s)}, ${CLOCK.event}`} tabIndex={0}>{minute(at_s)}</time>
    </>
  );
}

export const Instant = ({ at_s, clock }: { at_s: number; clock: "event" | "wall" }): JSX.Element =>
  clock === "event" ? <EventTime at_s={at_s} label /> : <Ago at_s={at_s} />;

/** The time of the day on the wall clock, for steps that follow one another within a day. */
export const TimeOfDay = ({ at_s }: { at_s: number }): JSX.Element => (
  <time class="instant" dateTime={exact(at_s)} data-exact={`${exact(at_s)}, ${CLOCK.wall}`} tabIndex={0}>
    {timeOfDay(at_s)}
  </time>
);
