import { Breadcrumb, BreadcrumbItem, PageSection } from "@patternfly/react-core";
import { lazy } from "react";
import { Link, Route, Routes, useParams } from "react-router-dom";

import NothingHere from "../app/NothingHere";
import { Heading } from "../parts/Heading";
import { PageTabs } from "../parts/PageTabs";
import { Said } from "../parts/Said";
import { plain } from "../words/plain";
import { HistoryPage } from "./HistoryPage";
import { SchedulesPage } from "./SchedulesPage";
import { TestPage } from "./TestPage";

const NetworkPage = lazy(() => import("./NetworkPage"));
const OrderPage = lazy(() => import("./OrderPage"));

const TABS = [
  { to: "", title: "Test and recover" },
  { to: "network", title: "Network" },
  { to: "order", title: "Order" },
  { to: "history", title: "History" },
  { to: "schedules", title: "Schedules" },
];

export default function SitePage() {
  const { name = "" } = useParams();
  return (
    <>
      <PageSection type="breadcrumb">
        <Breadcrumb>
          <BreadcrumbItem render={({ className }) => <Link className={className} to="/sites">Sites</Link>} />
          <BreadcrumbItem isActive>
            <Said words={name} />
          </BreadcrumbItem>
        </Breadcrumb>
      </PageSection>
      <Heading title={plain(name)} />
      <PageTabs base={`/sites/${encodeURIComponent(name)}`} tabs={TABS} label="Pages of the site" />
      <Routes>
        <Route index element={<TestPage name={name} />} />
        <Route path="network" element={<NetworkPage name={name} />} />
        <Route path="order" element={<OrderPage name={name} />} />
        <Route path="history" element={<HistoryPage name={name} />} />
        <Route path="schedules" element={<SchedulesPage name={name} />} />
        <Route path="*" element={<NothingHere />} />
      </Routes>
    </>
  );
}
