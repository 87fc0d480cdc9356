/** What was done, by whom, and what became of it; and whether the record was tampered with. */

import { Alert, Button, PageSection } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { access, type AuditView } from "../api/access";
import { Answer, Problem } from "../parts/Answer";
import { Heading } from "../parts/Heading";
import { Said } from "../parts/Said";
import { Exactly } from "../parts/When";
import { counted } from "../words/numbers";
import { deeds } from "./words";

export function RecordPage() {
  const [before, setBefore] = useState<number | undefined>();
  const lines = useQuery({ queryKey: ["access", "audit", before ?? 0], queryFn: () => access.audit(before) });
  const last = lines.data?.at(-1)?.seq;
  return (
    <>
      <Heading title="What was done">
        <p>Written down before it takes effect. Each line vouches for the one before it.</p>
      </Heading>
      <PageSection>
        <div className="lb-stack">
          <Verify />
          <Answer of={lines}>{(all) => <Lines lines={all} />}</Answer>
          <div className="lb-row">
            {before !== undefined && (
              <Button variant="secondary" onClick={() => setBefore(undefined)}>
                Newest
              </Button>
            )}
            {last !== undefined && last > 1 && (
              <Button variant="secondary" onClick={() => setBefore(last)}>
                Older
              </Button>
            )}
          </div>
        </div>
      </PageSection>
    </>
  );
}

function Verify() {
  const work = useMutation({ mutationFn: access.verify });
  return (
    <div className="lb-stack">
      <div>
        <Button variant="secondary" onClick={() => work.mutate()} isLoading={work.isPending} isDisabled={work.isPending}>
          Was it tampered with?
        </Button>
      </div>
      {work.error && <Problem error={work.error} />}
      {work.data?.ok && (
        <Alert variant="success" isInline title={`No: all ${counted(work.data.entries, "line")} fit together`} component="p">
          {work.data.head && (
            <p>
              Line {work.data.head.seq} has the fingerprint <Said words={work.data.head.hash} />. Note it elsewhere: then even a
              record that was replaced as a whole is found out.
            </p>
          )}
        </Alert>
      )}
      {work.data && !work.data.ok && (
        <Alert variant="danger" isInline title="Yes: the record was changed" component="p">
          <ul>
            {work.data.faults.slice(0, 50).map((fault, index) => (
              <li key={index}>
                {fault.seq !== null && `Line ${fault.seq}: `}
                <Said words={fault.text} />
              </li>
            ))}
          </ul>
        </Alert>
      )}
    </div>
  );
}

function Lines({ lines }: { lines: AuditView[] }) {
  return (
    <Table aria-label="What was done" variant="compact">
      <Thead>
        <Tr>
          <Th>Line</Th>
          <Th>When</Th>
          <Th>Who</Th>
          <Th>From</Th>
          <Th>What</Th>
          <Th>What became of it</Th>
        </Tr>
      </Thead>
      <Tbody>
        {deeds(lines).map(({ intent, outcomes }) => (
          <Tr key={intent.seq}>
            <Td dataLabel="Line">{intent.seq}</Td>
            <Td dataLabel="When">
              <Exactly at={intent.at} />
            </Td>
            <Td dataLabel="Who">
              <Said words={intent.who} /> {intent.role && `(${intent.role})`}
            </Td>
            <Td dataLabel="From">
              <Said words={intent.address} />
            </Td>
            <Td dataLabel="What">
              <Said words={intent.what} longest={200} /> <Said words={intent.text} longest={300} />
            </Td>
            <Td dataLabel="What became of it">
              {outcomes.map((outcome) => (
                <div key={outcome.seq}>
                  <Said words={`${outcome.what} ${outcome.text}`.trim()} longest={300} />
                </div>
              ))}
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}
