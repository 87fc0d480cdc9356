import { Nav, NavGroup, NavItem, NavList } from "@patternfly/react-core";
import { NavLink, useLocation } from "react-router-dom";

import { useMay } from "./Me";

interface Entry {
  to: string;
  title: string;
}

const RECOVERY: Entry[] = [
  { to: "/sites", title: "Sites" },
  { to: "/sessions", title: "Tests and recoveries" },
];
const FAILOVER: Entry[] = [
  { to: "/failover", title: "Applications" },
  { to: "/failover/alerts", title: "Alerts" },
];
const ACCESS: Entry[] = [
  { to: "/access/users", title: "Users" },
  { to: "/access/tokens", title: "Tokens for programs" },
  { to: "/access/sessions", title: "Log-ins" },
  { to: "/access/record", title: "What was done" },
];

/** Whether the page at `path` belongs to an entry. */
export function belongs(path: string, to: string): boolean {
  if (to === "/") return path === "/";
  if (to === "/failover") return path === "/failover" || path.startsWith("/failover/applications");
  return path === to || path.startsWith(`${to}/`);
}

export function Navigation() {
  const administrator = useMay("administrator");
  return (
    <Nav aria-label="Pages">
      <NavList>
        <Item to="/" title="Overview" />
      </NavList>
      <Group title="Recovery of sites" entries={RECOVERY} />
      <Group title="Failover between two sites" entries={FAILOVER} />
      {administrator && <Group title="Access" entries={ACCESS} />}
    </Nav>
  );
}

function Group({ title, entries }: { title: string; entries: Entry[] }) {
  return (
    <NavGroup title={title}>
      {entries.map((entry) => (
        <Item key={entry.to} {...entry} />
      ))}
    </NavGroup>
  );
}

function Item({ to, title }: Entry) {
  const { pathname } = useLocation();
  const active = belongs(pathname, to);
  return (
    <NavItem isActive={active}>
      <NavLink to={to} end aria-current={active ? "page" : undefined}>
        {title}
      </NavLink>
    </NavItem>
  );
}
