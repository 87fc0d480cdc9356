/** What the control centre of failover says, as it says it. Times are Unix milliseconds. */

import type { Span } from "../words/time";

export type Side = "primary" | "secondary";
export type Level = "normal" | "degrading" | "failed";
export type Way = "switch-over" | "switch-back";
export type StateName =
  | "normal"
  | "degrading-primary"
  | "engaging-secondary"
  | "secondary-engaged"
  | "resync-primary"
  | "engaging-primary"
  | "resync-secondary"
  | "degraded-user-access";
export type DataFlow = { replicating: { from: Side } } | { kept: { from: Side } } | "turning";

export interface StateView {
  number: number;
  name: StateName;
  title: string;
  active: Side | null;
  data: DataFlow;
  since: number;
}

export type Actor = { application: Side } | { directory: Side } | "control-centre";

export interface AgentView {
  host: string;
  application: string | null;
  part: Actor | null;
  joined_at: number | null;
  connected_since: number | null;
  version: string | null;
  serving: {
    epoch: number | null;
    lease_left_ms: number;
    wanted: boolean;
    cannot_stop: boolean;
    at: number;
  } | null;
}

export interface ApplicationView {
  name: string;
  file: string;
  profile: string;
  unproven: string | null;
  state: StateView;
  hosts: string[];
}

export interface Question {
  patience: Span | null;
  silence_means: boolean;
}

export type Task =
  | { act: { action: string; undo: string | null } }
  | { confirm: Question }
  | "look-again"
  | { "ask-to-replicate": Question };

export interface Step {
  number: string;
  title: string;
  actor: Actor;
  task: Task;
  needs_old_side: boolean;
  failure: "revert" | "go-on" | "stop";
}

export interface Plan {
  kind: Way;
  from: Side;
  to: Side;
  epoch: number;
  steps: Step[];
}

export interface PlanView {
  plan: Plan;
  bypassed: boolean[];
  obstacles: string[];
}

export type Phase =
  | "begun"
  | { done: { evidence: string } }
  | { failed: { reason: string; lost: boolean } }
  | { skipped: { reason: string } }
  | { answered: { yes: boolean; by: string } }
  | "undo-begun"
  | "undone"
  | { "undo-failed": { reason: string } };

export type Ending = "done" | "reverted" | { "half-reverted": number } | { stopped: number };

export interface ProcessRecord {
  id: string;
  application: string;
  plan: Plan;
  wishes: { go_on: boolean | null; replicate_back: boolean | null };
  came_from: StateName;
  who: string;
  why: string;
  started_at: number;
  abort_by: string | null;
  ended_at: number | null;
  ending: Ending | null;
}

export interface JournalLine {
  at: number;
  step: number;
  phase: Phase;
}

export interface ProcessView {
  record: ProcessRecord;
  journal: JournalLine[];
}

export interface QuestionView {
  process: string;
  step: number;
  number: string;
  text: string;
  silence_means: boolean;
  until: number | null;
}

export interface AutoPilotSettings {
  enabled: boolean;
  shadow: boolean;
  wait: Span;
  restarts: number;
  restart_patience: Span;
  hold_down: Span;
  lock_out_after: number;
  lock_out_within: Span;
  switch_back: boolean;
  well_before_back: Span;
}

export interface Status {
  application: string;
  state: StateView;
  epoch: number;
  holder: Side;
  process: ProcessView | null;
  question: QuestionView | null;
  working: ("switch" | "archive" | "restore")[];
  observed: {
    condition: "well" | "unavailable" | "silent";
    degraded: "primary" | "user-access" | null;
    replicating: boolean;
    complete: boolean;
    evidence: string[];
  } | null;
  autopilot: { settings: AutoPilotSettings; locked_out: boolean; wish: string };
  agents: AgentView[];
}

export interface Readiness {
  to: Side;
  ready: boolean;
  looked: { what: string; good: boolean; needed: boolean; text: string }[];
}

export interface TransitionRecord {
  seq: number;
  at: number;
  number: number | null;
  from: StateName;
  to: StateName;
  event: string;
  who: string;
  why: string;
  evidence: string[];
}

export type Part = "device" | "host" | "store" | "service" | "replication" | "access" | "other";

export interface Subject {
  host: string;
  part: Part;
  name: string;
}

export interface Cause {
  subject: Subject;
  side: Side;
  trouble: { level: Level; since: number; reason: string };
  because_of: string | null;
}

export interface MetricHealth {
  name: string;
  value: number | null;
  unit: string;
  at: number;
  state: "good" | "bad" | "unknown";
  text: string | null;
  stale: boolean;
  level: Level;
  ordinary: { low: number; high: number } | null;
}

export interface SubjectHealth {
  subject: Subject;
  level: Level;
  metrics: MetricHealth[];
}

export interface HostHealth {
  origin: { application: string; side: Side; host: string; role: "application" | "directory" };
  heard: number;
  serves: boolean;
  subjects: SubjectHealth[];
}

export interface ApplicationHealth {
  application: string;
  at: number;
  sides: Partial<Record<Side, { subsystems: Level; access: Level; replication: Level }>>;
  causes: Cause[];
  hosts: HostHealth[];
}

export interface PastDeparture {
  cause: Cause;
  until: number | null;
}

export interface Point {
  at: number;
  least: number | null;
  most: number | null;
  mean: number | null;
  looks: number;
  bad: number;
}

export interface Alert {
  id: number;
  key: string;
  application: string | null;
  gravity: "note" | "warning" | "critical";
  title: string;
  text: string;
  since: number;
  raised_at: number;
  times: number;
  over_at: number | null;
  over_how: string | null;
  acknowledged_by: string | null;
  acknowledged_at: number | null;
  undelivered: number;
  error: string | null;
}

export type Verdict = "ignore" | "note" | "warning" | "critical";

export interface Difference {
  category: string;
  name: string;
  one: { value: string; size: number | null } | null;
  other: { value: string; size: number | null } | null;
}

export interface Change {
  host: string;
  side: Side;
  at: number;
  difference: Difference;
  verdict: Verdict;
  rule: string;
  why: string;
}

export interface Divergence {
  id: number;
  role: "application" | "directory";
  difference: Difference;
  verdict: Verdict;
  rule: string;
  why: string;
  since: number;
  confirmed: boolean;
  seen_by: string;
  until: number | null;
  accepted_by: string | null;
}

export interface Rule {
  id: string;
  scope?: "time" | "sites" | "host" | null;
  category?: string | null;
  names?: string[];
  shape?: string | null;
  value?: string | null;
  verdict: Verdict;
  why?: string;
}

export interface Preference {
  id: number;
  rule: Rule;
  who: string;
  at: number;
}

export interface AutoSyncView {
  enabled: boolean;
  held: boolean;
  from: Side | null;
  session: "absent" | "paused" | { running: { healthy: boolean } } | null;
  lag_s: number | null;
  queue: number | null;
  doing: string | null;
  trouble: string | null;
}

export interface ImageRecord {
  name: string;
  application: string;
  side: Side;
  levels: string[];
  who: string;
  state: "taking" | "taken" | "proved" | "placed" | "failed" | "forgotten";
  started_at: number;
  ended_at: number | null;
  facts: { began: number; files: number; bytes: number; added: number | null; compared: number | null } | null;
  failure: string | null;
}

export interface ArchiveView {
  enabled: boolean;
  levels: { label: string; hours: number; keep: number; images: number; due: number }[];
  images: ImageRecord[];
}

export interface RestoreView {
  record: {
    id: string;
    application: string;
    request: { image: string; who: string; why: string; discard_newer: boolean };
    stage: string;
    stopped: string | null;
    started_at: number;
    ended_at: number | null;
    outcome: string | null;
  };
  lines: { at: number; number: string; text: string }[];
}
