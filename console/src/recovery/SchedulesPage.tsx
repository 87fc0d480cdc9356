/** Tests that run by themselves, and what became of them. */

import {
  ActionGroup,
  Button,
  Form,
  FormGroup,
  FormSelect,
  FormSelectOption,
  PageSection,
  TextInput,
} from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link } from "react-router-dom";

import { recovery } from "../api/recovery";
import type * as R from "../api/recoveryTypes";
import { useMay } from "../app/Me";
import { Answer } from "../parts/Answer";
import { Do, Refused } from "../parts/Do";
import { Tag, type Tone } from "../parts/LevelLabel";
import { Said } from "../parts/Said";
import { Exactly, When } from "../parts/When";
import { keys, useSchedules } from "./queries";
import { rhythmTitle } from "./words";

export function SchedulesPage({ name }: { name: string }) {
  const may = useMay("operator");
  const schedules = useSchedules(name);
  return (
    <PageSection>
      <div className="lb-stack">
        <h2>Tests that run by themselves</h2>
        <Answer of={schedules}>{(all) => <Schedules schedules={all} may={may} />}</Answer>
        {may && <NewSchedule name={name} />}
      </div>
    </PageSection>
  );
}

const STATES: Record<R.ScheduleRun["state"], { tone: Tone; title: string }> = {
  running: { tone: "info", title: "under way" },
  passed: { tone: "success", title: "all served" },
  failed: { tone: "danger", title: "not all served" },
  missed: { tone: "warning", title: "missed" },
};

function Schedules({ schedules, may }: { schedules: R.Schedule[]; may: boolean }) {
  if (schedules.length === 0) return <p>There is none. A recovery that is tested each week is one that works.</p>;
  return (
    <Table aria-label="Tests that run by themselves" variant="compact">
      <Thead>
        <Tr>
          <Th>When</Th>
          <Th>Next</Th>
          <Th>Last</Th>
          <Th screenReaderText="Actions" />
        </Tr>
      </Thead>
      <Tbody>
        {schedules.map((schedule) => (
          <Tr key={schedule.id}>
            <Td dataLabel="When">{rhythmTitle(schedule.settings)}</Td>
            <Td dataLabel="Next">{schedule.settings.enabled ? <When at={schedule.next_ms} /> : "switched off"}</Td>
            <Td dataLabel="Last">
              <Last run={schedule.last} />
            </Td>
            <Td>{may && <Actions schedule={schedule} />}</Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

function Last({ run }: { run: R.ScheduleRun | null }) {
  if (!run) return <>none yet</>;
  const { tone, title } = STATES[run.state];
  return (
    <>
      <Tag tone={tone}>{title}</Tag>{" "}
      {run.session ? (
        <Link to={`/sessions/${encodeURIComponent(run.session)}`}>
          <Exactly at={run.due_ms} />
        </Link>
      ) : (
        <Exactly at={run.due_ms} />
      )}{" "}
      <Said words={run.detail} longest={300} />
    </>
  );
}

function Actions({ schedule: { id, settings } }: { schedule: R.Schedule }) {
  const turned = { ...settings, enabled: !settings.enabled };
  return (
    <span className="lb-row">
      <Do action={() => recovery.changeSchedule(id, turned)} changes={keys.schedules} size="sm">
        {settings.enabled ? "Switch off" : "Switch on"}
      </Do>
      <Do action={() => recovery.removeSchedule(id)} changes={keys.schedules} size="sm">
        Remove
      </Do>
    </span>
  );
}

const DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

function NewSchedule({ name }: { name: string }) {
  const client = useQueryClient();
  const [day, setDay] = useState("sunday");
  const [at, setAt] = useState("02:30");
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const work = useMutation({
    mutationFn: () => {
      const rhythm: R.Rhythm =
        day === "day" ? { every: "day" } : day === "month" ? { every: "month", day: 1 } : { every: "week", weekday: day };
      return recovery.addSchedule(name, { rhythm, at, zone, enabled: true });
    },
    onSettled: () => client.invalidateQueries({ queryKey: keys.schedules }),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (at) work.mutate();
  };
  return (
    <Form onSubmit={submit} className="lb-narrow" aria-label="A new schedule">
      <FormGroup label="Test the site" fieldId="schedule-day">
        <FormSelect id="schedule-day" value={day} onChange={(_, value) => setDay(value)}>
          <FormSelectOption value="day" label="every day" />
          {DAYS.map((one) => (
            <FormSelectOption key={one} value={one} label={`every ${one}`} />
          ))}
          <FormSelectOption value="month" label="on the first day of each month" />
        </FormSelect>
      </FormGroup>
      <FormGroup label={`at (${zone})`} fieldId="schedule-at">
        <TextInput id="schedule-at" type="time" value={at} onChange={(_, value) => setAt(value)} />
      </FormGroup>
      <ActionGroup>
        <Button type="submit" variant="secondary" isDisabled={work.isPending}>
          Add the schedule
        </Button>
      </ActionGroup>
      {work.error && <Refused error={work.error} close={work.reset} />}
    </Form>
  );
}
