// The causes of a deployment's state as stories: drift, retrain, gates, rollout, promotion or rollback. Every step has its record.
import { useComputed } from "@preact/signals";
import type { JSX } from "preact";
import type { Episode, Timeline, TimelineStep } from "../documents";
import { documentOf, type Held } from "../live/store";
import { Place } from "../parts/copy";
import { EventTime, TimeOfDay } from "../parts/instant";
import { Panel, Shown } from "../parts/panel";
import { State } from "../parts/state";
import { duration, minute } from "../values/instants";
import { count } from "../values/numbers";
import { Heading } from "./heading";

export function TimelinePage({ name }: { name: string }): JSX.Element {
  const held = documentOf(`timeline/${name}`);
  const isThere = useComputed(() => held.value.value != null).value;
  return (
    <main id="main">
      <Heading name={name} at="timeline" title={<>Timeline<span class="unseen"> of {name}</span></>} />
      {isThere ? <Episodes held={held} /> : <Shown held={held}>{() => null}</Shown>}
    </main>
  );
}

function Episodes({ held }: { held: Held<Timeline> }): JSX.Element {
  const ids = useComputed(() => {
    const episodes = held.value.value?.episodes ?? {};
    return Object.keys(episodes).sort((a, b) => (episodes[b]?.begun_wall_s ?? 0) - (episodes[a]?.begun_wall_s ?? 0));
  }).value;
  const found = useComputed(() => held.value.value?.median_mttd_s).value;
  const mended = useComputed(() => held.value.value?.median_mttr_s).value;
  const dropped = useComputed(() => held.value.value?.dropped ?? 0).value;
  return (
    <>
      <dl class="figures">
        <div><dt>found after (median MTTD)</dt><dd class="big">{duration(found)}</dd><dd class="soft">event time, from the change to the finding</dd></div>
        <div><dt>mended after (median MTTR)</dt><dd class="big">{duration(mended)}</dd><dd class="soft">event time, from the finding to the switch</dd></div>
        <div><dt>stories</dt><dd class="big">{count(ids.length)}</dd><dd class="soft">{dropped ? `${count(dropped)} older ones are not kept` : "all that are on the log"}</dd></div>
      </dl>
      {ids.length === 0 && <p class="soft">Nothing has happened yet: no version, no finding, no retrain.</p>}
      {ids.map((id) => <Story key={id} id={id} held={held} />)}
    </>
  );
}

function Story({ id, held }: { id: string; held: Held<Timeline> }): JSX.Element {
  const episode = useComputed(() => held.value.value?.episodes[id]).value;
  if (!episode) return <></>;
  const steps = Object.entries(episode.steps).sort(([, a], [, b]) => a.order - b.order);
  return (
    <Panel title={episode.title} held={held} id={id} beside={<State mark={episode.mark} word={episode.state} />}>
      <p class="soft began">
        began <EventTime at_s={episode.begun_s} label />, <span>wall clock {minute(episode.begun_wall_s)}</span> · {times(episode)}
      </p>
      <ol class="story">{steps.map(([key, step]) => <Step key={key} step={step} />)}</ol>
    </Panel>
  );
}

function times(episode: Episode): string {
  const parts = [
    episode.mttd_s != null && `MTTD ${duration(episode.mttd_s)}`,
    episode.mttr_s != null && `MTTR ${duration(episode.mttr_s)}`,
    episode.mttr_wall_s != null && `${duration(episode.mttr_wall_s)} on the wall clock`,
    episode.why_not,
  ];
  return parts.filter(Boolean).join(" · ");
}

export function Step({ step }: { step: TimelineStep }): JSX.Element {
  return (
    <li class={`step ${step.mark}`}>
      <span class="when">{step.wall_s != null && <TimeOfDay at_s={step.wall_s} />}</span>
      <State mark={step.mark} isQuiet />
      <div class="what">
        {step.link ? <a href={step.link}>{step.sentence}</a> : step.sentence}
        {step.by && !step.sentence.includes(` by ${step.by}`) && <span class="soft"> by {step.by}</span>}
        {step.details.length > 0 && <details><summary>{step.details.length === 1 ? "1 detail" : `${step.details.length} details`}</summary><ul>{step.details.map((detail) => <li key={detail}>{detail}</li>)}</ul></details>}
      </div>
      <span class="after">{step.after_s != null && `+${duration(step.after_s)}`}</span>
      <span class="soft at"><EventTime at_s={step.at_s} label /></span>
      <Place place={step.place} />
    </li>
  );
}
