// The top of every page: is all well, as of when, and the ways to everything else.
import { useComputed } from "@preact/signals";
import type { JSX } from "preact";
import { go, parameter, route } from "../live/address";
import { announcement } from "../live/announce";
import { staleness } from "../live/clock";
import { link } from "../live/connection";
import { now } from "../live/store";
import { EventTime } from "../parts/instant";
import { AsOf } from "../parts/panel";
import { State } from "../parts/state";
import { timeOfDay } from "../values/instants";
import { href } from "../values/routes";
import { Finder } from "./finder";
import { Person } from "./sign_in";
import { ThemeToggle } from "./theme";

const LINKS: readonly [string, string][] = [["/", "Now"], ["/alerts", "Alerts"], ["/dead-letters", "Dead letters"], ["/features", "Features"], ["/services", "Services"]];

export function Top(): JSX.Element {
  return (
    <header class="top">
      <a class="skip" href="#main">Skip to the page</a>
      <div class="bar">
        <a class="brand" href="/">Headrace</a>
        <nav aria-label="Pages">{LINKS.map(([to, word]) => <a key={to} href={to} aria-current={isHere(to) ? "page" : undefined}>{word}</a>)}</nav>
        <span class="tools">
          <Switcher />
          <Finder />
          <ThemeToggle />
          <Person />
        </span>
      </div>
      <StateLine />
      <p class="unseen" role="status" aria-live="polite">{announcement}</p>
    </header>
  );
}

const isHere = (to: string): boolean => (to === "/" ? route.value.page === "now" : to === `/${route.value.page}`);

function StateLine(): JSX.Element {
  const current = link.value;
  const mark = useComputed(() => now.value.value?.mark ?? "unknown").value;
  const word = useComputed(() => now.value.value?.word ?? "reading the log").value;
  // What was well a minute ago is not known to be well.
  const isOld = useComputed(() => Boolean(staleness(now.as_of_s.value))).value;
  const event_at_s = useComputed(() => now.value.value?.event_at_s).value;
  if (current.state === "lost") {
    return (
      <p class="state-line">
        <State mark="unknown" word={`connection lost since ${timeOfDay(current.since_s)}`} /> <span class="soft">what you see was known before; trying again</span>
      </p>
    );
  }
  return (
    <p class="state-line">
      <a href="/"><State mark={isOld ? "unknown" : mark} word={isOld ? "not known now" : word} /></a> <span class="at"><AsOf held={now} /> {now.as_of_s.value != null && <span class="soft">UTC</span>}</span>
      {event_at_s != null && <span class="soft event-now"><EventTime at_s={event_at_s} label /></span>}
    </p>
  );
}

/** From one deployment, or project, to another. */
function Switcher(): JSX.Element | null {
  const current = route.value;
  // NB: a text, so that the list is drawn anew only when a name comes or goes.
  const names = useComputed(() => Object.values(now.value.value?.deployments ?? {}).map((row) => `${row.project}\n${row.name}`).sort().join("\n\n")).value;
  if (!names) return null;
  const pairs = names.split("\n\n").map((pair) => pair.split("\n"));
  const projects = [...new Set(pairs.map(([project = ""]) => project))];
  const at = "name" in current ? href.deployment(current.name) : parameter("project") ? `/?project=${encodeURIComponent(parameter("project"))}` : "/";
  return (
    <select aria-label="Project or deployment" value={at} onChange={(event) => go(event.currentTarget.value)}>
      <option value="/">all projects</option>
      {projects.map((project) => (
        <optgroup key={project} label={project}>
          <option value={`/?project=${encodeURIComponent(project)}`}>{project} (project)</option>
          {pairs.filter(([of]) => of === project).map(([, name = ""]) => <option key={name} value={href.deployment(name)}>{name}</option>)}
        </optgroup>
      ))}
    </select>
  );
}
