/** A switch step by step, as it happens. */

import { Card, CardBody, CardTitle, Progress } from "@patternfly/react-core";
import CheckCircleIcon from "@patternfly/react-icons/dist/esm/icons/check-circle-icon";
import CircleIcon from "@patternfly/react-icons/dist/esm/icons/circle-icon";
import ExclamationCircleIcon from "@patternfly/react-icons/dist/esm/icons/exclamation-circle-icon";
import MinusCircleIcon from "@patternfly/react-icons/dist/esm/icons/minus-circle-icon";
import PlayCircleIcon from "@patternfly/react-icons/dist/esm/icons/play-circle-icon";
import UndoIcon from "@patternfly/react-icons/dist/esm/icons/undo-icon";
import { type ComponentType, useState } from "react";

import { failover } from "../api/failover";
import type * as F from "../api/failoverTypes";
import { useMay } from "../app/Me";
import { useNow } from "../app/now";
import { Do } from "../parts/Do";
import { Tag } from "../parts/LevelLabel";
import { PlanDialog } from "../parts/PlanDialog";
import { Said } from "../parts/Said";
import { clock, duration } from "../words/time";
import { keys } from "./queries";
import { endingSentence, type Fate, fateTitle, isStopped, progress, steps, type StepView, took } from "./steps";
import { wayTitle } from "./words";

const SIGNS: Record<Fate, ComponentType<{ color?: string }>> = {
  open: CircleIcon,
  now: PlayCircleIcon,
  done: CheckCircleIcon,
  failed: ExclamationCircleIcon,
  "left-out": MinusCircleIcon,
  answered: CheckCircleIcon,
  undoing: UndoIcon,
  undone: UndoIcon,
  "undo-failed": ExclamationCircleIcon,
};

const colour = (fate: Fate) => {
  const status = { done: "success", answered: "success", failed: "danger", "undo-failed": "danger", now: "info" }[fate as "done"];
  return status ? `var(--pf-t--global--icon--color--status--${status}--default)` : undefined;
};

export function LiveProcess({ name, process, past }: { name: string; process: F.ProcessView; past?: boolean }) {
  const { record } = process;
  const runs = record.ending === null;
  const now = useNow(runs ? 500 : 60_000);
  const views = steps(process);
  const { title, tone } = endingSentence(record);
  return (
    <Card component="section" aria-label={past ? "Steps of this switch" : "Steps of the switch"}>
      <CardTitle component="h3">
        {wayTitle(record.plan.kind)} <Tag tone={tone}>{title}</Tag>
      </CardTitle>
      <CardBody className="lb-stack">
        <p className="lb-quiet">
          Asked for by <Said words={record.who} />
          {record.why && (
            <>
              {" "}
              because of: <Said words={record.why} />
            </>
          )}
          . Began at {clock(record.started_at)}, {runs ? "so far" : "took"}{" "}
          {duration((record.ended_at ?? now) - record.started_at)}.
          {record.abort_by && (
            <>
              {" "}
              Being taken back on behalf of <Said words={record.abort_by} />.
            </>
          )}
        </p>
        {runs && <Progress value={progress(views)} aria-label="How far the switch is" measureLocation="outside" />}
        {!past && <Interventions name={name} record={record} />}
        <ol className="lb-steps">
          {views.map((view, index) => (
            <Step key={index} step={view} now={now} />
          ))}
        </ol>
      </CardBody>
    </Card>
  );
}

function Step({ step, now }: { step: StepView; now: number }) {
  const Sign = SIGNS[step.fate];
  const mark = step.fate === "now" || step.fate === "undoing" ? " lb-step--now" : step.fate === "open" ? " lb-step--left" : "";
  return (
    <li className={`lb-step${mark}`} aria-current={mark === " lb-step--now" ? "step" : undefined} data-fate={step.fate}>
      <Sign color={colour(step.fate)} aria-hidden />
      <span className="lb-quiet lb-number">{step.number}</span>
      <span>
        <Said words={step.title} /> <span className="lb-quiet">({step.who})</span>
      </span>
      <span className="lb-number">
        {fateTitle(step.fate)} {took(step, now)}
      </span>
      {step.note && (
        <span className="lb-step__note">
          <Said words={step.note} longest={400} />
        </span>
      )}
    </li>
  );
}

function Interventions({ name, record }: { name: string; record: F.ProcessRecord }) {
  const may = useMay("operator");
  const [aborting, setAborting] = useState(false);
  if (!may) return null;
  if (isStopped(record)) {
    return (
      <Do action={() => failover.takeUp(name)} changes={keys.all(name)} variant="primary">
        Take the switch up again where it stopped
      </Do>
    );
  }
  if (record.ending !== null || record.abort_by) return null;
  return (
    <div>
      <Do action={async () => setAborting(true)} changes={keys.all(name)}>
        Take everything back...
      </Do>
      {aborting && (
        <PlanDialog
          title="Take the switch back?"
          does="Take everything back"
          action={() => failover.abort(name)}
          changes={keys.all(name)}
          close={() => setAborting(false)}
        >
          <p>
            Every step that was done is taken back in turn, and the {record.plan.from} site serves users as before. This is
            possible until the {record.plan.to} site has been allowed to serve; then it is refused and nothing changes.
          </p>
        </PlanDialog>
      )}
    </div>
  );
}
