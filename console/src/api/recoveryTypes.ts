/** What the appliance says of sites and sessions. `_s`: seconds since a session began; `_ms`: Unix milliseconds. */

export type Mode = "test" | "recovery";
export type SessionState = "running" | "kept" | "stopping" | "ended" | "interrupted";

export interface SessionRecord {
  id: string;
  site: string;
  mode: Mode;
  state: SessionState;
  /** Unix seconds with milliseconds, as text. */
  started_at: string;
  ended_at: string | null;
  detail: string | null;
}

export interface RunPoint {
  session: string;
  mode: Mode;
  accelerator: "kvm" | "tcg";
  began_ms: number;
  ok: boolean;
  rta_s: number;
  critical_path_s: number;
  ratio: number;
  machines: number;
  problems: number;
}

export interface SiteOverview {
  name: string;
  machines: number;
  networks: number;
  problem: string | null;
  last: RunPoint | null;
  alive: SessionRecord[];
  next_test_ms: number | null;
}

export interface Trend {
  accelerator: "kvm" | "tcg";
  runs: number;
  median_s: number;
  best_s: number;
  worst_s: number;
  newest_s: number;
  slope_s_per_run: number;
  direction: "faster" | "slower" | "steady";
}

export interface SiteHistory {
  runs: RunPoint[];
  trend: Trend | null;
}

export interface SitePrediction {
  prediction: {
    rta_s: number;
    low_s: number;
    high_s: number;
    critical_path: string[];
    assumed: string[];
    never_started: string[];
  };
  worked_out_ms: number;
  stale: boolean;
  accelerator: "kvm" | "tcg";
  measured: Trend | null;
  fits: boolean;
  memory_needed_mib: number;
  memory_available_mib: number;
  refusal: string | null;
}

export interface NetworkGraph {
  networks: { name: string; cidr: string; gateway: string | null }[];
  machines: { name: string; firmware: string }[];
  links: { machine: string; network: string; mac: string; address: string | null }[];
  outside: Unanswered[];
  session: string | null;
}

export interface Unanswered {
  from: string;
  to: string;
  protocol: string;
  port: number | null;
  count: number;
}

export interface GraphEdge {
  before: string;
  after: string;
  kind: "soft" | "hard";
  confidence: number;
  source: "timing" | "table" | "declared" | "configuration" | "logs" | "operator";
  status: "followed" | "given_up" | "hint" | "rejected";
  implied: boolean;
  critical: boolean;
  word: "pin" | "reject" | null;
  evidence: { machine: string; file: string; record: string; time: string | null; text: string }[];
}

export interface OrderGraph {
  worked_out_ms: number;
  stale: boolean;
  machines: {
    name: string;
    wave: number;
    after: string[];
    reasons: string[];
    expected_s: number;
    group: number | null;
    critical: boolean;
    gates: { port: number; service: string }[];
  }[];
  edges: GraphEdge[];
  words: { before: string; after: string; verdict: "pin" | "reject" }[];
  warnings: string[];
}

export type MachineState = "waiting" | "starting" | "booting" | "ready" | "failed" | "blocked" | "not_started";

export interface LiveGate {
  kind: "icmp" | "tcp" | "http" | "running";
  port: number | null;
  address: string | null;
  learned: boolean;
  state: "waiting" | "open" | "closed";
  at_s: number | null;
  timeout_s: number;
}

export interface LiveMachine {
  name: string;
  state: MachineState;
  since_s: number;
  started_s: number | null;
  ready_s: number | null;
  expected_s: number;
  reason: string | null;
  waits_for: { machine: string; hard: boolean; state: MachineState; why: string[] }[];
  waits_for_room: boolean;
  gates: LiveGate[];
  has_screen: boolean;
  has_vnc: boolean;
}

export interface LiveSession {
  session: SessionRecord;
  accelerator: "kvm" | "tcg";
  isolation_note: string | null;
  elapsed_s: number;
  machines: LiveMachine[];
  rta_so_far_s: number | null;
  expected_rta_s: number | null;
  network: {
    frames: number;
    dropped: number;
    uplink_frames: number;
    unanswered: Unanswered[];
    isolation: { host_interfaces: number; canaries_sent: number; canaries_escaped: number; control_seen: boolean };
  } | null;
  isolation: "proving" | "proved" | "broken" | "unknown";
  report_ready: boolean;
}

export interface Report {
  site: string;
  session: string;
  mode: Mode;
  accelerator: "kvm" | "tcg";
  isolation_note: string | null;
  ok: boolean;
  problems: string[];
  rta_s: number;
  critical_path_s: number;
  rta_over_critical_path: number;
  limiting_machines: string[];
  machines: {
    name: string;
    ok: boolean;
    outcome: "ready" | "failed" | "blocked" | "not_started";
    reason: string | null;
    started_s: number | null;
    ready_s: number | null;
    gates: { kind: string; port?: number; ready_s: number | null; detail: string }[];
    screenshot: string | null;
  }[];
  network: NonNullable<LiveSession["network"]>;
  sources_unchanged: boolean;
}

export type Rhythm =
  | { every: "day" }
  | { every: "week"; weekday: string }
  | { every: "month"; day: number };

export interface ScheduleSettings {
  rhythm: Rhythm;
  at: string;
  zone: string;
  enabled: boolean;
  accept_changed?: boolean;
}

export interface ScheduleRun {
  schedule: number;
  due_ms: number;
  state: "running" | "passed" | "failed" | "missed";
  session: string | null;
  detail: string | null;
  ended_ms: number | null;
}

export interface Schedule {
  id: number;
  site: string;
  settings: ScheduleSettings;
  next_ms: number | null;
  last: ScheduleRun | null;
}

export interface Operation {
  id: string;
  kind: "prepare" | "order" | "session" | "start" | "verify" | "draft";
  subject: string;
  state: "running" | "succeeded" | "failed" | "cancelled";
  began_ms: number;
  ended_ms: number | null;
  session: string | null;
  asynchronous: boolean;
  last_event: number;
  failure: { chain: string[]; wrong_use: boolean } | null;
}

export type OperationEvent =
  | { event: "step"; what: string; subject: string }
  | { event: "progress"; what: string; subject: string; done: number; total: number }
  | { event: "done"; what: string; subject: string; detail: string }
  | { event: "session"; id: string }
  | { event: "machine"; machine: string; state: string; at_s: number; detail: string }
  | { event: "warning"; text: string }
  | { event: "result"; value: unknown }
  | { event: "failed"; chain: string[]; wrong_use: boolean };

export interface ImportEntry {
  name: string;
  path: string;
  kind: "file" | "folder";
  size: number;
  modified_ms: number;
}

export interface Upload {
  id: string;
  name: string;
  size: number;
  received: number;
  complete: boolean;
  began_ms: number;
}

export type VolumeRef = { from: "import"; import: string; path: string } | { from: "upload"; upload: string };

export interface Draft {
  name: string;
  text: string;
  warnings: string[];
}

export interface ApplianceStatus {
  version: string;
  accelerator: { accelerator: "kvm" | "tcg"; reason: string };
  busy: boolean;
}
