import { PageSection } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { Link } from "react-router-dom";

import { Answer } from "../parts/Answer";
import { Heading } from "../parts/Heading";
import { Tag } from "../parts/LevelLabel";
import { Said } from "../parts/Said";
import { Exactly } from "../parts/When";
import { useSessions } from "./queries";
import { instant, MODE, SESSION } from "./words";

export default function SessionsPage() {
  const sessions = useSessions();
  return (
    <>
      <Heading title="Tests and recoveries" />
      <PageSection>
        <Answer of={sessions}>
          {(all) =>
            all.length === 0 ? (
              <p>There was none yet.</p>
            ) : (
              <Table aria-label="Tests and recoveries" variant="compact">
                <Thead>
                  <Tr>
                    <Th>Began</Th>
                    <Th>Site</Th>
                    <Th>What</Th>
                    <Th>How it is</Th>
                    <Th>Ended</Th>
                  </Tr>
                </Thead>
                <Tbody>
                  {all.slice(0, 300).map((session) => (
                    <Tr key={session.id}>
                      <Td dataLabel="Began">
                        <Link to={`/sessions/${encodeURIComponent(session.id)}`}>
                          <Exactly at={instant(session.started_at)} />
                        </Link>
                      </Td>
                      <Td dataLabel="Site">
                        <Said words={session.site} />
                      </Td>
                      <Td dataLabel="What">{MODE[session.mode]}</Td>
                      <Td dataLabel="How it is">
                        <Tag tone={SESSION[session.state].tone}>{SESSION[session.state].title}</Tag>{" "}
                        <Said words={session.detail} longest={200} />
                      </Td>
                      <Td dataLabel="Ended">
                        <Exactly at={instant(session.ended_at)} />
                      </Td>
                    </Tr>
                  ))}
                </Tbody>
              </Table>
            )
          }
        </Answer>
      </PageSection>
    </>
  );
}
