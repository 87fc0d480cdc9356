/** Sites as graphs. Pure; the drawing is `Graph.tsx`. */

import { type EdgeModel, EdgeStyle, type Model, type NodeModel, NodeShape, NodeStatus } from "@patternfly/react-topology";

import type * as R from "../api/recoveryTypes";
import { plain } from "../words/plain";
import { seconds } from "./words";

const LABEL = 28;

const node = (id: string, label: string, shape: NodeShape, more: Partial<NodeModel> = {}): NodeModel => ({
  id,
  type: "node",
  label: plain(label, LABEL),
  width: 44,
  height: 44,
  shape,
  ...more,
});

/** Networks, the machines on them, and what they asked for outside. */
export function networkModel(network: R.NetworkGraph): Model {
  const asked = new Set(network.outside.map(({ to }) => to));
  const nodes = [
    ...network.networks.map(({ name, cidr }) => node(`network ${name}`, `${name} ${cidr}`, NodeShape.hexagon)),
    ...network.machines.map(({ name }) => node(`machine ${name}`, name, NodeShape.rect)),
    ...[...asked].map((to) => node(`outside ${to}`, to, NodeShape.octagon, { status: NodeStatus.warning })),
  ];
  const known = new Set(nodes.map(({ id }) => id));
  const edges: EdgeModel[] = [
    ...network.links.map(({ machine, network: name, mac }) => ({
      id: `link ${machine} ${mac}`,
      type: "edge",
      source: `machine ${machine}`,
      target: `network ${name}`,
    })),
    ...network.outside.map(({ from, to, protocol, port }) => ({
      id: `asked ${from} ${to} ${protocol} ${port}`,
      type: "edge",
      source: `machine ${from}`,
      target: `outside ${to}`,
      edgeStyle: EdgeStyle.dashed,
    })),
  ];
  return { nodes, edges: unique(edges).filter(({ source, target }) => known.has(source ?? "") && known.has(target ?? "")) };
}

function unique(edges: EdgeModel[]): EdgeModel[] {
  return [...new Map(edges.map((edge) => [edge.id, edge])).values()];
}

export const edgeId = ({ before, after }: Pick<R.GraphEdge, "before" | "after">) => `${before}\u0000${after}`;

/** Which machine needs which. Edges that follow from longer ways are left out of the picture, not of the table. */
export function orderModel(order: R.OrderGraph): Model {
  const nodes = order.machines.map(({ name, critical, expected_s }) =>
    node(name, name, NodeShape.rect, {
      status: critical ? NodeStatus.info : NodeStatus.default,
      data: { secondaryLabel: seconds(expected_s) },
    }),
  );
  const known = new Set(nodes.map(({ id }) => id));
  const edges: EdgeModel[] = order.edges
    .filter((edge) => edge.status === "followed" && (!edge.implied || edge.word !== null))
    .filter(({ before, after }) => known.has(before) && known.has(after))
    .map((edge) => ({
      id: edgeId(edge),
      type: "edge",
      source: edge.before,
      target: edge.after,
      edgeStyle: edge.kind === "soft" ? EdgeStyle.dashed : EdgeStyle.solid,
    }));
  return { nodes, edges: unique(edges) };
}

/** Edges in which a word occurs: those that somebody decided on first, then the surest. */
export function sought(edges: R.GraphEdge[], words: string): R.GraphEdge[] {
  const needle = words.trim().toLowerCase();
  const found = needle === "" ? [...edges] : edges.filter(({ before, after }) => `${before}\u0000${after}`.toLowerCase().includes(needle));
  return found.sort((one, another) => Number(another.word !== null) - Number(one.word !== null) || another.confidence - one.confidence);
}
