import { Route, Routes } from "react-router-dom";

import { useMay } from "../app/Me";
import NothingHere from "../app/NothingHere";
import { Heading } from "../parts/Heading";
import { PageSection } from "@patternfly/react-core";
import { RecordPage } from "./RecordPage";
import { AllSessions } from "./Sessions";
import { TokensPage } from "./TokensPage";
import { UsersPage } from "./UsersPage";

export default function AccessPage() {
  const administrator = useMay("administrator");
  if (!administrator) return <NotForYou />;
  return (
    <Routes>
      <Route path="users" element={<UsersPage />} />
      <Route path="tokens" element={<TokensPage />} />
      <Route path="sessions" element={<AllSessions />} />
      <Route path="record" element={<RecordPage />} />
      <Route path="*" element={<NothingHere />} />
    </Routes>
  );
}

function NotForYou() {
  return (
    <>
      <Heading title="This is for administrators" />
      <PageSection>Your own account, tokens and log-ins are under your name, on the top right.</PageSection>
    </>
  );
}
