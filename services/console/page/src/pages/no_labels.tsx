// No window has an outcome: how to send one. Without outcomes nobody knows how good the answers are.
import type { JSX } from "preact";
import { Command } from "../parts/copy";
import { quoted } from "../values/shell";

export function NoLabels({ name, label, unit, example }: { name: string; label: string; unit: string; example: number | string }): JSX.Element {
  const of = unit || "unit";
  const one = `${of.toUpperCase()}-1`;
  const body = JSON.stringify({ unit: one, label: example });
  return (
    <section class="teach panel">
      <h2>No window has an outcome of “{label}” yet</h2>
      <p>Quality is measured from outcomes, when a window closes. Three ways to send them ({of} is the unit that was asked about):</p>
      <h3>Over HTTP</h3>
      <Command text={`curl -s localhost:8080/v1/deployments/${name}/outcomes -d ${quoted(body)}`} />
      <h3>From the terminal, one or a file of them</h3>
      <Command text={`headrace outcome send ${name} --unit ${quoted(one)} --label ${quoted(String(example))}`} />
      <Command text={`headrace outcome import labels.csv --deployment ${name} --unit ${quoted(of)} --label ${quoted(label)} --at known`} />
      <h3>In Python</h3>
      <Command text={`from headrace_cli.client import Client\n\nwith Client("http://127.0.0.1:8080") as client:\n    client.observe("${name}", ${JSON.stringify(one)}, ${JSON.stringify(example)})`} />
    </section>
  );
}
