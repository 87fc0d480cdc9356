import { Card, CardBody, CardTitle, Page, PageSection } from "@patternfly/react-core";
import { type ReactNode, useEffect } from "react";

/** What is shown before a log-in. */
export function Front({ title, children }: { title: string; children: ReactNode }) {
  useEffect(() => {
    document.title = `${title} - Lifeboat`;
  }, [title]);
  return (
    <Page mainContainerId="content" mainAriaLabel="Content" className="lb-front">
      <PageSection>
        <Card className="lb-front__card" isLarge>
          <CardTitle component="h1">
            <img src="/icon.svg" alt="" className="lb-logo" /> {title}
          </CardTitle>
          <CardBody className="lb-stack">{children}</CardBody>
        </Card>
      </PageSection>
    </Page>
  );
}
