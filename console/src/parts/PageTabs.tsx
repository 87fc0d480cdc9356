import { Nav, NavItem, NavList, PageSection } from "@patternfly/react-core";
import { NavLink, useLocation } from "react-router-dom";

export interface Tab {
  to: string;
  title: string;
}

/** The parts of something that has more than one page. Each has an address of its own. */
export function PageTabs({ base, tabs, label }: { base: string; tabs: Tab[]; label: string }) {
  const { pathname } = useLocation();
  return (
    <PageSection type="subnav">
      <Nav variant="horizontal-subnav" aria-label={label}>
        <NavList>
          {tabs.map(({ to, title }) => {
            const address = to ? `${base}/${to}` : base;
            const active = decodeURI(pathname).replace(/\/$/, "") === decodeURI(address);
            return (
              <NavItem key={to} isActive={active}>
                <NavLink to={address} end aria-current={active ? "page" : undefined}>
                  {title}
                </NavLink>
              </NavItem>
            );
          })}
        </NavList>
      </Nav>
    </PageSection>
  );
}
