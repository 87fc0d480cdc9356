import { Chart, ChartAxis, ChartLine, ChartScatter } from "@patternfly/react-charts/victory";

import type * as R from "../api/recoveryTypes";
import { moment } from "../words/time";
import { seconds } from "./words";

/** Runs in the order of time; the table below says the same in words. */
export default function TrendChart({ runs }: { runs: R.RunPoint[] }) {
  const good = [...runs]
    .filter((run) => run.ok)
    .reverse()
    .map((run) => ({ x: new Date(run.began_ms), y: run.rta_s }));
  if (good.length === 0) return <p>No run has succeeded yet.</p>;
  const most = good.reduce((high, { y }) => Math.max(high, y), 1);
  return (
    <div aria-hidden>
      <Chart height={220} width={700} padding={{ top: 15, bottom: 35, left: 90, right: 40 }} scale={{ x: "time", y: "linear" }} domain={{ y: [0, most * 1.15] }}>
        <ChartAxis tickCount={5} tickFormat={(at: Date | number) => moment(Number(at)).slice(0, 10)} />
        <ChartAxis dependentAxis tickCount={4} tickFormat={(value: number) => seconds(value)} />
        <ChartLine data={good} />
        <ChartScatter data={good} size={4} />
      </Chart>
    </div>
  );
}
