/** When Lifeboat moves an application without being asked. */

import {
  ActionGroup,
  Alert,
  Button,
  Card,
  CardBody,
  CardTitle,
  Checkbox,
  DescriptionList,
  DescriptionListDescription,
  DescriptionListGroup,
  DescriptionListTerm,
  Form,
  FormGroup,
  FormHelperText,
  HelperText,
  HelperTextItem,
  PageSection,
  TextInput,
} from "@patternfly/react-core";
import { useState } from "react";

import { failover } from "../api/failover";
import type * as F from "../api/failoverTypes";
import { useMay } from "../app/Me";
import { Answer } from "../parts/Answer";
import { Do } from "../parts/Do";
import { PlanDialog } from "../parts/PlanDialog";
import { Said } from "../parts/Said";
import { duration, milliseconds } from "../words/time";
import { changed, type Draft, draftOf, sentences, wrong } from "./autoPilot";
import { keys, useStatus } from "./queries";

export function AutoPilotPage({ name }: { name: string }) {
  const status = useStatus(name);
  return (
    <PageSection>
      <Answer of={status}>{(known) => <Settings key={JSON.stringify(known.autopilot.settings)} status={known} />}</Answer>
    </PageSection>
  );
}

function Settings({ status }: { status: F.Status }) {
  const { settings, locked_out, wish } = status.autopilot;
  const name = status.application;
  const may = useMay("operator");
  return (
    <div className="lb-stack">
      <Alert isInline variant={locked_out ? "warning" : settings.enabled ? "info" : "custom"} component="h2" title={settings.enabled ? "Auto Pilot is on" : "Auto Pilot is off"}>
        <p>
          <Said words={wish} />
        </p>
        {locked_out && (
          <>
            <p>
              It switched {settings.lock_out_after} times within {duration(milliseconds(settings.lock_out_within))} and does nothing
              until you unlock it.
            </p>
            {may && (
              <Do action={() => failover.autopilot(name, { unlock: true })} changes={keys.state(name)}>
                Unlock
              </Do>
            )}
          </>
        )}
      </Alert>
      <div className="lb-cards">
        <Change name={name} settings={settings} />
        <Fixed settings={settings} />
      </div>
    </div>
  );
}

function Change({ name, settings }: { name: string; settings: F.AutoPilotSettings }) {
  const may = useMay("operator");
  const [draft, setDraft] = useState<Draft>(draftOf(settings));
  const [asking, setAsking] = useState(false);
  const change = changed(settings, draft);
  const fault = wrong(draft);
  const put = (more: Partial<Draft>) => setDraft({ ...draft, ...more });
  const box = (key: "enabled" | "shadow" | "switch_back", label: string, description: string) => (
    <Checkbox id={`autopilot-${key}`} label={label} description={description} isChecked={draft[key]} isDisabled={!may} onChange={(_, on) => put({ [key]: on })} />
  );
  return (
    <Card>
      <CardTitle component="h2">Settings</CardTitle>
      <CardBody>
        <Form
          onSubmit={(event) => {
            event.preventDefault();
            if (may && !fault && change) setAsking(true);
          }}
        >
          {box("enabled", "Act without being asked", "Restarts services first, then moves the application.")}
          {box("shadow", "Only say what would be done", "Nothing is restarted or moved; the history tells what would have happened.")}
          {box("switch_back", "Also switch back", "When the primary site has been well and complete for long enough.")}
          <FormGroup label="Wait before a switch (seconds without service)" fieldId="wait">
            <TextInput id="wait" inputMode="numeric" value={draft.wait_s} isDisabled={!may} onChange={(_, wait_s) => put({ wait_s })} />
          </FormGroup>
          <FormGroup label="Restarts before a switch" fieldId="restarts">
            <TextInput id="restarts" inputMode="numeric" value={draft.restarts} isDisabled={!may} onChange={(_, restarts) => put({ restarts })} />
            {fault && (
              <FormHelperText>
                <HelperText>
                  <HelperTextItem variant="error">{fault}</HelperTextItem>
                </HelperText>
              </FormHelperText>
            )}
          </FormGroup>
          <ActionGroup>
            <Button type="submit" isDisabled={!may || !!fault || !change}>
              Change...
            </Button>
          </ActionGroup>
        </Form>
        {asking && change && (
          <PlanDialog
            title="Change Auto Pilot?"
            does="Change Auto Pilot"
            action={() => failover.autopilot(name, change)}
            changes={keys.state(name)}
            close={() => setAsking(false)}
          >
            <ul>
              {sentences(change).map((sentence) => (
                <li key={sentence}>{sentence}</li>
              ))}
            </ul>
          </PlanDialog>
        )}
      </CardBody>
    </Card>
  );
}

function Fixed({ settings }: { settings: F.AutoPilotSettings }) {
  const lines: [string, string][] = [
    ["A restart may take", duration(milliseconds(settings.restart_patience))],
    ["After a switch, no other one for", duration(milliseconds(settings.hold_down))],
    ["Locked out after", `${settings.lock_out_after} switches within ${duration(milliseconds(settings.lock_out_within))}`],
    ["Before a switch back, the primary site is well for", duration(milliseconds(settings.well_before_back))],
  ];
  return (
    <Card>
      <CardTitle component="h2">Set in the application&apos;s file</CardTitle>
      <CardBody>
        <DescriptionList isCompact>
          {lines.map(([term, value]) => (
            <DescriptionListGroup key={term}>
              <DescriptionListTerm>{term}</DescriptionListTerm>
              <DescriptionListDescription>{value}</DescriptionListDescription>
            </DescriptionListGroup>
          ))}
        </DescriptionList>
      </CardBody>
    </Card>
  );
}
