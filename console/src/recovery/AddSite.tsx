import { Form, FormGroup, TextInput } from "@patternfly/react-core";
import { useState } from "react";

import { recovery } from "../api/recovery";
import { PlanDialog } from "../parts/PlanDialog";
import { keys } from "./queries";

/** A file `site.toml` that lies on the appliance. */
export function AddSiteDialog({ close }: { close: () => void }) {
  const [file, setFile] = useState("");
  return (
    <PlanDialog
      title="Add a site file"
      does="Add the site"
      variant="primary"
      password={false}
      action={() => recovery.addFile(file.trim())}
      changes={keys.sites}
      close={close}
    >
      <Form onSubmit={(event) => event.preventDefault()}>
        <FormGroup label="Where the file lies on the appliance, in one of its import folders" fieldId="site-file" isRequired>
          <TextInput id="site-file" value={file} onChange={(_, value) => setFile(value)} placeholder="/srv/imports/head-office/site.toml" />
        </FormGroup>
      </Form>
    </PlanDialog>
  );
}
