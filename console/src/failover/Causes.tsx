import type * as F from "../api/failoverTypes";
import { Tag } from "../parts/LevelLabel";
import { Said } from "../parts/Said";
import { Exactly } from "../parts/When";
import { LEVEL } from "./words";

/** What is not well, in the order of time; what follows from something else stands below it. */
export function Causes({ causes }: { causes: F.Cause[] }) {
  if (causes.length === 0) return <p>Everything is within its usual range.</p>;
  return (
    <ol className="lb-stack">
      {causes.slice(0, 100).map((cause) => (
        <li key={`${cause.subject.host}/${cause.subject.name}`}>
          <CauseLine cause={cause} />
        </li>
      ))}
    </ol>
  );
}

export function CauseLine({ cause }: { cause: F.Cause }) {
  const { tone, title } = LEVEL[cause.trouble.level];
  return (
    <>
      <Tag tone={tone} compact>
        {title}
      </Tag>{" "}
      <strong>
        <Said words={`${cause.subject.name} on ${cause.subject.host}`} />
      </strong>{" "}
      ({cause.side} site), since <Exactly at={cause.trouble.since} />: <Said words={cause.trouble.reason} />.
      {cause.because_of ? (
        <>
          {" "}
          Follows from <Said words={cause.because_of} />.
        </>
      ) : (
        " Nothing else explains it: this came first."
      )}
    </>
  );
}
