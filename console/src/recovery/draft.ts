/** Disks that were chosen for a new site. */

import type * as R from "../api/recoveryTypes";

export interface Chosen {
  /** Disks of one machine have the same number. */
  machine: number;
  title: string;
  volume: R.VolumeRef;
}

/** The disks of each machine, in the order in which they were chosen. */
export function taken(chosen: Chosen[]): R.VolumeRef[][] {
  const machines = new Map<number, R.VolumeRef[]>();
  for (const { machine, volume } of chosen) machines.set(machine, [...(machines.get(machine) ?? []), volume]);
  return [...machines.entries()].sort(([one], [another]) => one - another).map(([, volumes]) => volumes);
}

/** The folder above, as a path without a slash at its ends. */
export const above = (path: string) => path.split("/").slice(0, -1).join("/");

export const CHUNK = 4 * 1024 * 1024;

/** From where to where the next piece of an upload goes; nothing when all is there. */
export function piece(size: number, received: number): [number, number] | undefined {
  return received < size ? [received, Math.min(size, received + CHUNK)] : undefined;
}
