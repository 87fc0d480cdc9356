/** What an application's state is called, in words for people. Pure: decided here, drawn elsewhere. */

import type * as F from "../api/failoverTypes";
import type { Tone } from "../parts/LevelLabel";

export const SIDE: Record<F.Side, string> = { primary: "Primary site", secondary: "Secondary site" };
export const other = (side: F.Side): F.Side => (side === "primary" ? "secondary" : "primary");

interface Headline {
  tone: Tone;
  /** The one answer to "where are we?". */
  title: string;
  text: string;
}

const HEADLINES: Record<F.StateName, Headline> = {
  normal: {
    tone: "success",
    title: "All is well. The primary site serves users.",
    text: "The secondary site receives every change and can take over.",
  },
  "degrading-primary": {
    tone: "warning",
    title: "The primary site serves users, but something there is not well.",
    text: "Users may be affected soon. See what it is under Health, and consider a switch to the secondary site.",
  },
  "degraded-user-access": {
    tone: "warning",
    title: "The primary site is well, but users do not reach it as they should.",
    text: "The way to it is impaired. Under Health you see where.",
  },
  "engaging-secondary": {
    tone: "info",
    title: "A switch to the secondary site is under way.",
    text: "Users are not served until it has ended. Follow it under Switch.",
  },
  "secondary-engaged": {
    tone: "warning",
    title: "The secondary site serves users. The primary site stands by.",
    text: "Changes are kept and not yet sent to the primary site: nothing is protected twice until they are.",
  },
  "resync-primary": {
    tone: "info",
    title: "The secondary site serves users. The primary site is being brought up to date.",
    text: "When it has everything, you can switch back.",
  },
  "engaging-primary": {
    tone: "info",
    title: "A switch back to the primary site is under way.",
    text: "Users are not served until it has ended. Follow it under Switch.",
  },
  "resync-secondary": {
    tone: "info",
    title: "The primary site serves users. The secondary site is being brought up to date.",
    text: "Until it has everything, a switch to it could lose changes.",
  },
};

/** What stands above everything else. What needs a person comes before the state. */
export function headline(status: F.Status): Headline {
  const said = HEADLINES[status.state.name];
  if (status.question) {
    return { tone: "warning", title: "The switch waits for your answer.", text: status.question.text };
  }
  const ending = status.process?.record.ending;
  if (ending && typeof ending === "object" && "stopped" in ending && status.state.active === null) {
    return {
      tone: "danger",
      title: "The switch has stopped, and users are not served.",
      text: "Under Switch you see the step and why. It can be taken up again where it stopped.",
    };
  }
  return said;
}

export const stateTitle = (name: F.StateName) => HEADLINES[name].title;

/** What a site does now. */
export function role(state: F.StateView, side: F.Side): { title: string; serves: boolean } {
  if (state.active === side) return { title: "Serves users", serves: true };
  const rises = state.name === "engaging-secondary" ? "secondary" : "primary";
  if (state.active === null) {
    return { title: rises === side ? "Is being started" : "Is being stopped", serves: false };
  }
  return { title: "Stands by", serves: false };
}

export interface Flow {
  /** From where to where; null while it turns. */
  from: F.Side | null;
  /** Whether anything is sent now. */
  moving: boolean;
  title: string;
  text: string;
  tone: Tone;
}

/** The arrow between the sites. */
export function flow(status: F.Status, autosync?: F.AutoSyncView): Flow {
  const { data } = status.state;
  if (data === "turning") {
    return { from: null, moving: false, title: "Direction changes", text: "A switch is under way.", tone: "info" };
  }
  const from = "replicating" in data ? data.replicating.from : data.kept.from;
  const to = SIDE[other(from)].toLowerCase();
  if ("kept" in data || autosync?.held) {
    const text = `Changes are kept for the ${to}; nothing is sent.`;
    return { from, moving: false, title: "Changes are kept", text, tone: "warning" };
  }
  if (autosync && !autosync.enabled) {
    return { from, moving: false, title: "AutoSync is off", text: "Nothing is sent.", tone: "warning" };
  }
  if (status.observed && !status.observed.replicating) {
    return { from, moving: false, title: "No copy arrives", text: `The ${to} falls behind.`, tone: "danger" };
  }
  const text = status.observed?.complete ? `The ${to} has everything.` : `The ${to} is a little behind.`;
  return { from, moving: true, title: "Copies are sent", text, tone: "success" };
}

export const LEVEL: Record<F.Level, { tone: Tone; title: string }> = {
  normal: { tone: "success", title: "well" },
  degrading: { tone: "warning", title: "impaired" },
  failed: { tone: "danger", title: "failed" },
};

export const PART: Record<F.Part, string> = {
  device: "network devices",
  host: "machine",
  store: "data stores",
  service: "services",
  replication: "copying to the other site",
  access: "what users do",
  other: "everything else",
};

const EVENTS: Record<string, string> = {
  "primary-degrades": "something at the primary site is impaired",
  "user-access-degrades": "users do not reach the primary site as they should",
  "condition-ended": "what was impaired is well again",
  "switch-over": "a switch to the secondary site was asked for",
  "switch-done": "the switch is done",
  "switch-reverted": "the switch was taken back",
  "primary-receives": "the primary site receives changes",
  "primary-lost": "the primary site no longer receives",
  "switch-back": "a switch back was asked for",
  "secondary-complete": "the secondary site has everything",
};

export const eventTitle = (event: string) => EVENTS[event] ?? event;

export const wayTitle = (way: F.Way) =>
  way === "switch-over" ? "Switch over to the secondary site" : "Switch back to the primary site";

/** The way that a switch would go now. */
export const wayFrom = (active: F.Side | null): F.Way => (active === "secondary" ? "switch-back" : "switch-over");

/** Open first, then by gravity and age, the newest first. */
export function sortedAlerts(alerts: F.Alert[]): F.Alert[] {
  const gravity = { critical: 0, warning: 1, note: 2 };
  const key = (alert: F.Alert) => [alert.over_at === null ? 0 : 1, gravity[alert.gravity], -alert.since] as const;
  return [...alerts].sort((one, another) => {
    const [a, b] = [key(one), key(another)];
    return a[0] - b[0] || (a[0] === 0 ? a[1] - b[1] : 0) || a[2] - b[2];
  });
}
