// Generated from services/console/src/headrace_console/core/documents/ by `make schemas`. Do not edit.

/** What the page sends to `POST /api/v1/acts`. `for_s`: of a silence. */
export interface Act {
  act: "abort" | "approve" | "pause" | "promote" | "resume" | "retry" | "roll_back" | "silence" | "unsilence";
  reason: string;
  deployment: string;
  version: number | null;
  target: string;
  for_s: number | null;
}

/** The answer to an act: the record that it made, and what followed from it. `refused`: why not, "" if it was done. */
export interface ActDone {
  place: string;
  facts: (string)[];
  refused: string;
}

/** An alert. Its instants are wall clock. `silenced`: until when, by whom and why, "" if it is not. */
export interface AlertRow {
  fingerprint: string;
  name: string;
  severity: string;
  mark: "attention" | "ok" | "page" | "unknown";
  status: string;
  about: string;
  summary: string;
  starts_s: number;
  ends_s: number | null;
  command: string;
  runbook: string;
  silenced: string;
  place: string;
  labels: Record<string, string>;
  offers: (Offer)[];
}

/** Alerts by fingerprint: firing ones, and the newest resolved ones; silences by id. */
export interface Alerts {
  alerts: Record<string, AlertRow>;
  silences: Record<string, SilenceRow>;
}

/** How the trials of an A/A arm have ended: the champion on a share of its units beside the champion on all others. `share`: of the units. A trial lasts as many cycles as a rollout's level test needs. `failed`: trials that showed a difference where there is none; `rate`: their share, with 95 % bounds `low`, `high` (Clopper and Pearson); `alpha`: the share that is stated. `rolled_back`: trials that would have rolled the arm back, likewise with `rollback_rate`, `rollback_low`, `rollback_high` and `rollback_alpha`. All count since `since_s`. */
export interface AuditReported {
  deployment: string;
  share: number;
  since_s: number;
  at_s: number;
  trials: number;
  failed: number;
  rate: number;
  low: number;
  high: number;
  alpha: number;
  rolled_back: number;
  rollback_rate: number;
  rollback_low: number;
  rollback_high: number;
  rollback_alpha: number;
}

/** What one policy of a back-test was worth. `alarms`: findings, `pages` of them called somebody; `false_alarms`: while no planted fault was there; `allowed`: by its budget in this stretch, None where it states none. `asked`: retrains that were asked for; `retrains_s`: since when each of those that answered did. `gain`: how much lower the loss is per request than without any retrain, with bounds of 90 % (`low`, `high`; None where there were too few rows). `among_phases`, `among_random`: the percentile of the gain among calendars of equal count, at all phases and at random; `by_timing`: the same of its instants alone. `curve`: what it had gained by each instant of `BacktestReported.curve_at_s`. */
export interface BacktestPolicy {
  name: string;
  alarms: number;
  pages: number;
  false_alarms: number;
  allowed: number | null;
  asked: number;
  retrains_s: (number)[];
  gain: number;
  low: number | null;
  high: number | null;
  among_phases: number;
  among_random: number;
  by_timing: number;
  curve: (number)[];
}

/** The newest published back-test of a deployment, of event time [from, to). `requests`, `labelled`: how many the stretch holds; `loss`: the name of the loss that gains are in; `never`: the loss per request without any retrain; `always`: what a retrain at each of `always_retrains` instants would have gained. `faults`: those that were planted. `curve_at_s`: the instants of all curves, at most 200. */
export interface BacktestReported {
  deployment: string;
  from_s: number;
  to_s: number;
  requests: number;
  labelled: number;
  loss: string;
  never: number;
  always: number;
  always_retrains: number;
  policies: (BacktestPolicy)[];
  curve_at_s: (number)[];
  faults: (string)[];
}

/** The ledger of a deployment's pages. `stated`: false pages that the project allows per `period_s` of event time. `charts`: between how many the budget is divided. `patience_s`: the mean time to a false page that all charts keep together, by the theorem of e-detectors. `measured`: false pages per period that are expected by a block bootstrap of the reference windows, and `measured_high`: what 95 % of stretches of twelve periods have at most; None while there are too few. `spent`: pages in the newest period; `left`: what is left of it, never below 0; `total`: pages since `since_s`. `pages`: the findings of the newest period. */
export interface BudgetReported {
  deployment: string;
  stated: number;
  period_s: number;
  at_s: number;
  charts: number;
  patience_s: number;
  spent: number;
  left: number;
  total: number;
  since_s: number;
  measured: number | null;
  measured_high: number | null;
  pages: (string)[];
}

/** The figure of a chart in a window, as in `ChartPoint`. */
export interface ChartSeen {
  version: number;
  value: number;
  error: number;
  rows: number;
  expected: number | null;
  spread: number | null;
  statistic: number;
  limit: number | null;
  detectable: number | null;
  within_windows: number | null;
}

/** A column of the signature. `values`: the number of known values of a category, None for a number. */
export interface Column {
  name: string;
  values: number | null;
}

/** A column in the newest window beside the training rows, as in `ColumnSeen`. */
export interface ColumnRow {
  column: string;
  version: number;
  rows: number;
  null_share: number;
  unknown_share: number;
  psi: number;
  ks: number | null;
  p_value: number;
  is_moved: boolean;
  distinct: number | null;
  usual_distinct: number | null;
}

/** A dead letter. `origin`: the place of the record that could not be read. `at_s`: wall clock. */
export interface DeadLetterRow {
  service: string;
  at_s: number;
  origin: string;
  reason: string;
  size_bytes: number;
  place: string;
}

/** The newest dead letters by place, counts per service since the start of the log, and stopped partitions. */
export interface DeadLetters {
  letters: Record<string, DeadLetterRow>;
  counts: Record<string, number>;
  stops: Record<string, Stop>;
}

/** A decision explained (`GET /api/v1/decisions/DEPLOYMENT/WANTED`, a request id or unit). `answer`, `row`: as `headrace explain --json` prints them. `why`: the chain of causes of the route, newest first. */
export interface DecisionView {
  deployment: string;
  request_id: string;
  unit: string;
  at_s: number;
  answer: Record<string, unknown>;
  assigned: number | null;
  failed: Record<string, string>;
  shadows: Record<string, unknown>;
  row: Record<string, unknown>;
  missing: (string)[];
  stale: (string)[];
  entities: Record<string, string>;
  source_offsets: Record<string, number>;
  outcome: unknown;
  recovered: boolean;
  place: string;
  request_place: string;
  code_version: string;
  why: (TimelineStep)[];
}

/** A deployment. `no_labels`: True while no window has an outcome; `label_example`: one that would be taken. `reason`: of the route, with its `place`. `degraded`: why a fallback answers. `training`: what a run is doing now. Both are "" otherwise. */
export interface Deployment {
  row: DeploymentRow;
  unit: string;
  label: string;
  horizon_s: number | null;
  policy: string;
  route: Record<string, RouteShare>;
  fallback: (string)[];
  reason: string;
  place: string;
  no_labels: boolean;
  label_example: number | string | null;
  rollout: RolloutView | null;
  versions: Record<string, VersionRow>;
  findings: Record<string, FindingRow>;
  degraded: string;
  training: string;
  offers: (Offer)[];
}

/** A row of the table of deployments. `answers_per_s`, `p99_ms`, `fallback_share`, `outcomes`: of the last minute with traffic reports, wall clock; None without any. `outcomes`: counts by outcome and step (`served`, `fell_back.previous`, `refused`, ...). `spark`: answers per second of the last 30 minutes, one value a minute. `event_at_s`: the deployment's clock. */
export interface DeploymentRow {
  name: string;
  project: string;
  mark: "attention" | "ok" | "page" | "unknown";
  champion: number | null;
  champion_since_s: number | null;
  answers_per_s: number | null;
  p99_ms: number | null;
  fallback_share: number | null;
  outcomes: Record<string, number>;
  spark: (number | null)[];
  quality: Quality | null;
  drift: "attention" | "ok" | "page" | "unknown";
  drift_word: string;
  drift_link: string;
  rollout: RolloutBrief | null;
  event_at_s: number | null;
}

/** An arrow of the topology: who writes a topic, who reads it, and how far behind the reader is. */
export interface Edge {
  topic: string;
  writer: string;
  reader: string;
  behind_records: number | null;
}

/** What `version` gained per request over `previous`, the champion before it, on the same requests since the switch. `gain`: the mean of how much lower its bounded score is (Brier; for numbers the absolute error as a share of the declared range); below 0 it does worse. `low`, `high`: bounds of 90 % by blocks of a day that hold at every look, None with fewer than two days. `days`: with such requests. `is_final`: the days that were asked for are over, or another version is champion. */
export interface EfficacyReported {
  deployment: string;
  version: number;
  previous: number;
  since_s: number;
  at_s: number;
  days: number;
  requests: number;
  gain: number;
  low: number | null;
  high: number | null;
  is_final: boolean;
}

/** A story from its cause to its end. `mttd_s`, `mttr_s`: event time; `why_not`: why one of them is not known. */
export interface Episode {
  title: string;
  state: string;
  mark: "attention" | "ok" | "page" | "unknown";
  begun_s: number;
  begun_wall_s: number;
  steps: Record<string, TimelineStep>;
  mttd_s: number | null;
  mttr_s: number | null;
  mttr_wall_s: number | null;
  why_not: string;
}

/** A metric of the champion that was estimated without labels, with bounds of 90 %, as in `Estimated`. */
export interface EstimateSeen {
  version: number;
  value: number;
  low: number;
  high: number;
  method: string;
  realised: number | null;
}

/** A metric of a rollout's newest verdict, its limit beside its value. `needs`: what is still missing, `14 cycles, 9`. */
export interface EvidenceRow {
  metric: string;
  kind: string;
  verdict: string;
  measured: number | null;
  limit: number | null;
  needs: string;
  rows: number;
  blocks: number;
  alpha: number | null;
  bound: string;
  detail: string;
  is_dry_run: boolean;
}

/** Sources and feature views, by `project/name`. `missing`: share of missing feature values per deployment. */
export interface Features {
  sources: Record<string, SourceRow>;
  views: Record<string, ViewRow>;
  missing: Record<string, number>;
}

/** A finding: what moved, since when, what was done. `evidence`: what it rests on, with places as links need them; None in records from before it was recorded. `compared`: what the figures of its segment are. */
export interface Finding {
  row: FindingRow;
  deployment: string;
  place: string;
  changed_at_s: number | null;
  window_from_s: number | null;
  window_to_s: number | null;
  back_at: number | null;
  resolved: string;
  metric: string;
  values: Record<string, number | null>;
  episode: string;
  runbook: string;
  severity: string;
  evidence: FindingEvidence | null;
  compared: string;
}

/** What a finding rests on. `first_place`: `topic/partition/offset` of the first record that shows it, and its instant. `requests`: ids of at most ten requests that show it. `segment`: the part of the requests that explains it most, None where no part stands out. `moved`: columns that moved with it. `producers`: who wrote differently since, as `what: before -> after` (the version of the code, of the model, of the definition). `charts`: other charts that crossed in the same episode. */
export interface FindingEvidence {
  first_place: string;
  first_at_s: number | null;
  requests: (string)[];
  segment: Segment | null;
  moved: (Moved)[];
  producers: (string)[];
  charts: (string)[];
}

/** A finding in a list. `resolved_at_s`: event time, None while it is open. */
export interface FindingRow {
  id: string;
  kind: string;
  mark: "attention" | "ok" | "page" | "unknown";
  summary: string;
  about: string;
  detector: string;
  measured: number | null;
  limit: number | null;
  at_s: number;
  resolved_at_s: number | null;
  version: number | null;
  link: string;
}

/** A hit of the search (`GET /api/v1/find?q=...`). */
export interface Found {
  kind: "alert" | "decision" | "deployment" | "finding" | "page" | "unit" | "version";
  text: string;
  link: string;
  detail: string;
}

/** A gate's result. `waived_by`: who let the version pass although it failed. */
export interface GateRow {
  gate: string;
  verdict: string;
  measured: number | null;
  limit: number | null;
  artifact: string;
  detail: string;
  waived_by: string;
}

/** Who looks at the page. `role`: None for a stranger, who sees no button. `can_sign_in`: keys of persons exist. `runbook_url`: where the folder of runbooks can be read, "" for nowhere. */
export interface Me {
  name: string;
  role: "approver" | "operator" | "viewer" | null;
  can_sign_in: boolean;
  code_version: string;
  runbook_url: string;
}

/** A window. `charts`: by `chart`, or `chart@column=value` of a segment. `estimates`: by metric. */
export interface MonitoredWindow {
  charts: Record<string, ChartSeen>;
  estimates: Record<string, EstimateSeen>;
}

/** What the monitor sees of a deployment. `windows`: by their end, event time (digits). `charts`, `metrics`: those that any window has, in the order in which they are shown. `columns`: of the newest window that compared any, `columns_to_s`. `left_out`: charts of segments beyond those that are shown. `declared`: the detectors that the project declares. `audit_share`: of the units that are the A/A arm, 0 for none. `classes`: the names of the label's classes, which charts name by their place. */
export interface Monitoring {
  charts: (string)[];
  metrics: (string)[];
  windows: Record<string, MonitoredWindow>;
  columns: Record<string, ColumnRow>;
  columns_to_s: number | null;
  ledger: BudgetReported | null;
  efficacy: EfficacyReported | null;
  audit: AuditReported | null;
  marks: Record<string, SeriesMark>;
  declared: (string)[];
  left_out: number;
  backtest: BacktestReported | null;
  audit_share: number;
  classes: (string)[];
}

/** A column that moved together with a finding. `statistic`: `psi`, `null_share` or `unknown_share`; `before`: usually. */
export interface Moved {
  column: string;
  statistic: string;
  measured: number;
  before: number | null;
}

/** A line of what needs a person. `order`: the most pressing first. `link`: the page that explains it. `silenced`: an alert that fires and needs nobody while a silence covers it; it is not counted. */
export interface Need {
  order: number;
  mark: "attention" | "ok" | "page" | "unknown";
  kind: "approval" | "finding" | "page" | "rollout" | "service" | "silenced" | "stopped" | "warning";
  about: string;
  title: string;
  detail: string;
  since_s: number | null;
  clock: "event" | "wall";
  link: string;
  runbook: string;
  command: string;
  offers: (Offer)[];
}

/** The first page. `word`: `all is well`, `all is well, 1 silenced`, `2 things need a person`, or what is not known. `event_at_s`: the latest clock of a deployment or source. `needs`: by key. `deployments`: by name. `empty`: `no project` where nothing is applied, else "". */
export interface Now {
  mark: "attention" | "ok" | "page" | "unknown";
  word: string;
  event_at_s: number | null;
  needs: Record<string, Need>;
  deployments: Record<string, DeploymentRow>;
  empty: string;
}

/** Something that a person may do now. The page shows it as a button to those who have the role. `sentence`: what will happen, with names and numbers. `deployment`, `version`, `target`: sent back with the act; `target` is the alert's fingerprint, or the silence. `needs_another`: the approver must not be this person. */
export interface Offer {
  act: "abort" | "approve" | "pause" | "promote" | "resume" | "retry" | "roll_back" | "silence" | "unsilence";
  label: string;
  sentence: string;
  needs: "approver" | "operator" | "viewer";
  deployment: string;
  version: number | null;
  target: string;
  needs_another: string;
}

/** The quality of the champion in its newest closed window. `spark`: of the windows before, oldest first. `verdict`: of the window. `why`: why it is UNMEASURED (`value` is None then), or why the window is an older one. */
export interface Quality {
  metric: string;
  value: number | null;
  n: number;
  limit: number | null;
  is_above: boolean;
  verdict: string;
  why: string;
  from_s: number;
  to_s: number;
  spark: (number | null)[];
}

/** A record (`GET /api/v1/records/TOPIC/PARTITION/OFFSET`), decoded with limits. `cause`: the place of its cause. */
export interface RecordView {
  place: string;
  type: string;
  id: string;
  key: string;
  at_s: number;
  appended_s: number;
  value: unknown;
  headers: Record<string, string>;
  cause: string;
}

/** A rollout in one line. `state`: the step, `paused`, `unjudged`, `awaits approval` or `queued`. */
export interface RolloutBrief {
  version: number;
  policy: string;
  state: string;
  share: number;
  mark: "attention" | "ok" | "page" | "unknown";
}

/** A rollout, in motion or ended. `steps`: shares of the plan in order (a shadow step is 0), `at`: the index of the current one, or of the one in which it was aborted; the length of `steps` when it was promoted. `outcome`: `promoted`, `aborted`, `rolled_back` (it did harm, before its promotion or after it), `completed`, or "" while it runs. `history`: the verdicts so far per metric, for the chart: event time, measured value. */
export interface RolloutView {
  id: string;
  version: number;
  control: number | null;
  policy: string;
  state: string;
  steps: (number)[];
  at: number;
  share: number;
  since_s: number | null;
  clock_s: number | null;
  guardrails: string;
  labels: string;
  step_decisions: number;
  label_count: number;
  cycles: number;
  waits_for: string;
  outcome: string;
  reason: string;
  place: string;
  by: string;
  evidence: Record<string, EvidenceRow>;
  history: Record<string, ([number, number | null])[]>;
  offers: (Offer)[];
}

/** A version in the route. `roles`: `champion`, `previous`, `baseline`, `shadow`, `warm`, `under rollout`. */
export interface RouteShare {
  version: number;
  share: number;
  roles: (string)[];
  state: string;
}

/** The part of the requests that explains a finding most. `column`, `value`: `value` is a category, or a range in words. `measured`, `rest`: the figure (the loss, or the share that is broken) within it and among all others; `share`: its share of the requests; `explains`: the share of the change that it accounts for. */
export interface Segment {
  column: string;
  value: string;
  rows: number;
  share: number;
  measured: number;
  rest: number;
  explains: number;
}

/** The charts of a deployment, by instant (digits): windows by their end, traffic by the start of its minute. `metrics`: those of the windows, the most telling first. `kept_s`: for how long traffic is kept. */
export interface Series {
  metrics: (string)[];
  windows: Record<string, WindowPoint>;
  traffic: Record<string, TrafficPoint>;
  marks: Record<string, SeriesMark>;
  thresholds: (Threshold)[];
  kept_s: number;
}

/** A mark on the charts: a version switched to, a finding, a retrain, a step of a rollout. */
export interface SeriesMark {
  at_s: number;
  clock: "event" | "wall";
  kind: "finding" | "resolved" | "retrain" | "rollback" | "rollout" | "version";
  text: string;
  link: string;
  wall_s: number | null;
}

/** An instance of a service. `handled_per_s`: of the last ten seconds. `silent_s`: since its last report. */
export interface ServiceRow {
  service: string;
  instance: string;
  mark: "attention" | "ok" | "page" | "unknown";
  word: string;
  handled_per_s: number | null;
  behind_records: number;
  silent_s: number;
  shards: (number)[];
  versions: (string)[];
  started_s: number;
  code_version: string;
  dead_letters: number;
  lag: Record<string, number>;
  state_bytes: Record<string, [number, number]>;
}

/** Instances by `service/instance`, and the topology by `writer topic reader`. */
export interface Services {
  instances: Record<string, ServiceRow>;
  edges: Record<string, Edge>;
}

/** A silence that is in force or begins later. */
export interface SilenceRow {
  id: string;
  matchers: Record<string, string>;
  starts_s: number;
  ends_s: number;
  by: string;
  reason: string;
  place: string;
  offers: (Offer)[];
}

/** A source. `newest_event_s`: event time of its newest event contained in the features. `behind_records`: not folded yet. `newest_word`: why `newest_event_s` is None, "" if it is not. */
export interface SourceRow {
  source: string;
  project: string;
  mark: "attention" | "ok" | "page" | "unknown";
  newest_event_s: number | null;
  behind_records: number;
  late: number;
  newest_word: string;
}

/** A partition that is stopped, with the commands that end the stop. */
export interface Stop {
  service: string;
  place: string;
  reason: string;
  since_s: number;
  commands: (string)[];
}

/** A limit that is drawn. `metric`: as in `WindowPoint.figures`, or `statistic`, `missing_share`, `p99_ms`. */
export interface Threshold {
  metric: string;
  value: number;
  text: string;
}

/** The causes of a deployment's state: episodes by id, the newest has the latest `begun_wall_s`. */
export interface Timeline {
  episodes: Record<string, Episode>;
  median_mttd_s: number | null;
  median_mttr_s: number | null;
  dropped: number;
}

/** A step of an episode. `after_s`: since the step before, wall clock; `event_after_s`: in event time. */
export interface TimelineStep {
  order: number;
  kind: string;
  sentence: string;
  mark: "attention" | "ok" | "page" | "unknown";
  at_s: number;
  wall_s: number | null;
  place: string;
  after_s: number | null;
  event_after_s: number | null;
  by: string;
  details: (string)[];
  link: string;
}

/** Traffic of `width_s` seconds, wall clock: a minute, or an hour of what is older. `outcomes`: counts by outcome and step. `versions`: answers by version (digits). */
export interface TrafficPoint {
  outcomes: Record<string, number>;
  versions: Record<string, number>;
  p50_ms: number | null;
  p99_ms: number | null;
  width_s: number;
}

/** A version: its card (Markdown without HTML), gates, lineage and slices. */
export interface Version {
  row: VersionRow;
  deployment: string;
  model_digest: string;
  artifact_digest: string;
  size_bytes: number;
  format: string;
  card: string;
  gates: Record<string, GateRow>;
  lineage: Record<string, unknown>;
  slices: Record<string, Record<string, number>>;
  columns: (Column)[];
  tags: Record<string, string>;
  place: string;
  owner: string;
  offers: (Offer)[];
}

/** A version in a list. `stage`: of the registry. `gates`: verdicts by gate. `waived`: gates that need not pass. */
export interface VersionRow {
  version: number;
  stage: string;
  aliases: (string)[];
  registered_at_s: number;
  trained_rows: number;
  metrics: Record<string, number>;
  gates: Record<string, string>;
  reason: string;
  by: string;
  approved_by: string;
  waived: (string)[];
}

/** A feature view. `missing_share`: of its features in the newest windows of the deployments that use it, by deployment. */
export interface ViewRow {
  view: string;
  project: string;
  source: string;
  entity: string;
  features: Record<string, string>;
  used_by: (string)[];
}

/** An evaluation window, event time. `figures`: per version (digits) the figures by metric; `errors`: standard errors of `loss`. `statistic`: of the drift detector. */
export interface WindowPoint {
  from_s: number;
  to_s: number;
  requests: number;
  labelled: number;
  verdict: string;
  champion: number | null;
  figures: Record<string, Record<string, number | null>>;
  errors: Record<string, number>;
  label_mean: number | null;
  missing_share: number;
  statistic: number | null;
}
