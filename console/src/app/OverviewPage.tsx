/** The first look: is anything wrong, and is anything under way? */

import { Alert, PageSection } from "@patternfly/react-core";
import { Link } from "react-router-dom";

import { ApplicationCard, NoApplication } from "../failover/ApplicationsPage";
import { useAlerts, useApplications } from "../failover/queries";
import { sortedAlerts } from "../failover/words";
import { Answer } from "../parts/Answer";
import { Heading } from "../parts/Heading";
import { Said } from "../parts/Said";
import { Since } from "../parts/When";
import { useSites } from "../recovery/queries";
import { SiteCard } from "../recovery/SitesPage";
import { counted } from "../words/numbers";

const SHOWN = 5;

export default function OverviewPage() {
  return (
    <>
      <Heading title="Overview" />
      <PageSection>
        <Troubles />
      </PageSection>
      <PageSection>
        <h2>Sites</h2>
        <Sites />
      </PageSection>
      <PageSection>
        <h2>Applications on two sites</h2>
        <Applications />
      </PageSection>
    </>
  );
}

function Troubles() {
  const alerts = useAlerts();
  return (
    <Answer of={alerts}>
      {(all) => {
        const open = sortedAlerts(all).filter((alert) => alert.over_at === null && alert.gravity !== "note");
        if (open.length === 0) return <Alert variant="success" isInline title="No trouble is known" component="h2" />;
        return (
          <Alert
            variant={open.some(({ gravity }) => gravity === "critical") ? "danger" : "warning"}
            isInline
            title={`${counted(open.length, "trouble")} that somebody has to see to`}
            component="h2"
          >
            <ol>
              {open.slice(0, SHOWN).map((alert) => (
                <li key={alert.id}>
                  <Said words={alert.title} longest={200} />, <Since at={alert.since} />
                </li>
              ))}
            </ol>
            <Link to="/failover/alerts">All alerts</Link>
          </Alert>
        );
      }}
    </Answer>
  );
}

function Sites() {
  const sites = useSites();
  return (
    <Answer of={sites}>
      {(all) =>
        all.length === 0 ? (
          <p>
            There is none yet. <Link to="/sites">Add one</Link>
          </p>
        ) : (
          <div className="lb-cards">
            {all.map((site) => (
              <SiteCard key={site.name} site={site} />
            ))}
          </div>
        )
      }
    </Answer>
  );
}

function Applications() {
  const applications = useApplications();
  return (
    <Answer of={applications}>
      {(all) => {
        if (all.length === 0) return <NoApplication />;
        return (
          <div className="lb-cards">
            {all.map((application) => (
              <ApplicationCard key={application.name} application={application} />
            ))}
          </div>
        );
      }}
    </Answer>
  );
}
