import { Card, CardBody, CardTitle } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";

import { Answer } from "../parts/Answer";
import { Tag } from "../parts/LevelLabel";
import { Said } from "../parts/Said";
import { Exactly } from "../parts/When";
import { useDepartures } from "./queries";
import { LEVEL } from "./words";

/** What was not well, and until when. */
export function Departures({ name }: { name: string }) {
  const departures = useDepartures(name);
  return (
    <Card>
      <CardTitle component="h2">What was not well</CardTitle>
      <CardBody>
        <Answer of={departures}>
          {(all) =>
            all.length === 0 ? (
              <p>Nothing yet.</p>
            ) : (
              <Table aria-label="What was not well" variant="compact">
                <Thead>
                  <Tr>
                    <Th>Since</Th>
                    <Th>Until</Th>
                    <Th>What</Th>
                    <Th>How bad</Th>
                    <Th>Why</Th>
                  </Tr>
                </Thead>
                <Tbody>
                  {all.slice(0, 100).map(({ cause, until }, index) => (
                    <Tr key={index}>
                      <Td dataLabel="Since">
                        <Exactly at={cause.trouble.since} />
                      </Td>
                      <Td dataLabel="Until">{until === null ? <strong>lasts</strong> : <Exactly at={until} />}</Td>
                      <Td dataLabel="What">
                        <Said words={`${cause.subject.name} on ${cause.subject.host}`} />
                      </Td>
                      <Td dataLabel="How bad">
                        <Tag tone={LEVEL[cause.trouble.level].tone}>{LEVEL[cause.trouble.level].title}</Tag>
                      </Td>
                      <Td dataLabel="Why">
                        <Said words={cause.trouble.reason} longest={300} />
                        {cause.because_of && (
                          <>
                            {" "}
                            Followed from <Said words={cause.because_of} />.
                          </>
                        )}
                      </Td>
                    </Tr>
                  ))}
                </Tbody>
              </Table>
            )
          }
        </Answer>
      </CardBody>
    </Card>
  );
}
