// Finds any deployment, version, finding, request id or unit: ⌘K, or Ctrl K.
import { signal, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import type { Found } from "../documents";
import { go } from "../live/address";
import { ask } from "../live/person";
import { Dialog } from "../parts/dialog";

const isOpen = signal(false);
const isApple = /Mac|iPhone|iPad/.test(navigator.platform);
// While a person types, one question is enough.
const PAUSE_MS = 150;

addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "k" || !(event.metaKey || event.ctrlKey) || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  isOpen.value = true;
});

export const Finder = (): JSX.Element => (
  <>
    <button type="button" class="quiet find" onClick={() => (isOpen.value = true)}>find <kbd>{isApple ? "⌘K" : "Ctrl K"}</kbd></button>
    {isOpen.value && <FindDialog />}
  </>
);

function FindDialog(): JSX.Element {
  const wanted = useSignal("");
  const found = useSignal<Found[]>([]);
  const at = useSignal(0);
  const said = useSignal("");
  useEffect(() => wanted.subscribe(searching(found, at, said)), []);
  const choose = (hit: Found | undefined): void => {
    if (!hit) return;
    isOpen.value = false;
    go(hit.link);
  };
  const onKey = (event: KeyboardEvent): void => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      at.value = Math.max(0, Math.min(found.value.length - 1, at.value + step));
      document.getElementById(`hit-${at.value}`)?.scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter") {
      event.preventDefault();
      choose(found.value[at.value]);
    }
  };
  return (
    <Dialog title="Find" kind="finder" onClose={() => (isOpen.value = false)}>
      <input
        type="search" role="combobox" aria-label="Find a deployment, version, finding, request id or unit" aria-controls="hits" aria-expanded={found.value.length > 0}
        aria-activedescendant={found.value.length ? `hit-${at.value}` : undefined} aria-autocomplete="list" list={undefined} placeholder="deployment, version, finding, request id, unit"
        value={wanted.value} onInput={(event) => (wanted.value = event.currentTarget.value)} onKeyDown={onKey}
      />
      <ul id="hits" role="listbox" aria-label="Found">
        {found.value.map((hit, index) => (
          <li key={hit.link + hit.text} id={`hit-${index}`} role="option" aria-selected={index === at.value} onClick={() => choose(hit)} onPointerMove={() => (at.value = index)}>
            <span class="soft kind">{hit.kind}</span> <span>{hit.text}</span> <span class="soft">{hit.detail.replaceAll("_", " ")}</span>
          </li>
        ))}
      </ul>
      <p class="soft" role="status">{said.value}</p>
    </Dialog>
  );
}

type Setting<T> = { value: T };

/** Asks after a pause of typing; an answer that comes after a newer question is dropped. */
function searching(found: Setting<Found[]>, at: Setting<number>, said: Setting<string>): (text: string) => () => void {
  let timer = 0;
  let newest = "";
  return (text) => {
    clearTimeout(timer);
    newest = text.trim();
    const search = async (): Promise<void> => {
      const asked = newest;
      const answer = asked ? await ask<Found[]>(`/api/v1/find?q=${encodeURIComponent(asked)}`) : { value: [] };
      if (asked !== newest) return;
      found.value = "value" in answer ? answer.value : [];
      at.value = 0;
      said.value = "error" in answer ? answer.error : asked && !answer.value.length ? "Nothing is found." : "";
    };
    timer = setTimeout(search, PAUSE_MS);
    return () => clearTimeout(timer);
  };
}
