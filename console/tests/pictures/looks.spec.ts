/** Every page as it looks, in light, dark and on a phone, with everything said in text and nothing out of reach. */

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

import { expect, type Page, test } from "@playwright/test";

import { me, world } from "./world";

const PAGES: [string, string, string][] = [
  ["overview", "/", "trouble that somebody"],
  ["applications", "/failover", "Applications on two sites"],
  ["state", "/failover/applications/mail", "Serves users"],
  ["health", "/failover/applications/mail/health", "Nothing else explains it"],
  ["switch", "/failover/applications/mail/switch", "All switches"],
  ["auto-pilot", "/failover/applications/mail/auto-pilot", "Act without being asked"],
  ["archive", "/failover/applications/mail/archive", "proved by a restore"],
  ["changes", "/failover/applications/mail/changes", "In what the sites differ"],
  ["history", "/failover/applications/mail/history", "something at the primary site is impaired"],
  ["alerts", "/failover/alerts", "the mail store of mail-a fills"],
  ["sites", "/sites", "figure4"],
  ["draft", "/sites-draft", "dc1.qcow2"],
  ["test", "/sites/figure4", "Will take about"],
  ["network", "/sites/figure4/network", "10.20.0.10"],
  ["order", "/sites/figure4/order", "1 line of evidence"],
  ["site-history", "/sites/figure4/history", "8.0 s faster"],
  ["schedules", "/sites/figure4/schedules", "every sunday"],
  ["sessions", "/sessions", "under way"],
  ["session", "/sessions/x1", "1 of 3 machines ready"],
  ["report", "/sessions/x1/report", "The site was recovered"],
  ["log", "/sessions/x1/machines/dc1/log", "dc1 login:"],
  ["users", "/access/users", "bob"],
  ["tokens", "/access/tokens", "monitoring"],
  ["log-ins", "/access/sessions", "192.0.2.7"],
  ["record", "/access/record", "POST /api/v1/failover"],
  ["account", "/account", "My log-ins"],
];

/** What is needed on the way to the office. */
const ON_A_PHONE = ["overview", "applications", "state", "health", "switch", "alerts", "sessions", "session"];

const LOOKS = [
  { name: "light", scheme: "light" as const, size: { width: 1280, height: 1400 } },
  { name: "dark", scheme: "dark" as const, size: { width: 1280, height: 1400 } },
  { name: "phone", scheme: "light" as const, size: { width: 390, height: 844 } },
];

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

interface Violation {
  id: string;
  impact: string;
  nodes: { html: string; failureSummary: string }[];
}

/** Serious faults for people who do not use eyes or a mouse. */
export async function faults(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const { violations } = await (window as unknown as { axe: { run: () => Promise<{ violations: Violation[] }> } }).axe.run();
    return violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  });
  return found.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("; ")}`);
}

/** What the page's policy refused, and what went wrong in it. */
function complaints(page: Page): string[] {
  const heard: string[] = [];
  page.on("pageerror", (error) => heard.push(String(error)));
  page.on("console", (message) => {
    if (/Content Security Policy|Refused to|Warning:/.test(message.text())) heard.push(message.text());
  });
  page.on("request", (request) => {
    const { hostname, protocol } = new URL(request.url());
    if (protocol.startsWith("http") && hostname !== "127.0.0.1") heard.push(`asked elsewhere: ${request.url()}`);
  });
  return heard;
}

/** Waits until a graph is drawn, large enough to be read. */
async function drawn(page: Page): Promise<void> {
  const node = page.locator(".lb-graph [data-kind=node]").first();
  await expect.poll(async () => (await node.boundingBox())?.height ?? 0).toBeGreaterThan(15);
}

for (const { name: look, scheme, size } of LOOKS) {
  test.describe(look, () => {
    test.use({ colorScheme: scheme, viewport: size });

    const shown = PAGES.filter(([name]) => look !== "phone" || ON_A_PHONE.includes(name));
    for (const [name, path, words] of shown) {
      test(name, async ({ page }) => {
        const appliance = await world().start();
        const heard = complaints(page);
        await page.goto(appliance.url + path);
        await expect(page.getByText(words).first()).toBeVisible();
        await expect(page.getByRole("heading", { level: 1 })).toHaveCount(1);
        if (await page.locator(".lb-graph").count()) await drawn(page);
        await page.screenshot({ path: `../target/console/pictures/${look}-${name}.png`, fullPage: true });
        expect(await faults(page)).toEqual([]);
        expect(heard).toEqual([]);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        expect(wide, "the page is not wider than the screen").toBeLessThanOrEqual(0);
        await appliance.stop();
      });
    }
  });
}

test("log-in, code and first account", async ({ page }) => {
  const appliance = await world().start();
  const refused = { chain: ["log in"], wrong_use: false, reason: "log_in" };
  const { Refuse } = await import("./madeUp");
  let inside = false;
  appliance
    .on("GET /access/me", () => (inside ? me("viewer") : new Refuse(401, refused)))
    .on("POST /access/login", ({ body }: { body: unknown }) =>
      (body as { password: string }).password === "right" ? { state: "code" } : new Refuse(401, { chain: ["no"], reason: "wrong", wrong_use: false }),
    )
    .on("POST /access/totp", () => {
      inside = true;
      return { state: "in", me: me("viewer") };
    });
  await page.goto(`${appliance.url}/failover`);
  await page.getByLabel("Name").fill("ada");
  await page.getByLabel("Password").fill("wrong");
  await page.keyboard.press("Enter");
  await expect(page.getByText("Name, password or code is wrong.")).toBeVisible();
  expect(await faults(page)).toEqual([]);
  await page.getByLabel("Password").fill("right");
  await page.keyboard.press("Enter");
  await page.getByLabel("Code of your authenticator").fill("123456");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Applications on two sites" })).toBeVisible();
  await expect(page.getByRole("link", { name: "Users" })).toHaveCount(0);

  await page.goto(`${appliance.url}/first-user#secret-of-the-link`);
  await page.getByLabel("Name (small letters)").fill("grace");
  await page.getByLabel(/New password/).fill("a long enough one");
  await page.getByLabel("The same again").fill("a long enough one");
  expect(page.url()).not.toContain("secret-of-the-link");
  await page.screenshot({ path: "../target/console/pictures/light-first-user.png" });
  appliance.on("POST /access/first-user", { state: "in", me: me("administrator") });
  await page.getByRole("button", { name: "Make the account" }).click();
  await expect.poll(() => appliance.asked.at(-1)).toMatchObject({
    path: "/access/first-user",
    body: { secret: "secret-of-the-link", name: "grace", password: "a long enough one" },
  });
  await appliance.stop();
});
