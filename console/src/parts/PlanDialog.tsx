/**
 * Before anything that cannot simply be taken back: what is going to happen, then the password
 * again, then the button that says in words what it does.
 */

import {
  Button,
  Form,
  FormGroup,
  Modal,
  ModalBody,
  ModalFooter,
  ModalHeader,
  TextInput,
} from "@patternfly/react-core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, type ReactNode, useId, useState } from "react";

import { access } from "../api/access";
import { ME, useMe } from "../app/Me";
import { Problem } from "./Answer";

interface Props {
  title: string;
  /** The words of the button that does it. */
  does: string;
  /** What is going to happen. */
  children: ReactNode;
  action: () => Promise<unknown>;
  /** What to ask for again afterwards. */
  changes: string[];
  close: () => void;
  /** After it was done; otherwise the dialogue only closes. */
  done?: () => void;
  /** Why it cannot be done now. */
  impossible?: boolean;
  variant?: "danger" | "primary";
  /** What cannot be harmful needs no password. */
  password?: boolean;
}

export function PlanDialog(props: Props) {
  const { title, does, children, action, changes, close, done, impossible, variant = "danger", password = true } = props;
  const me = useMe();
  const client = useQueryClient();
  const id = useId();
  const [secret, setSecret] = useState("");
  const [code, setCode] = useState("");

  const work = useMutation({
    mutationFn: async () => {
      if (password) await access.confirm(me.totp ? { password: secret, code } : { password: secret });
      await action();
    },
    onSettled: () => {
      void client.invalidateQueries({ queryKey: ME });
      return client.invalidateQueries({ queryKey: changes });
    },
    onSuccess: () => {
      close();
      done?.();
    },
  });

  const complete = !password || (secret !== "" && (!me.totp || code !== ""));
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (complete && !impossible && !work.isPending) work.mutate();
  };

  return (
    <Modal isOpen variant="medium" onClose={close} aria-labelledby={`${id}-title`} aria-describedby={`${id}-plan`}>
      <ModalHeader title={title} labelId={`${id}-title`} titleIconVariant={variant === "danger" ? "warning" : undefined} />
      <ModalBody id={`${id}-plan`} tabIndex={0}>
        {children}
        {work.error && <Problem error={work.error} />}
        {!impossible && password && (
          <Form id={`${id}-form`} onSubmit={submit} className="lb-confirm">
            <FormGroup label={`Your password, ${me.name}`} isRequired fieldId={`${id}-password`}>
              <TextInput
                id={`${id}-password`}
                type="password"
                autoComplete="current-password"
                value={secret}
                onChange={(_, value) => setSecret(value)}
              />
            </FormGroup>
            {me.totp && (
              <FormGroup label="Code of your authenticator" isRequired fieldId={`${id}-code`}>
                <TextInput
                  id={`${id}-code`}
                  inputMode="numeric"
                  autoComplete="one-time-code"
                  value={code}
                  onChange={(_, value) => setCode(value)}
                />
              </FormGroup>
            )}
          </Form>
        )}
      </ModalBody>
      <ModalFooter>
        {!impossible && (
          <Button
            variant={variant}
            onClick={submit}
            isDisabled={!complete || work.isPending}
            isLoading={work.isPending}
          >
            {does}
          </Button>
        )}
        <Button variant="link" onClick={close}>
          {impossible ? "Close" : "Cancel"}
        </Button>
      </ModalFooter>
    </Modal>
  );
}
