/** A graph drawn by PatternFly's topology. Whatever it shows stands in a table as well. */

import {
  action,
  type ComponentFactory,
  createTopologyControlButtons,
  DagreLayout,
  defaultControlButtonsOptions,
  DefaultEdge,
  DefaultNode,
  type Edge,
  GRAPH_LAYOUT_END_EVENT,
  type Graph as GraphElement,
  GraphComponent,
  type Model,
  type LayoutFactory,
  ModelKind,
  type Node,
  SELECTION_EVENT,
  TopologyControlBar,
  TopologyView,
  Visualization,
  VisualizationProvider,
  VisualizationSurface,
  withPanZoom,
  withSelection,
} from "@patternfly/react-topology";
import { useEffect, useMemo, useRef, useState } from "react";

const PADDING = 60;
const SETTLE = 100;

interface Props {
  model: Model;
  label: string;
  /** The id of what was clicked. */
  selected?: (id: string | null) => void;
}

const layout: LayoutFactory = (_, graph) =>
  new DagreLayout(graph, { rankdir: "LR", nodesep: 24, ranksep: 60, edgesep: 10, linkDistance: 60, nodeDistance: 24 } as object);

const PlainNode = withSelection()((props: object) => <DefaultNode {...(props as { element: Node })} />);
const PlainEdge = withSelection()((props: object) => <DefaultEdge {...(props as { element: Edge })} />);
const Canvas = withPanZoom()(GraphComponent as never);

const component: ComponentFactory = (kind) => {
  switch (kind) {
    case ModelKind.graph:
      return Canvas as never;
    case ModelKind.edge:
      return PlainEdge as never;
    default:
      return PlainNode as never;
  }
};

function make(): Visualization {
  const fresh = new Visualization();
  fresh.registerLayoutFactory(layout);
  fresh.registerComponentFactory(component);
  return fresh;
}

export function Graph({ model, label, selected }: Props) {
  const [drawing] = useState(make);
  const shape = useMemo(() => JSON.stringify([model.nodes?.map(({ id }) => id), model.edges?.map(({ id }) => id)]), [model]);

  useEffect(() => {
    // Same things as before: they stay where somebody moved them.
    drawing.fromModel({ ...model, graph: { id: "graph", type: "graph", layout: "dagre" } }, shape === shown.get(drawing));
    shown.set(drawing, shape);
  }, [drawing, model, shape]);

  useEffect(() => {
    const heard = (ids: string[]) => selected?.(ids[0] ?? null);
    drawing.addEventListener(SELECTION_EVENT, heard);
    return () => {
      drawing.removeEventListener(SELECTION_EVENT, heard);
    };
  }, [drawing, selected]);

  const place = useFitted(drawing);

  const graph = () => (drawing.hasGraph() ? (drawing.getGraph() as GraphElement) : undefined);
  const buttons = createTopologyControlButtons({
    ...defaultControlButtonsOptions,
    zoomInCallback: action(() => graph()?.scaleBy(4 / 3)),
    zoomOutCallback: action(() => graph()?.scaleBy(0.75)),
    fitToScreenCallback: action(() => graph()?.fit(PADDING)),
    resetViewCallback: action(() => {
      graph()?.reset();
      graph()?.layout();
    }),
    legend: false,
  });

  return (
    <div ref={place} className="lb-graph" role="group" aria-label={label}>
      <TopologyView controlBar={<TopologyControlBar controlButtons={buttons} />}>
        <VisualizationProvider controller={drawing}>
          <VisualizationSurface state={{}} />
        </VisualizationProvider>
      </TopologyView>
    </div>
  );
}

/** Everything is in sight once there is a picture, and a size to draw it in. */
function useFitted(drawing: Visualization) {
  const place = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const fit = () => {
      clearTimeout(timer);
      // The surface notes its new size after it was told of it, as we are.
      timer = setTimeout(() => {
        const graph = drawing.hasGraph() ? drawing.getGraph() : undefined;
        if (graph && graph.getDimensions().width > 1) graph.fit(PADDING);
      }, SETTLE);
    };
    const sized = new ResizeObserver(fit);
    sized.observe(element);
    drawing.addEventListener(GRAPH_LAYOUT_END_EVENT, fit);
    return () => {
      clearTimeout(timer);
      sized.disconnect();
      drawing.removeEventListener(GRAPH_LAYOUT_END_EVENT, fit);
    };
  }, [drawing]);
  return place;
}

const shown = new WeakMap<Visualization, string>();
