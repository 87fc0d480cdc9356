import {
  Button,
  Form,
  FormGroup,
  FormSelect,
  FormSelectOption,
  PageSection,
  TextInput,
} from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { access, type Role, type UserView } from "../api/access";
import { useMe } from "../app/Me";
import { Answer } from "../parts/Answer";
import { Do } from "../parts/Do";
import { Heading } from "../parts/Heading";
import { Tag } from "../parts/LevelLabel";
import { PlanDialog } from "../parts/PlanDialog";
import { Said } from "../parts/Said";
import { When } from "../parts/When";
import { NewPassword, type Twice } from "./NewPassword";
import { UserDialog } from "./UserDialog";
import { nameFault, passwordFault, ROLES } from "./words";

export const USERS = ["access", "users"];

export function UsersPage() {
  const users = useQuery({ queryKey: USERS, queryFn: access.users });
  const [adding, setAdding] = useState(false);
  return (
    <>
      <Heading title="Users" actions={<Button onClick={() => setAdding(true)}>Add a user...</Button>} />
      <PageSection>
        <Answer of={users}>{(all) => <Users users={all} />}</Answer>
        {adding && <AddDialog close={() => setAdding(false)} />}
      </PageSection>
    </>
  );
}

function Users({ users }: { users: UserView[] }) {
  const me = useMe();
  const [changing, setChanging] = useState<UserView | null>(null);
  return (
    <>
      <Table aria-label="Users" variant="compact">
        <Thead>
          <Tr>
            <Th>Name</Th>
            <Th>Role</Th>
            <Th>How it is</Th>
            <Th>Authenticator</Th>
            <Th>Last log-in</Th>
            <Th screenReaderText="Actions" />
          </Tr>
        </Thead>
        <Tbody>
          {users.map((user) => (
            <Tr key={user.name}>
              <Td dataLabel="Name">
                <Said words={user.name} />
                {user.name === me.name && " (you)"}
              </Td>
              <Td dataLabel="Role">{user.role}</Td>
              <Td dataLabel="How it is">
                <Standing user={user} />
              </Td>
              <Td dataLabel="Authenticator">{user.totp ? "yes" : "no"}</Td>
              <Td dataLabel="Last log-in">
                <When at={user.last_login} />
              </Td>
              <Td>
                <span className="lb-row">
                  {user.locked_until !== null && user.locked_until > Date.now() && (
                    <Do action={() => access.unlock(user.name)} changes={USERS} size="sm">
                      Unlock
                    </Do>
                  )}
                  <Button variant="secondary" size="sm" onClick={() => setChanging(user)} aria-label={`Change ${user.name}`}>
                    Change...
                  </Button>
                </span>
              </Td>
            </Tr>
          ))}
        </Tbody>
      </Table>
      {changing && <UserDialog user={changing} close={() => setChanging(null)} />}
    </>
  );
}

function Standing({ user }: { user: UserView }) {
  if (user.disabled) return <Tag tone="plain">may not log in</Tag>;
  if (user.locked_until !== null && user.locked_until > Date.now()) return <Tag tone="warning">locked after failures</Tag>;
  return <Tag tone="success">may log in</Tag>;
}

export function RoleSelect({ role, change, id }: { role: Role; change: (role: Role) => void; id: string }) {
  return (
    <FormGroup label="Role" fieldId={id}>
      <FormSelect id={id} value={role} onChange={(_, value) => change(value as Role)}>
        {(Object.keys(ROLES) as Role[]).map((one) => (
          <FormSelectOption key={one} value={one} label={`${one}: ${ROLES[one]}`} />
        ))}
      </FormSelect>
    </FormGroup>
  );
}

function AddDialog({ close }: { close: () => void }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("viewer");
  const [twice, setTwice] = useState<Twice>({ password: "", again: "" });
  const fault = nameFault(name) ?? passwordFault(twice.password, twice.again);
  return (
    <PlanDialog
      title="Add a user"
      does="Add the user"
      variant="primary"
      action={async () => {
        if (fault) throw new Error(fault);
        await access.addUser({ name, role, password: twice.password });
      }}
      changes={USERS}
      close={close}
    >
      <Form>
        <FormGroup label="Name (small letters)" fieldId="user-name" isRequired>
          <TextInput id="user-name" value={name} onChange={(_, value) => setName(value)} autoComplete="off" />
        </FormGroup>
        <RoleSelect id="user-role" role={role} change={setRole} />
        <NewPassword value={twice} change={setTwice} />
      </Form>
    </PlanDialog>
  );
}
