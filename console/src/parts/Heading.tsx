import { Content, PageSection, Title } from "@patternfly/react-core";
import { type ReactNode, useEffect } from "react";

/** The head of a page; its title is also the window's. */
export function Heading({ title, children, actions }: { title: string; children?: ReactNode; actions?: ReactNode }) {
  useEffect(() => {
    document.title = `${title} - Lifeboat`;
  }, [title]);
  return (
    <PageSection>
      <div className="lb-heading">
        <Title headingLevel="h1">{title}</Title>
        {actions && <div className="lb-actions">{actions}</div>}
      </div>
      {children && <Content>{children}</Content>}
    </PageSection>
  );
}
