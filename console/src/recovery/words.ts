/** What machines, gates and sessions are called, and how a session is drawn. Pure. */

import type * as R from "../api/recoveryTypes";
import type { Tone } from "../parts/LevelLabel";
import { counted } from "../words/numbers";
import { duration } from "../words/time";

export const MACHINE: Record<R.MachineState, { tone: Tone | "plain"; title: string }> = {
  waiting: { tone: "plain", title: "waits" },
  starting: { tone: "info", title: "is being started" },
  booting: { tone: "info", title: "boots" },
  ready: { tone: "success", title: "ready" },
  failed: { tone: "danger", title: "failed" },
  blocked: { tone: "danger", title: "not started: it needs one that failed" },
  not_started: { tone: "plain", title: "not started" },
};

export const SESSION: Record<R.SessionState, { tone: Tone | "plain"; title: string }> = {
  running: { tone: "info", title: "under way" },
  kept: { tone: "success", title: "serves" },
  stopping: { tone: "info", title: "is being taken down" },
  ended: { tone: "plain", title: "ended" },
  interrupted: { tone: "warning", title: "interrupted" },
};

export const MODE: Record<R.Mode, string> = { test: "Test", recovery: "Recovery" };

export const seconds = (value: number | null | undefined) =>
  value === null || value === undefined ? "-" : duration(value * 1000);

/** Unix seconds as text, as milliseconds. */
export const instant = (text: string | null) => (text === null ? null : Math.round(Number(text) * 1000) || null);

/** What a machine waits for, in a sentence. */
export function waiting(machine: R.LiveMachine): string {
  const open = machine.waits_for.filter((one) => one.state !== "ready");
  if (open.length > 0) return `waits for ${open.map((one) => one.machine).join(", ")}`;
  if (machine.waits_for_room) return "waits for memory, or until others have booted";
  return "";
}

/** What a gate is about. */
export function gateTitle(gate: Pick<R.LiveGate, "kind" | "port">): string {
  switch (gate.kind) {
    case "icmp":
      return "answers on the network";
    case "tcp":
      return `port ${gate.port ?? "?"} answers`;
    case "http":
      return `page on port ${gate.port ?? "?"}`;
    default:
      return "runs";
  }
}

export const gateState = (state: R.LiveGate["state"]): { tone: Tone | "plain"; title: string } =>
  state === "open" ? { tone: "success", title: "green" } : state === "closed" ? { tone: "danger", title: "stayed closed" } : { tone: "plain", title: "not yet" };

/** A session in one sentence. */
export function summary(live: R.LiveSession): string {
  const count = (state: R.MachineState) => live.machines.filter((machine) => machine.state === state).length;
  const ready = count("ready");
  const bad = count("failed") + count("blocked");
  const all = counted(live.machines.length, "machine");
  const failed = bad > 0 ? `, ${bad} failed` : "";
  return `${ready} of ${all} ready${failed}`;
}

export interface Bar {
  kind: "wait" | "boot" | "ready" | "bad";
  from: number;
  to: number;
}

/** A machine's line: it waits, it boots, it is ready or not. */
export function bars(machine: Pick<R.LiveMachine, "state" | "started_s" | "ready_s" | "since_s">, end: number): Bar[] {
  const started = machine.started_s;
  if (started === null) return [{ kind: machine.state === "blocked" ? "bad" : "wait", from: 0, to: end }];
  const lines: Bar[] = [{ kind: "wait", from: 0, to: started }];
  const settled = machine.ready_s ?? (machine.state === "failed" ? machine.since_s : null);
  lines.push({ kind: "boot", from: started, to: settled ?? end });
  if (settled !== null) lines.push({ kind: machine.state === "failed" ? "bad" : "ready", from: settled, to: end });
  return lines.filter((bar) => bar.to > bar.from);
}

const RANK: Record<R.MachineState, number> = {
  failed: 0,
  blocked: 1,
  starting: 2,
  booting: 2,
  waiting: 3,
  not_started: 4,
  ready: 5,
};

/** What needs eyes first. */
export const byNeed = (machines: R.LiveMachine[]) =>
  [...machines].sort((one, another) => RANK[one.state] - RANK[another.state] || one.name.localeCompare(another.name));

export const ISOLATION: Record<R.LiveSession["isolation"], { tone: Tone | "plain"; title: string }> = {
  proving: { tone: "info", title: "being proved" },
  proved: { tone: "success", title: "proved: nothing gets out" },
  broken: { tone: "danger", title: "BROKEN: something got out" },
  unknown: { tone: "plain", title: "nothing known yet" },
};

/** How a site has been doing. */
export function trendSentence(trend: R.Trend): string {
  const way = {
    faster: `each test is about ${seconds(-trend.slope_s_per_run)} faster than the one before`,
    slower: `each test is about ${seconds(trend.slope_s_per_run)} slower than the one before`,
    steady: "it stays the same",
  }[trend.direction];
  return `Of ${counted(trend.runs, "run")}, the middle one took ${seconds(trend.median_s)} (${seconds(trend.best_s)} to ${seconds(trend.worst_s)}); ${way}.`;
}

const SOURCES: Record<R.GraphEdge["source"], string> = {
  operator: "your word",
  logs: "its logs",
  configuration: "its configuration",
  declared: "declared by its services",
  table: "what is known of such services",
  timing: "the times of earlier boots",
};

export const sourceTitle = (source: R.GraphEdge["source"]) => SOURCES[source];

const STATUS: Record<R.GraphEdge["status"], string> = {
  followed: "followed",
  given_up: "not followed: it would have made a circle",
  hint: "only a hint",
  rejected: "rejected by you",
};

export const statusTitle = (status: R.GraphEdge["status"]) => STATUS[status];

export function rhythmTitle({ rhythm, at, zone }: R.ScheduleSettings): string {
  const day = rhythm.every === "day" ? "every day" : rhythm.every === "week" ? `every ${rhythm.weekday}` : `on day ${rhythm.day} of each month`;
  return `${day} at ${at} (${zone})`;
}
