import { Button, Card, CardBody, CardHeader, CardTitle, EmptyState, EmptyStateBody, PageSection } from "@patternfly/react-core";
import { useState } from "react";
import { Link } from "react-router-dom";

import type * as R from "../api/recoveryTypes";
import { useMay } from "../app/Me";
import { Answer } from "../parts/Answer";
import { Heading } from "../parts/Heading";
import { Tag } from "../parts/LevelLabel";
import { Said } from "../parts/Said";
import { When } from "../parts/When";
import { counted } from "../words/numbers";
import { AddSiteDialog } from "./AddSite";
import { useSites } from "./queries";
import { seconds } from "./words";

export default function SitesPage() {
  const administrator = useMay("administrator");
  const sites = useSites();
  const [adding, setAdding] = useState(false);
  return (
    <>
      <Heading
        title="Sites"
        actions={
          administrator && (
            <>
              <Link className="pf-v6-c-button pf-m-primary" to="/sites-draft">
                New site from volumes
              </Link>
              <Button variant="secondary" onClick={() => setAdding(true)}>
                Add a site file...
              </Button>
            </>
          )
        }
      >
        <p>Machines that belong together, and that Lifeboat can start here from the copies of their disks.</p>
      </Heading>
      <PageSection>
        <Answer of={sites}>
          {(all) =>
            all.length === 0 ? (
              <EmptyState titleText="There is no site yet" headingLevel="h2">
                <EmptyStateBody>Make one from the disks of its machines, or add a file that describes it.</EmptyStateBody>
              </EmptyState>
            ) : (
              <div className="lb-cards">
                {all.map((site) => (
                  <SiteCard key={site.name} site={site} />
                ))}
              </div>
            )
          }
        </Answer>
        {adding && <AddSiteDialog close={() => setAdding(false)} />}
      </PageSection>
    </>
  );
}

/** A site in a few words; the overview shows it, too. */
export function SiteCard({ site }: { site: R.SiteOverview }) {
  return (
    <Card component="article">
      <CardHeader>
        <CardTitle component="h2">
          <Link to={`/sites/${encodeURIComponent(site.name)}`}>
            <Said words={site.name} />
          </Link>
        </CardTitle>
      </CardHeader>
      <CardBody className="lb-stack">
        <div>
          <Standing site={site} />
        </div>
        <p>
          {counted(site.machines, "machine")}, {counted(site.networks, "network")}
        </p>
        {site.last && (
          <p>
            Last {site.last.mode} <When at={site.last.began_ms} />: {seconds(site.last.rta_s)} until all served
          </p>
        )}
        {site.next_test_ms !== null && (
          <p>
            Next test <When at={site.next_test_ms} />
          </p>
        )}
      </CardBody>
    </Card>
  );
}

function Standing({ site }: { site: R.SiteOverview }) {
  const alive = site.alive[0];
  if (site.problem) return <Said words={site.problem} longest={300} />;
  if (alive) return <Link to={`/sessions/${encodeURIComponent(alive.id)}`}>A {alive.mode} is there now</Link>;
  if (!site.last) return <Tag tone="warning">never tested</Tag>;
  return site.last.ok ? <Tag tone="success">last run: all served</Tag> : <Tag tone="danger">last run: not all served</Tag>;
}
