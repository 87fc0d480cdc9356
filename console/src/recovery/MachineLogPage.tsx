import { PageSection } from "@patternfly/react-core";
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "react-router-dom";

import { recovery } from "../api/recovery";
import { Answer } from "../parts/Answer";
import { Heading } from "../parts/Heading";
import { plain } from "../words/plain";
import { keys } from "./queries";

/** What a machine wrote on its serial line. */
export default function MachineLogPage() {
  const { id = "", machine = "" } = useParams();
  const log = useQuery({
    queryKey: [...keys.session(id), "console", machine],
    queryFn: () => recovery.console(id, machine),
    refetchInterval: 3000,
  });
  return (
    <>
      <Heading
        title={`What ${machine} wrote`}
        actions={
          <Link className="pf-v6-c-button pf-m-secondary" to={`/sessions/${encodeURIComponent(id)}`}>
            Back
          </Link>
        }
      />
      <PageSection>
        <Answer of={log}>
          {({ lines, more }) => (
            <>
              {more && <p className="lb-quiet">Only the end is shown.</p>}
              <div className="lb-log" tabIndex={0} role="region" aria-label="Lines">
                {lines.map((line) => plain(line, 1000)).join("\n") || "Nothing yet."}
              </div>
            </>
          )}
        </Answer>
      </PageSection>
    </>
  );
}
