/** Sends a file in pieces; a piece that was lost is sent again from where the appliance stands. */

import { address, refusal, Refusal, Unreachable } from "../api/ask";
import { recovery } from "../api/recovery";
import type * as R from "../api/recoveryTypes";
import { piece } from "./draft";

const TRIES = 5;
const PAUSE = 2000;

export async function send(file: File, known: R.Upload[], told: (upload: R.Upload) => void, signal: AbortSignal): Promise<R.Upload> {
  const earlier = known.find(({ name, size, complete }) => name === file.name && size === file.size && !complete);
  let upload = earlier ?? (await recovery.beginUpload(file.name, file.size));
  for (let left = piece(upload.size, upload.received); left; left = piece(upload.size, upload.received)) {
    upload = await put(upload, left[0], file.slice(left[0], left[1]), signal);
    told(upload);
  }
  return upload;
}

async function put(upload: R.Upload, offset: number, content: Blob, signal: AbortSignal): Promise<R.Upload> {
  for (let tried = 1; ; tried += 1) {
    try {
      return await putOnce(upload.id, offset, content, signal);
    } catch (error) {
      if (error instanceof Refusal && error.status === 409) return await present(upload);
      if (!(error instanceof Unreachable) || tried === TRIES) throw error;
      await new Promise((done) => setTimeout(done, PAUSE * tried));
    }
  }
}

async function putOnce(id: string, offset: number, body: Blob, signal: AbortSignal): Promise<R.Upload> {
  const url = address("/uploads/{id}", { path: { id }, query: { offset } });
  const sent = fetch(url, { method: "PUT", headers: { "content-type": "application/octet-stream" }, body, signal });
  const answer = await sent.catch((error: unknown) => {
    throw signal.aborted ? error : new Unreachable();
  });
  const text = await answer.text();
  if (!answer.ok) throw refusal(answer.status, text);
  return JSON.parse(text) as R.Upload;
}

/** How far the appliance says that it is. */
async function present(upload: R.Upload): Promise<R.Upload> {
  const all = await recovery.uploads();
  return all.find(({ id }) => id === upload.id) ?? upload;
}
