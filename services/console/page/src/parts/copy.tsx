// What a person takes along: commands to copy, ids that are short on the page and whole in the clipboard.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { announce } from "../live/announce";
import { me } from "../live/person";
import { href } from "../values/routes";

/** A command, with a button that copies it. */
export function Command({ text }: { text: string }): JSX.Element {
  const isCopied = useSignal(false);
  const copy = async (): Promise<void> => {
    // Not every page may write to the clipboard (plain http on another host): the text can still be selected.
    await navigator.clipboard?.writeText(text);
    isCopied.value = true;
    announce("copied");
  };
  return (
    <div class="command">
      <pre tabIndex={0}><code>{text}</code></pre>
      <button type="button" class="quiet" onClick={copy} aria-label={`copy: ${text}`}>{isCopied.value ? "copied" : "copy"}</button>
    </div>
  );
}

/** The page shows the beginning, the style cuts the rest: what is selected and copied is the whole. */
export const Id = ({ id }: { id: string }): JSX.Element => <code class="id" title={id}>{id}</code>;

/** What to do about it: a link, or the path of a document of the repository where nobody has set where it can be read. */
export function Runbook({ to }: { to: string }): JSX.Element | null {
  if (!to) return null;
  const folder = me.value.runbook_url.replace(/\/$/, "");
  const url = folder && !/^https?:/.test(to) ? `${folder}/${to.split("/").pop()}` : to;
  return /^https?:/.test(url) ? <a href={url} target="_blank" rel="noreferrer">runbook</a> : <span class="soft runbook" title="runbook">{to}</span>;
}

/** A link to the record at a place; nothing where there is none. */
export function Place({ place, word }: { place: string; word?: string }): JSX.Element | null {
  if (!place) return null;
  return <a class="place" href={href.record(place)} title={`record ${place}`}>{word ?? place}</a>;
}
