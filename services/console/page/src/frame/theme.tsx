// Dark or light: as the system says, until a person chooses.
import { signal } from "@preact/signals";
import type { JSX } from "preact";

const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");
const current = (): string => root.dataset["theme"] ?? (system.matches ? "dark" : "light");

/** Charts are painted, not styled: they read it to be painted anew. */
export const theme = signal(current());
system.addEventListener("change", () => (theme.value = current()));

function choose(): void {
  root.dataset["theme"] = theme.value === "dark" ? "light" : "dark";
  theme.value = current();
  try {
    localStorage.setItem("theme", theme.value);
  } catch {
    // A browser that keeps nothing: the choice holds for this page.
  }
}

export const ThemeToggle = (): JSX.Element => (
  <button type="button" class="quiet" onClick={choose}>{theme.value === "dark" ? "light" : "dark"}</button>
);
