/** Tokens: how programs log in. */

import {
  Alert,
  Button,
  Checkbox,
  ClipboardCopy,
  Form,
  FormGroup,
  PageSection,
  TextInput,
} from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { access, type Role, type TokenView } from "../api/access";
import { useMe } from "../app/Me";
import { Answer } from "../parts/Answer";
import { Heading } from "../parts/Heading";
import { PlanDialog } from "../parts/PlanDialog";
import { Said } from "../parts/Said";
import { Exactly, When } from "../parts/When";
import { RoleSelect } from "./UsersPage";

const TOKENS = ["access", "tokens"];

export function TokensPage() {
  return (
    <>
      <Heading title="Tokens for programs">
        <p>A program that uses the interface of the appliance shows a token instead of a password.</p>
      </Heading>
      <PageSection>
        <Tokens />
      </PageSection>
    </>
  );
}

/** One's own tokens; of an administrator, all. */
export function Tokens() {
  const tokens = useQuery({ queryKey: TOKENS, queryFn: access.tokens });
  const [asking, setAsking] = useState(false);
  const [made, setMade] = useState<string | null>(null);
  return (
    <div className="lb-stack">
      <div>
        <Button variant="secondary" onClick={() => setAsking(true)}>
          Make a token...
        </Button>
      </div>
      {made && (
        <Alert variant="success" isInline title="The token is shown this once. Copy it now." component="p">
          <ClipboardCopy isReadOnly hoverTip="Copy" clickTip="Copied">
            {made}
          </ClipboardCopy>
        </Alert>
      )}
      <Answer of={tokens}>{(all) => <TokenTable tokens={all} />}</Answer>
      {asking && <AskDialog close={() => setAsking(false)} made={setMade} />}
    </div>
  );
}

function TokenTable({ tokens }: { tokens: TokenView[] }) {
  const [removing, setRemoving] = useState<TokenView | null>(null);
  if (tokens.length === 0) return <p>There is no token.</p>;
  return (
    <>
      <Table aria-label="Tokens" variant="compact">
        <Thead>
          <Tr>
            <Th>Name</Th>
            <Th>Owner</Th>
            <Th>May</Th>
            <Th>Until</Th>
            <Th>Last used</Th>
            <Th screenReaderText="Remove" />
          </Tr>
        </Thead>
        <Tbody>
          {tokens.map((token) => (
            <Tr key={token.id}>
              <Td dataLabel="Name">
                <Said words={token.name} />
              </Td>
              <Td dataLabel="Owner">
                <Said words={token.owner} />
              </Td>
              <Td dataLabel="May">
                {token.role}: {token.scopes.join(", ")}
                {token.destructive && ", also what cannot be taken back"}
              </Td>
              <Td dataLabel="Until">{token.expires === null ? "for ever" : <Exactly at={token.expires} />}</Td>
              <Td dataLabel="Last used">
                <When at={token.used} />
              </Td>
              <Td>
                <Button variant="secondary" size="sm" onClick={() => setRemoving(token)} aria-label={`Remove ${token.name}`}>
                  Remove...
                </Button>
              </Td>
            </Tr>
          ))}
        </Tbody>
      </Table>
      {removing && (
        <PlanDialog
          title="Remove the token?"
          does="Remove the token"
          action={() => access.removeToken(removing.id)}
          changes={TOKENS}
          close={() => setRemoving(null)}
        >
          <p>
            Programs that use <Said words={removing.name} /> are refused from then on.
          </p>
        </PlanDialog>
      )}
    </>
  );
}

function AskDialog({ close, made }: { close: () => void; made: (token: string) => void }) {
  const me = useMe();
  const scopes = useQuery({ queryKey: ["access", "scopes"], queryFn: access.scopes });
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("viewer");
  const [chosen, setChosen] = useState<string[]>([]);
  const [destructive, setDestructive] = useState(false);
  const [days, setDays] = useState("90");
  const toggle = (scope: string, on: boolean) => setChosen(on ? [...chosen, scope] : chosen.filter((one) => one !== scope));
  return (
    <PlanDialog
      title="Make a token"
      does="Make the token"
      variant="primary"
      action={async () => {
        const asked = { name, role, scopes: chosen, destructive, days: days.trim() === "" ? null : Number(days) };
        made((await access.makeToken(asked)).token);
      }}
      changes={TOKENS}
      close={close}
    >
      <Form>
        <FormGroup label="Name (what it is for)" fieldId="token-name" isRequired>
          <TextInput id="token-name" value={name} onChange={(_, value) => setName(value)} />
        </FormGroup>
        <RoleSelect id="token-role" role={role} change={setRole} />
        <p className="lb-quiet">At most your own role: {me.role}.</p>
        <FormGroup label="For what" role="group" fieldId="token-scopes">
          {(scopes.data ?? []).map((scope) => (
            <Checkbox key={scope} id={`scope-${scope}`} label={scope} isChecked={chosen.includes(scope)} onChange={(_, on) => toggle(scope, on)} />
          ))}
        </FormGroup>
        <Checkbox
          id="token-destructive"
          label="Also what cannot be taken back"
          description="A program is not asked for a password again."
          isChecked={destructive}
          onChange={(_, on) => setDestructive(on)}
        />
        <FormGroup label="Days until it ends (empty: never)" fieldId="token-days">
          <TextInput id="token-days" inputMode="numeric" value={days} onChange={(_, value) => setDays(value)} />
        </FormGroup>
      </Form>
    </PlanDialog>
  );
}
