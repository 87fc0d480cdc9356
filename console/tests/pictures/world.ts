/** The whole made-up appliance, with everything well. */

import type { Me, Role } from "../../src/api/access";
import * as F from "./failoverData";
import { MadeUp } from "./madeUp";
import * as R from "./recoveryData";

export const me = (role: Role, more: Partial<Me> = {}): Me => ({
  name: "ada",
  role,
  kind: "session",
  totp: false,
  confirmed_until: null,
  idle_until: F.NOW + 1_800_000,
  ends: F.NOW + 36_000_000,
  scopes: [],
  ...more,
});

export function world(role: Role = "administrator"): MadeUp {
  const all = new MadeUp();
  access(all, role);
  failover(all, "mail");
  recovery(all, "figure4");
  return all;
}

export function access(all: MadeUp, role: Role): void {
  const { NOW } = F;
  const session = { id: "s1", user: "ada", begun: NOW - 1e6, seen: NOW, idle_until: NOW + 1e6, ends: NOW + 1e7, address: "192.0.2.7", agent: "Mozilla/5.0 (X11; Linux x86_64)", this: true };
  const token = { id: "t1", name: "monitoring", owner: "ada", role: "viewer", scopes: ["status"], destructive: false, made: NOW - 1e8, expires: null, used: NOW - 5e5 };
  const line = { at: NOW, of: null, who: "ada", role, address: "192.0.2.7", hash: "c0ffee" };
  all
    .on("GET /access/me", me(role))
    .on("GET /access/start", { first_user: false })
    .on("POST /access/confirm", me(role))
    .on("POST /access/logout", null)
    .on("GET /access/users", [
      { name: "ada", role, totp: true, disabled: false, locked_until: null, made: NOW - 1e9, last_login: NOW - 1e6 },
      { name: "bob", role: "viewer", totp: false, disabled: false, locked_until: NOW + 6e5, made: NOW - 1e9, last_login: null },
    ])
    .on("GET /access/tokens", [token])
    .on("GET /access/scopes", ["status", "recovery", "failover", "access"])
    .on("GET /access/me/sessions", [session])
    .on("GET /access/sessions", [session, { ...session, id: "s2", user: "bob", this: false }])
    .on("GET /access/audit", [
      { ...line, seq: 3, kind: "outcome", of: 2, what: "200", text: "done" },
      { ...line, seq: 2, kind: "intent", what: "POST /api/v1/failover/applications/mail/switch", text: "" },
    ])
    .on("GET /access/audit/verify", { ok: true, entries: 3, head: { seq: 3, hash: "c0ffee" }, faults: [] });
}

export function failover(all: MadeUp, name: string): void {
  const base = `/failover/applications/${name}`;
  const degrading = F.status("degrading-primary", { application: name, observed: { condition: "well", degraded: "primary", replicating: true, complete: true, evidence: ["mail-a/store.mail is impaired: full in 3 h"] } });
  all
    .on("GET /failover/applications", [F.application(name, degrading.state)])
    .on("GET /failover/alerts", F.alerts)
    .on("GET /failover/agents", degrading.agents)
    .on(`GET ${base}`, degrading)
    .on(`GET ${base}/ready`, F.ready)
    .on(`GET ${base}/autosync`, F.autosync)
    .on(`GET ${base}/health`, { ...F.health, application: name })
    .on(`GET ${base}/departures`, [{ cause: F.health.causes[0], until: null }])
    .on(`GET ${base}/metrics/mail-a/store.mail.free`, F.points)
    .on(`GET ${base}/plan/switch-over`, { plan: F.plan, bypassed: F.plan.steps.map(() => false), obstacles: [] })
    .on(`GET ${base}/processes`, [{ ...F.running.record, id: "p0", ended_at: F.NOW - 1e6, started_at: F.NOW - 1.01e6, ending: "done" }])
    .on("GET /failover/processes/p0", { ...F.running, record: { ...F.running.record, id: "p0", ending: "done" } })
    .on(`GET ${base}/archive`, F.archive)
    .on(`GET ${base}/restores`, F.restores)
    .on(`GET ${base}/changes`, F.changes)
    .on(`GET ${base}/differences`, F.differences)
    .on(`GET ${base}/rules`, [{ id: 1, rule: { id: "host-names", category: "configuration", names: ["/etc/postfix/main.cf"], verdict: "ignore" }, who: "ada", at: F.NOW }])
    .on(`GET ${base}/history`, F.transitions);
}

export function recovery(all: MadeUp, name: string): void {
  const site = `/sites/${name}`;
  all
    .on("GET /status", { version: "0.9.0", accelerator: { accelerator: "tcg", reason: "no vmx" }, busy: false })
    .on("GET /overview", [R.overview(name)])
    .on("GET /operations", [])
    .on("GET /imports", [{ name: "srv", path: "/srv/imports", readable: true }])
    .on("GET /imports/srv/files", R.files)
    .on("GET /uploads", [])
    .on(`GET ${site}/prediction`, R.prediction)
    .on(`GET ${site}/network`, R.network)
    .on(`GET ${site}/order/graph`, R.order)
    .on(`GET ${site}/history`, R.history)
    .on(`GET ${site}/schedules`, R.schedules(name))
    .on("GET /sessions", [R.session(name)])
    .on("GET /sessions/x1/live", R.live(name))
    .on("GET /sessions/x1/report", R.report(name))
    .on("GET /sessions/x1/machines/dc1/screen", R.PICTURE)
    .on("GET /sessions/x1/machines/web1/screen", R.PICTURE)
    .on("GET /sessions/x1/machines/dc1/console", { lines: ["[    0.000000] Linux version 6.1", "dc1 login:"], more: true });
}
