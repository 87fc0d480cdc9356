/** A metric's history as points of a chart. */

import type * as F from "../api/failoverTypes";

export interface Spot {
  x: Date;
  y: number;
  y0?: number;
}

/** The mean as a line, least and most as a band. Where nobody looked there is a gap. */
export function drawn(points: F.Point[]): { line: Spot[]; band: Spot[]; bad: Spot[] } {
  const line: Spot[] = [];
  const band: Spot[] = [];
  const bad: Spot[] = [];
  for (const point of points) {
    if (point.mean === null) continue;
    const x = new Date(point.at);
    line.push({ x, y: point.mean });
    band.push({ x, y: point.most ?? point.mean, y0: point.least ?? point.mean });
    if (point.bad > 0) bad.push({ x, y: point.mean });
  }
  return { line, band, bad };
}

/** The band of values that a chart has to show, never of no height. */
export function range(points: F.Point[], ordinary: { low: number; high: number } | null): [number, number] {
  const values = points.flatMap(({ least, most }) => [least, most]).filter((value): value is number => value !== null);
  if (ordinary) values.push(ordinary.low, ordinary.high);
  if (values.length === 0) return [0, 1];
  const low = values.reduce((one, another) => Math.min(one, another));
  const high = values.reduce((one, another) => Math.max(one, another));
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}
