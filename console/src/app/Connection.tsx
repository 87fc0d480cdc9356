/**
 * The one place that listens to the appliance. What it hears only says what to ask for again, so a
 * message that is lost costs nothing; after a loss everything that is shown is asked for again.
 */

import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useEffect, useState } from "react";

import { listen, type Standing } from "../api/stream";
import { failoverTopics, recoveryTopics, type Topic } from "./topics";

export interface ConnectionState {
  standing: Standing;
  /** When it was lost. */
  since: number | null;
}

const ConnectionContext = createContext<ConnectionState>({ standing: "opening", since: null });

export const useConnection = () => useContext(ConnectionContext);

/** However much happens at once, nothing is asked for more often than that. */
const GATHER = 400;

const RECOVERY_KINDS = ["site", "session", "step", "operation", "schedule", "missed"];

export function Connection({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const [connection, setConnection] = useState<ConnectionState>({ standing: "opening", since: null });

  useEffect(() => {
    const gathered = gather(client);
    let lost = false;
    const standing = (now: Standing) => {
      if (now === "lost") lost = true;
      if (now === "open" && lost) {
        lost = false;
        void client.invalidateQueries();
      }
      setConnection((before) => ({
        standing: now,
        since: now === "lost" ? (before.since ?? Date.now()) : null,
      }));
    };
    const stopFailover = listen("/api/v1/failover/events", ["missed"], {
      heard: (kind, data) => gathered.add(failoverTopics(kind, data)),
      standing,
    });
    const stopRecovery = listen("/api/v1/events", RECOVERY_KINDS, {
      heard: (kind, data) => gathered.add(recoveryTopics(kind, data)),
      standing: () => undefined,
    });
    return () => {
      stopFailover();
      stopRecovery();
      gathered.end();
    };
  }, [client]);

  return <ConnectionContext.Provider value={connection}>{children}</ConnectionContext.Provider>;
}

/** Gathers what is to be asked for again, and asks once. */
function gather(client: QueryClient) {
  const topics = new Map<string, Topic>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const flush = () => {
    timer = undefined;
    for (const topic of topics.values()) void client.invalidateQueries({ queryKey: topic });
    topics.clear();
  };
  return {
    add(more: Topic[]) {
      for (const topic of more) topics.set(topic.join("\u0000"), topic);
      if (topics.size > 0 && timer === undefined) timer = setTimeout(flush, GATHER);
    },
    end() {
      clearTimeout(timer);
    },
  };
}
