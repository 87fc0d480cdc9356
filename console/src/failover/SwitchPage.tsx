/** Switch-over and switch-back: the running one step by step, earlier ones below. */

import { Card, CardBody, CardTitle, PageSection } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { failover } from "../api/failover";
import type * as F from "../api/failoverTypes";
import { Answer } from "../parts/Answer";
import { Tag } from "../parts/LevelLabel";
import { Said } from "../parts/Said";
import { Exactly } from "../parts/When";
import { duration } from "../words/time";
import { LiveProcess } from "./LiveProcess";
import { QuestionCard } from "./QuestionCard";
import { keys, useStatus } from "./queries";
import { endingSentence } from "./steps";
import { SwitchButton } from "./SwitchDialog";
import { headline, wayTitle } from "./words";

export function SwitchPage({ name }: { name: string }) {
  const status = useStatus(name);
  return (
    <Answer of={status}>
      {(known) => (
        <>
          <PageSection>
            <div className="lb-stack">
              <h2>{headline(known).title}</h2>
              {known.question && <QuestionCard name={name} question={known.question} />}
              <div className="lb-row">
                <SwitchButton status={known} />
              </div>
              {known.process && <LiveProcess name={name} process={known.process} />}
            </div>
          </PageSection>
          <PageSection>
            <Earlier name={name} />
          </PageSection>
        </>
      )}
    </Answer>
  );
}

function Earlier({ name }: { name: string }) {
  const [shown, setShown] = useState<string | null>(null);
  const processes = useQuery({
    queryKey: [...keys.all(name), "processes"],
    queryFn: () => failover.processes(name),
  });
  return (
    <Card>
      <CardTitle component="h2">All switches</CardTitle>
      <CardBody>
        <Answer of={processes}>
          {(all) =>
            all.length === 0 ? (
              <p>There was none yet.</p>
            ) : (
              <Table aria-label="All switches" variant="compact">
                <Thead>
                  <Tr>
                    <Th>Began</Th>
                    <Th>What</Th>
                    <Th>Who and why</Th>
                    <Th>How it ended</Th>
                    <Th>Took</Th>
                    <Th screenReaderText="Steps" />
                  </Tr>
                </Thead>
                <Tbody>
                  {all.map((record) => (
                    <Row key={record.id} record={record} shown={shown === record.id} show={setShown} />
                  ))}
                </Tbody>
              </Table>
            )
          }
        </Answer>
        {shown && <Steps id={shown} name={name} />}
      </CardBody>
    </Card>
  );
}

function Row({ record, shown, show }: { record: F.ProcessRecord; shown: boolean; show: (id: string | null) => void }) {
  const { title, tone } = endingSentence(record);
  return (
    <Tr>
      <Td dataLabel="Began">
        <Exactly at={record.started_at} />
      </Td>
      <Td dataLabel="What">{wayTitle(record.plan.kind)}</Td>
      <Td dataLabel="Who and why">
        <Said words={`${record.who}${record.why ? `: ${record.why}` : ""}`} />
      </Td>
      <Td dataLabel="How it ended">
        <Tag tone={tone}>{title}</Tag>
      </Td>
      <Td dataLabel="Took">{record.ended_at ? duration(record.ended_at - record.started_at) : ""}</Td>
      <Td>
        <button type="button" className="pf-v6-c-button pf-m-link pf-m-inline" onClick={() => show(shown ? null : record.id)}>
          {shown ? "Hide steps" : "Show steps"}
        </button>
      </Td>
    </Tr>
  );
}

function Steps({ id, name }: { id: string; name: string }) {
  const process = useQuery({ queryKey: [...keys.all(name), "process", id], queryFn: () => failover.process(id) });
  return <Answer of={process}>{(view) => <LiveProcess name={name} process={view} past />}</Answer>;
}
