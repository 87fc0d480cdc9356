import { Checkbox, FormGroup, TextInput } from "@patternfly/react-core";
import { useState } from "react";

import { failover } from "../api/failover";
import type * as F from "../api/failoverTypes";
import { PlanDialog } from "../parts/PlanDialog";
import { Said } from "../parts/Said";
import { moment } from "../words/time";
import { keys } from "./queries";

/** Has an image take the place of the data: what that means, step by step, before it begins. */
export function RestoreDialog({ name, image, close }: { name: string; image: F.ImageRecord; close: () => void }) {
  const [why, setWhy] = useState("");
  const [discard, setDiscard] = useState(false);
  const at = moment(image.started_at);
  return (
    <PlanDialog
      title={`Bring back the data of ${at}?`}
      does={`Bring back the data of ${at}`}
      action={() => failover.restore(name, image.name, why, discard)}
      changes={keys.all(name)}
      close={close}
    >
      <div className="lb-stack">
        <p>
          <Said words={name} /> gets the data that it had at {at}. What users changed since then is no longer there afterwards.
        </p>
        <ol>
          <li>Copying to the secondary site is paused.</li>
          <li>The image is put there, in place of the copy, and proved good.</li>
          <li>The application is switched to the secondary site: users are not served meanwhile.</li>
          <li>{discard ? "What the primary site has is thrown away." : "What the primary site has now is put into the archive, so that it can be fetched."}</li>
          <li>The restored data are copied to the primary site, and the application is switched back.</li>
        </ol>
        <p>If the image proves bad, copying goes on as before and nothing is switched.</p>
        <Checkbox
          id="discard"
          label="Throw away what the primary site has now"
          description="Only if there is no room for it, or it is damaged: it cannot be fetched afterwards."
          isChecked={discard}
          onChange={(_, on) => setDiscard(on)}
        />
        <FormGroup label="Why (for the record)" fieldId="restore-why">
          <TextInput id="restore-why" value={why} onChange={(_, value) => setWhy(value)} maxLength={300} />
        </FormGroup>
      </div>
    </PlanDialog>
  );
}
