import { PageSection } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useQuery } from "@tanstack/react-query";

import { failover } from "../api/failover";
import { Answer } from "../parts/Answer";
import { Said } from "../parts/Said";
import { Exactly } from "../parts/When";
import { keys } from "./queries";
import { eventTitle, stateTitle } from "./words";

/** Every change of state: when, what, who, why, and what showed it. */
export function HistoryPage({ name }: { name: string }) {
  const history = useQuery({ queryKey: [...keys.all(name), "history"], queryFn: () => failover.history(name) });
  return (
    <PageSection>
      <h2>Every change of state</h2>
      <Answer of={history}>
        {(all) =>
          all.length === 0 ? (
            <p>There was none yet.</p>
          ) : (
            <Table aria-label="Every change of state" variant="compact">
              <Thead>
                <Tr>
                  <Th>When</Th>
                  <Th>What happened</Th>
                  <Th>From then on</Th>
                  <Th>Who and why</Th>
                  <Th>What showed it</Th>
                </Tr>
              </Thead>
              <Tbody>
                {all.map((one) => (
                  <Tr key={one.seq}>
                    <Td dataLabel="When">
                      <Exactly at={one.at} />
                    </Td>
                    <Td dataLabel="What happened">{eventTitle(one.event)}</Td>
                    <Td dataLabel="From then on">{stateTitle(one.to)}</Td>
                    <Td dataLabel="Who and why">
                      <Said words={`${one.who}${one.why ? `: ${one.why}` : ""}`} longest={300} />
                    </Td>
                    <Td dataLabel="What showed it">
                      {one.evidence.slice(0, 10).map((line, index) => (
                        <div key={index}>
                          <Said words={line} longest={300} />
                        </div>
                      ))}
                    </Td>
                  </Tr>
                ))}
              </Tbody>
            </Table>
          )
        }
      </Answer>
    </PageSection>
  );
}
