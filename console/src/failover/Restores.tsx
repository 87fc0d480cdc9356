import { Alert, Card, CardBody, CardTitle } from "@patternfly/react-core";
import { useState } from "react";

import { failover } from "../api/failover";
import type * as F from "../api/failoverTypes";
import { useMay } from "../app/Me";
import { Answer } from "../parts/Answer";
import { Do } from "../parts/Do";
import { PlanDialog } from "../parts/PlanDialog";
import { Said } from "../parts/Said";
import { Exactly } from "../parts/When";
import { clock, moment } from "../words/time";
import { keys, useRestores } from "./queries";

/** Restores with everything that was done. */
export function Restores({ name }: { name: string }) {
  const restores = useRestores(name);
  return (
    <Card>
      <CardTitle component="h2">Restores</CardTitle>
      <CardBody>
        <Answer of={restores}>
          {(all) =>
            all.length === 0 ? (
              <p>There was none yet.</p>
            ) : (
              <div className="lb-stack">
                {all.slice(0, 20).map((restore) => (
                  <Restore key={restore.record.id} name={name} restore={restore} />
                ))}
              </div>
            )
          }
        </Answer>
      </CardBody>
    </Card>
  );
}

function Restore({ name, restore: { record, lines } }: { name: string; restore: F.RestoreView }) {
  const over = record.ended_at !== null;
  const title = over ? (record.outcome ?? "ended") : record.stopped ? "stopped: it waits for you" : "under way";
  return (
    <section aria-label={`Restore of ${moment(record.started_at)}`}>
      <h3>
        <Exactly at={record.started_at} />: <Said words={title} />
      </h3>
      <p className="lb-quiet">
        Image <Said words={record.request.image} />, asked for by <Said words={record.request.who} />
        {record.request.why && (
          <>
            {" "}
            because of: <Said words={record.request.why} />
          </>
        )}
      </p>
      {record.stopped && !over && (
        <Alert variant="danger" isInline title="It stopped" component="p">
          <p>
            <Said words={record.stopped} />
          </p>
          <GoOn name={name} />
        </Alert>
      )}
      <ol className="lb-log">
        {lines.map((line, index) => (
          <li key={index}>
            {clock(line.at)} <Said words={line.text} longest={400} />
          </li>
        ))}
      </ol>
    </section>
  );
}

function GoOn({ name }: { name: string }) {
  const may = useMay("operator");
  const [giving, setGiving] = useState(false);
  if (!may) return null;
  return (
    <div className="lb-row">
      <Do action={() => failover.takeUpRestore(name, false)} changes={keys.all(name)} variant="primary">
        Take it up again where it stopped
      </Do>
      <Do action={async () => setGiving(true)} changes={keys.all(name)}>
        Give it up...
      </Do>
      {giving && (
        <PlanDialog
          title="Give up the restore?"
          does="Give up the restore"
          action={() => failover.abandonRestore(name)}
          changes={keys.all(name)}
          close={() => setGiving(false)}
        >
          <p>It ends where it stands. Under State you see which site serves users and what it has.</p>
        </PlanDialog>
      )}
    </div>
  );
}
