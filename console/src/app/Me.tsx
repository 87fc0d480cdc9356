/** Who is logged in, and what they may do. */

import { useQuery } from "@tanstack/react-query";
import { createContext, useContext } from "react";

import { access, type Me, type Role } from "../api/access";

const ORDER: Role[] = ["viewer", "operator", "administrator"];

/** Whether a role is at least another one. */
export const atLeast = (role: Role, needed: Role) => ORDER.indexOf(role) >= ORDER.indexOf(needed);

export const MeContext = createContext<Me | null>(null);

/** Who is logged in; only below what is shown to somebody who is. */
export function useMe(): Me {
  const me = useContext(MeContext);
  if (!me) throw new Error("nobody is logged in here");
  return me;
}

/** Whether the person may do what needs this role. */
export const useMay = (needed: Role) => atLeast(useMe().role, needed);

export const ME = ["access", "me"];

export const useAskMe = () => useQuery({ queryKey: ME, queryFn: access.me, retry: false, staleTime: 60_000 });
