import { Card, CardBody, CardFooter, CardTitle } from "@patternfly/react-core";

import { failover } from "../api/failover";
import type * as F from "../api/failoverTypes";
import { useMay } from "../app/Me";
import { useNow } from "../app/now";
import { Do } from "../parts/Do";
import { Said } from "../parts/Said";
import { clock, duration } from "../words/time";
import { keys } from "./queries";

/** A question of the running switch, and what silence means. */
export function QuestionCard({ name, question }: { name: string; question: F.QuestionView }) {
  const may = useMay("operator");
  const now = useNow(1000);
  const silence = question.silence_means ? "yes" : "no";
  return (
    <Card component="section" aria-label="Question of the switch" className="lb-side">
      <CardTitle component="h2">
        <Said words={question.text} />
      </CardTitle>
      <CardBody>
        {question.until === null ? (
          <p>It waits until somebody answers.</p>
        ) : (
          <p>
            Without an answer until {clock(question.until)} ({duration(Math.max(0, question.until - now))} left) it counts as{" "}
            <strong>{silence}</strong>.
          </p>
        )}
        {!may && <p>Your role may look, and not answer.</p>}
      </CardBody>
      <CardFooter className="lb-row">
        <Do action={() => failover.answer(name, true)} changes={keys.all(name)} variant="primary" disabled={!may}>
          Yes
        </Do>
        <Do action={() => failover.answer(name, false)} changes={keys.all(name)} disabled={!may}>
          No
        </Do>
      </CardFooter>
    </Card>
  );
}
