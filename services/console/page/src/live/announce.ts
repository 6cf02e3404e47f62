// What a screen reader is told: changes of state, never numbers. One sentence at a time, politely.
import { effect, signal } from "@preact/signals";
import { WORD } from "../values/marks";
import { link } from "./connection";
import { now } from "./store";

export const announcement = signal("");
export const announce = (sentence: string): void => {
  announcement.value = sentence;
};

let before = "";
effect(() => {
  const state = now.value.value;
  const current = link.value.state === "lost" ? "connection lost" : state ? `${WORD[state.mark]}: ${state.word}` : "";
  if (current && before && current !== before) announce(current);
  if (current) before = current;
});
