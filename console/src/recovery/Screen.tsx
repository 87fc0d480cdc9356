import { useEffect, useRef, useState } from "react";

const EVERY = 5000;

/** A machine's screen as a small picture, renewed while somebody can see it. */
export function Screen({ session, machine, live }: { session: string; machine: string; live: boolean }) {
  const frame = useRef<HTMLDivElement>(null);
  const [round, setRound] = useState(0);
  const [missing, setMissing] = useState(false);

  useEffect(() => {
    const element = frame.current;
    if (!element || !live) return;
    let visible = false;
    const seen = new IntersectionObserver((entries) => {
      visible = entries.some((entry) => entry.isIntersecting);
    });
    seen.observe(element);
    const timer = setInterval(() => {
      if (visible && !document.hidden) setRound((before) => before + 1);
    }, EVERY);
    return () => {
      clearInterval(timer);
      seen.disconnect();
    };
  }, [live]);

  const path = `/api/v1/sessions/${encodeURIComponent(session)}/machines/${encodeURIComponent(machine)}/screen`;
  return (
    <div ref={frame} className="lb-screen">
      {!missing && (
        <img
          className="lb-screen"
          src={`${path}?width=320&round=${round}`}
          alt={`The screen of ${machine}`}
          loading="lazy"
          onError={() => setMissing(true)}
        />
      )}
    </div>
  );
}
