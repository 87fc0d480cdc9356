import { Button, Card, CardBody, CardTitle, Progress } from "@patternfly/react-core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";

import { recovery } from "../api/recovery";
import type * as R from "../api/recoveryTypes";
import { Answer, Problem } from "../parts/Answer";
import { Do } from "../parts/Do";
import { Said } from "../parts/Said";
import { bytes } from "../words/numbers";
import type { Chosen } from "./draft";
import { send } from "./upload";

const UPLOADS = ["recovery", "-uploads"];

/** Disks from the reader's own machine, sent in pieces. One that was broken off goes on where it stopped. */
export function UploadPicker({ choose }: { choose: (one: Omit<Chosen, "machine">) => void }) {
  const client = useQueryClient();
  const uploads = useQuery({ queryKey: UPLOADS, queryFn: recovery.uploads });
  const [sent, setSent] = useState<R.Upload | null>(null);
  const [error, setError] = useState<unknown>(null);
  const stop = useRef<AbortController | null>(null);

  const begin = async (file: File) => {
    stop.current = new AbortController();
    setError(null);
    try {
      await send(file, uploads.data ?? [], setSent, stop.current.signal);
    } catch (failure) {
      if (!stop.current.signal.aborted) setError(failure);
    } finally {
      stop.current = null;
      setSent(null);
      await client.invalidateQueries({ queryKey: UPLOADS });
    }
  };

  return (
    <Card>
      <CardTitle component="h2">From your own machine</CardTitle>
      <CardBody className="lb-stack">
        <label>
          Send a disk to the appliance{" "}
          <input
            type="file"
            disabled={sent !== null}
            onChange={(event) => {
              const file = event.target.files?.[0];
              event.target.value = "";
              if (file) void begin(file);
            }}
          />
        </label>
        {sent && (
          <>
            <Progress value={sent.size > 0 ? (100 * sent.received) / sent.size : 0} title={sent.name} measureLocation="outside" />
            <div>
              <Button variant="secondary" onClick={() => stop.current?.abort()}>
                Stop sending
              </Button>
            </div>
          </>
        )}
        {error !== null && <Problem error={error} />}
        <Answer of={uploads}>
          {(all) => (
            <ul>
              {all.map((upload) => (
                <li key={upload.id} className="lb-row">
                  {upload.complete ? (
                    <Button variant="link" isInline onClick={() => choose({ title: upload.name, volume: { from: "upload", upload: upload.id } })}>
                      <Said words={upload.name} /> ({bytes(upload.size)})
                    </Button>
                  ) : (
                    <span>
                      <Said words={upload.name} />: {bytes(upload.received)} of {bytes(upload.size)} are there; choose the same file to go on
                    </span>
                  )}
                  <Do action={() => recovery.removeUpload(upload.id)} changes={UPLOADS} size="sm">
                    Remove
                  </Do>
                </li>
              ))}
            </ul>
          )}
        </Answer>
      </CardBody>
    </Card>
  );
}
