/** What stands around every page: where one is, who one is, and whether the appliance is there. */

import {
  Masthead,
  MastheadBrand,
  MastheadContent,
  MastheadLogo,
  MastheadMain,
  MastheadToggle,
  Page,
  PageSidebar,
  PageSidebarBody,
  PageToggleButton,
  SkipToContent,
} from "@patternfly/react-core";
import BarsIcon from "@patternfly/react-icons/dist/esm/icons/bars-icon";
import { type ReactNode, useEffect, useState } from "react";
import { Link, useLocation } from "react-router-dom";

import { AccountMenu } from "./AccountMenu";
import { ConnectionBanner } from "./ConnectionBanner";
import { Navigation } from "./Navigation";

const NARROW = "(max-width: 1199px)";

export function Shell({ children }: { children: ReactNode }) {
  const [open, setOpen] = useState(() => !window.matchMedia(NARROW).matches);
  const place = useLocation();

  useEffect(() => {
    if (window.matchMedia(NARROW).matches) setOpen(false);
  }, [place.pathname]);

  const masthead = (
    <Masthead>
      <MastheadMain>
        <MastheadToggle>
          <PageToggleButton
            variant="plain"
            aria-label="Navigation"
            isSidebarOpen={open}
            onSidebarToggle={() => setOpen(!open)}
          >
            <BarsIcon />
          </PageToggleButton>
        </MastheadToggle>
        <MastheadBrand>
          <MastheadLogo component={(props) => <Link {...props} to="/" aria-label="Lifeboat, overview" />}>
            <img src="/icon.svg" alt="" className="lb-logo" /> <span className="lb-brand">Lifeboat</span>
          </MastheadLogo>
        </MastheadBrand>
      </MastheadMain>
      <MastheadContent>
        <div className="lb-account">
          <AccountMenu />
        </div>
      </MastheadContent>
    </Masthead>
  );

  const sidebar = (
    <PageSidebar isSidebarOpen={open}>
      <PageSidebarBody>
        <Navigation />
      </PageSidebarBody>
    </PageSidebar>
  );

  return (
    <Page
      masthead={masthead}
      sidebar={sidebar}
      skipToContent={<SkipToContent href="#content">To the content</SkipToContent>}
      mainContainerId="content"
      mainAriaLabel="Content"
    >
      <ConnectionBanner />
      {children}
    </Page>
  );
}
