/** Light or dark: what the person chose here, else what their system says. */

export type Choice = "system" | "light" | "dark";

const KEY = "lifeboat-theme";
const DARK = "pf-v6-theme-dark";
const system = () => window.matchMedia("(prefers-color-scheme: dark)");

export function chosen(): Choice {
  const kept = localStorage.getItem(KEY);
  return kept === "light" || kept === "dark" ? kept : "system";
}

export function choose(choice: Choice) {
  if (choice === "system") localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, choice);
  apply();
}

function apply() {
  const choice = chosen();
  const dark = choice === "dark" || (choice === "system" && system().matches);
  document.documentElement.classList.toggle(DARK, dark);
}

/** Before anything is drawn, and whenever the system changes. */
export function start() {
  apply();
  system().addEventListener("change", apply);
}
