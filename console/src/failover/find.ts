/** Finds things among everything that is looked at: thousands of values, on each stroke of a key. */

import type * as F from "../api/failoverTypes";

export type Found = F.SubjectHealth & { side: F.Side };

const RANK: Record<F.Level, number> = { failed: 0, degrading: 1, normal: 2 };

/** Subjects in which the words occur, the worst first. */
export function find(hosts: F.HostHealth[], words: string, troubled: boolean): Found[] {
  const sought = words.trim().toLowerCase();
  const found: Found[] = [];
  for (const { origin, subjects } of hosts) {
    for (const subject of subjects) {
      if (troubled && subject.level === "normal") continue;
      if (sought === "" || occurs(subject, sought)) found.push({ ...subject, side: origin.side });
    }
  }
  return found.sort((one, another) => RANK[one.level] - RANK[another.level]);
}

function occurs({ subject, metrics }: F.SubjectHealth, sought: string): boolean {
  const holds = (words: string) => words.toLowerCase().includes(sought);
  return holds(subject.host) || holds(subject.name) || metrics.some(({ name }) => holds(name));
}

export function levels(hosts: F.HostHealth[]): { all: number; troubled: number } {
  let [all, troubled] = [0, 0];
  for (const { subjects } of hosts) {
    all += subjects.length;
    for (const { level } of subjects) if (level !== "normal") troubled += 1;
  }
  return { all, troubled };
}
