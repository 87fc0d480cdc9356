/** One button tests a site; what it will take stands before it. */

import { Alert, Button, Card, CardBody, CardFooter, CardTitle, PageSection } from "@patternfly/react-core";
import { useState } from "react";
import { Link } from "react-router-dom";

import { recovery } from "../api/recovery";
import type * as R from "../api/recoveryTypes";
import { useMay } from "../app/Me";
import { Answer } from "../parts/Answer";
import { Do } from "../parts/Do";
import { PlanDialog } from "../parts/PlanDialog";
import { Said } from "../parts/Said";
import { When } from "../parts/When";
import { Operations } from "./Operations";
import { usePrediction, useSite } from "./queries";
import { seconds } from "./words";

export function TestPage({ name }: { name: string }) {
  const site = useSite(name);
  const prediction = usePrediction(name);
  return (
    <PageSection>
      <div className="lb-stack">
        {site.data?.problem && (
          <Alert variant="danger" isInline title="The site's file cannot be read" component="p">
            <Said words={site.data.problem} />
          </Alert>
        )}
        {(site.data?.alive ?? []).map((session) => (
          <Alert key={session.id} variant="info" isInline title={`A ${session.mode} of this site is there`} component="p">
            <Link to={`/sessions/${encodeURIComponent(session.id)}`}>See it</Link>
          </Alert>
        ))}
        <Operations subject={name} />
        <div className="lb-cards">
          <Answer of={prediction}>{(known) => <Test name={name} prediction={known} />}</Answer>
          <Recover name={name} />
        </div>
      </div>
    </PageSection>
  );
}

function Test({ name, prediction }: { name: string; prediction: R.SitePrediction | null }) {
  const may = useMay("operator");
  return (
    <Card>
      <CardTitle component="h2">Test the recovery</CardTitle>
      <CardBody className="lb-stack">
        <p>
          Starts all machines from copies of their disks, on a network of their own that nothing leaves, looks whether they
          serve, and takes everything down again. Nothing outside notices.
        </p>
        <Predicted name={name} prediction={prediction} />
      </CardBody>
      <CardFooter>
        <Do
          action={() => recovery.begin(name, "test", false)}
          changes={["recovery"]}
          variant="primary"
          disabled={!may || prediction?.refusal !== null && prediction?.refusal !== undefined}
        >
          Test the recovery now
        </Do>
      </CardFooter>
    </Card>
  );
}

function Predicted({ name, prediction }: { name: string; prediction: R.SitePrediction | null }) {
  const may = useMay("operator");
  const again = (
    <Do action={() => recovery.workOutOrder(name)} changes={["recovery"]} disabled={!may} variant="link">
      {prediction ? "Work it out anew" : "Work out the order now"}
    </Do>
  );
  if (!prediction) {
    return (
      <>
        <p>How long it takes is not known before the order of the machines was worked out. A test does that first.</p>
        {again}
      </>
    );
  }
  const { rta_s, low_s, high_s, critical_path, assumed, never_started } = prediction.prediction;
  return (
    <>
      <p>
        Will take about <strong data-predicted={rta_s}>{seconds(rta_s)}</strong> ({seconds(low_s)} to {seconds(high_s)}) until
        everything serves. The longest chain: <Said words={critical_path.join(", then ")} longest={300} />.
      </p>
      {prediction.measured && <p>Measured before: {seconds(prediction.measured.median_s)}.</p>}
      {assumed.length > 0 && (
        <p>
          Guessed, because they were never seen booting: <Said words={assumed.join(", ")} longest={300} />.
        </p>
      )}
      {never_started.length > 0 && (
        <Alert variant="warning" isInline isPlain title="Would not be started" component="p">
          <Said words={never_started.join(", ")} longest={300} />
        </Alert>
      )}
      {prediction.accelerator === "tcg" && (
        <p className="lb-quiet">This machine cannot run guests at full speed, so all of it takes much longer here.</p>
      )}
      {prediction.refusal && (
        <Alert variant="danger" isInline title="It cannot begin now" component="p">
          <Said words={prediction.refusal} />
        </Alert>
      )}
      <p className="lb-quiet">
        Worked out <When at={prediction.worked_out_ms} />
        {prediction.stale && "; something changed since"}. {again}
      </p>
    </>
  );
}

function Recover({ name }: { name: string }) {
  const may = useMay("operator");
  const [asking, setAsking] = useState(false);
  return (
    <Card>
      <CardTitle component="h2">Recover for good</CardTitle>
      <CardBody>
        <p>
          Starts all machines to stay, and lets them reach the networks that the site&apos;s file names. For the day on which the
          real ones are gone.
        </p>
      </CardBody>
      <CardFooter>
        <Button variant="danger" onClick={() => setAsking(true)} isDisabled={!may}>
          Recover the site...
        </Button>
        {asking && (
          <PlanDialog
            title={`Recover ${name}?`}
            does="Recover the site now"
            action={() => recovery.begin(name, "recovery", false)}
            changes={["recovery"]}
            close={() => setAsking(false)}
          >
            <ol>
              <li>Every machine of the site is started here, in the order that was worked out.</li>
              <li>They have the names and addresses of the real ones: make sure that those are off or cut off.</li>
              <li>What they write is kept until you take the recovery down.</li>
            </ol>
          </PlanDialog>
        )}
      </CardFooter>
    </Card>
  );
}
