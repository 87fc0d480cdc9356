/** What the machines asked for outside, and the proof that nothing got there. */

import { Alert, Card, CardBody, CardTitle } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";

import type * as R from "../api/recoveryTypes";
import { Said } from "../parts/Said";
import { counted } from "../words/numbers";
import { ISOLATION } from "./words";

export function Isolation({ live }: { live: Pick<R.LiveSession, "network" | "isolation"> }) {
  const { tone, title } = ISOLATION[live.isolation];
  const network = live.network;
  return (
    <div className="lb-cards">
      <Card>
        <CardTitle component="h2">Shut off from everything else</CardTitle>
        <CardBody className="lb-stack">
          <Alert variant={tone === "plain" ? "custom" : tone} isInline title={title} component="p" />
          {network && (
            <ul>
              <li>{counted(network.frames, "frame")} were sent between the machines, {network.dropped} were dropped.</li>
              <li>{counted(network.uplink_frames, "frame")} went to a real network.</li>
              <li>
                {counted(network.isolation.canaries_sent, "marked frame")} sent inside, {network.isolation.canaries_escaped} seen
                outside
                {network.isolation.control_seen ? " (and the one that had to be seen was seen)" : ""}.
              </li>
              <li>{counted(network.isolation.host_interfaces, "way")} out of the switch.</li>
            </ul>
          )}
        </CardBody>
      </Card>
      <Card>
        <CardTitle component="h2">Asked for outside, without an answer</CardTitle>
        <CardBody>
          <p>What the site would miss if it had to live here: these are not part of it.</p>
          <UnansweredTable lines={network?.unanswered ?? []} />
        </CardBody>
      </Card>
    </div>
  );
}

export function UnansweredTable({ lines }: { lines: R.Unanswered[] }) {
  if (lines.length === 0) return <p>Nothing.</p>;
  return (
    <Table aria-label="Asked for outside, without an answer" variant="compact">
      <Thead>
        <Tr>
          <Th>From</Th>
          <Th>To</Th>
          <Th>What</Th>
          <Th>How often</Th>
        </Tr>
      </Thead>
      <Tbody>
        {lines.slice(0, 200).map((line, index) => (
          <Tr key={index}>
            <Td dataLabel="From">
              <Said words={line.from} longest={80} />
            </Td>
            <Td dataLabel="To">
              <Said words={line.to} longest={80} />
            </Td>
            <Td dataLabel="What">
              <Said words={line.protocol} longest={20} /> {line.port ?? ""}
            </Td>
            <Td dataLabel="How often">{line.count}</Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}
