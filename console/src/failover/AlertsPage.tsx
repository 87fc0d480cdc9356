import { PageSection } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { Link } from "react-router-dom";

import { failover } from "../api/failover";
import type * as F from "../api/failoverTypes";
import { useMay } from "../app/Me";
import { Answer } from "../parts/Answer";
import { Do } from "../parts/Do";
import { Heading } from "../parts/Heading";
import { Tag, type Tone } from "../parts/LevelLabel";
import { Said } from "../parts/Said";
import { Exactly } from "../parts/When";
import { keys, useAlerts } from "./queries";
import { sortedAlerts } from "./words";

const GRAVITY: Record<F.Alert["gravity"], { tone: Tone | "plain"; title: string }> = {
  critical: { tone: "danger", title: "critical" },
  warning: { tone: "warning", title: "warning" },
  note: { tone: "plain", title: "note" },
};

export default function AlertsPage() {
  const alerts = useAlerts();
  return (
    <>
      <Heading title="Alerts">
        <p>One for each trouble, named by what came first. What lasts stands on top.</p>
      </Heading>
      <PageSection>
        <Answer of={alerts}>{(all) => (all.length === 0 ? <p>There was none yet.</p> : <AlertTable alerts={all} />)}</Answer>
      </PageSection>
    </>
  );
}

function AlertTable({ alerts }: { alerts: F.Alert[] }) {
  return (
    <Table aria-label="Alerts" variant="compact">
      <Thead>
        <Tr>
          <Th>How grave</Th>
          <Th>What</Th>
          <Th>Since</Th>
          <Th>Until</Th>
          <Th>Told</Th>
          <Th>Known to</Th>
        </Tr>
      </Thead>
      <Tbody>
        {sortedAlerts(alerts).map((alert) => (
          <Row key={alert.id} alert={alert} />
        ))}
      </Tbody>
    </Table>
  );
}

function Row({ alert }: { alert: F.Alert }) {
  const may = useMay("operator");
  const { tone, title } = GRAVITY[alert.gravity];
  return (
    <Tr>
      <Td dataLabel="How grave">
        <Tag tone={alert.over_at === null ? tone : "plain"}>{title}</Tag>
      </Td>
      <Td dataLabel="What">
        <strong>
          <Said words={alert.title} />
        </strong>
        <div>
          <Said words={alert.text} longest={1000} />
        </div>
        {alert.application && (
          <Link to={`/failover/applications/${encodeURIComponent(alert.application)}/health`}>
            Health of <Said words={alert.application} />
          </Link>
        )}
      </Td>
      <Td dataLabel="Since">
        <Exactly at={alert.since} />
        {alert.times > 1 && <div>{alert.times} times</div>}
      </Td>
      <Td dataLabel="Until">
        {alert.over_at === null ? <strong>lasts</strong> : <Exactly at={alert.over_at} />}
        {alert.over_how && (
          <div>
            <Said words={alert.over_how} longest={200} />
          </div>
        )}
      </Td>
      <Td dataLabel="Told">
        {alert.undelivered === 0 ? "everybody who is to be told" : `${alert.undelivered} still to be told`}
        {alert.error && (
          <div>
            <Said words={alert.error} longest={200} />
          </div>
        )}
      </Td>
      <Td dataLabel="Known to">
        {alert.acknowledged_by ? (
          <Said words={alert.acknowledged_by} />
        ) : (
          may && (
            <Do action={() => failover.acknowledge(alert.id)} changes={keys.alerts} size="sm">
              I know of it
            </Do>
          )
        )}
      </Td>
    </Tr>
  );
}
