import { Breadcrumb, BreadcrumbItem, PageSection } from "@patternfly/react-core";
import { lazy } from "react";
import { Link, Route, Routes, useParams } from "react-router-dom";

import NothingHere from "../app/NothingHere";
import { Heading } from "../parts/Heading";
import { PageTabs } from "../parts/PageTabs";
import { Said } from "../parts/Said";
import { plain } from "../words/plain";
import { ArchivePage } from "./ArchivePage";
import { AutoPilotPage } from "./AutoPilotPage";
import { ChangesPage } from "./ChangesPage";
import { HistoryPage } from "./HistoryPage";
import { StatePage } from "./StatePage";
import { SwitchPage } from "./SwitchPage";

const HealthPage = lazy(() => import("./HealthPage"));

const TABS = [
  { to: "", title: "State" },
  { to: "health", title: "Health" },
  { to: "switch", title: "Switch" },
  { to: "auto-pilot", title: "Auto Pilot" },
  { to: "archive", title: "Archive" },
  { to: "changes", title: "Changes" },
  { to: "history", title: "History" },
];

export default function ApplicationPage() {
  const { name = "" } = useParams();
  return (
    <>
      <PageSection type="breadcrumb">
        <Breadcrumb>
          <BreadcrumbItem render={({ className }) => <Link className={className} to="/failover">Applications</Link>} />
          <BreadcrumbItem isActive>
            <Said words={name} />
          </BreadcrumbItem>
        </Breadcrumb>
      </PageSection>
      <Heading title={plain(name)} />
      <PageTabs base={`/failover/applications/${encodeURIComponent(name)}`} tabs={TABS} label="Pages of the application" />
      <Routes>
        <Route index element={<StatePage name={name} />} />
        <Route path="health" element={<HealthPage name={name} />} />
        <Route path="switch" element={<SwitchPage name={name} />} />
        <Route path="auto-pilot" element={<AutoPilotPage name={name} />} />
        <Route path="archive" element={<ArchivePage name={name} />} />
        <Route path="changes" element={<ChangesPage name={name} />} />
        <Route path="history" element={<HistoryPage name={name} />} />
        <Route path="*" element={<NothingHere />} />
      </Routes>
    </>
  );
}
