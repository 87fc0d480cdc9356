import { Button, Form, FormGroup, Modal, ModalBody, ModalFooter, ModalHeader, TextInput } from "@patternfly/react-core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";

import { access } from "../api/access";
import { ME } from "../app/Me";
import { Problem } from "../parts/Answer";
import { PlanDialog } from "../parts/PlanDialog";

interface Offer {
  secret: string;
  uri: string;
  qr: string;
}

/** First the password, then the picture for the authenticator, then a code that proves it. */
export function Authenticator({ close }: { close: () => void }) {
  const [offer, setOffer] = useState<Offer | null>(null);
  if (offer) return <Prove offer={offer} close={close} />;
  return (
    <PlanDialog
      title="Set up an authenticator"
      does="Show the code to scan"
      variant="primary"
      action={async () => setOffer(await access.offerTotp())}
      changes={ME}
      close={() => undefined}
    >
      <p>You need an app that makes time-based codes on your phone, or a password manager that does.</p>
    </PlanDialog>
  );
}

function Prove({ offer, close }: { offer: Offer; close: () => void }) {
  const client = useQueryClient();
  const [code, setCode] = useState("");
  const work = useMutation({
    mutationFn: () => access.activateTotp(code.trim()),
    onSuccess: close,
    onSettled: () => client.invalidateQueries({ queryKey: ME }),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (code.trim()) work.mutate();
  };
  return (
    <Modal isOpen variant="medium" onClose={close} aria-labelledby="prove-title">
      <ModalHeader title="Scan this with your authenticator" labelId="prove-title" />
      <ModalBody>
        <div className="lb-stack">
          <img className="lb-qr" alt="The secret as a picture for the authenticator" src={`data:image/svg+xml,${encodeURIComponent(offer.qr)}`} />
          <p>
            Or type it: <code>{offer.secret}</code>
          </p>
          <Form onSubmit={submit}>
            <FormGroup label="The code that it shows now" fieldId="prove-code" isRequired>
              <TextInput id="prove-code" inputMode="numeric" autoComplete="one-time-code" value={code} onChange={(_, value) => setCode(value)} />
            </FormGroup>
          </Form>
          {work.error && <Problem error={work.error} />}
        </div>
      </ModalBody>
      <ModalFooter>
        <Button onClick={submit} isDisabled={!code.trim() || work.isPending}>
          Use it from now on
        </Button>
        <Button variant="link" onClick={close}>
          Cancel
        </Button>
      </ModalFooter>
    </Modal>
  );
}
