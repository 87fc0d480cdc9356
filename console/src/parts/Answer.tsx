/** A question to the appliance as a piece of the page: waiting, refused, or answered. */

import { Alert, Bullseye, Spinner } from "@patternfly/react-core";
import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";

import { Refusal } from "../api/ask";
import { plain } from "../words/plain";

export function Waiting() {
  return (
    <Bullseye className="lb-waiting">
      <Spinner size="lg" aria-label="Waiting for the appliance" />
    </Bullseye>
  );
}

/** Why something was not done, with all its causes. */
export function Problem({ error, title }: { error: unknown; title?: string }) {
  const chain = error instanceof Refusal ? error.chain : [error instanceof Error ? error.message : String(error)];
  const [first = "It did not work", ...causes] = chain.map((words) => plain(words));
  return (
    <Alert variant="danger" isInline title={title ?? first} component="p">
      {title && <p>{first}</p>}
      {causes.map((cause, index) => (
        <p key={index}>{cause}</p>
      ))}
    </Alert>
  );
}

/** Shows what was answered; an answer that is there stays while it is asked again. */
export function Answer<T>({
  of: query,
  children,
}: {
  of: Pick<UseQueryResult<T>, "data" | "error">;
  children: (data: T) => ReactNode;
}) {
  if (query.data !== undefined) return <>{children(query.data)}</>;
  if (query.error) return <Problem error={query.error} />;
  return <Waiting />;
}
