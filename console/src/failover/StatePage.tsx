/** Where are we? One picture of both sites, and the few things that change it. */

import { Alert, Card, CardBody, CardTitle, PageSection } from "@patternfly/react-core";

import type * as F from "../api/failoverTypes";
import { Answer } from "../parts/Answer";
import { Said } from "../parts/Said";
import { Since } from "../parts/When";
import { duration } from "../words/time";
import { Picture } from "./Picture";
import { QuestionCard } from "./QuestionCard";
import { useAutosync, useReady, useStatus } from "./queries";
import { ReadyList } from "./ReadyList";
import { SwitchButton } from "./SwitchDialog";
import { Switches } from "./Switches";
import { headline } from "./words";

export function StatePage({ name }: { name: string }) {
  const status = useStatus(name);
  return <Answer of={status}>{(known) => <State status={known} />}</Answer>;
}

function State({ status }: { status: F.Status }) {
  const name = status.application;
  const autosync = useAutosync(name);
  const ready = useReady(name);
  const { tone, title, text } = headline(status);
  return (
    <>
      <PageSection>
        <div className="lb-stack">
          <Alert variant={tone} isInline title={title} component="h2">
            <p>
              <Said words={text} /> It is so <Since at={status.state.since} />.
            </p>
          </Alert>
          {status.question && <QuestionCard name={name} question={status.question} />}
          <Picture status={status} autosync={autosync.data ?? undefined} />
          <div className="lb-row">
            <SwitchButton status={status} />
          </div>
        </div>
      </PageSection>
      <PageSection>
        <div className="lb-cards">
          <Switches status={status} autosync={autosync.data ?? null} />
          <Observed status={status} autosync={autosync.data ?? null} />
          <Card>
            <CardTitle component="h2">Could the other site take over now?</CardTitle>
            <CardBody>
              <Answer of={ready}>{(readiness) => <ReadyList readiness={readiness} />}</Answer>
            </CardBody>
          </Card>
        </div>
      </PageSection>
    </>
  );
}

function Observed({ status, autosync }: { status: F.Status; autosync: F.AutoSyncView | null }) {
  const evidence = status.observed?.evidence ?? [];
  return (
    <Card>
      <CardTitle component="h2">What is seen</CardTitle>
      <CardBody className="lb-stack">
        {!status.observed && <p>Nothing has been reported yet.</p>}
        {status.observed && evidence.length === 0 && <p>Nothing is out of the ordinary.</p>}
        {evidence.length > 0 && (
          <ol>
            {evidence.slice(0, 20).map((line, index) => (
              <li key={index}>
                <Said words={line} />
              </li>
            ))}
          </ol>
        )}
        {autosync?.lag_s !== null && autosync?.lag_s !== undefined && (
          <p>The other site is behind by {duration(autosync.lag_s * 1000)}.</p>
        )}
        {autosync?.doing && (
          <p>
            AutoSync: <Said words={autosync.doing} />
          </p>
        )}
        {autosync?.trouble && (
          <p>
            AutoSync, last trouble: <Said words={autosync.trouble} />
          </p>
        )}
      </CardBody>
    </Card>
  );
}
