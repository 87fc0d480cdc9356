/** What the pages of recovery ask, and under which keys it is kept. See `app/topics.ts`. */

import { useQuery } from "@tanstack/react-query";

import { Refusal } from "../api/ask";
import { recovery } from "../api/recovery";

export const keys = {
  sites: ["recovery", "-sites"],
  sessions: ["recovery", "-sessions"],
  operations: ["recovery", "-operations"],
  schedules: ["recovery", "-schedules"],
  site: (name: string) => ["recovery", "site", name],
  session: (id: string) => ["recovery", "session", id],
};

const LIVE = 2000;

export const useSites = () => useQuery({ queryKey: [...keys.sites, "overview"], queryFn: recovery.overview });
export const useSessions = () => useQuery({ queryKey: [...keys.sessions, "list"], queryFn: recovery.sessions });
export const useOperations = () => useQuery({ queryKey: [...keys.operations, "list"], queryFn: recovery.operations });

export const useSite = (name: string) => {
  const sites = useSites();
  return { ...sites, data: sites.data?.find((site) => site.name === name) };
};

export const useNetwork = (name: string) =>
  useQuery({ queryKey: [...keys.site(name), "network"], queryFn: () => recovery.network(name) });
export const useHistory = (name: string) =>
  useQuery({ queryKey: [...keys.site(name), "history"], queryFn: () => recovery.history(name) });
export const useSchedules = (name: string) =>
  useQuery({ queryKey: [...keys.schedules, name], queryFn: () => recovery.schedules(name) });

/** Before an order was worked out there is none: `null`. */
export const useOrder = (name: string) =>
  useQuery({ queryKey: [...keys.site(name), "order"], queryFn: () => unlessMissing(recovery.orderGraph(name)) });
export const usePrediction = (name: string) =>
  useQuery({ queryKey: [...keys.site(name), "prediction"], queryFn: () => unlessMissing(recovery.prediction(name)) });

export const useLive = (id: string) =>
  useQuery({
    queryKey: [...keys.session(id), "live"],
    queryFn: () => recovery.live(id),
    refetchInterval: (query) => (isLive(query.state.data?.session.state) ? LIVE : 30_000),
  });

export const useReport = (id: string) =>
  useQuery({ queryKey: [...keys.session(id), "report"], queryFn: () => unlessMissing(recovery.report(id)) });

export const isLive = (state: string | undefined) => state === "running" || state === "stopping";

async function unlessMissing<T>(asked: Promise<T>): Promise<T | null> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof Refusal && (error.status === 404 || error.status === 409)) return null;
    throw error;
  }
}
