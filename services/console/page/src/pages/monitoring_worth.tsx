// What the newest switch of the champion brought, and how often the tests that judge rollouts err, by an A/A arm.
import { type ReadonlySignal, useComputed } from "@preact/signals";
import type { JSX } from "preact";
import type { AuditReported, EfficacyReported, Monitoring } from "../documents";
import { EventTime } from "../parts/instant";
import { type Fact, Facts } from "../parts/facts";
import { State } from "../parts/state";
import { VersionName } from "../parts/version_name";
import { count, limit, percent, signed, things } from "../values/numbers";

export function Worth({ of, name }: { of: ReadonlySignal<Monitoring>; name: string }): JSX.Element {
  const { efficacy, audit } = useComputed(() => ({ efficacy: of.value.efficacy, audit: of.value.audit })).value;
  const share = useComputed(() => of.value.audit_share).value;
  return (
    <>
      <Facts facts={[...(efficacy ? gained(efficacy, name) : []), ...(audit ? rates(audit) : [])]} />
      {!efficacy && <p class="soft">No switch was measured yet: after one the version before scores the same requests, and once their labels are there it is said here what the new one gained.</p>}
      {!audit && <p class="soft">{share
        ? `The A/A arm has ${percent(share)} of the units. No trial of it has ended yet: one lasts as long as the level test of a rollout.`
        : <>How often the tests of rollouts err on this traffic is not known: <code>audit_share=.1</code> would keep an A/A arm, the champion beside itself.</>}</p>}
    </>
  );
}

const gained = (of: EfficacyReported, name: string): Fact[] => [
  ["newest switch", <>
    <VersionName deployment={name} version={of.version} /> gained <span class="strong">{signed(of.gain)}</span> per request on <VersionName deployment={name} version={of.previous} />
    {" "}<span class="soft">{of.low == null ? "(without bounds yet)" : `(90 %: ${signed(of.low)} to ${signed(of.high)})`}, on the same {things(of.requests, "request")} of {things(of.days, "day")} since <EventTime at_s={of.since_s} />{of.is_final ? "" : ", so far"}. The score is bounded, lower is better, and what is above 0 was gained.</span>
  </>],
];

const rates = (of: AuditReported): Fact[] => [
  ["A/A arm", <>{percent(of.share)} of the units, {things(of.trials, "trial")} since <EventTime at_s={of.since_s} />, as of <EventTime at_s={of.at_s} label />. <span class="soft">Both arms are the champion, so each difference is a false alarm.</span></>],
  ["false alarms", <Rate count_of={of.failed} trials={of.trials} low={of.low} high={of.high} stated={of.alpha} />],
  ["roll-backs", <Rate count_of={of.rolled_back} trials={of.trials} low={of.rollback_low} high={of.rollback_high} stated={of.rollback_alpha} />],
];

function Rate({ count_of, trials, low, high, stated }: { count_of: number; trials: number; low: number; high: number; stated: number }): JSX.Element {
  return (
    <>
      <span class="strong">{count(count_of)} of {things(trials, "trial")}</span> <span class="soft">(95 %: {percent(low, 1)} to {percent(high, 1)}; stated: at most {limit(stated * 100)} %)</span>
      {low > stated && <> <State mark="attention" word="more often than stated" /></>}
    </>
  );
}
