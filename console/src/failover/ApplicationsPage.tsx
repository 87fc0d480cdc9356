import {
  Card,
  CardBody,
  CardHeader,
  CardTitle,
  ClipboardCopy,
  EmptyState,
  EmptyStateBody,
  PageSection,
} from "@patternfly/react-core";
import { Link } from "react-router-dom";

import type * as F from "../api/failoverTypes";
import { Answer } from "../parts/Answer";
import { Heading } from "../parts/Heading";
import { Tag } from "../parts/LevelLabel";
import { Said } from "../parts/Said";
import { Since } from "../parts/When";
import { useApplications } from "./queries";
import { SIDE, stateTitle } from "./words";

export default function ApplicationsPage() {
  const applications = useApplications();
  return (
    <>
      <Heading title="Applications on two sites">
        <p>Each lives on a primary site and is kept ready on a secondary site. Lifeboat moves it from one to the other.</p>
      </Heading>
      <PageSection>
        <Answer of={applications}>
          {(all) => (all.length === 0 ? <NoApplication /> : <div className="lb-cards">{all.map(card)}</div>)}
        </Answer>
      </PageSection>
    </>
  );
}

const card = (application: F.ApplicationView) => <ApplicationCard key={application.name} application={application} />;

/** An application in a few words; the overview shows it, too. */
export function ApplicationCard({ application }: { application: F.ApplicationView }) {
  const { state } = application;
  const serves = state.active ? `${SIDE[state.active]} serves users` : "A switch is under way";
  const tone = state.active === null ? "info" : state.name === "normal" ? "success" : "warning";
  return (
    <Card component="article">
      <CardHeader>
        <CardTitle component="h2">
          <Link to={`/failover/applications/${encodeURIComponent(application.name)}`}>
            <Said words={application.name} />
          </Link>
        </CardTitle>
      </CardHeader>
      <CardBody className="lb-stack">
        <div>
          <Tag tone={tone}>{serves}</Tag>
        </div>
        <p>{stateTitle(state.name)}</p>
        <p className="lb-quiet">
          It is so <Since at={state.since} />. Machines: <Said words={application.hosts.join(", ")} longest={200} />.
        </p>
        {application.unproven && (
          <p>
            Not proved for this application: <Said words={application.unproven} />
          </p>
        )}
      </CardBody>
    </Card>
  );
}

export function NoApplication() {
  return (
    <EmptyState titleText="No application is protected yet" headingLevel="h2">
      <EmptyStateBody>
        Describe it in a file <code>application.toml</code> on the appliance, and add it there:
        <ClipboardCopy isReadOnly hoverTip="Copy" clickTip="Copied" className="lb-narrow">
          lifeboat failover application add application.toml
        </ClipboardCopy>
      </EmptyStateBody>
    </EmptyState>
  );
}
