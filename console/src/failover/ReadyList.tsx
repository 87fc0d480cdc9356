import { List, ListItem } from "@patternfly/react-core";
import CheckCircleIcon from "@patternfly/react-icons/dist/esm/icons/check-circle-icon";
import ExclamationCircleIcon from "@patternfly/react-icons/dist/esm/icons/exclamation-circle-icon";
import ExclamationTriangleIcon from "@patternfly/react-icons/dist/esm/icons/exclamation-triangle-icon";

import type * as F from "../api/failoverTypes";
import { Tag } from "../parts/LevelLabel";
import { Said } from "../parts/Said";
import { SIDE } from "./words";

/** Everything that was looked at: what is missing first. */
export function ReadyList({ readiness }: { readiness: F.Readiness }) {
  const rank = (one: F.Readiness["looked"][number]) => (one.good ? 2 : one.needed ? 0 : 1);
  const looked = [...readiness.looked].sort((one, another) => rank(one) - rank(another));
  const site = SIDE[readiness.to];
  return (
    <div className="lb-stack">
      <div>
        <Tag tone={readiness.ready ? "success" : "danger"}>
          {readiness.ready ? `Yes: the ${site.toLowerCase()} is ready` : `No: the ${site.toLowerCase()} is not ready`}
        </Tag>
      </div>
      <List isPlain>
        {looked.map((one) => (
          <ListItem key={one.what} icon={<Sign one={one} />}>
            <strong>
              <Said words={one.what} />
            </strong>
            : <Said words={one.text} />
          </ListItem>
        ))}
      </List>
    </div>
  );
}

function Sign({ one }: { one: { good: boolean; needed: boolean } }) {
  if (one.good) return <CheckCircleIcon aria-label="good" color="var(--pf-t--global--icon--color--status--success--default)" />;
  if (one.needed) {
    return <ExclamationCircleIcon aria-label="missing" color="var(--pf-t--global--icon--color--status--danger--default)" />;
  }
  return <ExclamationTriangleIcon aria-label="to note" color="var(--pf-t--global--icon--color--status--warning--default)" />;
}
