import { Banner } from "@patternfly/react-core";

import { clock, duration } from "../words/time";
import { useConnection } from "./Connection";
import { useNow } from "./now";

/** Says, as long as it is so, that what is shown is old. */
export function ConnectionBanner() {
  const { standing, since } = useConnection();
  const now = useNow(1000);
  const lost = standing === "lost" && since !== null;
  return (
    <div role="status" aria-live="polite">
      {lost && (
        <Banner status="danger" className="lb-lost">
          <strong>No connection to the appliance since {clock(since)}</strong> ({duration(now - since)}). What you see is
          from then. It is tried again by itself.
        </Banner>
      )}
    </div>
  );
}
