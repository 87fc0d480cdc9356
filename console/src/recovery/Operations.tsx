/** Long work that is under way: it goes on when the page is closed. */

import { Alert, Progress } from "@patternfly/react-core";
import { useEffect, useState } from "react";
import { Link } from "react-router-dom";

import { recovery } from "../api/recovery";
import type * as R from "../api/recoveryTypes";
import { listen } from "../api/stream";
import { useMay } from "../app/Me";
import { useNow } from "../app/now";
import { Do } from "../parts/Do";
import { Said } from "../parts/Said";
import { duration } from "../words/time";
import { keys, useOperations } from "./queries";

const KINDS: Record<R.Operation["kind"], string> = {
  prepare: "The machines are being prepared",
  order: "The order is being worked out",
  session: "The machines are being started",
  start: "The machines are being started again",
  verify: "The volumes are being read again",
  draft: "A site is being drafted",
};

const RECENT = 10 * 60 * 1000;

/** What is going on about a site, and what ended lately without success. */
export function Operations({ subject }: { subject: string }) {
  const operations = useOperations();
  const now = useNow();
  const about = (operations.data ?? []).filter((operation) => operation.subject === subject);
  const running = about.filter((operation) => operation.state === "running");
  const failed = about.filter(({ state, ended_ms }) => state === "failed" && ended_ms !== null && now - ended_ms < RECENT);
  return (
    <>
      {running.map((operation) => (
        <Running key={operation.id} operation={operation} />
      ))}
      {failed.slice(0, 3).map((operation) => (
        <Alert key={operation.id} variant="danger" isInline title={`Did not succeed: ${KINDS[operation.kind]}`} component="p">
          {(operation.failure?.chain ?? []).map((words, index) => (
            <p key={index}>
              <Said words={words} />
            </p>
          ))}
        </Alert>
      ))}
    </>
  );
}

export function Running({ operation }: { operation: R.Operation }) {
  const may = useMay("operator");
  const now = useNow(1000);
  const last = useLastWords(operation.id);
  return (
    <Alert variant="info" isInline title={KINDS[operation.kind]} component="p">
      <p aria-live="polite">
        For {duration(now - operation.began_ms)}. {last.words && <Said words={last.words} />}
      </p>
      {last.done !== null && <Progress value={last.done} aria-label="How far it is" measureLocation="outside" />}
      <div className="lb-row">
        {operation.session && <Link to={`/sessions/${encodeURIComponent(operation.session)}`}>See the machines</Link>}
        {may && (
          <Do action={() => recovery.cancel(operation.id)} changes={keys.operations} size="sm">
            Cancel it
          </Do>
        )}
      </div>
    </Alert>
  );
}

interface LastWords {
  words: string;
  /** In hundredths. */
  done: number | null;
}

const EVENTS = ["step", "progress", "done", "session", "machine", "warning", "result", "failed"];

function useLastWords(id: string): LastWords {
  const [last, setLast] = useState<LastWords>({ words: "", done: null });
  useEffect(() => {
    const stop = listen(`/api/v1/operations/${encodeURIComponent(id)}/events`, EVENTS, {
      heard: (_, data) => {
        const event = data as R.OperationEvent;
        if (event.event === "result" || event.event === "failed") stop();
        setLast((before) => told(event) ?? before);
      },
      standing: () => undefined,
    });
    return stop;
  }, [id]);
  return last;
}

/** What an event of long work says. */
export function told(event: R.OperationEvent): LastWords | undefined {
  switch (event.event) {
    case "step":
      return { words: `${event.subject}: ${event.what}`, done: null };
    case "progress":
      return {
        words: `${event.subject}: ${event.what}`,
        done: event.total > 0 ? Math.min(100, Math.round((100 * event.done) / event.total)) : null,
      };
    case "done":
      return { words: `${event.subject}: ${event.what}, done`, done: null };
    case "machine":
      return { words: `${event.machine}: ${event.state}`, done: null };
    case "warning":
      return { words: event.text, done: null };
    default:
      return undefined;
  }
}
