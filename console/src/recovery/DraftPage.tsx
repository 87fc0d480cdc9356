/** A new site from the disks of its machines: choose, read what was found in them, correct, add. */

import {
  Alert,
  Button,
  Card,
  CardBody,
  CardTitle,
  Form,
  FormGroup,
  PageSection,
  TextArea,
  TextInput,
} from "@patternfly/react-core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate } from "react-router-dom";

import { recovery } from "../api/recovery";
import type * as R from "../api/recoveryTypes";
import { Problem } from "../parts/Answer";
import { Heading } from "../parts/Heading";
import { Said } from "../parts/Said";
import { type Chosen, taken } from "./draft";
import { FolderPicker } from "./FolderPicker";
import { Running } from "./Operations";
import { UploadPicker } from "./UploadPicker";

export default function DraftPage() {
  const [name, setName] = useState("");
  const [chosen, setChosen] = useState<Chosen[]>([]);
  const [operation, setOperation] = useState<string | null>(null);
  const begin = useMutation({
    mutationFn: () => recovery.draft(name.trim(), taken(chosen)),
    onSuccess: ({ id }) => setOperation(id),
  });
  const add = (one: Omit<Chosen, "machine">) => setChosen([...chosen, { ...one, machine: chosen.length + 1 }]);
  return (
    <>
      <Heading title="New site from volumes">
        <p>
          Lifeboat reads the disks, and writes down what they say: names, addresses, services. The disks stay as they are.
        </p>
      </Heading>
      <PageSection>
        <div className="lb-stack">
          <Form className="lb-narrow" onSubmit={(event) => event.preventDefault()}>
            <FormGroup label="Name of the site" fieldId="draft-name" isRequired>
              <TextInput id="draft-name" value={name} onChange={(_, value) => setName(value)} />
            </FormGroup>
          </Form>
          <div className="lb-cards">
            <FolderPicker choose={add} />
            <UploadPicker choose={add} />
          </div>
          <ChosenList chosen={chosen} change={setChosen} />
          <div>
            <Button
              isDisabled={!name.trim() || chosen.length === 0 || begin.isPending || operation !== null}
              onClick={() => begin.mutate()}
            >
              Read the disks
            </Button>
          </div>
          {begin.error && <Problem error={begin.error} />}
          {operation && <Outcome id={operation} again={() => setOperation(null)} />}
        </div>
      </PageSection>
    </>
  );
}

function ChosenList({ chosen, change }: { chosen: Chosen[]; change: (chosen: Chosen[]) => void }) {
  if (chosen.length === 0) return <p>Choose a disk of each machine. A machine with several disks has the same number at each.</p>;
  return (
    <Card>
      <CardTitle component="h2">Chosen disks</CardTitle>
      <CardBody>
        <ul>
          {chosen.map((one, index) => (
            <li key={index} className="lb-row">
              <label>
                Machine{" "}
                <input
                  type="number"
                  min={1}
                  max={999}
                  value={one.machine}
                  onChange={(event) =>
                    change(chosen.map((other, at) => (at === index ? { ...other, machine: Number(event.target.value) || 1 } : other)))
                  }
                />
              </label>
              <Said words={one.title} />
              <Button variant="link" onClick={() => change(chosen.filter((_, at) => at !== index))}>
                Leave it out
              </Button>
            </li>
          ))}
        </ul>
      </CardBody>
    </Card>
  );
}

function Outcome({ id, again }: { id: string; again: () => void }) {
  const operation = useQuery({
    queryKey: ["recovery", "-operations", id],
    queryFn: () => recovery.operation(id),
    refetchInterval: (query) => (query.state.data?.state === "running" ? 2000 : false),
  });
  const done = operation.data?.state === "succeeded";
  const draft = useQuery({
    queryKey: ["recovery", "-operations", id, "result"],
    queryFn: () => recovery.result<R.Draft>(id),
    enabled: done,
    staleTime: Number.POSITIVE_INFINITY,
  });
  if (operation.data?.state === "running") return <Running operation={operation.data} />;
  if (operation.data && !done) {
    return (
      <Alert variant="danger" isInline title="The disks could not be read" component="p">
        {(operation.data.failure?.chain ?? []).map((words, index) => (
          <p key={index}>
            <Said words={words} />
          </p>
        ))}
        <Button variant="link" isInline onClick={again}>
          Choose again
        </Button>
      </Alert>
    );
  }
  if (draft.data) return <Correct draft={draft.data} />;
  return draft.error ? <Problem error={draft.error} /> : null;
}

function Correct({ draft }: { draft: R.Draft }) {
  const navigate = useNavigate();
  const [text, setText] = useState(draft.text);
  const add = useMutation({
    mutationFn: () => recovery.addText(draft.name, text),
    onSuccess: ({ name }) => navigate(`/sites/${encodeURIComponent(name)}`),
  });
  return (
    <Card>
      <CardTitle component="h2">What was found</CardTitle>
      <CardBody className="lb-stack">
        {draft.warnings.map((warning, index) => (
          <Alert key={index} variant="warning" isInline isPlain title="To note" component="p">
            <Said words={warning} />
          </Alert>
        ))}
        <TextArea aria-label="The site's description" value={text} onChange={(_, value) => setText(value)} rows={24} className="lb-code" />
        {add.error && <Problem error={add.error} />}
        <div>
          <Button onClick={() => add.mutate()} isLoading={add.isPending} isDisabled={add.isPending}>
            Add the site
          </Button>
        </div>
      </CardBody>
    </Card>
  );
}
