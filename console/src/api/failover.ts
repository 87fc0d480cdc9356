/** The routes of failover. */

import { ask } from "./ask";
import type * as F from "./failoverTypes";

const of = (name: string) => ({ path: { name } });

export const failover = {
  applications: () => ask<F.ApplicationView[]>("GET", "/failover/applications"),
  add: (file: string) => ask<string>("POST", "/failover/applications", { body: { file } }),
  status: (name: string) => ask<F.Status>("GET", "/failover/applications/{name}", of(name)),
  ready: (name: string) => ask<F.Readiness>("GET", "/failover/applications/{name}/ready", of(name)),
  plan: (name: string, way: F.Way) =>
    ask<F.PlanView>("GET", "/failover/applications/{name}/plan/{way}", { path: { name, way } }),
  switch: (name: string, way: F.Way, why: string, wishes: { replicate_back?: boolean; go_on?: boolean } = {}) =>
    ask<string>("POST", "/failover/applications/{name}/switch", { ...of(name), body: { way, why, ...wishes } }),
  answer: (name: string, yes: boolean) =>
    ask<void>("POST", "/failover/applications/{name}/answer", { ...of(name), body: { yes } }),
  abort: (name: string) => ask<void>("POST", "/failover/applications/{name}/abort", of(name)),
  takeUp: (name: string) => ask<void>("POST", "/failover/applications/{name}/take-up", of(name)),
  processes: (name: string) => ask<F.ProcessRecord[]>("GET", "/failover/applications/{name}/processes", of(name)),
  process: (id: string) => ask<F.ProcessView>("GET", "/failover/processes/{id}", { path: { id } }),
  history: (name: string) =>
    ask<F.TransitionRecord[]>("GET", "/failover/applications/{name}/history", { ...of(name), query: { limit: 200 } }),
  autopilot: (name: string, change: AutoPilotChange) =>
    ask<void>("POST", "/failover/applications/{name}/autopilot", { ...of(name), body: change }),
  health: (name: string) => ask<F.ApplicationHealth>("GET", "/failover/applications/{name}/health", of(name)),
  departures: (name: string) =>
    ask<F.PastDeparture[]>("GET", "/failover/applications/{name}/departures", { ...of(name), query: { limit: 200 } }),
  metric: (name: string, host: string, metric: string, from: number, to: number) =>
    ask<F.Point[]>("GET", "/failover/applications/{name}/metrics/{host}/{metric}", {
      path: { name, host, metric },
      query: { from, to, points: 200 },
    }),
  alerts: () => ask<F.Alert[]>("GET", "/failover/alerts", { query: { limit: 500 } }),
  acknowledge: (id: number) => ask<boolean>("POST", "/failover/alerts/{id}/acknowledge", { path: { id } }),
  changes: (name: string) =>
    ask<F.Change[]>("GET", "/failover/applications/{name}/changes", { ...of(name), query: { limit: 500 } }),
  differences: (name: string) =>
    ask<F.Divergence[]>("GET", "/failover/applications/{name}/differences", { ...of(name), query: { limit: 500 } }),
  accept: (name: string, id: number) =>
    ask<boolean>("POST", "/failover/applications/{name}/differences/{id}/accept", { path: { name, id } }),
  rules: (name: string) => ask<F.Preference[]>("GET", "/failover/applications/{name}/rules", of(name)),
  setRule: (name: string, rule: F.Rule) =>
    ask<number>("POST", "/failover/applications/{name}/rules", { ...of(name), body: rule }),
  removeRule: (name: string, id: number) =>
    ask<boolean>("DELETE", "/failover/applications/{name}/rules/{id}", { path: { name, id } }),
  autosync: (name: string) => ask<F.AutoSyncView>("GET", "/failover/applications/{name}/autosync", of(name)),
  setAutosync: (name: string, on: boolean) =>
    ask<void>("POST", "/failover/applications/{name}/autosync", { ...of(name), body: { on } }),
  archive: (name: string) => ask<F.ArchiveView>("GET", "/failover/applications/{name}/archive", of(name)),
  setArchive: (name: string, on: boolean) =>
    ask<void>("POST", "/failover/applications/{name}/archive", { ...of(name), body: { on } }),
  archiveNow: (name: string) => ask<string>("POST", "/failover/applications/{name}/archive/now", of(name)),
  abandonArchive: (name: string) => ask<void>("POST", "/failover/applications/{name}/archive/abandon", of(name)),
  restores: (name: string) => ask<F.RestoreView[]>("GET", "/failover/applications/{name}/restores", of(name)),
  restore: (name: string, image: string, why: string, discard_newer: boolean) =>
    ask<string>("POST", "/failover/applications/{name}/restores", { ...of(name), body: { image, why, discard_newer } }),
  takeUpRestore: (name: string, discard_newer: boolean) =>
    ask<string>("POST", "/failover/applications/{name}/restores/take-up", { ...of(name), body: { discard_newer } }),
  abandonRestore: (name: string) => ask<void>("POST", "/failover/applications/{name}/restores/abandon", of(name)),
  agents: () => ask<F.AgentView[]>("GET", "/failover/agents"),
  agentToken: (host: string) =>
    ask<{ host: string; token: string; expires: number }>("POST", "/failover/agents/{host}/token", { path: { host } }),
};

export interface AutoPilotChange {
  enabled?: boolean;
  shadow?: boolean;
  wait_s?: number;
  restarts?: number;
  switch_back?: boolean;
  unlock?: boolean;
}
