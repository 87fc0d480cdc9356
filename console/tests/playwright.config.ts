import { defineConfig } from "@playwright/test";

const target = process.env.CONSOLE_ARTEFACTS ?? "../../target/console";

export default defineConfig({
  testDir: ".",
  outputDir: `${target}/results`,
  fullyParallel: false,
  workers: 1,
  timeout: 60_000,
  expect: { timeout: 10_000 },
  reporter: [["list"]],
  use: {
    ignoreHTTPSErrors: true,
    viewport: { width: 1280, height: 900 },
    locale: "en-GB",
    timezoneId: "UTC",
    launchOptions: {
      executablePath: process.env.CONSOLE_BROWSER ?? "/usr/bin/chromium",
      // The tests run as root, where the browser's own sandbox cannot be had.
      args: ["--no-sandbox", "--disable-dev-shm-usage"],
    },
  },
});
