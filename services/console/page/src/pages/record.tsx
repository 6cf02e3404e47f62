// A record of the log as it is: its place, its envelope, its value, and the record that caused it.
import { useSignal, useSignalEffect } from "@preact/signals";
import type { JSX } from "preact";
import type { RecordView } from "../documents";
import { ask } from "../live/person";
import { Id, Place } from "../parts/copy";
import { Facts, sorted } from "../parts/facts";
import { Ago, EventTime } from "../parts/instant";
import { State } from "../parts/state";
import { href } from "../values/routes";

export function RecordPage({ place }: { place: string }): JSX.Element {
  const found = useSignal<RecordView | null>(null);
  const error = useSignal("");
  useSignalEffect(() => {
    void ask<RecordView>(`/api/v1${href.record(place)}`).then((answer) => {
      if ("value" in answer) found.value = answer.value;
      else error.value = answer.error;
    });
  });
  const view = found.value;
  return (
    <main id="main">
      <nav class="crumbs" aria-label="Where you are">Records</nav>
      <h1 tabIndex={-1} class="wrap">{place}</h1>
      {error.value ? <p><State mark="unknown" word="not found" />: {error.value}</p> : view ? <Parts view={view} /> : <p class="soft waiting">Reading the log …</p>}
    </main>
  );
}

/** A cause whose place is not known has an id; what has neither came from outside. */
const Cause = ({ id }: { id: string | undefined }): JSX.Element => (id ? <Id id={id} /> : <span class="soft">none: it came from outside</span>);

function Parts({ view }: { view: RecordView }): JSX.Element {
  return (
    <>
      <section class="panel">
        <h2>{view.type}</h2>
        <Facts
          facts={[
            ["id", <Id id={view.id} />],
            ["key", <span class="wrap">{view.key}</span>],
            ["about", <EventTime at_s={view.at_s} label />],
            ["appended", <Ago at_s={view.appended_s} />],
            ["cause", view.cause ? <Place place={view.cause} /> : <Cause id={view.headers["ce_causationid"]} />],
          ]}
        />
      </section>
      <section class="panel">
        <h2>Value</h2>
        <pre class="value" tabIndex={0}><code>{JSON.stringify(view.value, null, 2)}</code></pre>
      </section>
      <section class="panel">
        <h2>Headers</h2>
        <Facts facts={sorted(view.headers).map(([name, value]) => [name, <code class="wrap">{value}</code>] as const)} />
      </section>
    </>
  );
}
