import { PageSection } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useMemo } from "react";

import type * as R from "../api/recoveryTypes";
import { Answer } from "../parts/Answer";
import { Said } from "../parts/Said";
import { Graph } from "./Graph";
import { networkModel } from "./graphs";
import { UnansweredTable } from "./Isolation";
import { useNetwork } from "./queries";

export default function NetworkPage({ name }: { name: string }) {
  const network = useNetwork(name);
  return (
    <PageSection>
      <Answer of={network}>{(known) => <Network network={known} />}</Answer>
    </PageSection>
  );
}

function Network({ network }: { network: R.NetworkGraph }) {
  const model = useMemo(() => networkModel(network), [network]);
  return (
    <div className="lb-stack">
      <Graph model={model} label="The site's network" />
      <p className="lb-quiet">Networks are six-sided, machines square. Dashed: asked for outside the site, without an answer.</p>
      <h2>Machines and their addresses</h2>
      <Table aria-label="Machines and their addresses" variant="compact">
        <Thead>
          <Tr>
            <Th>Machine</Th>
            <Th>Network</Th>
            <Th>Address</Th>
            <Th>Card</Th>
          </Tr>
        </Thead>
        <Tbody>
          {network.links.map((link) => (
            <Tr key={`${link.machine} ${link.mac}`}>
              <Td dataLabel="Machine">
                <Said words={link.machine} longest={80} />
              </Td>
              <Td dataLabel="Network">
                <Said words={link.network} longest={80} />
              </Td>
              <Td dataLabel="Address">{link.address ?? "by itself"}</Td>
              <Td dataLabel="Card">{link.mac}</Td>
            </Tr>
          ))}
        </Tbody>
      </Table>
      <h2>Asked for outside, without an answer</h2>
      <UnansweredTable lines={network.outside} />
    </div>
  );
}
