/** What the pages of failover ask, and under which keys it is kept. See `app/topics.ts`. */

import { useQuery } from "@tanstack/react-query";

import { Refusal } from "../api/ask";
import { failover } from "../api/failover";
import type * as F from "../api/failoverTypes";

export const keys = {
  applications: ["failover", "-applications"],
  alerts: ["failover", "-alerts"],
  agents: ["failover", "-agents"],
  all: (name: string) => ["failover", name],
  state: (name: string) => ["failover", name, "state"],
  health: (name: string) => ["failover", name, "health"],
  changes: (name: string) => ["failover", name, "changes"],
};

export const useApplications = () =>
  useQuery({ queryKey: [...keys.applications, "list"], queryFn: failover.applications });
export const useAlerts = () => useQuery({ queryKey: [...keys.alerts, "list"], queryFn: failover.alerts });
export const useAgents = () => useQuery({ queryKey: [...keys.agents, "list"], queryFn: failover.agents });

export const useStatus = (name: string) =>
  useQuery({
    queryKey: [...keys.state(name), "status"],
    queryFn: () => failover.status(name),
    // A switch is followed step by step even if messages are lost.
    refetchInterval: (query) => (query.state.data && isUnderWay(query.state.data) ? 2000 : 15_000),
  });

const isUnderWay = (status: F.Status) => status.process !== null && status.process.record.ending === null;

export const useReady = (name: string) =>
  useQuery({ queryKey: [...keys.state(name), "ready"], queryFn: () => failover.ready(name) });

export const usePlan = (name: string, way: F.Way, wanted: boolean) =>
  useQuery({
    queryKey: [...keys.state(name), "plan", way],
    queryFn: () => failover.plan(name, way),
    enabled: wanted,
    gcTime: 0,
    staleTime: 0,
  });

/** An appliance without AutoSync answers 404: then there is nothing to show. */
export const useAutosync = (name: string) =>
  useQuery({
    queryKey: [...keys.state(name), "autosync"],
    queryFn: () => orNothing(failover.autosync(name)),
    refetchInterval: 15_000,
  });

export const useArchive = (name: string) =>
  useQuery({ queryKey: [...keys.all(name), "archive"], queryFn: () => failover.archive(name), refetchInterval: 10_000 });

export const useRestores = (name: string) =>
  useQuery({ queryKey: [...keys.all(name), "restores"], queryFn: () => failover.restores(name), refetchInterval: 5000 });

export const useHealth = (name: string) =>
  useQuery({ queryKey: [...keys.health(name), "now"], queryFn: () => failover.health(name), refetchInterval: 15_000 });

export const useDepartures = (name: string) =>
  useQuery({ queryKey: [...keys.health(name), "departures"], queryFn: () => failover.departures(name) });

async function orNothing<T>(asked: Promise<T>): Promise<T | null> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof Refusal && error.status === 404) return null;
    throw error;
  }
}
