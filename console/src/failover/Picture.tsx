/** Both sites, what each does, and which way copies go. */

import type * as F from "../api/failoverTypes";
import { Tag } from "../parts/LevelLabel";
import { Said } from "../parts/Said";
import { Since } from "../parts/When";
import { useHealth } from "./queries";
import { flow, LEVEL, role, SIDE } from "./words";

export function Picture({ status, autosync }: { status: F.Status; autosync?: F.AutoSyncView }) {
  const health = useHealth(status.application);
  return (
    <section className="lb-picture" aria-label="Both sites">
      <Site side="primary" status={status} levels={health.data?.sides.primary} />
      <Arrow status={status} autosync={autosync} />
      <Site side="secondary" status={status} levels={health.data?.sides.secondary} />
    </section>
  );
}

type Levels = { subsystems: F.Level; access: F.Level; replication: F.Level };

function Site({ side, status, levels }: { side: F.Side; status: F.Status; levels?: Levels }) {
  const { title, serves } = role(status.state, side);
  const agents = status.agents.filter(({ part }) => {
    if (part === null || part === "control-centre") return false;
    return ("application" in part ? part.application : part.directory) === side;
  });
  return (
    <div className={`lb-side${serves ? " lb-side--serves" : ""}`} data-side={side}>
      <h3>{SIDE[side]}</h3>
      <div className="lb-side__role">{title}</div>
      {levels && (
        <div className="lb-row">
          <LevelOf what="Systems" level={levels.subsystems} />
          <LevelOf what="Users' access" level={levels.access} />
          <LevelOf what="Copying" level={levels.replication} />
        </div>
      )}
      <ul>
        {agents.map((agent) => (
          <li key={agent.host}>
            <Agent agent={agent} />
          </li>
        ))}
      </ul>
    </div>
  );
}

function LevelOf({ what, level }: { what: string; level: F.Level }) {
  const { tone, title } = LEVEL[level];
  return <Tag tone={tone}>{`${what}: ${title}`}</Tag>;
}

function Agent({ agent }: { agent: F.AgentView }) {
  return (
    <>
      <Said words={agent.host} />:{" "}
      {agent.connected_since === null ? (
        <strong>not connected</strong>
      ) : (
        <span className="lb-quiet">
          connected <Since at={agent.connected_since} />
        </span>
      )}
      {agent.serving?.cannot_stop && <strong> - does not stop its services</strong>}
    </>
  );
}

function Arrow({ status, autosync }: { status: F.Status; autosync?: F.AutoSyncView }) {
  const { from, moving, title, text, tone } = flow(status, autosync);
  const turned = from === "secondary";
  const words = from ? `${title}, from the ${from} site` : title;
  return (
    <div className={`lb-flow${turned ? " lb-flow--turned" : ""}`}>
      <svg viewBox="0 0 200 40" role="img" aria-label={words} preserveAspectRatio="xMidYMid meet">
        <path className={`lb-arrow${moving ? "" : " lb-arrow--dashed"}`} d="M8 20H186" />
        {from ? (
          <path className="lb-arrow" d="M168 6 188 20 168 34" />
        ) : (
          <path className="lb-arrow" d="M100 4V36" />
        )}
      </svg>
      <Tag tone={tone}>{title}</Tag>
      <p>
        {from && <strong>{turned ? "Secondary to primary. " : "Primary to secondary. "}</strong>}
        {text}
      </p>
    </div>
  );
}
