/** A machine, a service, a store: how it is, and the values that say so. */

import { Card, CardBody, CardExpandableContent, CardHeader, CardTitle } from "@patternfly/react-core";
import { lazy, Suspense, useState } from "react";

import type * as F from "../api/failoverTypes";
import { Waiting } from "../parts/Answer";
import { Tag } from "../parts/LevelLabel";
import { Said } from "../parts/Said";
import { When } from "../parts/When";
import { measured } from "../words/numbers";
import { plain } from "../words/plain";
import type { Found } from "./find";
import { LEVEL, PART } from "./words";

const MetricHistory = lazy(() => import("./MetricHistory"));

export function SubjectCard({ application, health }: { application: string; health: Found }) {
  const [open, setOpen] = useState(health.level !== "normal");
  const { subject, side, level, metrics } = health;
  const title = plain(`${subject.name} on ${subject.host}`, 200);
  return (
    <Card isCompact isExpanded={open} component="section" aria-label={title}>
      <CardHeader
        onExpand={() => setOpen(!open)}
        toggleButtonProps={{ "aria-label": `Values of ${title}`, "aria-expanded": open }}
      >
        <CardTitle component="h3">
          <span className="lb-row">
            <Tag tone={LEVEL[level].tone} compact>
              {LEVEL[level].title}
            </Tag>
            <Said words={title} />
          </span>
        </CardTitle>
      </CardHeader>
      {open && (
        <CardExpandableContent>
          <CardBody>
            <p className="lb-quiet">
              {PART[subject.part]}, {side} site
            </p>
            <ul className="lb-stack">
              {metrics.slice(0, 200).map((metric) => (
                <MetricLine key={metric.name} application={application} host={subject.host} metric={metric} />
              ))}
            </ul>
          </CardBody>
        </CardExpandableContent>
      )}
    </Card>
  );
}

function MetricLine({ application, host, metric }: { application: string; host: string; metric: F.MetricHealth }) {
  const [shown, setShown] = useState(false);
  const { ordinary, unit } = metric;
  return (
    <li>
      <button
        type="button"
        className="pf-v6-c-button pf-m-link pf-m-inline"
        aria-expanded={shown}
        onClick={() => setShown(!shown)}
      >
        <Said words={metric.name} longest={200} />
      </button>
      : <strong>{metric.state === "unknown" ? "could not be looked at" : measured(metric.value, unit)}</strong>
      {metric.level !== "normal" && (
        <>
          {" "}
          <Tag tone={LEVEL[metric.level].tone} compact>
            {LEVEL[metric.level].title}
          </Tag>
        </>
      )}
      {metric.text && (
        <>
          {" "}
          <Said words={metric.text} longest={300} />
        </>
      )}
      <span className="lb-quiet">
        {ordinary && ` usually ${measured(ordinary.low, unit)} to ${measured(ordinary.high, unit)};`} <When at={metric.at} />
        {metric.stale && ", too old to count"}
      </span>
      {shown && (
        <Suspense fallback={<Waiting />}>
          <MetricHistory application={application} host={host} metric={metric} />
        </Suspense>
      )}
    </li>
  );
}
