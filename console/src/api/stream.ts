/**
 * Server-sent events that survive the loss of the appliance. A browser's own `EventSource` gives up
 * for good on some answers; this one tries again for ever, and says how it is.
 */

export type Standing = "opening" | "open" | "lost";

export interface Listener {
  heard(kind: string, data: unknown): void;
  standing(now: Standing): void;
}

const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 10_000;

/** The pause before the next try. */
export const pause = (failures: number) => Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** Math.max(0, failures - 1));

/** Listens until the function that it returns is called. */
export function listen(url: string, kinds: string[], listener: Listener): () => void {
  let source: EventSource | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let failures = 0;
  let ended = false;

  const take = (event: MessageEvent<string>) => {
    try {
      listener.heard(event.type, JSON.parse(event.data));
    } catch {
      // One message that cannot be read is no reason to lose the rest.
    }
  };

  const open = () => {
    if (ended) return;
    source = new EventSource(url);
    source.onopen = () => {
      failures = 0;
      listener.standing("open");
    };
    source.onmessage = take;
    for (const kind of kinds) source.addEventListener(kind, take);
    source.onerror = () => {
      source?.close();
      failures += 1;
      if (ended) return;
      listener.standing("lost");
      timer = setTimeout(open, pause(failures));
    };
  };

  listener.standing("opening");
  open();
  return () => {
    ended = true;
    clearTimeout(timer);
    source?.close();
  };
}
