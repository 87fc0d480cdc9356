/** Applications as they might be. */

import type * as F from "../../src/api/failoverTypes";

export const NOW = Date.now();
const MINUTE = 60_000;

export const state = (name: F.StateName, more: Partial<F.StateView> = {}): F.StateView => ({
  number: 202,
  name,
  title: name,
  active: name.startsWith("engaging") ? null : ["secondary-engaged", "resync-primary"].includes(name) ? "secondary" : "primary",
  data: name.startsWith("engaging") ? "turning" : { replicating: { from: "primary" } },
  since: NOW - 47 * MINUTE,
  ...more,
});

const span = (secs: number) => ({ secs, nanos: 0 });

export const autopilot: F.AutoPilotSettings = {
  enabled: false,
  shadow: false,
  wait: span(300),
  restarts: 1,
  restart_patience: span(60),
  hold_down: span(3600),
  lock_out_after: 3,
  lock_out_within: span(86_400),
  switch_back: false,
  well_before_back: span(3600),
};

const step = (number: string, title: string, actor: F.Actor, action?: string): F.Step => ({
  number,
  title,
  actor,
  task: action ? { act: { action, undo: null } } : "look-again",
  needs_old_side: true,
  failure: "revert",
});

const primary: F.Actor = { application: "primary" };
const secondary: F.Actor = { application: "secondary" };

export const plan: F.Plan = {
  kind: "switch-over",
  from: "primary",
  to: "secondary",
  epoch: 8,
  steps: [
    step("302", "close the entrance for new mail", primary, "close-entrance"),
    step("304", "stop the services of mail", primary, "stop-services"),
    step("306", "send what is left to the secondary", primary, "drain-replication"),
    step("308", "verify the copy byte for byte", secondary, "verify-replica"),
    step("314", "ask whether to go on", "control-centre"),
    step("320+", "fence the primary", primary, "fence"),
    step("320+", "let the secondary serve", "control-centre", "promote"),
    step("342", "start the services of mail", secondary, "start-services"),
    step("362", "point mail.example.org to the secondary", "control-centre", "point-names"),
  ],
};

export const running: F.ProcessView = {
  record: {
    id: "p1",
    application: "mail",
    plan,
    wishes: { go_on: null, replicate_back: null },
    came_from: "normal",
    who: "ada",
    why: "maintenance of the storage at the primary site",
    started_at: NOW - 9_000,
    abort_by: null,
    ended_at: null,
    ending: null,
  },
  journal: [
    { at: NOW - 9_000, step: 0, phase: "begun" },
    { at: NOW - 8_000, step: 0, phase: { done: { evidence: "port 25 refuses; the queue is empty" } } },
    { at: NOW - 8_000, step: 1, phase: "begun" },
    { at: NOW - 5_500, step: 1, phase: { done: { evidence: "postfix and dovecot do not run" } } },
    { at: NOW - 5_500, step: 2, phase: "begun" },
  ],
};

const agent = (host: string, part: F.Actor, connected = true): F.AgentView => ({
  host,
  application: "mail",
  part,
  joined_at: NOW - 90 * 24 * 60 * MINUTE,
  connected_since: connected ? NOW - 300 * MINUTE : null,
  version: "0.9.0",
  serving: { epoch: 7, lease_left_ms: 9000, wanted: true, cannot_stop: false, at: NOW },
});

export const status = (name: F.StateName, more: Partial<F.Status> = {}): F.Status => ({
  application: "mail",
  state: state(name),
  epoch: 7,
  holder: "primary",
  process: null,
  question: null,
  working: [],
  observed: { condition: "well", degraded: null, replicating: true, complete: true, evidence: [] },
  autopilot: { settings: autopilot, locked_out: false, wish: "it is switched off" },
  agents: [
    agent("mail-a", primary),
    agent("dc-a", { directory: "primary" }),
    agent("mail-b", secondary),
    agent("dc-b", { directory: "secondary" }, false),
  ],
  ...more,
});

export const autosync: F.AutoSyncView = {
  enabled: true,
  held: false,
  from: "primary",
  session: { running: { healthy: true } },
  lag_s: 0.8,
  queue: 0,
  doing: null,
  trouble: null,
};

export const ready: F.Readiness = {
  to: "secondary",
  ready: true,
  looked: [
    { what: "agent of mail-b (secondary)", good: true, needed: true, text: "is connected and has the profile" },
    { what: "name servers", good: true, needed: true, text: "both answer" },
    { what: "differences of the sites", good: false, needed: false, text: "1 may matter: see the changes" },
  ],
};

export const application = (name: string, view: F.StateView): F.ApplicationView => ({
  name,
  file: `/etc/lifeboat/${name}.toml`,
  profile: "postfix-dovecot",
  unproven: null,
  state: view,
  hosts: ["mail-a", "dc-a", "mail-b", "dc-b"],
});

export const metric = (name: string, value: number, unit: string, level: F.Level = "normal"): F.MetricHealth => ({
  name,
  value,
  unit,
  at: NOW - 12_000,
  state: level === "normal" ? "good" : "bad",
  text: null,
  stale: false,
  level,
  ordinary: { low: value * 0.8, high: value * 1.2 },
});

const subject = (host: string, part: F.Part, name: string, metrics: F.MetricHealth[], level: F.Level = "normal"): F.SubjectHealth => ({
  subject: { host, part, name },
  level,
  metrics,
});

export const health: F.ApplicationHealth = {
  application: "mail",
  at: NOW,
  sides: {
    primary: { subsystems: "degrading", access: "normal", replication: "normal" },
    secondary: { subsystems: "normal", access: "normal", replication: "normal" },
  },
  causes: [
    {
      subject: { host: "mail-a", part: "store", name: "store.mail" },
      side: "primary",
      trouble: { level: "degrading", since: NOW - 20 * MINUTE, reason: "store.mail.free falls: full in 3 h" },
      because_of: null,
    },
    {
      subject: { host: "mail-a", part: "access", name: "access.imap" },
      side: "primary",
      trouble: { level: "degrading", since: NOW - 12 * MINUTE, reason: "a log-in takes 4.1 s, usually 0.2 s" },
      because_of: "mail-a/store.mail",
    },
  ],
  hosts: [
    {
      origin: { application: "mail", side: "primary", host: "mail-a", role: "application" },
      heard: NOW - 12_000,
      serves: true,
      subjects: [
        subject("mail-a", "host", "host", [metric("host.load", 0.42, "count"), metric("host.memory.free", 3.2e9, "bytes")]),
        subject("mail-a", "service", "service.smtp", [metric("service.smtp.state", 1, "bool")]),
        subject("mail-a", "store", "store.mail", [metric("store.mail.free", 2.1e9, "bytes", "degrading"), metric("store.mail.messages", 81_203, "count")], "degrading"),
        subject("mail-a", "access", "access.imap", [metric("access.imap", 4.1, "s", "degrading")], "degrading"),
        subject("mail-a", "replication", "replication", [metric("replication.lag", 0.8, "s")]),
      ],
    },
  ],
};

export const points: F.Point[] = Array.from({ length: 120 }, (_, index) => {
  const mean = 9e9 - index * 5.5e7 + (index % 7) * 3e7;
  return { at: NOW - (120 - index) * MINUTE, least: mean - 5e7, most: mean + 5e7, mean, looks: 2, bad: index > 110 ? 1 : 0 };
});

export const alerts: F.Alert[] = [
  {
    id: 2,
    key: "health/mail",
    application: "mail",
    gravity: "warning",
    title: "mail: the mail store of mail-a fills",
    text: "store.mail on mail-a is impaired: full in 3 h. It came first; log-ins over IMAP follow from it.",
    since: NOW - 20 * MINUTE,
    raised_at: NOW - 19 * MINUTE,
    times: 3,
    over_at: null,
    over_how: null,
    acknowledged_by: null,
    acknowledged_at: null,
    undelivered: 1,
    error: "mx.example.net does not answer",
  },
  {
    id: 1,
    key: "notice/mail/x",
    application: "mail",
    gravity: "critical",
    title: "mail: no copy arrives at the secondary",
    text: "The line between the sites was down.",
    since: NOW - 2000 * MINUTE,
    raised_at: NOW - 2000 * MINUTE,
    times: 1,
    over_at: NOW - 1990 * MINUTE,
    over_how: "It is well again.",
    acknowledged_by: "ada",
    acknowledged_at: NOW - 1995 * MINUTE,
    undelivered: 0,
    error: null,
  },
];

export const archive: F.ArchiveView = {
  enabled: true,
  levels: [
    { label: "24 h", hours: 24, keep: 2, images: 2, due: NOW + 300 * MINUTE },
    { label: "48 h", hours: 48, keep: 2, images: 1, due: NOW + 900 * MINUTE },
  ],
  images: [
    {
      name: "20261123T0400-1a2b", application: "mail", side: "secondary", levels: ["24 h", "48 h"], who: "archive", state: "placed",
      started_at: NOW - 360 * MINUTE, ended_at: NOW - 350 * MINUTE,
      facts: { began: NOW, files: 81_203, bytes: 4.2e9, added: 1e8, compared: 81_203 }, failure: null,
    },
    {
      name: "20261122T0400-77aa", application: "mail", side: "secondary", levels: [], who: "archive", state: "failed",
      started_at: NOW - 1800 * MINUTE, ended_at: NOW - 1799 * MINUTE, facts: null, failure: "the repository is full",
    },
  ],
};

export const restores: F.RestoreView[] = [
  {
    record: {
      id: "r1", application: "mail", request: { image: "20261120T0400-9f9f", who: "ada", why: "a folder was removed", discard_newer: false },
      stage: "replicate", stopped: null, started_at: NOW - 4000 * MINUTE, ended_at: NOW - 3990 * MINUTE, outcome: "restored; the primary serves",
    },
    lines: [
      { at: NOW - 4000 * MINUTE, number: "708", text: "replication is paused" },
      { at: NOW - 3998 * MINUTE, number: "710", text: "the image is in place: 81,000 files, digest as when it was taken" },
    ],
  },
];

export const differences: F.Divergence[] = [
  {
    id: 5, role: "application",
    difference: { category: "package", name: "dovecot-core", one: { value: "1:2.3.19", size: null }, other: { value: "1:2.3.16", size: null } },
    verdict: "warning", rule: "packages-of-services", why: "the other site would run another version", since: NOW - 60 * MINUTE,
    confirmed: true, seen_by: "mail-a", until: null, accepted_by: null,
  },
];

export const changes: F.Change[] = [
  {
    host: "mail-a", side: "primary", at: NOW - 61 * MINUTE,
    difference: { category: "package", name: "dovecot-core", one: { value: "1:2.3.16", size: null }, other: { value: "1:2.3.19", size: null } },
    verdict: "note", rule: "packages", why: "",
  },
];

export const transitions: F.TransitionRecord[] = [
  { seq: 9, at: NOW - 20 * MINUTE, number: 204, from: "normal", to: "degrading-primary", event: "primary-degrades", who: "lifeboat", why: "", evidence: ["mail-a/store.mail is impaired"] },
];
