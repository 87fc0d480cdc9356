/** Earlier images of the data: which there are, and how to have one take the place of the data. */

import { Alert, Card, CardBody, CardTitle, PageSection, Switch } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { failover } from "../api/failover";
import type * as F from "../api/failoverTypes";
import { useMay } from "../app/Me";
import { Answer } from "../parts/Answer";
import { Do, Refused } from "../parts/Do";
import { Tag, type Tone } from "../parts/LevelLabel";
import { Said } from "../parts/Said";
import { Exactly, When } from "../parts/When";
import { bytes, counted } from "../words/numbers";
import { RestoreDialog } from "./RestoreDialog";
import { Restores } from "./Restores";
import { keys, useArchive } from "./queries";

export function ArchivePage({ name }: { name: string }) {
  const archive = useArchive(name);
  return (
    <>
      <PageSection>
        <Answer of={archive}>
          {(view) => (
            <div className="lb-stack">
              <Levels name={name} archive={view} />
              <Images name={name} images={view.images} />
            </div>
          )}
        </Answer>
      </PageSection>
      <PageSection>
        <Restores name={name} />
      </PageSection>
    </>
  );
}

function Levels({ name, archive }: { name: string; archive: F.ArchiveView }) {
  const may = useMay("operator");
  const client = useQueryClient();
  const turn = useMutation({
    mutationFn: (on: boolean) => failover.setArchive(name, on),
    onSettled: () => client.invalidateQueries({ queryKey: keys.all(name) }),
  });
  const taking = archive.images.some((image) => image.state === "taking");
  return (
    <Card>
      <CardTitle component="h2">Levels</CardTitle>
      <CardBody className="lb-stack">
        <Switch
          id="archive"
          label={archive.enabled ? "Images are taken by themselves" : "Images are only taken when you ask"}
          isChecked={archive.enabled}
          isDisabled={!may || turn.isPending}
          onChange={(_, on) => turn.mutate(on)}
        />
        {turn.error && <Refused error={turn.error} close={turn.reset} />}
        <Table aria-label="Levels" variant="compact">
          <Thead>
            <Tr>
              <Th>Level</Th>
              <Th>Images kept</Th>
              <Th>Next</Th>
            </Tr>
          </Thead>
          <Tbody>
            {archive.levels.map((level) => (
              <Tr key={level.label}>
                <Td dataLabel="Level">
                  <Said words={level.label} />
                </Td>
                <Td dataLabel="Images kept">
                  {level.images} of {level.keep}
                </Td>
                <Td dataLabel="Next">{archive.enabled ? level.due === 0 ? "now" : <When at={level.due} /> : "not by itself"}</Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
        {may && (
          <div className="lb-row">
            <Do action={() => failover.archiveNow(name)} changes={keys.all(name)} disabled={taking}>
              Take an image now
            </Do>
            {taking && (
              <Do action={() => failover.abandonArchive(name)} changes={keys.all(name)}>
                Give up the image that is being taken
              </Do>
            )}
          </div>
        )}
      </CardBody>
    </Card>
  );
}

const STATES: Record<F.ImageRecord["state"], { tone: Tone | "plain"; title: string }> = {
  taking: { tone: "info", title: "being taken" },
  taken: { tone: "info", title: "taken, not proved yet" },
  proved: { tone: "success", title: "proved by a restore" },
  placed: { tone: "success", title: "good: proved by a restore" },
  failed: { tone: "danger", title: "failed" },
  forgotten: { tone: "plain", title: "removed: too old" },
};

function Images({ name, images }: { name: string; images: F.ImageRecord[] }) {
  const may = useMay("operator");
  const [chosen, setChosen] = useState<F.ImageRecord | null>(null);
  const shown = images.filter((image) => image.state !== "forgotten").slice(0, 200);
  return (
    <Card>
      <CardTitle component="h2">Images</CardTitle>
      <CardBody>
        {shown.length === 0 && <Alert variant="info" isInline title="There is no image yet" component="p" />}
        {shown.length > 0 && (
          <Table aria-label="Images" variant="compact">
            <Thead>
              <Tr>
                <Th>State of</Th>
                <Th>Site</Th>
                <Th>Levels</Th>
                <Th>How it is</Th>
                <Th>Contents</Th>
                <Th screenReaderText="Restore" />
              </Tr>
            </Thead>
            <Tbody>
              {shown.map((image) => (
                <Tr key={image.name}>
                  <Td dataLabel="State of">
                    <Exactly at={image.started_at} />
                  </Td>
                  <Td dataLabel="Site">{image.side}</Td>
                  <Td dataLabel="Levels">
                    <Said words={image.levels.join(", ") || "none"} />
                  </Td>
                  <Td dataLabel="How it is">
                    <Tag tone={STATES[image.state].tone}>{STATES[image.state].title}</Tag>
                    {image.failure && (
                      <div>
                        <Said words={image.failure} longest={300} />
                      </div>
                    )}
                  </Td>
                  <Td dataLabel="Contents">
                    {image.facts ? `${counted(image.facts.files, "file")}, ${bytes(image.facts.bytes)}` : ""}
                  </Td>
                  <Td>
                    {may && (image.state === "placed" || image.state === "proved") && (
                      <button
                        type="button"
                        className="pf-v6-c-button pf-m-secondary pf-m-small"
                        onClick={() => setChosen(image)}
                      >
                        Restore...
                      </button>
                    )}
                  </Td>
                </Tr>
              ))}
            </Tbody>
          </Table>
        )}
        {chosen && <RestoreDialog name={name} image={chosen} close={() => setChosen(null)} />}
      </CardBody>
    </Card>
  );
}
