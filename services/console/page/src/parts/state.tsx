// A state: shape, word and colour together.
import type { JSX } from "preact";
import { type Mark, markOf, SHAPE, WORD } from "../values/marks";

/** `isQuiet`: the word is for screen readers only, because another word stands beside it. */
export function State({ mark, word, isQuiet = false }: { mark: Mark; word?: string | undefined; isQuiet?: boolean }): JSX.Element {
  return (
    <span class={`state ${mark}`}>
      <span aria-hidden="true">{SHAPE[mark]}</span>
      <span class={isQuiet ? "unseen" : undefined}>{"\u00a0"}{word || WORD[mark]}</span>
    </span>
  );
}

/** A verdict in its own words: PASS, FAIL, INCONCLUSIVE, UNMEASURED. */
export const Verdict = ({ verdict }: { verdict: string }): JSX.Element => <State mark={markOf(verdict)} word={verdict} />;
