/** When each machine waited, booted and was ready, on one line each. */

import { Card, CardBody, CardTitle } from "@patternfly/react-core";

import type * as R from "../api/recoveryTypes";
import { Said } from "../parts/Said";
import { type Bar, bars, MACHINE, seconds, waiting } from "./words";

export function Timeline({ live }: { live: R.LiveSession }) {
  const end = Math.max(1, live.rta_so_far_s === null ? live.elapsed_s : live.rta_so_far_s * 1.05);
  return (
    <Card>
      <CardTitle component="h2">Who waits for what</CardTitle>
      <CardBody>
        <p className="lb-row lb-quiet">
          <span>From 0 to {seconds(end)}:</span>
          {LEGEND.map(([kind, title]) => (
            <span key={kind}>
              <svg viewBox="0 0 16 16" className="lb-swatch" aria-hidden>
                <rect className={`lb-line__${kind}`} width={16} height={16} />
              </svg>{" "}
              {title}
            </span>
          ))}
        </p>
        <div className="lb-lines" role="list" aria-label="Machines in time">
          {live.machines.map((machine) => (
            <Line key={machine.name} machine={machine} end={end} />
          ))}
        </div>
      </CardBody>
    </Card>
  );
}

const LEGEND: [Bar["kind"], string][] = [
  ["wait", "waits"],
  ["boot", "boots"],
  ["ready", "ready"],
  ["bad", "failed"],
];

function Line({ machine, end }: { machine: R.LiveMachine; end: number }) {
  const words = waiting(machine) || MACHINE[machine.state].title;
  const at = (time: number) => Math.min(1000, (1000 * time) / end);
  return (
    <div className="lb-line" role="listitem">
      <span>
        <Said words={machine.name} longest={60} />
      </span>
      <span>
        <svg viewBox="0 0 1000 24" preserveAspectRatio="none" role="img" aria-label={words}>
          {bars(machine, end).map((bar) => (
            <rect key={bar.kind} className={`lb-line__${bar.kind}`} x={at(bar.from)} width={Math.max(1, at(bar.to) - at(bar.from))} y={4} height={16} />
          ))}
        </svg>
        <span className="lb-quiet">
          {words}
          {machine.ready_s !== null && ` after ${seconds(machine.ready_s)}`}
          {machine.reason && (
            <>
              : <Said words={machine.reason} longest={300} />
            </>
          )}
        </span>
      </span>
    </div>
  );
}
