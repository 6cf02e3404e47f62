// The heading of a deployment's pages, with the way back and the ways to its other pages.
import type { ComponentChildren, JSX } from "preact";
import { href } from "../values/routes";

export function Heading({ name, at, title, children }: { name: string; at: "now" | "monitoring" | "timeline" | "decisions" | ""; title?: ComponentChildren; children?: ComponentChildren }): JSX.Element {
  const pages = [["now", href.deployment(name), "Now"], ["monitoring", href.monitoring(name), "Monitoring"], ["timeline", href.timeline(name), "Timeline"], ["decisions", href.decision(name), "Decisions"]] as const;
  return (
    <div class="heading">
      <nav class="crumbs" aria-label="Where you are"><a href="/">Deployments</a> <span aria-hidden="true">›</span> {title ? <a href={href.deployment(name)}>{name}</a> : <span>{name}</span>}</nav>
      <div class="title"><h1 tabIndex={-1}>{title ?? name}</h1>{children}</div>
      <nav class="tabs" aria-label={`Pages of ${name}`}>{pages.map(([page, to, word]) => <a key={page} href={to} aria-current={page === at ? "page" : undefined}>{word}</a>)}</nav>
    </div>
  );
}
