import { describe, expect, it } from "vitest";

import { pause } from "../api/stream";
import { failoverTopics, recoveryTopics } from "./topics";

describe("what is asked for again", () => {
  it("is everything after something was missed", () => {
    expect(failoverTopics("missed", { count: 3 })).toEqual([["failover"]]);
    expect(recoveryTopics("missed", {})).toEqual([["recovery"]]);
  });

  it("is only the application that an event is about", () => {
    const step = { at: 1, application: "mail", kind: "step", detail: {} };
    expect(failoverTopics("message", step)).toEqual([["failover", "mail", "state"]]);
    const health = { at: 1, application: "mail", kind: "told", detail: { part: "health" } };
    expect(failoverTopics("message", health)).toContainEqual(["failover", "mail", "health"]);
    const ended = { at: 1, application: "mail", kind: "process-ended", detail: {} };
    expect(failoverTopics("message", ended)).toContainEqual(["failover", "mail"]);
  });

  it("is a session and its site", () => {
    const topics = recoveryTopics("session", { id: "s1", site: "figure4", state: "ended" });
    expect(topics).toContainEqual(["recovery", "session", "s1"]);
    expect(topics).toContainEqual(["recovery", "site", "figure4"]);
    expect(recoveryTopics("step", { session: "s1" })).toEqual([["recovery", "session", "s1"]]);
  });
});

it("pauses longer after each failure, up to ten seconds", () => {
  expect([1, 2, 3, 4, 5, 50].map(pause)).toEqual([1000, 2000, 4000, 8000, 10000, 10000]);
});
