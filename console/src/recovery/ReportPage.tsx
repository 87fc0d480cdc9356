/** What a session showed, to read and to hand on. */

import { Alert, Breadcrumb, BreadcrumbItem, Card, CardBody, CardTitle, PageSection } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { Link, useParams } from "react-router-dom";

import type * as R from "../api/recoveryTypes";
import { Answer } from "../parts/Answer";
import { Heading } from "../parts/Heading";
import { Tag } from "../parts/LevelLabel";
import { Said } from "../parts/Said";
import { Isolation } from "./Isolation";
import { useReport } from "./queries";
import { Screen } from "./Screen";
import { gateTitle, MACHINE, MODE, seconds } from "./words";

export default function ReportPage() {
  const { id = "" } = useParams();
  const report = useReport(id);
  return (
    <Answer of={report}>
      {(known) => (known ? <Report report={known} /> : <PageSection>There is no report yet.</PageSection>)}
    </Answer>
  );
}

function Report({ report }: { report: R.Report }) {
  const base = `/api/v1/sessions/${encodeURIComponent(report.session)}`;
  return (
    <>
      <PageSection type="breadcrumb">
        <Breadcrumb>
          <BreadcrumbItem
            render={({ className }) => (
              <Link className={className} to={`/sessions/${encodeURIComponent(report.session)}`}>
                {MODE[report.mode]} of {report.site}
              </Link>
            )}
          />
          <BreadcrumbItem isActive>Report</BreadcrumbItem>
        </Breadcrumb>
      </PageSection>
      <Heading
        title={`Report: ${MODE[report.mode].toLowerCase()} of ${report.site}`}
        actions={
          <>
            <a className="pf-v6-c-button pf-m-primary" href={`${base}/report.html`} target="_blank" rel="noreferrer">
              To print
            </a>
            <a className="pf-v6-c-button pf-m-secondary" href={`${base}/report`} download={`${report.site}-${report.session}.json`}>
              For programs (JSON)
            </a>
          </>
        }
      />
      <PageSection>
        <div className="lb-stack">
          <Alert variant={report.ok ? "success" : "danger"} isInline component="h2" title={report.ok ? "The site was recovered" : "The site was not recovered completely"}>
            <p>
              Everything was settled after <strong>{seconds(report.rta_s)}</strong>. The longest chain of machines that need each
              other took {seconds(report.critical_path_s)}: <Said words={report.limiting_machines.join(", then ")} longest={300} />.
            </p>
            <ul>
              {report.problems.map((problem, index) => (
                <li key={index}>
                  <Said words={problem} longest={500} />
                </li>
              ))}
            </ul>
            <p>{report.sources_unchanged ? "The captured volumes are unchanged." : "THE CAPTURED VOLUMES CHANGED."}</p>
          </Alert>
          <Machines report={report} />
        </div>
      </PageSection>
      <PageSection>
        <Isolation live={{ network: report.network, isolation: proved(report) }} />
      </PageSection>
    </>
  );
}

function proved({ network: { isolation } }: R.Report): R.LiveSession["isolation"] {
  if (isolation.canaries_escaped > 0) return "broken";
  return isolation.canaries_sent > 0 && isolation.control_seen ? "proved" : "unknown";
}

function Machines({ report }: { report: R.Report }) {
  return (
    <Card>
      <CardTitle component="h2">Machines</CardTitle>
      <CardBody>
        <Table aria-label="Machines" variant="compact">
          <Thead>
            <Tr>
              <Th>Screen</Th>
              <Th>Machine</Th>
              <Th>How it ended</Th>
              <Th>Started</Th>
              <Th>Ready</Th>
              <Th>What was looked at</Th>
            </Tr>
          </Thead>
          <Tbody>
            {report.machines.map((machine) => (
              <Tr key={machine.name}>
                <Td dataLabel="Screen" width={15}>
                  {machine.screenshot && <Screen session={report.session} machine={machine.name} live={false} />}
                </Td>
                <Td dataLabel="Machine">
                  <Said words={machine.name} longest={80} />
                </Td>
                <Td dataLabel="How it ended">
                  <Tag tone={MACHINE[machine.outcome].tone}>{MACHINE[machine.outcome].title}</Tag>{" "}
                  <Said words={machine.reason} longest={300} />
                </Td>
                <Td dataLabel="Started">{seconds(machine.started_s)}</Td>
                <Td dataLabel="Ready">{seconds(machine.ready_s)}</Td>
                <Td dataLabel="What was looked at">
                  {machine.gates.map((gate, index) => (
                    <div key={index}>
                      {gateTitle({ kind: gate.kind as R.LiveGate["kind"], port: gate.port ?? null })}: {seconds(gate.ready_s)}{" "}
                      <Said words={gate.detail} longest={200} />
                    </div>
                  ))}
                </Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
      </CardBody>
    </Card>
  );
}
