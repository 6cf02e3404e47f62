// A back-test as lines: what each policy had gained by then, and when its retrains answered.
import type { BacktestPolicy, BacktestReported } from "../documents";
import { type Drawn, MOST_LINES, type Placed, placed, type Range } from "./axis";

/** The stretch that was replayed. */
export const stretch = (of: BacktestReported): Range => ({ from: of.from_s, to: of.to_s });

/** The policies that are drawn: the first ones, in the order of their file. */
export const drawn = (of: BacktestReported): readonly BacktestPolicy[] => of.policies.slice(0, MOST_LINES);

/** Each curve begins at nothing gained, where the stretch begins. */
export function curves(of: BacktestReported): Drawn {
  return {
    x: [of.from_s, ...of.curve_at_s],
    lines: drawn(of).map((policy, index) => ({ label: policy.name, version: null, hue: index + 1, values: [0, ...policy.curve] })),
  };
}

/** When retrains of the policies that are drawn answered. */
export function retrains(of: BacktestReported): Placed[] {
  const marks = drawn(of).flatMap((policy) =>
    policy.retrains_s.map((at_s) => ({ at_s, clock: "event" as const, kind: "retrain" as const, text: policy.name, link: "", wall_s: null })));
  return placed(Object.fromEntries(marks.entries()), "event", false, stretch(of));
}
