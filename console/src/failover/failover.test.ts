import { describe, expect, it } from "vitest";

import type * as F from "../api/failoverTypes";
import { endingSentence, progress, steps, took } from "./steps";
import { flow, headline, role, sortedAlerts, wayFrom } from "./words";

const step = (title: string): F.Step => ({
  number: "302",
  title,
  actor: { application: "primary" },
  task: "look-again",
  needs_old_side: false,
  failure: "revert",
});

const record: F.ProcessRecord = {
  id: "p",
  application: "mail",
  plan: { kind: "switch-over", from: "primary", to: "secondary", epoch: 2, steps: ["one", "two", "three"].map(step) },
  wishes: { go_on: null, replicate_back: null },
  came_from: "normal",
  who: "ada",
  why: "",
  started_at: 0,
  abort_by: null,
  ended_at: null,
  ending: null,
};

const status = (name: F.StateName, more: Partial<F.Status> = {}): F.Status => ({
  application: "mail",
  state: {
    number: 202,
    name,
    title: "",
    active: name.startsWith("engaging") ? null : name === "normal" ? "primary" : "secondary",
    data: name.startsWith("engaging") ? "turning" : { replicating: { from: "primary" } },
    since: 0,
  },
  epoch: 1,
  holder: "primary",
  process: null,
  question: null,
  working: [],
  observed: { condition: "well", degraded: null, replicating: true, complete: true, evidence: [] },
  autopilot: { settings: {} as F.AutoPilotSettings, locked_out: false, wish: "" },
  agents: [],
  ...more,
});

describe("the headline", () => {
  it("puts what needs a person first", () => {
    expect(headline(status("normal")).tone).toBe("success");
    const question = { process: "p", step: 1, number: "314", text: "Go on?", silence_means: true, until: null };
    expect(headline(status("engaging-secondary", { question })).text).toBe("Go on?");
    const stopped = { record: { ...record, ending: { stopped: 1 } }, journal: [] };
    expect(headline(status("engaging-secondary", { process: stopped })).tone).toBe("danger");
    const earlier = { record: { ...record, ending: "done" as const }, journal: [] };
    expect(headline(status("secondary-engaged", { process: earlier })).title).toContain("The secondary site serves");
  });

  it("says what each site does", () => {
    expect(role(status("normal").state, "primary")).toEqual({ title: "Serves users", serves: true });
    expect(role(status("normal").state, "secondary").title).toBe("Stands by");
    expect(role(status("engaging-secondary").state, "secondary").title).toBe("Is being started");
    expect(role(status("engaging-secondary").state, "primary").title).toBe("Is being stopped");
    expect(wayFrom("secondary")).toBe("switch-back");
    expect(wayFrom(null)).toBe("switch-over");
  });
});

describe("the arrow", () => {
  const sync: F.AutoSyncView = {
    enabled: true, held: false, from: "primary", session: null, lag_s: 0, queue: 0, doing: null, trouble: null,
  };

  it("moves only when data do", () => {
    expect(flow(status("normal"), sync).moving).toBe(true);
    expect(flow(status("normal"), { ...sync, enabled: false }).title).toBe("AutoSync is off");
    expect(flow(status("normal"), { ...sync, held: true }).title).toBe("Changes are kept");
    expect(flow(status("engaging-primary")).from).toBeNull();
    const silent = status("normal", { observed: { ...status("normal").observed!, replicating: false } });
    expect(flow(silent).tone).toBe("danger");
  });
});

describe("steps", () => {
  const journal: F.JournalLine[] = [
    { at: 1000, step: 0, phase: "begun" },
    { at: 3000, step: 0, phase: { done: { evidence: "all quiet" } } },
    { at: 3000, step: 1, phase: { skipped: { reason: "the old side is gone" } } },
    { at: 4000, step: 2, phase: "begun" },
    { at: 9000, step: 9, phase: "begun" },
  ];

  it("follow the journal, and survive one that does not fit", () => {
    const views = steps({ record, journal });
    expect(views.map((one) => one.fate)).toEqual(["done", "left-out", "now"]);
    expect(views.map((one) => took(one, 5000))).toEqual(["2.0 s", "", "1.0 s"]);
    expect(progress(views)).toBe(67);
    expect(progress([])).toBe(0);
  });

  it("are taken back", () => {
    const undone: F.JournalLine[] = [...journal.slice(0, 2), { at: 5000, step: 0, phase: "undo-begun" }];
    expect(steps({ record, journal: undone })[0]?.fate).toBe("undoing");
    undone.push({ at: 6000, step: 0, phase: { "undo-failed": { reason: "no answer" } } });
    expect(steps({ record, journal: undone })[0]?.note).toBe("no answer");
  });

  it("end in a sentence", () => {
    expect(endingSentence({ ...record, ending: "done" }).title).toBe("done: the secondary site serves");
    expect(endingSentence({ ...record, ending: { stopped: 1 } }).title).toBe('stopped at "two"');
    expect(endingSentence({ ...record, ending: { "half-reverted": 7 } }).title).toContain("an unknown step");
  });
});

it("puts alerts that last first, the gravest first", () => {
  const alert = (id: number, gravity: F.Alert["gravity"], over: number | null, since: number) =>
    ({ id, gravity, over_at: over, since }) as F.Alert;
  const sorted = sortedAlerts([
    alert(1, "critical", 9, 5),
    alert(2, "note", null, 1),
    alert(3, "critical", null, 1),
    alert(4, "critical", null, 2),
    alert(5, "note", 9, 6),
  ]);
  expect(sorted.map((one) => one.id)).toEqual([4, 3, 2, 5, 1]);
});
