import { FormGroup, FormHelperText, HelperText, HelperTextItem, TextInput } from "@patternfly/react-core";
import { useId } from "react";

import { passwordFault, SHORTEST } from "./words";

export interface Twice {
  password: string;
  again: string;
}

/** A new password, typed twice, with what is wrong with it. */
export function NewPassword({ value, change }: { value: Twice; change: (value: Twice) => void }) {
  const id = useId();
  const fault = value.password === "" ? undefined : passwordFault(value.password, value.again);
  return (
    <>
      <FormGroup label={`New password (at least ${SHORTEST} signs)`} fieldId={`${id}-one`} isRequired>
        <TextInput
          id={`${id}-one`}
          type="password"
          autoComplete="new-password"
          value={value.password}
          onChange={(_, password) => change({ ...value, password })}
        />
      </FormGroup>
      <FormGroup label="The same again" fieldId={`${id}-two`} isRequired>
        <TextInput
          id={`${id}-two`}
          type="password"
          autoComplete="new-password"
          value={value.again}
          onChange={(_, again) => change({ ...value, again })}
        />
        {fault && (
          <FormHelperText>
            <HelperText>
              <HelperTextItem variant="error">{fault}</HelperTextItem>
            </HelperText>
          </FormHelperText>
        )}
      </FormGroup>
    </>
  );
}
