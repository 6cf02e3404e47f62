// No outcome has ever come: how to send one. Without outcomes nobody knows how good the answers are.
import type { JSX } from "preact";
import { Command } from "../parts/copy";

export function NoLabels({ name, label, unit }: { name: string; label: string; unit: string }): JSX.Element {
  const of = unit || "unit";
  return (
    <section class="teach panel">
      <h2>No outcome of “{label}” has come yet</h2>
      <p>Quality is measured from outcomes. Three ways to send them ({of} is the unit that was asked about):</p>
      <h3>Over HTTP</h3>
      <Command text={`curl -s localhost:8080/v1/deployments/${name}/outcomes -d '{"unit": "${of.toUpperCase()}-1", "label": 1}'`} />
      <h3>From the terminal, one or a file of them</h3>
      <Command text={`headrace outcome send ${name} --unit ${of.toUpperCase()}-1 --label 1`} />
      <Command text={`headrace outcome import labels.csv --deployment ${name} --unit ${of} --label ${label} --at known`} />
      <h3>In Python</h3>
      <Command text={`from headrace_cli.client import Client\n\nwith Client("http://127.0.0.1:8080") as client:\n    client.observe("${name}", "${of.toUpperCase()}-1", True)`} />
    </section>
  );
}
