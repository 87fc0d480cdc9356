/** A test or a recovery as it runs: who waits for what, what each machine shows, what is proved. */

import { Alert, Breadcrumb, BreadcrumbItem, Button, PageSection } from "@patternfly/react-core";
import { useState } from "react";
import { Link, useParams } from "react-router-dom";

import { recovery } from "../api/recovery";
import type * as R from "../api/recoveryTypes";
import { useMay } from "../app/Me";
import { Answer } from "../parts/Answer";
import { Heading } from "../parts/Heading";
import { Tag } from "../parts/LevelLabel";
import { PlanDialog } from "../parts/PlanDialog";
import { Said } from "../parts/Said";
import { Exactly } from "../parts/When";
import { Isolation } from "./Isolation";
import { Machines } from "./Machines";
import { keys, useLive } from "./queries";
import { Timeline } from "./Timeline";
import { instant, MODE, seconds, SESSION, summary } from "./words";

export default function SessionPage() {
  const { id = "" } = useParams();
  const live = useLive(id);
  return <Answer of={live}>{(known) => <Session live={known} />}</Answer>;
}

function Session({ live }: { live: R.LiveSession }) {
  const { session } = live;
  return (
    <>
      <PageSection type="breadcrumb">
        <Breadcrumb>
          <BreadcrumbItem render={({ className }) => <Link className={className} to="/sessions">Tests and recoveries</Link>} />
          <BreadcrumbItem isActive>{session.id}</BreadcrumbItem>
        </Breadcrumb>
      </PageSection>
      <Heading title={`${MODE[session.mode]} of ${session.site}`} actions={<Actions live={live} />}>
        <p>
          <Tag tone={SESSION[session.state].tone}>{SESSION[session.state].title}</Tag> Began{" "}
          <Exactly at={instant(session.started_at)} />.
        </p>
      </Heading>
      <PageSection>
        <div className="lb-stack">
          <Headline live={live} />
          <Timeline live={live} />
        </div>
      </PageSection>
      <PageSection>
        <Machines live={live} />
      </PageSection>
      <PageSection>
        <Isolation live={live} />
      </PageSection>
    </>
  );
}

function Headline({ live }: { live: R.LiveSession }) {
  const bad = live.machines.some(({ state }) => state === "failed" || state === "blocked");
  const all = live.machines.length > 0 && live.machines.every(({ state }) => state === "ready");
  return (
    <>
      <Alert variant={bad ? "danger" : all ? "success" : "info"} isInline title={summary(live)} component="h2">
        <p>
          {live.rta_so_far_s !== null ? (
            <>
              Everything was settled after <strong>{seconds(live.rta_so_far_s)}</strong>
            </>
          ) : (
            <>So far {seconds(live.elapsed_s)}</>
          )}
          {live.expected_rta_s !== null && `; ${seconds(live.expected_rta_s)} were expected`}.
        </p>
        {live.session.detail && <Said words={live.session.detail} />}
      </Alert>
      {live.isolation_note && (
        <Alert variant="warning" isInline title="Machines are not shut off from this host by its processor" component="p">
          <Said words={live.isolation_note} />
        </Alert>
      )}
    </>
  );
}

function Actions({ live }: { live: R.LiveSession }) {
  const may = useMay("operator");
  const [stopping, setStopping] = useState(false);
  const { session } = live;
  const there = session.state === "running" || session.state === "kept";
  return (
    <>
      {live.report_ready && (
        <Link className="pf-v6-c-button pf-m-secondary" to={`/sessions/${encodeURIComponent(session.id)}/report`}>
          Report
        </Link>
      )}
      {there && may && (
        <Button variant="danger" onClick={() => setStopping(true)}>
          Take it down...
        </Button>
      )}
      {stopping && (
        <PlanDialog
          title={`Take this ${session.mode} down?`}
          does={`Take the ${session.mode} down`}
          action={() => recovery.stop(session.id)}
          changes={keys.session(session.id)}
          close={() => setStopping(false)}
        >
          <p>
            All {live.machines.length} machines are switched off at once.{" "}
            {session.mode === "recovery"
              ? "What they wrote since they were recovered is removed: users of these machines lose it."
              : "What they wrote is removed, as at the end of every test."}{" "}
            The captured volumes stay as they are.
          </p>
        </PlanDialog>
      )}
    </>
  );
}
