/** Auto Pilot and AutoSync, on or off. */

import { Card, CardBody, CardTitle, Switch } from "@patternfly/react-core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router-dom";

import { failover } from "../api/failover";
import type * as F from "../api/failoverTypes";
import { useMay } from "../app/Me";
import { Refused } from "../parts/Do";
import { PlanDialog } from "../parts/PlanDialog";
import { Said } from "../parts/Said";
import { keys } from "./queries";

export function Switches({ status, autosync }: { status: F.Status; autosync: F.AutoSyncView | null }) {
  return (
    <Card>
      <CardTitle component="h2">What happens by itself</CardTitle>
      <CardBody className="lb-stack">
        <AutoPilot status={status} />
        {autosync && <AutoSync name={status.application} autosync={autosync} />}
      </CardBody>
    </Card>
  );
}

function AutoPilot({ status }: { status: F.Status }) {
  const may = useMay("operator");
  const client = useQueryClient();
  const name = status.application;
  const [asking, setAsking] = useState(false);
  const { settings, locked_out, wish } = status.autopilot;
  const work = useMutation({
    mutationFn: () => failover.autopilot(name, { enabled: false }),
    onSettled: () => client.invalidateQueries({ queryKey: keys.state(name) }),
  });
  return (
    <div className="lb-stack">
      <Switch
        id="auto-pilot"
        label={settings.enabled ? "Auto Pilot is on" : "Auto Pilot is off"}
        isChecked={settings.enabled}
        isDisabled={!may || work.isPending}
        onChange={(_, on) => (on ? setAsking(true) : work.mutate())}
      />
      <p className="lb-quiet">
        {settings.enabled && settings.shadow && "It only says what it would do. "}
        {locked_out && "It is locked out, because it switched too often. "}
        <Said words={wish} /> <Link to="auto-pilot">Settings</Link>
      </p>
      {work.error && <Refused error={work.error} close={work.reset} />}
      {asking && (
        <PlanDialog
          title="Turn Auto Pilot on?"
          does="Turn Auto Pilot on"
          action={() => failover.autopilot(name, { enabled: true })}
          changes={keys.state(name)}
          close={() => setAsking(false)}
        >
          <p>
            From then on Lifeboat moves <Said words={name} /> to the other site without asking anybody, when users have not
            been served for as long as the settings say, a restart did not help, and it is proved that the old site serves no
            more. {settings.shadow && "As long as the settings say so, it only tells what it would have done."}
          </p>
        </PlanDialog>
      )}
    </div>
  );
}

function AutoSync({ name, autosync }: { name: string; autosync: F.AutoSyncView }) {
  const may = useMay("operator");
  const client = useQueryClient();
  const [asking, setAsking] = useState(false);
  const on = autosync.enabled && !autosync.held;
  const work = useMutation({
    mutationFn: () => failover.setAutosync(name, true),
    onSettled: () => client.invalidateQueries({ queryKey: keys.all(name) }),
  });
  return (
    <div className="lb-stack">
      <Switch
        id="auto-sync"
        label={on ? "AutoSync is on" : "AutoSync is off"}
        isChecked={on}
        isDisabled={!may || work.isPending}
        onChange={(_, wanted) => (wanted ? work.mutate() : setAsking(true))}
      />
      <p className="lb-quiet">
        {on ? "Changes are copied to the other site as they happen." : "Nothing is copied to the other site."}
      </p>
      {work.error && <Refused error={work.error} close={work.reset} />}
      {asking && (
        <PlanDialog
          title="Turn AutoSync off?"
          does="Turn AutoSync off"
          action={() => failover.setAutosync(name, false)}
          changes={keys.all(name)}
          close={() => setAsking(false)}
        >
          <p>
            Nothing is copied to the other site until you turn it on again. What changes meanwhile is lost if this site is
            lost, and a switch is refused or loses it.
          </p>
        </PlanDialog>
      )}
    </div>
  );
}
