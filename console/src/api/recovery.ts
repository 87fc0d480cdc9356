/** The routes of sites, sessions, schedules and volumes. */

import { ask } from "./ask";
import type * as R from "./recoveryTypes";

const of = (name: string) => ({ path: { name } });
const one = (id: string) => ({ path: { id } });

/** Long work goes on when the page is closed; the answer is where to follow it. */
const LONG = { prefer: "respond-async" };

export const recovery = {
  status: () => ask<R.ApplianceStatus>("GET", "/status"),
  overview: () => ask<R.SiteOverview[]>("GET", "/overview"),
  addFile: (file: string) => ask<{ name: string }>("POST", "/sites", { body: { file } }),
  addText: (name: string, text: string) => ask<{ name: string }>("POST", "/sites/text", { body: { name, text } }),
  removeSite: (name: string) => ask<void>("DELETE", "/sites/{name}", of(name)),
  prepare: (name: string, acceptChanged: boolean) =>
    ask<R.Operation>("POST", "/sites/{name}/prepare", { ...of(name), headers: LONG, body: { accept_changed: acceptChanged } }),
  network: (name: string) => ask<R.NetworkGraph>("GET", "/sites/{name}/network", of(name)),
  history: (name: string) => ask<R.SiteHistory>("GET", "/sites/{name}/history", { ...of(name), query: { limit: 100 } }),
  prediction: (name: string) => ask<R.SitePrediction>("GET", "/sites/{name}/prediction", of(name)),
  workOutOrder: (name: string) =>
    ask<R.Operation>("POST", "/sites/{name}/order", { ...of(name), headers: LONG, body: {} }),
  orderGraph: (name: string) => ask<R.OrderGraph>("GET", "/sites/{name}/order/graph", of(name)),
  changeWords: (name: string, change: { pin?: string[]; reject?: string[]; forget?: string[] }) =>
    ask<unknown>("POST", "/sites/{name}/operator", {
      ...of(name),
      body: { pin: [], reject: [], forget: [], ...change },
    }),
  begin: (name: string, mode: R.Mode, acceptChanged: boolean) =>
    ask<R.Operation>("POST", "/sites/{name}/sessions", {
      ...of(name),
      headers: LONG,
      body: { mode, prepare: { accept_changed: acceptChanged } },
    }),
  sessions: () => ask<R.SessionRecord[]>("GET", "/sessions"),
  live: (id: string) => ask<R.LiveSession>("GET", "/sessions/{id}/live", one(id)),
  report: (id: string) => ask<R.Report>("GET", "/sessions/{id}/report", one(id)),
  start: (id: string) => ask<R.Operation>("POST", "/sessions/{id}/start", { ...one(id), headers: LONG, body: {} }),
  stop: (id: string) => ask<string>("POST", "/sessions/{id}/stop", one(id)),
  console: (id: string, machine: string) =>
    ask<{ lines: string[]; more: boolean }>("GET", "/sessions/{id}/machines/{machine}/console", {
      path: { id, machine },
      query: { lines: 200 },
    }),
  schedules: (name: string) => ask<R.Schedule[]>("GET", "/sites/{name}/schedules", of(name)),
  addSchedule: (name: string, body: R.ScheduleSettings) =>
    ask<R.Schedule>("POST", "/sites/{name}/schedules", { ...of(name), body }),
  changeSchedule: (id: number, body: R.ScheduleSettings) =>
    ask<R.Schedule>("PUT", "/schedules/{id}", { path: { id }, body }),
  removeSchedule: (id: number) => ask<void>("DELETE", "/schedules/{id}", { path: { id } }),
  runs: (id: number) => ask<R.ScheduleRun[]>("GET", "/schedules/{id}/runs", { path: { id }, query: { limit: 20 } }),
  operations: () => ask<R.Operation[]>("GET", "/operations"),
  operation: (id: string) => ask<R.Operation>("GET", "/operations/{id}", one(id)),
  result: <T>(id: string) => ask<T>("GET", "/operations/{id}/result", one(id)),
  cancel: (id: string) => ask<R.Operation>("POST", "/operations/{id}/cancel", one(id)),
  imports: () => ask<{ name: string; path: string; readable: boolean }[]>("GET", "/imports"),
  files: (folder: string, path: string) =>
    ask<R.ImportEntry[]>("GET", "/imports/{folder}/files", { path: { folder }, query: { path } }),
  uploads: () => ask<R.Upload[]>("GET", "/uploads"),
  beginUpload: (name: string, size: number) => ask<R.Upload>("POST", "/uploads", { body: { name, size } }),
  removeUpload: (id: string) => ask<void>("DELETE", "/uploads/{id}", one(id)),
  draft: (name: string, machines: R.VolumeRef[][]) =>
    ask<R.Operation>("POST", "/drafts", { headers: LONG, body: { name, machines } }),
};
