import { EmptyState, EmptyStateBody, EmptyStateFooter, PageSection } from "@patternfly/react-core";
import { Link } from "react-router-dom";

export default function NothingHere() {
  return (
    <PageSection>
      <EmptyState titleText="There is no such page" headingLevel="h1">
        <EmptyStateBody>What it was about may have been removed.</EmptyStateBody>
        <EmptyStateFooter>
          <Link to="/">To the overview</Link>
        </EmptyStateFooter>
      </EmptyState>
    </PageSection>
  );
}
