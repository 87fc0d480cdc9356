import { PageSection } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useQuery } from "@tanstack/react-query";

import { access, type SessionView } from "../api/access";
import { Answer } from "../parts/Answer";
import { Do } from "../parts/Do";
import { Heading } from "../parts/Heading";
import { Said } from "../parts/Said";
import { Exactly, When } from "../parts/When";

const SESSIONS = ["access", "sessions"];

export function AllSessions() {
  const sessions = useQuery({ queryKey: [...SESSIONS, "all"], queryFn: access.sessions });
  return (
    <>
      <Heading title="Who is logged in" />
      <PageSection>
        <Answer of={sessions}>{(all) => <SessionTable sessions={all} end={access.endSession} />}</Answer>
      </PageSection>
    </>
  );
}

export function MySessions() {
  const sessions = useQuery({ queryKey: [...SESSIONS, "mine"], queryFn: access.mySessions });
  return <Answer of={sessions}>{(all) => <SessionTable sessions={all} end={access.endMySession} />}</Answer>;
}

function SessionTable({ sessions, end }: { sessions: SessionView[]; end: (id: string) => Promise<unknown> }) {
  return (
    <Table aria-label="Log-ins" variant="compact">
      <Thead>
        <Tr>
          <Th>User</Th>
          <Th>From</Th>
          <Th>Browser</Th>
          <Th>Since</Th>
          <Th>Last seen</Th>
          <Th>Ends at the latest</Th>
          <Th screenReaderText="End" />
        </Tr>
      </Thead>
      <Tbody>
        {sessions.map((session) => (
          <Tr key={session.id}>
            <Td dataLabel="User">
              <Said words={session.user} />
              {session.this && " (this one)"}
            </Td>
            <Td dataLabel="From">
              <Said words={session.address} />
            </Td>
            <Td dataLabel="Browser">
              <Said words={session.agent} longest={120} />
            </Td>
            <Td dataLabel="Since">
              <Exactly at={session.begun} />
            </Td>
            <Td dataLabel="Last seen">
              <When at={session.seen} />
            </Td>
            <Td dataLabel="Ends at the latest">
              <Exactly at={session.ends} />
            </Td>
            <Td>
              {!session.this && (
                <Do action={() => end(session.id)} changes={SESSIONS} size="sm">
                  End it
                </Do>
              )}
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}
