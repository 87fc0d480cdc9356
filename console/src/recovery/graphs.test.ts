import { expect, it, vi } from "vitest";

// The package draws; here only its words are needed, and they need no page to be loaded.
vi.mock("@patternfly/react-topology", () => ({
  EdgeStyle: { dashed: "dashed", solid: "solid" },
  NodeShape: { rect: "rect", hexagon: "hexagon", octagon: "octagon" },
  NodeStatus: { info: "info", default: "default", warning: "warning" },
}));

import type * as R from "../api/recoveryTypes";
import { networkModel, orderModel, sought } from "./graphs";

const edge = (before: string, after: string, more: Partial<R.GraphEdge> = {}): R.GraphEdge => ({
  before, after, kind: "hard", confidence: 0.5, source: "logs", status: "followed", implied: false, critical: false,
  word: null, evidence: [], ...more,
});

const machine = (name: string) => ({
  name, wave: 0, after: [], reasons: [], expected_s: 1, group: null, critical: false, gates: [],
});

it("draws what is followed, once, and only between machines that there are", () => {
  const edges = [
    edge("dc1", "web1"),
    edge("dc1", "web1"),
    edge("dc1", "ghost"),
    edge("web1", "dc1", { status: "given_up" }),
    edge("dc1", "db1", { implied: true }),
    edge("db1", "web1", { implied: true, word: "pin" }),
  ];
  const order = { worked_out_ms: 0, stale: false, machines: ["dc1", "db1", "web1"].map(machine), edges, words: [], warnings: [] };
  expect(orderModel(order).edges?.map(({ source, target }) => `${source} ${target}`)).toEqual(["dc1 web1", "db1 web1"]);
});

it("finds edges by machine; those with a word come first", () => {
  const edges = [edge("a", "b", { confidence: 0.9 }), edge("c", "d", { word: "pin" }), edge("a", "c")];
  expect(sought(edges, "").map(({ before }) => before)).toEqual(["c", "a", "a"]);
  expect(sought(edges, "B")).toHaveLength(1);
});

it("draws a network with what was asked for outside", () => {
  const drawn = networkModel({
    networks: [{ name: "lan", cidr: "10.0.0.0/24", gateway: null }],
    machines: [{ name: "a\u202e", firmware: "bios" }],
    links: [{ machine: "a\u202e", network: "lan", mac: "m", address: null }],
    outside: [{ from: "a\u202e", to: "10.9.9.9", protocol: "tcp", port: 53, count: 2 }],
    session: null,
  });
  expect(drawn.nodes).toHaveLength(3);
  expect(drawn.nodes?.[1]?.label).toBe("a\\u{202e}");
  expect(drawn.edges).toHaveLength(2);
});
