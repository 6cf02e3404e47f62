// Who looks: signing in with a person's key, and out. Where no keys of persons exist there is nothing to sign in to.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { me, signIn, signOut } from "../live/person";
import { Dialog } from "../parts/dialog";

export function Person(): JSX.Element | null {
  const isAsked = useSignal(false);
  const { name, role, can_sign_in } = me.value;
  if (role) {
    return (
      <span class="person">
        <span>{name} <span class="soft">({role})</span></span>
        {can_sign_in && <button type="button" class="quiet" onClick={signOut}>sign out</button>}
      </span>
    );
  }
  if (!can_sign_in) return null;
  return (
    <span class="person">
      <button type="button" class="quiet" onClick={() => (isAsked.value = true)}>sign in</button>
      {isAsked.value && (
        <Dialog title="Sign in" onClose={() => (isAsked.value = false)}>
          <h2>Sign in</h2>
          <KeyForm onDone={() => (isAsked.value = false)} />
        </Dialog>
      )}
    </span>
  );
}

export function KeyForm({ onDone }: { onDone: () => void }): JSX.Element {
  const key = useSignal("");
  const error = useSignal("");
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    error.value = await signIn(key.value);
    if (!error.value) onDone();
  };
  return (
    <form onSubmit={submit}>
      <label>
        Your key
        <input type="password" required autoComplete="current-password" value={key.value} onInput={(event) => (key.value = event.currentTarget.value)} />
      </label>
      {error.value && <p class="error" role="alert">{error.value}</p>}
      <p class="actions"><button type="submit" class="main">Sign in</button></p>
    </form>
  );
}

/** The whole page, where reading needs a key. */
export const ShutOut = (): JSX.Element => (
  <main id="main" class="shut-out">
    <h1 tabIndex={-1}>Headrace</h1>
    <p>Reading this console needs the key of a person.</p>
    <KeyForm onDone={() => undefined} />
  </main>
);
