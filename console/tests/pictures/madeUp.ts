/** A made-up appliance: the built console with answers that a test gives, and its end and return. */

import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const DIST = fileURLToPath(new URL("../../dist", import.meta.url));
const TYPES: Record<string, string> = {
  ".css": "text/css",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
};

/** As the appliance sends it. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export interface Asked {
  method: string;
  path: string;
  body: unknown;
}

type Given = unknown | ((asked: Asked) => unknown);

/** An answer that is a refusal. */
export class Refuse {
  constructor(
    readonly status: number,
    readonly body: unknown,
  ) {}
}

export class MadeUp {
  readonly asked: Asked[] = [];
  private readonly answers = new Map<string, Given>();
  private readonly streams = new Set<ServerResponse>();
  private server?: Server;
  private port = 0;

  /** What is answered from now on, by method and path below `/api/v1`. */
  on(route: string, given: Given): this {
    this.answers.set(route, given);
    return this;
  }

  async start(): Promise<this> {
    const server = createServer((request, response) => void this.serve(request, response));
    await new Promise<void>((done) => server.listen(this.port, "127.0.0.1", done));
    this.port = (server.address() as AddressInfo).port;
    this.server = server;
    return this;
  }

  /** As after a power cut: nothing is said, connections are gone. */
  async stop(): Promise<void> {
    this.streams.clear();
    const server = this.server;
    if (!server) return;
    this.server = undefined;
    const ended = new Promise<void>((done) => server.close(() => done()));
    server.closeAllConnections();
    await ended;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Tells everybody who listens. */
  tell(data: unknown): void {
    for (const stream of this.streams) stream.write(`data: ${JSON.stringify(data)}\n\n`);
  }

  private async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? "/", "http://here");
    if (pathname.startsWith("/api/v1/")) return this.answer(pathname.slice(7), request, response);
    const wanted = normalize(join(DIST, pathname));
    const file = wanted.startsWith(`${DIST}/`) && extname(wanted) ? wanted : join(DIST, "index.html");
    const content = await readFile(file).catch(() => undefined);
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    response.writeHead(content ? 200 : 404, { "content-type": type, "content-security-policy": POLICY });
    response.end(content);
  }

  private async answer(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (path.endsWith("/events")) return this.stream(response);
    const text = await read(request);
    const asked = { method: request.method ?? "", path, body: text === "" ? undefined : JSON.parse(text) };
    if (asked.method !== "GET") this.asked.push(asked);
    const given = this.answers.get(`${asked.method} ${decodeURIComponent(path)}`);
    const answer = typeof given === "function" ? given(asked) : given;
    if (Buffer.isBuffer(answer)) {
      response.writeHead(200, { "content-type": "image/png" });
      response.end(answer);
      return;
    }
    const [status, body] =
      answer instanceof Refuse
        ? [answer.status, answer.body]
        : answer === undefined
          ? [404, { chain: [`${asked.method} ${path} is not made up`], wrong_use: true }]
          : [200, answer];
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  }

  private stream(response: ServerResponse): void {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    response.write(": here\n\n");
    this.streams.add(response);
    response.on("close", () => this.streams.delete(response));
  }
}

async function read(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}
