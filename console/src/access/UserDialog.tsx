import { Checkbox, Form } from "@patternfly/react-core";
import { useState } from "react";

import { access, type Role, type UserView } from "../api/access";
import { PlanDialog } from "../parts/PlanDialog";
import { NewPassword, type Twice } from "./NewPassword";
import { RoleSelect, USERS } from "./UsersPage";
import { passwordFault } from "./words";

/** Everything that can be changed of a user; taking it away altogether, too. */
export function UserDialog({ user, close }: { user: UserView; close: () => void }) {
  const [role, setRole] = useState<Role>(user.role);
  const [disabled, setDisabled] = useState(user.disabled);
  const [forget, setForget] = useState(false);
  const [remove, setRemove] = useState(false);
  const [twice, setTwice] = useState<Twice>({ password: "", again: "" });

  const change = async () => {
    if (remove) return access.removeUser(user.name);
    const fault = twice.password === "" ? undefined : passwordFault(twice.password, twice.again);
    if (fault) throw new Error(fault);
    return access.changeUser(user.name, {
      ...(role === user.role ? {} : { role }),
      ...(disabled === user.disabled ? {} : { disabled }),
      ...(forget ? { totp: false as const } : {}),
      ...(twice.password === "" ? {} : { password: twice.password }),
    });
  };

  return (
    <PlanDialog
      title={`Change ${user.name}`}
      does={remove ? `Remove ${user.name}` : `Change ${user.name}`}
      variant={remove ? "danger" : "primary"}
      action={change}
      changes={USERS}
      close={close}
    >
      <Form>
        {!remove && (
          <>
            <RoleSelect id="change-role" role={role} change={setRole} />
            <Checkbox
              id="change-disabled"
              label="May not log in"
              description="Log-ins and tokens of this user end."
              isChecked={disabled}
              onChange={(_, on) => setDisabled(on)}
            />
            {user.totp && (
              <Checkbox
                id="change-totp"
                label="Take the authenticator away"
                description="For somebody who lost it."
                isChecked={forget}
                onChange={(_, on) => setForget(on)}
              />
            )}
            <NewPassword value={twice} change={setTwice} />
          </>
        )}
        <Checkbox
          id="change-remove"
          label="Remove this user"
          description="Log-ins and tokens end at once. What the user did stays on record."
          isChecked={remove}
          onChange={(_, on) => setRemove(on)}
        />
      </Form>
    </PlanDialog>
  );
}
