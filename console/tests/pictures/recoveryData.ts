/** A site and its sessions as they might be. */

import type * as R from "../../src/api/recoveryTypes";
import { NOW } from "./failoverData";

const DAY = 86_400_000;

/** A grey picture of one dot. */
export const PICTURE = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==",
  "base64",
);

const run = (index: number): R.RunPoint => ({
  session: index === 0 ? "x1" : `old${index}`,
  mode: "test",
  accelerator: "tcg",
  began_ms: NOW - index * 7 * DAY,
  ok: index !== 2,
  rta_s: 210 - (5 - index) * 8,
  critical_path_s: 180,
  ratio: 1.1,
  machines: 3,
  problems: index === 2 ? 1 : 0,
});

export const overview = (name: string): R.SiteOverview => ({
  name,
  machines: 3,
  networks: 1,
  problem: null,
  last: run(1),
  alive: [],
  next_test_ms: NOW + 3 * DAY,
});

const trend: R.Trend = { accelerator: "tcg", runs: 5, median_s: 190, best_s: 170, worst_s: 202, newest_s: 170, slope_s_per_run: -8, direction: "faster" };

export const history: R.SiteHistory = { runs: [0, 1, 2, 3, 4].map(run), trend };

export const prediction: R.SitePrediction = {
  prediction: { rta_s: 184, low_s: 160, high_s: 230, critical_path: ["dc1", "db1", "web1"], assumed: ["db1"], never_started: [] },
  worked_out_ms: NOW - DAY,
  stale: false,
  accelerator: "tcg",
  measured: trend,
  fits: true,
  memory_needed_mib: 3072,
  memory_available_mib: 16_384,
  refusal: null,
};

export const network: R.NetworkGraph = {
  networks: [{ name: "lan", cidr: "10.20.0.0/24", gateway: "10.20.0.1" }],
  machines: ["dc1", "db1", "web1"].map((name) => ({ name, firmware: "bios" })),
  links: ["dc1", "db1", "web1"].map((machine, index) => ({ machine, network: "lan", mac: `52:54:00:20:00:1${index}`, address: `10.20.0.1${index}` })),
  outside: [{ from: "web1", to: "10.9.0.9", protocol: "tcp", port: 389, count: 4 }],
  session: "x1",
};

const edge = (before: string, after: string, more: Partial<R.GraphEdge> = {}): R.GraphEdge => ({
  before,
  after,
  kind: "hard",
  confidence: 0.93,
  source: "logs",
  status: "followed",
  implied: false,
  critical: true,
  word: null,
  evidence: [{ machine: after, file: "var/log/journal/system.journal", record: "812", time: "2026-11-20T03:04:05Z", text: `connected to ${before}:389 before it answered` }],
  ...more,
});

const machine = (name: string, wave: number) => ({ name, wave, after: [], reasons: [], expected_s: 60, group: null, critical: true, gates: [] });

export const order: R.OrderGraph = {
  worked_out_ms: NOW - DAY,
  stale: true,
  machines: [machine("dc1", 0), machine("db1", 1), machine("web1", 2)],
  edges: [edge("dc1", "db1"), edge("db1", "web1", { word: "pin", source: "operator" }), edge("dc1", "web1", { implied: true, confidence: 0.5, kind: "soft" })],
  words: [{ before: "db1", after: "web1", verdict: "pin" }],
  warnings: ["db1 was never seen booting: its time is guessed"],
};

export const session = (site: string): R.SessionRecord => ({
  id: "x1",
  site,
  mode: "test",
  state: "running",
  started_at: String((NOW - 95_000) / 1000),
  ended_at: null,
  detail: null,
});

const gate = (state: R.LiveGate["state"], port: number, at: number | null): R.LiveGate => ({ kind: "tcp", port, address: "10.20.0.10", learned: true, state, at_s: at, timeout_s: 300 });

const liveMachine = (name: string, state: R.MachineState, more: Partial<R.LiveMachine>): R.LiveMachine => ({
  name,
  state,
  since_s: 0,
  started_s: null,
  ready_s: null,
  expected_s: 60,
  reason: null,
  waits_for: [],
  waits_for_room: false,
  gates: [],
  has_screen: false,
  has_vnc: false,
  ...more,
});

const isolation = { host_interfaces: 0, canaries_sent: 12, canaries_escaped: 0, control_seen: true };
const seen = { frames: 4210, dropped: 0, uplink_frames: 0, unanswered: network.outside.map((line) => ({ ...line })), isolation };

export const live = (site: string): R.LiveSession => ({
  session: session(site),
  accelerator: "tcg",
  isolation_note: "guests are emulated: no isolation by hardware",
  elapsed_s: 95,
  machines: [
    liveMachine("dc1", "ready", { started_s: 1, ready_s: 52, gates: [gate("open", 53, 40), gate("open", 389, 52)], has_screen: true, has_vnc: true }),
    liveMachine("db1", "booting", { started_s: 53, since_s: 53, gates: [gate("waiting", 5432, null)] }),
    liveMachine("web1", "waiting", { gates: [gate("waiting", 80, null)], waits_for: [{ machine: "db1", hard: true, state: "booting", why: ["your word", "web1 connected to db1:5432 in 9 of 9 boots"] }] }),
  ],
  rta_so_far_s: null,
  expected_rta_s: 184,
  network: seen,
  isolation: "proved",
  report_ready: true,
});

export const report = (site: string): R.Report => ({
  site,
  session: "x1",
  mode: "test",
  accelerator: "tcg",
  isolation_note: null,
  ok: true,
  problems: [],
  rta_s: 184,
  critical_path_s: 170,
  rta_over_critical_path: 1.08,
  limiting_machines: ["dc1", "db1", "web1"],
  machines: ["dc1", "db1", "web1"].map((name, index) => ({
    name,
    ok: true,
    outcome: "ready" as const,
    reason: null,
    started_s: index * 60,
    ready_s: index * 60 + 58,
    gates: [{ kind: "tcp", port: 80, ready_s: index * 60 + 58, detail: "answered" }],
    screenshot: name === "dc1" ? "dc1.png" : null,
  })),
  network: seen,
  sources_unchanged: true,
});

export const schedules = (site: string): R.Schedule[] => [
  {
    id: 1,
    site,
    settings: { rhythm: { every: "week", weekday: "sunday" }, at: "02:30", zone: "Europe/Berlin", enabled: true },
    next_ms: NOW + 3 * DAY,
    last: { schedule: 1, due_ms: NOW - 4 * DAY, state: "missed", session: null, detail: "the appliance was off", ended_ms: null },
  },
];

export const files: R.ImportEntry[] = [
  { name: "branch", path: "branch", kind: "folder", size: 0, modified_ms: NOW - DAY },
  { name: "dc1.qcow2", path: "dc1.qcow2", kind: "file", size: 2.1e9, modified_ms: NOW - DAY },
];
