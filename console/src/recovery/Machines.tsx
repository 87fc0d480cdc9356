/** The machines of a session: screen, gates, what they wait for and why. */

import { Card, CardBody, CardTitle } from "@patternfly/react-core";
import { useMemo, useState } from "react";
import { Link } from "react-router-dom";

import type * as R from "../api/recoveryTypes";
import { useMay } from "../app/Me";
import { Tag } from "../parts/LevelLabel";
import { Said } from "../parts/Said";
import { isLive } from "./queries";
import { Screen } from "./Screen";
import { byNeed, gateState, gateTitle, MACHINE, seconds } from "./words";

const SHOWN = 24;

export function Machines({ live }: { live: R.LiveSession }) {
  const [most, setMost] = useState(SHOWN);
  const sorted = useMemo(() => byNeed(live.machines), [live.machines]);
  const running = isLive(live.session.state) || live.session.state === "kept";
  return (
    <div className="lb-stack">
      <h2>Machines</h2>
      <div className="lb-screens">
        {sorted.slice(0, most).map((machine) => (
          <Machine key={machine.name} session={live.session.id} machine={machine} running={running} />
        ))}
      </div>
      {sorted.length > most && (
        <div>
          <button type="button" className="pf-v6-c-button pf-m-secondary" onClick={() => setMost(most + 2 * SHOWN)}>
            Show more of {sorted.length - most}
          </button>
        </div>
      )}
    </div>
  );
}

function Machine({ session, machine, running }: { session: string; machine: R.LiveMachine; running: boolean }) {
  const may = useMay("operator");
  const { tone, title } = MACHINE[machine.state];
  const address = `/sessions/${encodeURIComponent(session)}/machines/${encodeURIComponent(machine.name)}`;
  return (
    <Card isCompact component="section" aria-label={`Machine ${machine.name}`}>
      {machine.has_screen && <Screen session={session} machine={machine.name} live={running} />}
      <CardTitle component="h3">
        <Said words={machine.name} longest={60} />{" "}
        <Tag tone={tone} compact>
          {title}
        </Tag>
      </CardTitle>
      <CardBody className="lb-stack">
        <ul>
          {machine.gates.map((gate, index) => (
            <li key={index}>
              <Tag tone={gateState(gate.state).tone} compact>
                {gateState(gate.state).title}
              </Tag>{" "}
              {gateTitle(gate)} {gate.at_s !== null && seconds(gate.at_s)}
            </li>
          ))}
        </ul>
        {machine.state === "waiting" &&
          machine.waits_for.map((one) => (
            <details key={one.machine}>
              <summary>
                Waits for <Said words={one.machine} /> ({MACHINE[one.state].title})
              </summary>
              <ul>
                {one.why.slice(0, 10).map((line, index) => (
                  <li key={index}>
                    <Said words={line} longest={300} />
                  </li>
                ))}
              </ul>
            </details>
          ))}
        {machine.reason && (
          <p>
            <Said words={machine.reason} longest={300} />
          </p>
        )}
        <div className="lb-row">
          {machine.has_vnc && may && <Link to={`${address}/screen`}>Use its screen</Link>}
          <Link to={`${address}/log`}>What it wrote</Link>
        </div>
      </CardBody>
    </Card>
  );
}
