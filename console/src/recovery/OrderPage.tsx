/** Which machine needs which, why that is believed, and the operator's word on it. */

import { Alert, EmptyState, EmptyStateBody, EmptyStateFooter, PageSection } from "@patternfly/react-core";
import { useCallback, useMemo, useState } from "react";

import { recovery } from "../api/recovery";
import type * as R from "../api/recoveryTypes";
import { useMay } from "../app/Me";
import { Answer } from "../parts/Answer";
import { Do } from "../parts/Do";
import { Said } from "../parts/Said";
import { When } from "../parts/When";
import { EdgeTable } from "./EdgeTable";
import { Graph } from "./Graph";
import { edgeId, orderModel } from "./graphs";
import { Operations } from "./Operations";
import { useOrder } from "./queries";

export default function OrderPage({ name }: { name: string }) {
  const order = useOrder(name);
  return (
    <PageSection>
      <div className="lb-stack">
        <Operations subject={name} />
        <Answer of={order}>{(known) => (known ? <Order name={name} order={known} /> : <None name={name} />)}</Answer>
      </div>
    </PageSection>
  );
}

function WorkOut({ name, children }: { name: string; children: string }) {
  const may = useMay("operator");
  return (
    <Do action={() => recovery.workOutOrder(name)} changes={["recovery"]} disabled={!may}>
      {children}
    </Do>
  );
}

function None({ name }: { name: string }) {
  return (
    <EmptyState titleText="The order was not worked out yet" headingLevel="h2">
      <EmptyStateBody>
        It is read from the machines&apos; own logs and configuration. This takes a while, and changes nothing.
      </EmptyStateBody>
      <EmptyStateFooter>
        <WorkOut name={name}>Work it out now</WorkOut>
      </EmptyStateFooter>
    </EmptyState>
  );
}

function Order({ name, order }: { name: string; order: R.OrderGraph }) {
  const [selected, setSelected] = useState<string | null>(null);
  const model = useMemo(() => orderModel(order), [order]);
  const select = useCallback((id: string | null) => setSelected(id), []);
  const chosen = order.edges.filter((edge) => edgeId(edge) === selected || edge.before === selected || edge.after === selected);
  return (
    <>
      {order.stale && (
        <Alert variant="warning" isInline title="Something changed since this was worked out" component="p">
          <WorkOut name={name}>Work it out anew</WorkOut>
        </Alert>
      )}
      <p>
        An arrow leads from a machine to one that needs it; dashed is a wish, not a must. Worked out{" "}
        <When at={order.worked_out_ms} />. {!order.stale && <WorkOut name={name}>Work it out anew</WorkOut>}
      </p>
      {order.warnings.map((warning, index) => (
        <Alert key={index} variant="warning" isInline isPlain title="To note" component="p">
          <Said words={warning} longest={500} />
        </Alert>
      ))}
      <Graph model={model} label="Which machine needs which" selected={select} />
      <h2>{selected && chosen.length > 0 ? "What you chose in the picture" : "All that is believed, and why"}</h2>
      <EdgeTable name={name} edges={selected && chosen.length > 0 ? chosen : order.edges} />
    </>
  );
}
