import { Button, EmptyState, EmptyStateBody, EmptyStateFooter, PageSection } from "@patternfly/react-core";
import { useEffect } from "react";

const EVERY = 3000;

/** The page is there, the appliance is not. */
export function NoAppliance({ again }: { again: () => void }) {
  useEffect(() => {
    const timer = setInterval(again, EVERY);
    return () => clearInterval(timer);
  }, [again]);
  return (
    <PageSection>
      <EmptyState titleText="The appliance does not answer" headingLevel="h1" status="danger">
        <EmptyStateBody>
          This page goes on by itself as soon as it does. Machines that were recovered, and applications on two sites, go
          on without it. Look on the appliance whether <code>lifeboat serve</code> runs.
        </EmptyStateBody>
        <EmptyStateFooter>
          <Button onClick={again}>Try now</Button>
        </EmptyStateFooter>
      </EmptyState>
    </PageSection>
  );
}
