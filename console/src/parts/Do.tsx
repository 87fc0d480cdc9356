/** A button that does something at the appliance, and says when it was refused. */

import { Alert, AlertActionCloseButton, Button, type ButtonProps } from "@patternfly/react-core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import type { ReactNode } from "react";

import { Refusal } from "../api/ask";
import { plain } from "../words/plain";

interface Props {
  action: () => Promise<unknown>;
  /** What to ask for again afterwards. */
  changes: string[];
  children: ReactNode;
  variant?: ButtonProps["variant"];
  label?: string;
  disabled?: boolean;
  size?: ButtonProps["size"];
}

export function Do({ action, changes, children, variant = "secondary", label, disabled, size }: Props) {
  const client = useQueryClient();
  const work = useMutation({
    mutationFn: action,
    onSettled: () => client.invalidateQueries({ queryKey: changes }),
  });
  return (
    <span className="lb-do">
      <Button
        variant={variant}
        size={size}
        onClick={() => work.mutate()}
        isLoading={work.isPending}
        isDisabled={disabled || work.isPending}
        aria-label={label}
      >
        {children}
      </Button>
      {work.error && <Refused error={work.error} close={work.reset} />}
    </span>
  );
}

export function Refused({ error, close }: { error: unknown; close: () => void }) {
  const chain = error instanceof Refusal ? error.chain : [error instanceof Error ? error.message : String(error)];
  return (
    <Alert
      variant="danger"
      isInline
      title={plain(chain[0] ?? "It did not work")}
      component="p"
      actionClose={<AlertActionCloseButton onClose={close} />}
    >
      {chain.slice(1).map((cause, index) => (
        <p key={index}>{plain(cause)}</p>
      ))}
    </Alert>
  );
}
