/** How everything is: what is wrong and why first, then all that is looked at. */

import { Card, CardBody, CardTitle, PageSection, SearchInput, ToggleGroup, ToggleGroupItem } from "@patternfly/react-core";
import { useDeferredValue, useMemo, useState } from "react";

import type * as F from "../api/failoverTypes";
import { Answer } from "../parts/Answer";
import { When } from "../parts/When";
import { counted } from "../words/numbers";
import { Causes } from "./Causes";
import { Departures } from "./Departures";
import { type Found, find, levels } from "./find";
import { useHealth } from "./queries";
import { SubjectCard } from "./Subjects";

export default function HealthPage({ name }: { name: string }) {
  const health = useHealth(name);
  return (
    <Answer of={health}>
      {(known) => (
        <>
          <PageSection>
            <div className="lb-cards">
              <Card>
                <CardTitle component="h2">What is not well, and why</CardTitle>
                <CardBody>
                  <Causes causes={known.causes} />
                </CardBody>
              </Card>
              <Hosts hosts={known.hosts} />
            </div>
          </PageSection>
          <PageSection>
            <Everything health={known} />
          </PageSection>
          <PageSection>
            <Departures name={name} />
          </PageSection>
        </>
      )}
    </Answer>
  );
}

function Hosts({ hosts }: { hosts: F.HostHealth[] }) {
  return (
    <Card>
      <CardTitle component="h2">Last reports</CardTitle>
      <CardBody>
        <ul>
          {hosts.slice(0, 50).map(({ origin, heard, serves }) => (
            <li key={origin.host}>
              <bdi>{origin.host}</bdi> ({origin.side}): <When at={heard} />
              {serves && ", serves"}
            </li>
          ))}
        </ul>
        {hosts.length === 0 && <p>No machine has reported yet.</p>}
      </CardBody>
    </Card>
  );
}

const SHOWN = 60;

function Everything({ health }: { health: F.ApplicationHealth }) {
  const [words, setWords] = useState("");
  const [troubled, setTroubled] = useState(false);
  const [most, setMost] = useState(SHOWN);
  // Typing stays quick however much there is to look through.
  const sought = useDeferredValue(words);
  const found = useMemo(() => find(health.hosts, sought, troubled), [health, sought, troubled]);
  const count = useMemo(() => levels(health.hosts), [health]);
  return (
    <div className="lb-stack">
      <h2>Everything that is looked at</h2>
      <div className="lb-row">
        <SearchInput
          aria-label="Look for a machine, a service, a store or a value"
          placeholder="Machine, service, store, value"
          value={words}
          onChange={(_, value) => setWords(value)}
          onClear={() => setWords("")}
        />
        <ToggleGroup aria-label="Which of them">
          <ToggleGroupItem text={`All (${count.all})`} isSelected={!troubled} onChange={() => setTroubled(false)} buttonId="health-all" />
          <ToggleGroupItem text={`Not well (${count.troubled})`} isSelected={troubled} onChange={() => setTroubled(true)} buttonId="health-troubled" />
        </ToggleGroup>
        <span className="lb-quiet">{counted(found.length, "entry", "entries")}</span>
      </div>
      <div className="lb-cards">
        {found.slice(0, most).map((one: Found) => (
          <SubjectCard key={`${one.subject.host}/${one.subject.name}`} application={health.application} health={one} />
        ))}
      </div>
      {found.length > most && (
        <div>
          <button type="button" className="pf-v6-c-button pf-m-secondary" onClick={() => setMost(most + SHOWN)}>
            Show {Math.min(SHOWN, found.length - most)} more of {found.length - most}
          </button>
        </div>
      )}
    </div>
  );
}
