/** The settings of Auto Pilot as somebody types them. */

import type { AutoPilotChange } from "../api/failover";
import type * as F from "../api/failoverTypes";
import { counted } from "../words/numbers";
import { duration, milliseconds } from "../words/time";

export interface Draft {
  enabled: boolean;
  shadow: boolean;
  switch_back: boolean;
  wait_s: string;
  restarts: string;
}

const LONGEST_WAIT = 7 * 24 * 3600;
const MOST_RESTARTS = 100;

export const draftOf = (settings: F.AutoPilotSettings): Draft => ({
  enabled: settings.enabled,
  shadow: settings.shadow,
  switch_back: settings.switch_back,
  wait_s: String(Math.round(milliseconds(settings.wait) / 1000)),
  restarts: String(settings.restarts),
});

const whole = (text: string) => (/^\d{1,9}$/.test(text.trim()) ? Number(text) : undefined);

/** What is wrong with it, in a sentence. */
export function wrong(draft: Draft): string | undefined {
  const [wait, restarts] = [whole(draft.wait_s), whole(draft.restarts)];
  if (wait === undefined || wait > LONGEST_WAIT) return "The wait is a number of seconds, up to a week.";
  if (restarts === undefined || restarts > MOST_RESTARTS) return "Restarts are a number from 0 to 100.";
  return undefined;
}

/** What to ask for; nothing when nothing is different. */
export function changed(settings: F.AutoPilotSettings, draft: Draft): AutoPilotChange | undefined {
  const before = draftOf(settings);
  const change: AutoPilotChange = {};
  for (const key of ["enabled", "shadow", "switch_back"] as const) if (before[key] !== draft[key]) change[key] = draft[key];
  for (const key of ["wait_s", "restarts"] as const) {
    const value = whole(draft[key]);
    if (value !== undefined && value !== whole(before[key])) change[key] = value;
  }
  return Object.keys(change).length > 0 ? change : undefined;
}

/** What a change means, before it is made. */
export function sentences(change: AutoPilotChange): string[] {
  const said: (string | false | undefined)[] = [
    change.enabled === true && "Lifeboat acts without being asked.",
    change.enabled === false && "Lifeboat does nothing without being asked.",
    change.shadow === true && "It only says what it would have done.",
    change.shadow === false && "It really restarts services and moves the application.",
    change.switch_back === true && "It also switches back by itself.",
    change.switch_back === false && "It never switches back by itself.",
    change.wait_s !== undefined && `Users are without service for ${duration(change.wait_s * 1000)} before it switches.`,
    change.restarts !== undefined && `Services are restarted ${counted(change.restarts, "time")} before it switches.`,
  ];
  return said.filter((sentence): sentence is string => typeof sentence === "string");
}
