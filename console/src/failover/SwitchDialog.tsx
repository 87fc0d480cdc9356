/** One action moves the application: its plan first, then the password, then it goes. */

import { Alert, Button, Checkbox, FormGroup, TextInput } from "@patternfly/react-core";
import { useState } from "react";
import { useNavigate } from "react-router-dom";

import { failover } from "../api/failover";
import type * as F from "../api/failoverTypes";
import { useMay } from "../app/Me";
import { Answer } from "../parts/Answer";
import { PlanDialog } from "../parts/PlanDialog";
import { Said } from "../parts/Said";
import { keys, usePlan } from "./queries";
import { who } from "./steps";
import { SIDE, wayFrom, wayTitle } from "./words";

export function SwitchButton({ status }: { status: F.Status }) {
  const may = useMay("operator");
  const [asking, setAsking] = useState(false);
  const way = wayFrom(status.state.active);
  if (status.state.active === null) return null;
  return (
    <>
      <Button variant="danger" onClick={() => setAsking(true)} isDisabled={!may} size="lg">
        {wayTitle(way)}...
      </Button>
      <span className="lb-quiet">{may ? "Shows the plan first. Nothing happens before you confirm it." : "Your role may look, and not switch."}</span>
      {asking && <SwitchDialog name={status.application} way={way} close={() => setAsking(false)} />}
    </>
  );
}

function SwitchDialog({ name, way, close }: { name: string; way: F.Way; close: () => void }) {
  const plan = usePlan(name, way, true);
  const navigate = useNavigate();
  const [why, setWhy] = useState("");
  const [back, setBack] = useState(true);
  const obstacles = plan.data?.obstacles ?? [];
  return (
    <PlanDialog
      title={`${wayTitle(way)}?`}
      does={`${wayTitle(way)} now`}
      action={() => failover.switch(name, way, why, { replicate_back: back })}
      changes={keys.all(name)}
      close={close}
      done={() => navigate(`/failover/applications/${encodeURIComponent(name)}/switch`)}
      impossible={plan.data === undefined || obstacles.length > 0}
    >
      <Answer of={plan}>
        {(view) => (
          <div className="lb-stack">
            <Obstacles obstacles={view.obstacles} />
            <p>
              The {SIDE[view.plan.from].toLowerCase()} stops serving <Said words={name} />, then the{" "}
              {SIDE[view.plan.to].toLowerCase()} begins. Users are not served in between. Up to the marked line everything can
              be taken back.
            </p>
            <PlanList view={view} />
            {view.obstacles.length === 0 && (
              <>
                <Checkbox
                  id="replicate-back"
                  isChecked={back}
                  onChange={(_, on) => setBack(on)}
                  label={`Afterwards copy changes back to the ${SIDE[view.plan.from].toLowerCase()}`}
                  description="Without it the old site can be worked on, and nothing is protected twice until you turn AutoSync on."
                />
                <FormGroup label="Why (for the record)" fieldId="why">
                  <TextInput id="why" value={why} onChange={(_, value) => setWhy(value)} maxLength={300} />
                </FormGroup>
              </>
            )}
          </div>
        )}
      </Answer>
    </PlanDialog>
  );
}

function Obstacles({ obstacles }: { obstacles: string[] }) {
  if (obstacles.length === 0) return null;
  return (
    <Alert variant="danger" isInline title="This cannot begin now" component="p">
      <ul>
        {obstacles.map((obstacle) => (
          <li key={obstacle}>
            <Said words={obstacle} />
          </li>
        ))}
      </ul>
    </Alert>
  );
}

/** From this step on nothing is taken back. */
export function pointOfNoReturn(plan: F.Plan): number {
  const found = plan.steps.findIndex(({ task }) => typeof task === "object" && "act" in task && task.act.action === "promote");
  return found < 0 ? plan.steps.length : found;
}

export function PlanList({ view: { plan, bypassed } }: { view: F.PlanView }) {
  const border = pointOfNoReturn(plan);
  return (
    <ol className="lb-steps" aria-label="Plan">
      {plan.steps.map((step, index) => (
        <li key={index}>
          {index === border && (
            <p>
              <strong>From here on it only goes forward</strong>
            </p>
          )}
          <div className={`lb-step${bypassed[index] ? " lb-step--left" : ""}`}>
            <span className="lb-quiet lb-number">{index + 1}</span>
            <span className="lb-quiet lb-number">{step.number}</span>
            <span>
              <Said words={step.title} />
              {bypassed[index] && " (left out: the old site is gone)"}
            </span>
            <span className="lb-quiet">{who(step.actor)}</span>
          </div>
        </li>
      ))}
    </ol>
  );
}
