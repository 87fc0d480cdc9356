import { Label } from "@patternfly/react-core";

export type Tone = "success" | "warning" | "danger" | "info" | "custom";

/** A state in a word. The colour only repeats what the word and the sign say. */
export function Tag({ tone, children, compact }: { tone: Tone | "plain"; children: string; compact?: boolean }) {
  if (tone === "plain") {
    return (
      <Label variant="outline" isCompact={compact}>
        {children}
      </Label>
    );
  }
  return (
    <Label status={tone} isCompact={compact}>
      {children}
    </Label>
  );
}
