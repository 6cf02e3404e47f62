// Who looks at the page, and what this person may do. Without a role there are no buttons.
import { signal } from "@preact/signals";
import type { Act, ActDone, Me, Offer } from "../documents";

const STRANGER: Me = { name: "", role: null, can_sign_in: false, code_version: "", runbook_url: "" };
export const me = signal<Me>(STRANGER);
/** Reading needs a key here, and this browser has none that holds. */
export const isShutOut = signal(false);

const RANK = { viewer: 0, operator: 1, approver: 2 } as const;
/** May this person do what is offered? Whoever made something does not approve it where the project says so. */
export const mayDo = (offer: Offer, person: Me): boolean => person.role != null && RANK[person.role] >= RANK[offer.needs];

/** A value of the console, or its error as one sentence. */
export async function ask<T>(path: string, init?: RequestInit): Promise<{ value: T } | { error: string; status: number }> {
  let answer: Response;
  try {
    answer = await fetch(path, init);
  } catch {
    return { error: "The console does not answer.", status: 0 };
  }
  const body: unknown = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (answer.ok) return { value: body as T };
  const error = (body as { error?: string } | null)?.error;
  return { error: error ?? `The console answered ${answer.status}.`, status: answer.status };
}

const json = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/json", "X-Headrace-Act": "1", ...headers },
  body: JSON.stringify(body),
});

export async function whoAmI(): Promise<void> {
  const answer = await ask<Me>("/api/v1/me");
  if ("value" in answer) me.value = answer.value;
}

/** Opens a session with a person's key; "" when it holds, else why not. */
export async function signIn(key: string): Promise<string> {
  const answer = await ask<Me>("/api/v1/session", json({ key }));
  if ("error" in answer) return answer.error;
  await whoAmI();
  isShutOut.value = false;
  return "";
}

export async function signOut(): Promise<void> {
  await ask("/api/v1/session", { method: "DELETE", headers: { "X-Headrace-Act": "1" } });
  me.value = STRANGER;
  await whoAmI();
}

export const send = (act: Act): Promise<{ value: ActDone } | { error: string; status: number }> => ask<ActDone>("/api/v1/acts", json(act));
