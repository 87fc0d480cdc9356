/** What changed, and in what the two sites differ. */

import { Card, CardBody, CardTitle, PageSection } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useQuery } from "@tanstack/react-query";

import { failover } from "../api/failover";
import type * as F from "../api/failoverTypes";
import { useMay } from "../app/Me";
import { Answer } from "../parts/Answer";
import { Do } from "../parts/Do";
import { Tag, type Tone } from "../parts/LevelLabel";
import { Said } from "../parts/Said";
import { Exactly } from "../parts/When";
import { Preferences } from "./Preferences";
import { keys } from "./queries";

export function ChangesPage({ name }: { name: string }) {
  const key = keys.changes(name);
  const differences = useQuery({ queryKey: [...key, "differences"], queryFn: () => failover.differences(name) });
  const changes = useQuery({ queryKey: [...key, "list"], queryFn: () => failover.changes(name) });
  return (
    <>
      <PageSection>
        <Card>
          <CardTitle component="h2">In what the sites differ</CardTitle>
          <CardBody>
            <p>What is different on the other site may keep the application from running there.</p>
            <Answer of={differences}>{(all) => <Differences name={name} differences={all} />}</Answer>
          </CardBody>
        </Card>
      </PageSection>
      <PageSection>
        <Card>
          <CardTitle component="h2">What changed</CardTitle>
          <CardBody>
            <Answer of={changes}>{(all) => <ChangeTable changes={all} />}</Answer>
          </CardBody>
        </Card>
      </PageSection>
      <PageSection>
        <Preferences name={name} />
      </PageSection>
    </>
  );
}

export const VERDICTS: Record<F.Verdict, { tone: Tone | "plain"; title: string }> = {
  critical: { tone: "danger", title: "a switch would fail" },
  warning: { tone: "warning", title: "may matter" },
  note: { tone: "plain", title: "noted" },
  ignore: { tone: "plain", title: "ignored" },
};

const item = (one: F.Difference["one"]) => (one === null ? <em>is not there</em> : <Said words={one.value} longest={200} />);

function Differences({ name, differences }: { name: string; differences: F.Divergence[] }) {
  const may = useMay("operator");
  if (differences.length === 0) return <p>In nothing that is looked at.</p>;
  return (
    <Table aria-label="In what the sites differ" variant="compact">
      <Thead>
        <Tr>
          <Th>What</Th>
          <Th>The site that serves</Th>
          <Th>The other site</Th>
          <Th>What it means</Th>
          <Th>Since</Th>
          <Th screenReaderText="Accept" />
        </Tr>
      </Thead>
      <Tbody>
        {differences.map((one) => (
          <Tr key={one.id}>
            <Td dataLabel="What">
              {one.difference.category} <Said words={one.difference.name} longest={200} />
            </Td>
            <Td dataLabel="The site that serves">{item(one.difference.one)}</Td>
            <Td dataLabel="The other site">{item(one.difference.other)}</Td>
            <Td dataLabel="What it means">
              <Tag tone={VERDICTS[one.verdict].tone}>{VERDICTS[one.verdict].title}</Tag> <Said words={one.why} longest={300} />
              {!one.confirmed && " Not looked at again yet."}
            </Td>
            <Td dataLabel="Since">
              <Exactly at={one.since} />
            </Td>
            <Td>
              {one.accepted_by ? (
                <>
                  Left like this by <Said words={one.accepted_by} />
                </>
              ) : (
                may && (
                  <Do action={() => failover.accept(name, one.id)} changes={keys.changes(name)} size="sm">
                    Leave it like this
                  </Do>
                )
              )}
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

function ChangeTable({ changes }: { changes: F.Change[] }) {
  if (changes.length === 0) return <p>Nothing since the first inventory.</p>;
  return (
    <Table aria-label="What changed" variant="compact">
      <Thead>
        <Tr>
          <Th>Seen</Th>
          <Th>Machine</Th>
          <Th>What</Th>
          <Th>Before</Th>
          <Th>After</Th>
          <Th>What it means</Th>
        </Tr>
      </Thead>
      <Tbody>
        {changes.slice(0, 200).map((change, index) => (
          <Tr key={index}>
            <Td dataLabel="Seen">
              <Exactly at={change.at} />
            </Td>
            <Td dataLabel="Machine">
              <Said words={change.host} />
            </Td>
            <Td dataLabel="What">
              {change.difference.category} <Said words={change.difference.name} longest={200} />
            </Td>
            <Td dataLabel="Before">{item(change.difference.one)}</Td>
            <Td dataLabel="After">{item(change.difference.other)}</Td>
            <Td dataLabel="What it means">
              <Tag tone={VERDICTS[change.verdict].tone}>{VERDICTS[change.verdict].title}</Tag>{" "}
              <Said words={change.why} longest={300} />
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}
