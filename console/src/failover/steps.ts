/** Where each step of a switch stands, from its plan and its journal. */

import type * as F from "../api/failoverTypes";
import { duration } from "../words/time";
import { SIDE } from "./words";

export type Fate = "open" | "now" | "done" | "failed" | "left-out" | "answered" | "undoing" | "undone" | "undo-failed";

export interface StepView {
  number: string;
  title: string;
  who: string;
  fate: Fate;
  /** What shows it, or why it failed. */
  note: string;
  /** When it began and ended. */
  from: number | null;
  to: number | null;
}

export const who = (actor: F.Actor): string => {
  if (actor === "control-centre") return "this appliance";
  if ("application" in actor) return SIDE[actor.application].toLowerCase();
  return `directory, ${SIDE[actor.directory].toLowerCase()}`;
};

const blank = (step: F.Step): StepView => ({
  number: step.number,
  title: step.title,
  who: who(step.actor),
  fate: "open",
  note: "",
  from: null,
  to: null,
});

/** A step after one more line of the journal. */
function after(step: StepView, { at, phase }: F.JournalLine): StepView {
  const from = step.from ?? at;
  if (phase === "begun") return { ...step, fate: "now", from: step.fate === "now" ? from : at, to: null };
  if (phase === "undo-begun") return { ...step, fate: "undoing", to: null };
  if (phase === "undone") return { ...step, fate: "undone", note: "taken back", to: at };
  if ("done" in phase) return { ...step, fate: "done", note: phase.done.evidence, from, to: at };
  if ("failed" in phase) {
    const note = phase.failed.lost ? `its machine is gone: ${phase.failed.reason}` : phase.failed.reason;
    return { ...step, fate: "failed", note, from, to: at };
  }
  if ("skipped" in phase) return { ...step, fate: "left-out", note: phase.skipped.reason, from, to: at };
  if ("answered" in phase) {
    const note = `${phase.answered.yes ? "yes" : "no"}, by ${phase.answered.by}`;
    return { ...step, fate: "answered", note, from, to: at };
  }
  return { ...step, fate: "undo-failed", note: phase["undo-failed"].reason, to: at };
}

/** All steps in the order of the plan. */
export function steps({ record, journal }: F.ProcessView): StepView[] {
  const views = record.plan.steps.map(blank);
  for (const line of journal) {
    const step = views[line.step];
    if (step) views[line.step] = after(step, line);
  }
  return views;
}

/** How long a step took, or takes by now. */
export function took(step: StepView, now: number): string {
  if (step.from === null || step.fate === "left-out") return "";
  const end = step.to ?? now;
  return duration(Math.max(0, end - step.from));
}

const FATES: Record<Fate, string> = {
  open: "to come",
  now: "now",
  done: "done",
  failed: "failed",
  "left-out": "left out",
  answered: "answered",
  undoing: "being taken back",
  undone: "taken back",
  "undo-failed": "could not be taken back",
};

export const fateTitle = (fate: Fate) => FATES[fate];

/** How a switch ended, in a sentence. */
export function endingSentence(record: F.ProcessRecord): { title: string; tone: "success" | "warning" | "danger" | "info" } {
  const { ending, plan } = record;
  if (ending === null) return { title: "under way", tone: "info" };
  if (ending === "done") return { title: `done: the ${plan.to} site serves`, tone: "success" };
  if (ending === "reverted") return { title: `taken back: the ${plan.from} site serves as before`, tone: "warning" };
  if ("stopped" in ending) {
    const step = plan.steps[ending.stopped];
    return { title: `stopped at "${step?.title ?? "an unknown step"}"`, tone: "danger" };
  }
  const step = plan.steps[ending["half-reverted"]];
  return { title: `not taken back completely: "${step?.title ?? "an unknown step"}"`, tone: "danger" };
}

/** Whether it can be taken up again. */
export const isStopped = (record: F.ProcessRecord) =>
  record.ending !== null && typeof record.ending === "object" && "stopped" in record.ending;

/** How far it is, in hundredths. */
export function progress(views: StepView[]): number {
  const passed = views.filter((step) => !["open", "now", "undoing"].includes(step.fate)).length;
  return views.length === 0 ? 0 : Math.round((100 * passed) / views.length);
}
