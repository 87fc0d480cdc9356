import { describe, expect, it } from "vitest";

import type * as R from "../api/recoveryTypes";
import { bars, byNeed, gateTitle, instant, rhythmTitle, summary, trendSentence, waiting } from "./words";

const machine = (name: string, state: R.MachineState, more: Partial<R.LiveMachine> = {}): R.LiveMachine => ({
  name, state, since_s: 0, started_s: null, ready_s: null, expected_s: 10, reason: null, waits_for: [],
  waits_for_room: false, gates: [], has_screen: false, has_vnc: false, ...more,
});

describe("machines", () => {
  it("say what they wait for", () => {
    const dc = { machine: "dc1", hard: true, state: "booting" as const, why: [] };
    expect(waiting(machine("web1", "waiting", { waits_for: [dc, { ...dc, machine: "db1", state: "ready" }] }))).toBe("waits for dc1");
    expect(waiting(machine("web1", "waiting", { waits_for_room: true }))).toContain("memory");
    expect(waiting(machine("web1", "booting"))).toBe("");
  });

  it("are drawn as lines without holes", () => {
    const kinds = (one: R.LiveMachine) => bars(one, 60).map((bar) => `${bar.kind} ${bar.from}-${bar.to}`);
    expect(kinds(machine("a", "waiting"))).toEqual(["wait 0-60"]);
    expect(kinds(machine("a", "booting", { started_s: 0 }))).toEqual(["boot 0-60"]);
    expect(kinds(machine("a", "ready", { started_s: 5, ready_s: 20 }))).toEqual(["wait 0-5", "boot 5-20", "ready 20-60"]);
    expect(kinds(machine("a", "failed", { started_s: 5, since_s: 30 }))).toEqual(["wait 0-5", "boot 5-30", "bad 30-60"]);
    expect(kinds(machine("a", "blocked"))).toEqual(["bad 0-60"]);
  });

  it("come with the troubled ones first", () => {
    const sorted = byNeed([machine("c", "ready"), machine("b", "waiting"), machine("a", "failed"), machine("d", "booting")]);
    expect(sorted.map((one) => one.name)).toEqual(["a", "d", "b", "c"]);
    expect(summary({ machines: sorted } as R.LiveSession)).toBe("1 of 4 machines ready, 1 failed");
  });
});

it("names gates, rhythms, moments and trends", () => {
  expect(gateTitle({ kind: "tcp", port: 389 })).toBe("port 389 answers");
  expect(gateTitle({ kind: "running", port: null })).toBe("runs");
  expect(rhythmTitle({ rhythm: { every: "week", weekday: "sunday" }, at: "02:30", zone: "UTC", enabled: true })).toBe(
    "every sunday at 02:30 (UTC)",
  );
  expect(instant("1763891000.123")).toBe(1763891000123);
  expect(instant(null)).toBeNull();
  expect(instant("soon")).toBeNull();
  const trend: R.Trend = {
    accelerator: "kvm", runs: 5, median_s: 90, best_s: 80, worst_s: 120, newest_s: 80, slope_s_per_run: -4, direction: "faster",
  };
  expect(trendSentence(trend)).toContain("about 4.0 s faster");
});
