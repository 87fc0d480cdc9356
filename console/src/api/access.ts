/** Log-in, users, tokens, sessions, and the record of what was done. Times are Unix milliseconds. */

import { ask } from "./ask";

export type Role = "viewer" | "operator" | "administrator";

export interface Me {
  name: string;
  role: Role;
  kind: "session" | "token" | "root";
  totp: boolean;
  confirmed_until: number | null;
  idle_until: number | null;
  ends: number | null;
  scopes: string[];
}

export type Entered = { state: "in"; me: Me } | { state: "code" };

export interface SessionView {
  id: string;
  user: string;
  begun: number;
  seen: number;
  idle_until: number;
  ends: number;
  address: string;
  agent: string;
  this: boolean;
}

export interface TokenView {
  id: string;
  name: string;
  owner: string;
  role: Role;
  scopes: string[];
  destructive: boolean;
  made: number;
  expires: number | null;
  used: number | null;
}

export interface UserView {
  name: string;
  role: Role;
  totp: boolean;
  disabled: boolean;
  locked_until: number | null;
  made: number;
  last_login: number | null;
}

export interface AuditView {
  seq: number;
  at: number;
  kind: "intent" | "detail" | "outcome" | "event";
  of: number | null;
  who: string;
  role: string;
  address: string;
  what: string;
  text: string;
  hash: string;
}

export interface AuditVerdict {
  ok: boolean;
  entries: number;
  head: { seq: number; hash: string } | null;
  faults: { seq: number | null; text: string }[];
}

export interface AskToken {
  name: string;
  role: Role;
  scopes: string[];
  destructive?: boolean;
  days?: number | null;
}

const id = (value: string) => ({ path: { id: value } });
const name = (value: string) => ({ path: { name: value } });

export const access = {
  start: () => ask<{ first_user: boolean }>("GET", "/access/start"),
  firstUser: (body: { secret: string; name: string; password: string }) =>
    ask<Entered>("POST", "/access/first-user", { body }),
  login: (body: { name: string; password: string }) => ask<Entered>("POST", "/access/login", { body }),
  code: (code: string) => ask<Entered>("POST", "/access/totp", { body: { code } }),
  logout: () => ask<void>("POST", "/access/logout"),
  me: () => ask<Me>("GET", "/access/me"),
  confirm: (body: { password: string; code?: string }) => ask<Me>("POST", "/access/confirm", { body }),
  changePassword: (current: string, fresh: string) =>
    ask<Me>("POST", "/access/me/password", { body: { current, new: fresh } }),
  offerTotp: () => ask<{ secret: string; uri: string; qr: string }>("POST", "/access/me/totp"),
  activateTotp: (code: string) => ask<Me>("POST", "/access/me/totp/activate", { body: { code } }),
  removeTotp: () => ask<Me>("DELETE", "/access/me/totp"),
  mySessions: () => ask<SessionView[]>("GET", "/access/me/sessions"),
  endMySession: (which: string) => ask<boolean>("DELETE", "/access/me/sessions/{id}", id(which)),
  tokens: () => ask<TokenView[]>("GET", "/access/tokens"),
  makeToken: (body: AskToken) => ask<{ token: string; view: TokenView }>("POST", "/access/tokens", { body }),
  removeToken: (which: string) => ask<boolean>("DELETE", "/access/tokens/{id}", id(which)),
  scopes: () => ask<string[]>("GET", "/access/scopes"),
  users: () => ask<UserView[]>("GET", "/access/users"),
  addUser: (body: { name: string; role: Role; password: string }) => ask<UserView>("POST", "/access/users", { body }),
  changeUser: (who: string, body: { role?: Role; password?: string; disabled?: boolean; totp?: false }) =>
    ask<UserView>("POST", "/access/users/{name}", { ...name(who), body }),
  unlock: (who: string) => ask<UserView>("POST", "/access/users/{name}/unlock", name(who)),
  removeUser: (who: string) => ask<boolean>("DELETE", "/access/users/{name}", name(who)),
  sessions: () => ask<SessionView[]>("GET", "/access/sessions"),
  endSession: (which: string) => ask<boolean>("DELETE", "/access/sessions/{id}", id(which)),
  audit: (before?: number) => ask<AuditView[]>("GET", "/access/audit", { query: { before, limit: 100 } }),
  verify: () => ask<AuditVerdict>("GET", "/access/audit/verify"),
};
