import { SearchInput } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useDeferredValue, useMemo, useState } from "react";

import { recovery } from "../api/recovery";
import type * as R from "../api/recoveryTypes";
import { useMay } from "../app/Me";
import { Do } from "../parts/Do";
import { Tag } from "../parts/LevelLabel";
import { Said } from "../parts/Said";
import { counted } from "../words/numbers";
import { edgeId, sought } from "./graphs";
import { keys } from "./queries";
import { sourceTitle, statusTitle } from "./words";

const SHOWN = 50;

/** Each edge with what shows it, and what the operator says of it. */
export function EdgeTable({ name, edges }: { name: string; edges: R.GraphEdge[] }) {
  const [words, setWords] = useState("");
  const [most, setMost] = useState(SHOWN);
  const quiet = useDeferredValue(words);
  const found = useMemo(() => sought(edges, quiet), [edges, quiet]);
  return (
    <div className="lb-stack">
      <SearchInput aria-label="Look for a machine" placeholder="Machine" value={words} onChange={(_, value) => setWords(value)} onClear={() => setWords("")} className="lb-narrow" />
      <Table aria-label="Which machine needs which" variant="compact">
        <Thead>
          <Tr>
            <Th>First</Th>
            <Th>Then</Th>
            <Th>How sure</Th>
            <Th>Why</Th>
            <Th>Your word</Th>
          </Tr>
        </Thead>
        <Tbody>
          {found.slice(0, most).map((edge) => (
            <Edge key={edgeId(edge)} name={name} edge={edge} />
          ))}
        </Tbody>
      </Table>
      {found.length > most && (
        <div>
          <button type="button" className="pf-v6-c-button pf-m-secondary" onClick={() => setMost(most + SHOWN)}>
            Show more of {found.length - most}
          </button>
        </div>
      )}
    </div>
  );
}

function Edge({ name, edge }: { name: string; edge: R.GraphEdge }) {
  return (
    <Tr>
      <Td dataLabel="First">
        <Said words={edge.before} longest={80} />
      </Td>
      <Td dataLabel="Then">
        <Said words={edge.after} longest={80} />
      </Td>
      <Td dataLabel="How sure">
        {Math.round(edge.confidence * 100)} %{edge.kind === "soft" && ", a wish"}
        <div>{statusTitle(edge.status)}</div>
      </Td>
      <Td dataLabel="Why">
        From {sourceTitle(edge.source)}
        {edge.evidence.length > 0 && (
          <details>
            <summary>{counted(edge.evidence.length, "line")} of evidence</summary>
            <ul>
              {edge.evidence.slice(0, 20).map((line, index) => (
                <li key={index}>
                  <Said words={`${line.machine}, ${line.file}${line.time ? `, ${line.time}` : ""}: ${line.text}`} longest={500} />
                </li>
              ))}
            </ul>
          </details>
        )}
      </Td>
      <Td dataLabel="Your word">
        <Word name={name} edge={edge} />
      </Td>
    </Tr>
  );
}

function Word({ name, edge }: { name: string; edge: R.GraphEdge }) {
  const may = useMay("operator");
  const pair = [`${edge.before}:${edge.after}`];
  const say = (change: { pin?: string[]; reject?: string[]; forget?: string[] }) => () => recovery.changeWords(name, change);
  const changes = keys.site(name);
  if (edge.word) {
    return (
      <span className="lb-row">
        <Tag tone="info">{edge.word === "pin" ? "it is so" : "it is not so"}</Tag>
        {may && (
          <Do action={say({ forget: pair })} changes={changes} size="sm">
            Take that back
          </Do>
        )}
      </span>
    );
  }
  if (!may) return <>none</>;
  return (
    <span className="lb-row">
      <Do action={say({ pin: pair })} changes={changes} size="sm">
        It is so
      </Do>
      <Do action={say({ reject: pair })} changes={changes} size="sm">
        It is not so
      </Do>
    </span>
  );
}
