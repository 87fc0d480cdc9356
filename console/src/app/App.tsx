import { lazy, Suspense } from "react";
import { Navigate, Route, Routes } from "react-router-dom";

import { LogInPage } from "../access/LogInPage";
import { Refusal } from "../api/ask";
import { Waiting } from "../parts/Answer";
import { Connection } from "./Connection";
import { MeContext, useAskMe } from "./Me";
import { NoAppliance } from "./NoAppliance";
import { Shell } from "./Shell";

const AlertsPage = lazy(() => import("../failover/AlertsPage"));
const ApplicationPage = lazy(() => import("../failover/ApplicationPage"));
const ApplicationsPage = lazy(() => import("../failover/ApplicationsPage"));
const FirstUserPage = lazy(() => import("../access/FirstUserPage"));
const AccessPage = lazy(() => import("../access/AccessPage"));
const AccountPage = lazy(() => import("../access/AccountPage"));
const SitesPage = lazy(() => import("../recovery/SitesPage"));
const DraftPage = lazy(() => import("../recovery/DraftPage"));
const SitePage = lazy(() => import("../recovery/SitePage"));
const SessionsPage = lazy(() => import("../recovery/SessionsPage"));
const SessionPage = lazy(() => import("../recovery/SessionPage"));
const ReportPage = lazy(() => import("../recovery/ReportPage"));
const MachineLogPage = lazy(() => import("../recovery/MachineLogPage"));
const MachineScreenPage = lazy(() => import("../recovery/MachineScreenPage"));
const OverviewPage = lazy(() => import("./OverviewPage"));
const NothingHere = lazy(() => import("./NothingHere"));

export function App() {
  return (
    <Suspense fallback={<Waiting />}>
      <Routes>
        <Route path="/first-user" element={<FirstUserPage />} />
        <Route path="/*" element={<Inside />} />
      </Routes>
    </Suspense>
  );
}

/** Everything that needs a log-in. */
function Inside() {
  const me = useAskMe();
  if (me.data && !(me.error instanceof Refusal)) {
    return (
      <MeContext.Provider value={me.data}>
        <Connection>
          <Shell>
            <Suspense fallback={<Waiting />}>
              <Pages />
            </Suspense>
          </Shell>
        </Connection>
      </MeContext.Provider>
    );
  }
  if (me.error instanceof Refusal) return <LogInPage again={() => void me.refetch()} needsCode={me.error.reason === "code"} />;
  if (me.error) return <NoAppliance again={() => void me.refetch()} />;
  return <Waiting />;
}

function Pages() {
  return (
    <Routes>
      <Route path="/" element={<OverviewPage />} />
      <Route path="/sites" element={<SitesPage />} />
      <Route path="/sites-draft" element={<DraftPage />} />
      <Route path="/sites/:name/*" element={<SitePage />} />
      <Route path="/sessions" element={<SessionsPage />} />
      <Route path="/sessions/:id" element={<SessionPage />} />
      <Route path="/sessions/:id/report" element={<ReportPage />} />
      <Route path="/sessions/:id/machines/:machine/log" element={<MachineLogPage />} />
      <Route path="/sessions/:id/machines/:machine/screen" element={<MachineScreenPage />} />
      <Route path="/failover" element={<ApplicationsPage />} />
      <Route path="/failover/alerts" element={<AlertsPage />} />
      <Route path="/failover/applications/:name/*" element={<ApplicationPage />} />
      <Route path="/access/*" element={<AccessPage />} />
      <Route path="/account" element={<AccountPage />} />
      <Route path="/login" element={<Navigate to="/" replace />} />
      <Route path="*" element={<NothingHere />} />
    </Routes>
  );
}
