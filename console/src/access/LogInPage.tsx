/** The way in: name and password, then the code of an authenticator where there is one. */

import { ActionGroup, Alert, Button, Form, FormGroup, TextInput } from "@patternfly/react-core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";

import { access, type Entered } from "../api/access";
import { ME } from "../app/Me";
import { Front } from "./Front";
import { refusalWords } from "./words";

interface Props {
  again: () => void;
  /** The password was right already. */
  needsCode: boolean;
}

export function LogInPage({ again, needsCode }: Props) {
  const client = useQueryClient();
  const [code, setCode] = useState(needsCode);
  const start = useQuery({ queryKey: ["access", "start"], queryFn: access.start, retry: false });

  const entered = (answer: Entered) => {
    if (answer.state === "code") {
      setCode(true);
      return;
    }
    // What somebody else was shown is not for this one.
    client.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== "access" });
    client.setQueryData(ME, answer.me);
    again();
  };

  if (start.data?.first_user) return <NobodyYet />;
  return (
    <Front title="Log in">
      {code ? <CodeForm entered={entered} back={() => setCode(false)} /> : <PasswordForm entered={entered} />}
    </Front>
  );
}

function NobodyYet() {
  return (
    <Front title="Nobody has an account here yet">
      <p>
        The appliance printed a link when it started: open it, and make the first account. It can be printed again on the
        appliance itself:
      </p>
      <pre>lifeboat access first-user</pre>
    </Front>
  );
}

function PasswordForm({ entered }: { entered: (answer: Entered) => void }) {
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const work = useMutation({ mutationFn: () => access.login({ name: name.trim(), password }), onSuccess: entered });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (name.trim() && password) work.mutate();
  };
  return (
    <Form onSubmit={submit}>
      {work.error && <Alert variant="danger" isInline title={refusalWords(work.error)} component="p" />}
      <FormGroup label="Name" fieldId="name" isRequired>
        <TextInput id="name" value={name} onChange={(_, value) => setName(value)} autoComplete="username" autoFocus />
      </FormGroup>
      <FormGroup label="Password" fieldId="password" isRequired>
        <TextInput
          id="password"
          type="password"
          value={password}
          onChange={(_, value) => setPassword(value)}
          autoComplete="current-password"
        />
      </FormGroup>
      <ActionGroup>
        <Button type="submit" isDisabled={!name.trim() || !password || work.isPending} isLoading={work.isPending}>
          Log in
        </Button>
      </ActionGroup>
    </Form>
  );
}

function CodeForm({ entered, back }: { entered: (answer: Entered) => void; back: () => void }) {
  const [code, setCode] = useState("");
  const work = useMutation({ mutationFn: () => access.code(code.trim()), onSuccess: entered });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (code.trim()) work.mutate();
  };
  return (
    <Form onSubmit={submit}>
      {work.error && <Alert variant="danger" isInline title={refusalWords(work.error)} component="p" />}
      <FormGroup label="Code of your authenticator" fieldId="code" isRequired>
        <TextInput
          id="code"
          inputMode="numeric"
          value={code}
          onChange={(_, value) => setCode(value)}
          autoComplete="one-time-code"
          autoFocus
        />
      </FormGroup>
      <ActionGroup>
        <Button type="submit" isDisabled={!code.trim() || work.isPending} isLoading={work.isPending}>
          Log in
        </Button>
        <Button variant="link" onClick={back}>
          Another name
        </Button>
      </ActionGroup>
    </Form>
  );
}
