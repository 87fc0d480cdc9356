/** The first account, by the one-time link that the appliance printed. */

import { ActionGroup, Alert, Button, Form, FormGroup, TextInput } from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";

import { access } from "../api/access";
import { Front } from "./Front";
import { NewPassword, type Twice } from "./NewPassword";
import { nameFault, passwordFault, refusalWords } from "./words";

export default function FirstUserPage() {
  // The part after # never leaves the browser, and is not kept in its address bar.
  const [secret] = useState(() => {
    const found = window.location.hash.slice(1);
    window.history.replaceState(null, "", window.location.pathname);
    return found;
  });
  const [name, setName] = useState("");
  const [twice, setTwice] = useState<Twice>({ password: "", again: "" });
  const work = useMutation({
    mutationFn: () => access.firstUser({ secret, name, password: twice.password }),
    onSuccess: () => window.location.replace("/"),
  });
  const fault = nameFault(name) ?? passwordFault(twice.password, twice.again);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!fault && secret) work.mutate();
  };
  return (
    <Front title="Welcome to Lifeboat">
      <p>Make the first account. It is an administrator and can make the others.</p>
      {!secret && (
        <Alert variant="warning" isInline title="This address is not complete" component="p">
          Open the whole link that the appliance printed. It can be printed again there: <code>lifeboat access first-user</code>
        </Alert>
      )}
      <Form onSubmit={submit}>
        {work.error && <Alert variant="danger" isInline title={refusalWords(work.error)} component="p" />}
        <FormGroup label="Name (small letters)" fieldId="first-name" isRequired>
          <TextInput id="first-name" value={name} onChange={(_, value) => setName(value)} autoComplete="username" autoFocus />
        </FormGroup>
        <NewPassword value={twice} change={setTwice} />
        <ActionGroup>
          <Button type="submit" isDisabled={!!fault || !secret || work.isPending} isLoading={work.isPending}>
            Make the account
          </Button>
        </ActionGroup>
      </Form>
    </Front>
  );
}
