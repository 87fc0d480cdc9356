/** How long a site took, test by test. */

import { Card, CardBody, CardTitle, PageSection } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { lazy, Suspense } from "react";
import { Link } from "react-router-dom";

import type * as R from "../api/recoveryTypes";
import { Answer, Waiting } from "../parts/Answer";
import { Tag } from "../parts/LevelLabel";
import { Exactly } from "../parts/When";
import { useHistory } from "./queries";
import { MODE, seconds, trendSentence } from "./words";

const TrendChart = lazy(() => import("./TrendChart"));

export function HistoryPage({ name }: { name: string }) {
  const history = useHistory(name);
  return (
    <PageSection>
      <Answer of={history}>
        {({ runs, trend }) =>
          runs.length === 0 ? (
            <p>This site was never tested.</p>
          ) : (
            <div className="lb-stack">
              <Card>
                <CardTitle component="h2">How long it took until everything served</CardTitle>
                <CardBody>
                  {trend && <p>{trendSentence(trend)}</p>}
                  <Suspense fallback={<Waiting />}>
                    <TrendChart runs={runs} />
                  </Suspense>
                </CardBody>
              </Card>
              <Runs runs={runs} />
            </div>
          )
        }
      </Answer>
    </PageSection>
  );
}

function Runs({ runs }: { runs: R.RunPoint[] }) {
  return (
    <Table aria-label="All runs" variant="compact">
      <Thead>
        <Tr>
          <Th>Began</Th>
          <Th>What</Th>
          <Th>How it ended</Th>
          <Th>Took</Th>
          <Th>Longest chain</Th>
          <Th>Machines</Th>
        </Tr>
      </Thead>
      <Tbody>
        {runs.map((run) => (
          <Tr key={run.session}>
            <Td dataLabel="Began">
              <Link to={`/sessions/${encodeURIComponent(run.session)}/report`}>
                <Exactly at={run.began_ms} />
              </Link>
            </Td>
            <Td dataLabel="What">{MODE[run.mode]}</Td>
            <Td dataLabel="How it ended">
              {run.ok ? <Tag tone="success">all served</Tag> : <Tag tone="danger">not all served</Tag>}
            </Td>
            <Td dataLabel="Took">{seconds(run.rta_s)}</Td>
            <Td dataLabel="Longest chain">{seconds(run.critical_path_s)}</Td>
            <Td dataLabel="Machines">{run.machines}</Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}
