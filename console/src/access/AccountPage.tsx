/** One's own account: password, authenticator, tokens, log-ins. */

import { ActionGroup, Button, Card, CardBody, CardTitle, Form, FormGroup, PageSection, TextInput } from "@patternfly/react-core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";

import { access } from "../api/access";
import { ME, useMe } from "../app/Me";
import { Refused } from "../parts/Do";
import { Heading } from "../parts/Heading";
import { PlanDialog } from "../parts/PlanDialog";
import { Authenticator } from "./Authenticator";
import { NewPassword, type Twice } from "./NewPassword";
import { MySessions } from "./Sessions";
import { Tokens } from "./TokensPage";
import { passwordFault, ROLES } from "./words";

export default function AccountPage() {
  const me = useMe();
  return (
    <>
      <Heading title="My account">
        <p>
          {me.name}, {me.role}: {ROLES[me.role]}.
        </p>
      </Heading>
      <PageSection>
        <div className="lb-cards">
          <Password />
          <Totp />
        </div>
      </PageSection>
      <PageSection>
        <h2>My log-ins</h2>
        <MySessions />
      </PageSection>
      <PageSection>
        <h2>My tokens</h2>
        <Tokens />
      </PageSection>
    </>
  );
}

function Password() {
  const me = useMe();
  const client = useQueryClient();
  const [current, setCurrent] = useState("");
  const [twice, setTwice] = useState<Twice>({ password: "", again: "" });
  const work = useMutation({
    mutationFn: () => access.changePassword(current, twice.password),
    onSuccess: () => {
      setCurrent("");
      setTwice({ password: "", again: "" });
    },
    onSettled: () => client.invalidateQueries({ queryKey: ["access"] }),
  });
  const complete = current !== "" && !passwordFault(twice.password, twice.again);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (complete) work.mutate();
  };
  return (
    <Card>
      <CardTitle component="h2">Password</CardTitle>
      <CardBody>
        <Form onSubmit={submit}>
          <input type="text" autoComplete="username" value={me.name} readOnly hidden />
          <FormGroup label="Present password" fieldId="current" isRequired>
            <TextInput id="current" type="password" autoComplete="current-password" value={current} onChange={(_, value) => setCurrent(value)} />
          </FormGroup>
          <NewPassword value={twice} change={setTwice} />
          <ActionGroup>
            <Button type="submit" variant="secondary" isDisabled={!complete || work.isPending}>
              Change the password
            </Button>
          </ActionGroup>
          {work.isSuccess && <p role="status">Changed. Your other log-ins have ended.</p>}
          {work.error && <Refused error={work.error} close={work.reset} />}
        </Form>
      </CardBody>
    </Card>
  );
}

function Totp() {
  const me = useMe();
  const [asking, setAsking] = useState(false);
  return (
    <Card>
      <CardTitle component="h2">Authenticator</CardTitle>
      <CardBody className="lb-stack">
        <p>
          {me.totp
            ? "A log-in asks for a code of your authenticator."
            : "An app on your phone can make a code that a log-in asks for, so that a stolen password is not enough."}
        </p>
        <div>
          <Button variant="secondary" onClick={() => setAsking(true)}>
            {me.totp ? "Take it away..." : "Set it up..."}
          </Button>
        </div>
        {asking && !me.totp && <Authenticator close={() => setAsking(false)} />}
        {asking && me.totp && (
          <PlanDialog
            title="Take the authenticator away?"
            does="Take it away"
            action={access.removeTotp}
            changes={ME}
            close={() => setAsking(false)}
          >
            <p>From then on your password alone is enough to log in.</p>
          </PlanDialog>
        )}
      </CardBody>
    </Card>
  );
}
