import { useNow } from "../app/now";
import { ago, ahead, duration, moment } from "../words/time";

/** A moment: how long ago for the eye, exactly for who needs it. */
export function When({ at }: { at: number | null | undefined }) {
  const now = useNow();
  if (at === null || at === undefined) return <>never</>;
  return (
    <time dateTime={new Date(at).toISOString()} title={moment(at)}>
      {at > now + 5000 ? ahead(at, now) : ago(at, now)}
    </time>
  );
}

/** A moment, exactly. */
export function Exactly({ at }: { at: number | null | undefined }) {
  if (at === null || at === undefined) return <>-</>;
  return <time dateTime={new Date(at).toISOString()}>{moment(at)}</time>;
}

/** Since when something is so: exactly, and for how long. */
export function Since({ at }: { at: number }) {
  const now = useNow();
  return (
    <>
      since <Exactly at={at} /> ({duration(Math.max(0, now - at))})
    </>
  );
}
