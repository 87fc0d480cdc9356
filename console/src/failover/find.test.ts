import { expect, it } from "vitest";

import type * as F from "../api/failoverTypes";
import { find, levels } from "./find";

const subject = (host: string, name: string, level: F.Level, metric: string): F.SubjectHealth => ({
  subject: { host, part: "service", name },
  level,
  metrics: [{ name: metric, value: 1, unit: "s", at: 0, state: "good", text: null, stale: false, level, ordinary: null }],
});

const hosts: F.HostHealth[] = [
  {
    origin: { application: "mail", side: "primary", host: "mail-a", role: "application" },
    heard: 0,
    serves: true,
    subjects: [subject("mail-a", "service.smtp", "normal", "service.smtp.state"), subject("mail-a", "store.mail", "failed", "store.mail.free")],
  },
];

it("finds by machine, subject and value, the worst first", () => {
  expect(find(hosts, "", false).map((one) => one.subject.name)).toEqual(["store.mail", "service.smtp"]);
  expect(find(hosts, " FREE ", false)).toHaveLength(1);
  expect(find(hosts, "mail-a", true)).toHaveLength(1);
  expect(find(hosts, "nothing", false)).toHaveLength(0);
  expect(levels(hosts)).toEqual({ all: 2, troubled: 1 });
});

it("looks through ten thousand values within a stroke of a key", () => {
  const many = Array.from({ length: 200 }, (_, host) => ({
    ...hosts[0]!,
    subjects: Array.from({ length: 50 }, (_, index) => subject(`machine-${host}`, `service.s${index}`, "normal", `service.s${index}.state`)),
  }));
  const begin = performance.now();
  expect(find(many, "s49.state", false)).toHaveLength(200);
  expect(performance.now() - begin).toBeLessThan(100);
});
