/** A machine's screen, keyboard and mouse in the browser. */

import { Alert, Button, PageSection } from "@patternfly/react-core";
import RFB from "@novnc/novnc";
import { useEffect, useRef, useState } from "react";
import { Link, useParams } from "react-router-dom";

import { Heading } from "../parts/Heading";

type Standing = "connecting" | "connected" | "lost";

export default function MachineScreenPage() {
  const { id = "", machine = "" } = useParams();
  const place = useRef<HTMLDivElement>(null);
  const remote = useRef<RFB | null>(null);
  const [standing, setStanding] = useState<Standing>("connecting");
  const [round, setRound] = useState(0);

  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const path = `/api/v1/sessions/${encodeURIComponent(id)}/machines/${encodeURIComponent(machine)}/vnc`;
    const rfb = new RFB(element, `wss://${window.location.host}${path}`, { shared: true, wsProtocols: ["binary"] });
    rfb.scaleViewport = true;
    rfb.addEventListener("connect", () => setStanding("connected"));
    rfb.addEventListener("disconnect", () => setStanding("lost"));
    remote.current = rfb;
    setStanding("connecting");
    return () => {
      remote.current = null;
      rfb.disconnect();
    };
  }, [id, machine, round]);

  return (
    <>
      <Heading
        title={`Screen of ${machine}`}
        actions={
          <>
            <Button variant="secondary" isDisabled={standing !== "connected"} onClick={() => remote.current?.sendCtrlAltDel()}>
              Send Ctrl+Alt+Del
            </Button>
            <Link className="pf-v6-c-button pf-m-secondary" to={`/sessions/${encodeURIComponent(id)}`}>
              Back
            </Link>
          </>
        }
      >
        <p>Keys that you press go to this machine while its screen has the focus.</p>
      </Heading>
      <PageSection>
        {standing === "lost" && (
          <Alert variant="warning" isInline title="The screen is gone" component="p">
            <p>The machine was switched off, or the appliance does not answer.</p>
            <Button variant="link" isInline onClick={() => setRound(round + 1)}>
              Connect again
            </Button>
          </Alert>
        )}
        <div role="status" className="lb-quiet">
          {standing === "connecting" && "Connecting..."}
          {standing === "connected" && "Connected."}
        </div>
        <div ref={place} className="lb-console" data-standing={standing} />
      </PageSection>
    </>
  );
}
