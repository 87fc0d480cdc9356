import { describe, expect, it } from "vitest";

import type { AuditView } from "../api/access";
import { Refusal } from "../api/ask";
import { atLeast } from "../app/Me";
import { deeds, nameFault, passwordFault, refusalWords } from "./words";

it("orders roles", () => {
  expect(atLeast("administrator", "operator")).toBe(true);
  expect(atLeast("viewer", "operator")).toBe(false);
  expect(atLeast("operator", "operator")).toBe(true);
});

describe("what is said", () => {
  it("never tells what was wrong", () => {
    const wrong = new Refusal(401, ["no user of this name"], { reason: "wrong" });
    expect(refusalWords(wrong)).toBe("Name, password or code is wrong.");
    expect(wrong.loggedOut).toBe(false);
    expect(new Refusal(401, ["log in"], { reason: "log_in" }).loggedOut).toBe(true);
    expect(refusalWords(new Error("the appliance does not answer"))).toBe("the appliance does not answer");
  });

  it("tells what is wrong with names and passwords", () => {
    expect(passwordFault("correct horse battery", "correct horse battery")).toBeUndefined();
    expect(passwordFault("short", "short")).toContain("at least 12");
    expect(passwordFault("correct horse battery", "other")).toContain("not the same");
    expect(nameFault("ada.l-1")).toBeUndefined();
    for (const name of ["", "Ada", "1a", "a b", "a".repeat(33), "a\u202e"]) expect(nameFault(name)).toBeDefined();
  });
});

it("puts outcomes under what was asked for", () => {
  const line = (seq: number, kind: AuditView["kind"], of: number | null): AuditView => ({
    seq, kind, of, at: 0, who: "ada", role: "operator", address: "", what: "", text: "", hash: "",
  });
  const found = deeds([line(4, "outcome", 2), line(3, "intent", null), line(2, "intent", null), line(1, "outcome", 0)]);
  expect(found.map(({ intent, outcomes }) => [intent.seq, outcomes.length])).toEqual([[3, 0], [2, 1], [1, 0]]);
});
