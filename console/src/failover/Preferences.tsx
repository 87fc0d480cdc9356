/** What of the changes matters, by the word of an operator. */

import {
  ActionGroup,
  Button,
  Card,
  CardBody,
  CardTitle,
  Form,
  FormGroup,
  FormSelect,
  FormSelectOption,
  TextInput,
} from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";

import { failover } from "../api/failover";
import type * as F from "../api/failoverTypes";
import { useMay } from "../app/Me";
import { Answer } from "../parts/Answer";
import { Do, Refused } from "../parts/Do";
import { Said } from "../parts/Said";
import { Exactly } from "../parts/When";
import { keys } from "./queries";

const CATEGORIES = ["system", "package", "configuration", "volume", "service", "listener", "object", "profile", "gap"];
const MEANINGS: [F.Verdict, string][] = [
  ["ignore", "ignore it"],
  ["note", "keep it in the list"],
  ["warning", "tell somebody"],
  ["critical", "tell somebody at once: a switch would fail"],
];

export function Preferences({ name }: { name: string }) {
  const may = useMay("operator");
  const rules = useQuery({ queryKey: [...keys.changes(name), "rules"], queryFn: () => failover.rules(name) });
  return (
    <Card>
      <CardTitle component="h2">Your own rules</CardTitle>
      <CardBody className="lb-stack">
        <p>They come before those that Lifeboat has.</p>
        <Answer of={rules}>{(all) => <Rules name={name} rules={all} may={may} />}</Answer>
        {may && <NewRule name={name} />}
      </CardBody>
    </Card>
  );
}

function Rules({ name, rules, may }: { name: string; rules: F.Preference[]; may: boolean }) {
  if (rules.length === 0) return <p>There is none.</p>;
  return (
    <Table aria-label="Your own rules" variant="compact">
      <Thead>
        <Tr>
          <Th>Name</Th>
          <Th>What</Th>
          <Th>Then</Th>
          <Th>Who</Th>
          <Th>When</Th>
          <Th screenReaderText="Remove" />
        </Tr>
      </Thead>
      <Tbody>
        {rules.map(({ id, rule, who, at }) => (
          <Tr key={id}>
            <Td dataLabel="Name">
              <Said words={rule.id} />
            </Td>
            <Td dataLabel="What">
              <Said words={`${rule.category ?? "anything"} ${(rule.names ?? []).join(", ")}`} longest={200} />
            </Td>
            <Td dataLabel="Then">{MEANINGS.find(([verdict]) => verdict === rule.verdict)?.[1] ?? rule.verdict}</Td>
            <Td dataLabel="Who">
              <Said words={who} />
            </Td>
            <Td dataLabel="When">
              <Exactly at={at} />
            </Td>
            <Td>
              {may && (
                <Do action={() => failover.removeRule(name, id)} changes={keys.changes(name)} size="sm">
                  Remove
                </Do>
              )}
            </Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

function NewRule({ name }: { name: string }) {
  const client = useQueryClient();
  const [category, setCategory] = useState("configuration");
  const [names, setNames] = useState("");
  const [verdict, setVerdict] = useState<F.Verdict>("ignore");
  const work = useMutation({
    mutationFn: () => {
      const listed = names.split(/[\s,]+/).filter(Boolean);
      return failover.setRule(name, { id: `${category} ${listed.join(" ")}`.slice(0, 60), category, names: listed, verdict });
    },
    onSuccess: () => setNames(""),
    onSettled: () => client.invalidateQueries({ queryKey: keys.changes(name) }),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (names.trim()) work.mutate();
  };
  return (
    <Form onSubmit={submit} className="lb-narrow" aria-label="A new rule">
      <FormGroup label="When something changes or differs of this kind" fieldId="rule-category">
        <FormSelect id="rule-category" value={category} onChange={(_, value) => setCategory(value)}>
          {CATEGORIES.map((one) => (
            <FormSelectOption key={one} value={one} label={one} />
          ))}
        </FormSelect>
      </FormGroup>
      <FormGroup label="with one of these names (* stands for any signs)" fieldId="rule-names">
        <TextInput id="rule-names" value={names} onChange={(_, value) => setNames(value)} maxLength={500} />
      </FormGroup>
      <FormGroup label="then" fieldId="rule-verdict">
        <FormSelect id="rule-verdict" value={verdict} onChange={(_, value) => setVerdict(value as F.Verdict)}>
          {MEANINGS.map(([one, title]) => (
            <FormSelectOption key={one} value={one} label={title} />
          ))}
        </FormSelect>
      </FormGroup>
      <ActionGroup>
        <Button type="submit" variant="secondary" isDisabled={!names.trim() || work.isPending}>
          Add the rule
        </Button>
      </ActionGroup>
      {work.error && <Refused error={work.error} close={work.reset} />}
    </Form>
  );
}
