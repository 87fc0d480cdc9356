import { Chart, ChartArea, ChartAxis, ChartLine, ChartScatter } from "@patternfly/react-charts/victory";
import { ToggleGroup, ToggleGroupItem } from "@patternfly/react-core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { failover } from "../api/failover";
import type * as F from "../api/failoverTypes";
import { Answer } from "../parts/Answer";
import { measured } from "../words/numbers";
import { clock, moment } from "../words/time";
import { keys } from "./queries";
import { drawn, range } from "./series";

const HOUR = 3600 * 1000;
const SPANS: [number, string][] = [
  [2 * HOUR, "2 hours"],
  [24 * HOUR, "1 day"],
  [7 * 24 * HOUR, "1 week"],
  [90 * 24 * HOUR, "90 days"],
];

export default function MetricHistory({ application, host, metric }: { application: string; host: string; metric: F.MetricHealth }) {
  const [span, setSpan] = useState(2 * HOUR);
  const points = useQuery({
    queryKey: [...keys.health(application), "metric", host, metric.name, span],
    queryFn: () => failover.metric(application, host, metric.name, Date.now() - span, Date.now()),
    refetchInterval: 30_000,
  });
  return (
    <div className="lb-stack">
      <ToggleGroup aria-label="How far back">
        {SPANS.map(([length, title]) => (
          <ToggleGroupItem key={title} text={title} isSelected={span === length} onChange={() => setSpan(length)} buttonId={`${host}-${metric.name}-${title}`} />
        ))}
      </ToggleGroup>
      <Answer of={points}>{(all) => <Picture points={all} metric={metric} span={span} />}</Answer>
    </div>
  );
}

function Picture({ points, metric, span }: { points: F.Point[]; metric: F.MetricHealth; span: number }) {
  const { line, band, bad } = drawn(points);
  if (line.length === 0) return <p>There is nothing from this time.</p>;
  const [low, high] = range(points, metric.ordinary);
  const label = span > 24 * HOUR ? moment : clock;
  const last = line.at(-1);
  return (
    <figure>
      <div aria-hidden>
        <Chart
          height={180}
          width={420}
          padding={{ top: 10, bottom: 30, left: 70, right: 15 }}
          scale={{ x: "time", y: "linear" }}
          domain={{ y: [low, high] }}
        >
          <ChartAxis tickCount={3} tickFormat={(at: Date | number) => label(Number(at)).slice(0, span > 24 * HOUR ? 10 : 5)} />
          <ChartAxis dependentAxis tickCount={4} tickFormat={(value: number) => measured(value, metric.unit)} />
          <ChartArea data={band} style={{ data: { fillOpacity: 0.2, strokeWidth: 0 } }} />
          <ChartLine data={line} />
          {bad.length > 0 && <ChartScatter data={bad} size={3} />}
        </Chart>
      </div>
      <figcaption className="lb-quiet">
        {measured(low, metric.unit)} to {measured(high, metric.unit)}
        {last && `, at last ${measured(last.y, metric.unit)}`}
        {bad.length > 0 && `; not good at ${bad.length} of ${line.length} moments (dots)`}.
      </figcaption>
    </figure>
  );
}
