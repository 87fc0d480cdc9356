/** Which of what is shown may have changed, from a message of the appliance. */

/** The beginning of the keys under which answers are kept. */
export type Topic = string[];

export const FAILOVER: Topic = ["failover"];
export const RECOVERY: Topic = ["recovery"];

interface Told {
  application?: string | null;
  kind?: string;
  detail?: { part?: string };
}

/** What an event of failover changes. */
export function failoverTopics(kind: string, data: unknown): Topic[] {
  if (kind === "missed") return [FAILOVER];
  const told = data as Told;
  const application = told.application;
  switch (told.kind) {
    case "agent":
      return application ? [["failover", application], ["failover", "-agents"]] : [FAILOVER];
    case "notice":
      return [["failover", "-alerts"], ...(application ? [["failover", application, "state"]] : [])];
    case "told": {
      const part = told.detail?.part ?? "";
      const alerts: Topic = ["failover", "-alerts"];
      return application ? [["failover", application, part], ["failover", application, "state"], alerts] : [FAILOVER];
    }
    case "step":
    case "question":
    case "auto-pilot":
      return application ? [["failover", application, "state"]] : [FAILOVER];
    default:
      return application ? [["failover", application], ["failover", "-applications"], ["failover", "-alerts"]] : [FAILOVER];
  }
}

interface Notice {
  name?: string;
  id?: string | number;
  site?: string | null;
  session?: string;
  change?: string;
}

/** What a notice of recovery changes. */
export function recoveryTopics(kind: string, data: unknown): Topic[] {
  const notice = data as Notice;
  switch (kind) {
    case "site":
      return [["recovery", "-sites"], ...(notice.name ? [["recovery", "site", notice.name]] : [])];
    case "session":
      return [
        ["recovery", "-sessions"],
        ["recovery", "-sites"],
        ["recovery", "session", String(notice.id)],
        ...(notice.site ? [["recovery", "site", notice.site]] : []),
      ];
    case "step":
      return [["recovery", "session", String(notice.session)]];
    case "operation":
      return [["recovery", "-operations"]];
    case "schedule":
      return [["recovery", "-schedules"]];
    default:
      return [RECOVERY];
  }
}
