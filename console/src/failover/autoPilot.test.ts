import { expect, it } from "vitest";

import type * as F from "../api/failoverTypes";
import { changed, draftOf, sentences, wrong } from "./autoPilot";

const settings = {
  enabled: false, shadow: false, switch_back: false, restarts: 1, wait: { secs: 300, nanos: 0 },
} as F.AutoPilotSettings;

it("asks for what is different, and nothing else", () => {
  const draft = draftOf(settings);
  expect(changed(settings, draft)).toBeUndefined();
  expect(changed(settings, { ...draft, wait_s: " 300 " })).toBeUndefined();
  expect(changed(settings, { ...draft, enabled: true, wait_s: "60" })).toEqual({ enabled: true, wait_s: 60 });
});

it("says what is wrong before anybody is asked", () => {
  const draft = draftOf(settings);
  expect(wrong(draft)).toBeUndefined();
  for (const wait_s of ["", "-1", "1.5", "x", "9999999"]) expect(wrong({ ...draft, wait_s })).toContain("seconds");
  expect(wrong({ ...draft, restarts: "101" })).toContain("0 to 100");
});

it("says what a change means", () => {
  expect(sentences({ enabled: true, wait_s: 60, restarts: 1 })).toEqual([
    "Lifeboat acts without being asked.",
    "Users are without service for 1 min 0 s before it switches.",
    "Services are restarted 1 time before it switches.",
  ]);
});
