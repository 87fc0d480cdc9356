/** What is said about log-ins. */

import type { AuditView, Role } from "../api/access";
import { Refusal } from "../api/ask";

/** Why somebody did not get in. Never which of name and password was wrong. */
export function refusalWords(error: unknown): string {
  if (!(error instanceof Refusal)) return error instanceof Error ? error.message : String(error);
  if (error.reason === "wrong") return "Name, password or code is wrong.";
  if (error.reason === "locked") return error.message || "Too many failures. Try again later.";
  return error.message;
}

export const SHORTEST = 12;
const LONGEST = 256;

/** What is wrong with a new password, if anything is. */
export function passwordFault(password: string, again: string): string | undefined {
  const length = [...password].length;
  if (length < SHORTEST) return `A password has at least ${SHORTEST} signs.`;
  if (length > LONGEST) return `A password has at most ${LONGEST} signs.`;
  if (password !== again) return "The two are not the same.";
  return undefined;
}

const NAME = /^[a-z][a-z0-9._-]{0,31}$/;

export function nameFault(name: string): string | undefined {
  return NAME.test(name) ? undefined : "A name begins with a small letter and goes on with small letters, digits, . _ or -.";
}

export const ROLES: Record<Role, string> = {
  viewer: "may look at everything",
  operator: "may also test, switch, restore and answer",
  administrator: "may also add sites, users and settings",
};

/** One thing that was done, with what became of it. */
export interface Deed {
  intent: AuditView;
  outcomes: AuditView[];
}

/** Puts what became of things under what was asked for; newest first, as they came. */
export function deeds(lines: AuditView[]): Deed[] {
  const found: Deed[] = [];
  const bySeq = new Map<number, Deed>();
  for (const line of [...lines].sort((one, another) => one.seq - another.seq)) {
    const deed = line.of === null ? undefined : bySeq.get(line.of);
    if (deed) {
      deed.outcomes.push(line);
      continue;
    }
    const fresh = { intent: line, outcomes: [] };
    bySeq.set(line.seq, fresh);
    found.push(fresh);
  }
  return found.reverse();
}
