// Buttons for those who may act, each with a dialog that says what will happen, asks why, and shows the record that it made.
import { type Signal, signal, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { Act, ActDone, Offer } from "../documents";
import { route } from "../live/address";
import { announce } from "../live/announce";
import { link } from "../live/connection";
import { mayDo, me, send } from "../live/person";
import { Place } from "./copy";
import { Dialog } from "./dialog";

const LENGTHS: readonly [string, number][] = [["1 hour", 3600], ["4 hours", 14_400], ["1 day", 86_400], ["1 week", 604_800]];

// As in `headrace.hosting.silences`: the service refuses a longer one.
const MOST_CHARS = 500;

// The act that a person is asked about. NB: not in the component of its button, which goes as soon as the act is done.
const asked = signal<Offer | null>(null);
route.subscribe(() => (asked.value = null));

/** Stands once on the page. */
export const ActHost = (): JSX.Element | null => asked.value && <ActDialog offer={asked.value} onClose={() => (asked.value = null)} />;

/** The buttons of what is offered. A person without a role sees none, not even a grey one. */
export function Offers({ offers }: { offers: readonly Offer[] | undefined }): JSX.Element | null {
  const mine = (offers ?? []).filter((offer) => mayDo(offer, me.value));
  if (!mine.length) return null;
  return (
    <span class="offers">
      {mine.map((offer) => (
        <button key={`${offer.act}${offer.target}${offer.version}`} type="button" disabled={isOwn(offer) || link.value.state === "lost"} title={isOwn(offer) ? own(offer) : offer.sentence} onClick={() => (asked.value = offer)}>
          {offer.label}
        </button>
      ))}
      {mine.filter(isOwn).map((offer) => <span key={offer.act} class="soft">{own(offer)}</span>)}
    </span>
  );
}

/** What this person has made is approved by somebody else, where the project says so. */
const isOwn = (offer: Offer): boolean => Boolean(offer.needs_another) && offer.needs_another === me.value.name;
const own = (offer: Offer): string => `${offer.needs_another} made it: somebody else ${offer.label}s it.`;

type Step = { state: "asked"; error: string } | { state: "sent" } | { state: "done"; done: ActDone };

function ActDialog({ offer, onClose }: { offer: Offer; onClose: () => void }): JSX.Element {
  const step = useSignal<Step>({ state: "asked", error: "" });
  const reason = useSignal("");
  const for_s = useSignal(3600);
  const act = async (event: Event): Promise<void> => {
    event.preventDefault();
    step.value = { state: "sent" };
    step.value = await sent(offer, reason.value.trim(), offer.act === "silence" ? for_s.value : null);
    if (step.value.state === "done") announce(step.value.done.refused || `${offer.label}: done`);
  };
  const current = step.value;
  const length = [...reason.value.trim()].length;
  const isLong = length > MOST_CHARS;
  return (
    <Dialog title={offer.label} onClose={onClose}>
      <h2>{offer.label}</h2>
      <p class="sentence">{offer.sentence}</p>
      {current.state === "done" ? <Done done={current.done} /> : (
        <form onSubmit={act}>
          {offer.act === "silence" && <ForHowLong for_s={for_s} />}
          <label>
            Why? Your reason is kept on the log with your name, {me.value.name}.
            <textarea required rows={2} aria-invalid={isLong} aria-describedby="reason-length" value={reason.value} onInput={(event) => (reason.value = event.currentTarget.value)} />
          </label>
          <p id="reason-length" class={isLong ? "error" : "soft"} role={isLong ? "alert" : undefined}>{isLong ? `A reason has ${MOST_CHARS} characters at most, this one has ${length}.` : `${length} of ${MOST_CHARS} characters`}</p>
          {current.state === "asked" && current.error && <p class="error" role="alert">{current.error}</p>}
          <p class="actions">
            <button type="submit" class="main" disabled={current.state === "sent" || !length || isLong}>{current.state === "sent" ? "Writing …" : offer.label}</button>
            <button type="button" onClick={(event) => event.currentTarget.closest("dialog")?.close()}>Cancel</button>
          </p>
        </form>
      )}
    </Dialog>
  );
}

const ForHowLong = ({ for_s }: { for_s: Signal<number> }): JSX.Element => (
  <label>
    For how long?
    <select value={for_s.value} onChange={(event) => (for_s.value = Number(event.currentTarget.value))}>
      {LENGTHS.map(([text, length]) => <option key={length} value={length}>{text}</option>)}
    </select>
  </label>
);

const Done = ({ done }: { done: ActDone }): JSX.Element => (
  <div class="done" role="status">
    <p>{done.refused ? <span class="error">Refused: {done.refused}</span> : "Done."} {done.place && <>The record of it: <Place place={done.place} /></>}</p>
    {done.facts.length > 0 && <ul>{done.facts.map((fact) => <li key={fact}>{fact}</li>)}</ul>}
    <p class="actions"><button type="button" class="main" onClick={(event) => event.currentTarget.closest("dialog")?.close()}>Close</button></p>
  </div>
);

async function sent(offer: Offer, reason: string, for_s: number | null): Promise<Step> {
  const { act, deployment, version, target } = offer;
  const answer = await send({ act, reason, deployment, version: version ?? null, target, for_s } satisfies Act);
  return "value" in answer ? { state: "done", done: answer.value } : { state: "asked", error: answer.error };
}
