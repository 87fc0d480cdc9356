/** Questions to the appliance: always to where the page came from. */

/** What the appliance says when it does not do something. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    /** The chain of causes, outermost first. */
    readonly chain: string[],
    readonly detail: Record<string, unknown> = {},
  ) {
    super(chain[0] ?? "the appliance refused without saying why");
  }

  /** A word for programs: `confirm`, `role`, `locked`... */
  get reason(): string {
    return typeof this.detail.reason === "string" ? this.detail.reason : "";
  }

  /** Nobody is logged in, or no longer. */
  get loggedOut(): boolean {
    return this.status === 401 && this.reason !== "wrong";
  }
}

/** The appliance did not answer at all. */
export class Unreachable extends Error {
  constructor() {
    super("the appliance does not answer");
  }
}

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
export type Query = Record<string, string | number | boolean | undefined>;

export interface Question {
  path?: Record<string, string | number>;
  query?: Query;
  body?: unknown;
  signal?: AbortSignal;
  headers?: Record<string, string>;
}

/** The last time that somebody touched anything. */
let touched = Date.now();
const UNATTENDED = 30_000;

if (typeof window !== "undefined") {
  const touch = () => {
    touched = Date.now();
  };
  for (const kind of ["pointerdown", "keydown", "wheel", "touchstart"]) {
    window.addEventListener(kind, touch, { capture: true, passive: true });
  }
}

/** What the page asks by itself must not keep a log-in alive that nobody uses. */
const background = (): Record<string, string> =>
  Date.now() - touched > UNATTENDED ? { "lifeboat-background": "1" } : {};

/** Puts the values into `{name}` of a route. */
export function address(route: string, question: Question = {}): string {
  const path = route.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = question.path?.[name];
    if (value === undefined) throw new Error(`no value for ${name} of ${route}`);
    return encodeURIComponent(String(value));
  });
  const given = Object.entries(question.query ?? {}).filter(([, value]) => value !== undefined);
  const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  return `/api/v1${path}${given.length ? `?${query}` : ""}`;
}

/** Asks, and gives the answer or throws why there is none. */
export async function ask<Answer>(method: Method, route: string, question: Question = {}): Promise<Answer> {
  const { body, signal, headers } = question;
  const sent = { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers };
  const answer = await fetch(address(route, question), {
    method,
    headers: { accept: "application/json", ...background(), ...sent },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
    credentials: "same-origin",
    cache: "no-store",
  }).catch((error: unknown) => {
    throw error instanceof DOMException && error.name === "AbortError" ? error : new Unreachable();
  });
  const text = await answer.text();
  if (!answer.ok) throw refusal(answer.status, text);
  return (text === "" ? undefined : JSON.parse(text)) as Answer;
}

/** What a refusal says, also when it is not in the appliance's own form. */
export function refusal(status: number, text: string): Refusal {
  try {
    const problem = JSON.parse(text) as Record<string, unknown>;
    const chain = problem.chain;
    if (Array.isArray(chain)) return new Refusal(status, chain.map(String), problem);
  } catch {
    // Not JSON: its text is all there is.
  }
  const words = text.trim().slice(0, 300);
  return new Refusal(status, [words || `the appliance answered ${status}`]);
}
