import { Button, Card, CardBody, CardTitle, FormSelect, FormSelectOption } from "@patternfly/react-core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { recovery } from "../api/recovery";
import type * as R from "../api/recoveryTypes";
import { Answer } from "../parts/Answer";
import { Said } from "../parts/Said";
import { bytes } from "../words/numbers";
import { above, type Chosen } from "./draft";

type Choose = (one: Omit<Chosen, "machine">) => void;

/** Disks that lie in a folder of the appliance. */
export function FolderPicker({ choose }: { choose: Choose }) {
  const imports = useQuery({ queryKey: ["recovery", "-imports"], queryFn: recovery.imports });
  return (
    <Card>
      <CardTitle component="h2">In a folder of the appliance</CardTitle>
      <CardBody>
        <Answer of={imports}>
          {(folders) =>
            folders.length === 0 ? (
              <p>
                The appliance has no import folder. <code>lifeboat serve --imports NAME=FOLDER</code> names one.
              </p>
            ) : (
              <Folder folders={folders.map(({ name }) => name)} choose={choose} />
            )
          }
        </Answer>
      </CardBody>
    </Card>
  );
}

function Folder({ folders, choose }: { folders: string[]; choose: Choose }) {
  const [folder, setFolder] = useState(folders[0] ?? "");
  const [path, setPath] = useState("");
  const files = useQuery({
    queryKey: ["recovery", "-imports", folder, path],
    queryFn: () => recovery.files(folder, path),
  });
  const entry = (one: R.ImportEntry) => {
    if (one.kind === "folder") {
      return (
        <Button variant="link" isInline onClick={() => setPath(one.path)}>
          <Said words={`${one.name}/`} />
        </Button>
      );
    }
    const volume = { from: "import" as const, import: folder, path: one.path };
    return (
      <Button variant="link" isInline onClick={() => choose({ title: `${folder}/${one.path}`, volume })}>
        <Said words={one.name} /> ({bytes(one.size)})
      </Button>
    );
  };
  return (
    <div className="lb-stack">
      <FormSelect aria-label="Import folder" value={folder} onChange={(_, value) => { setFolder(value); setPath(""); }}>
        {folders.map((name) => (
          <FormSelectOption key={name} value={name} label={name} />
        ))}
      </FormSelect>
      <div className="lb-row">
        <Said words={`${folder}/${path}`} />
        {path && (
          <Button variant="link" isInline onClick={() => setPath(above(path))}>
            One up
          </Button>
        )}
      </div>
      <Answer of={files}>
        {(all) => (
          <ul>
            {all.slice(0, 1000).map((one) => (
              <li key={one.path}>{entry(one)}</li>
            ))}
          </ul>
        )}
      </Answer>
    </div>
  );
}
