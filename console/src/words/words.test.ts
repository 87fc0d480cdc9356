import { describe, expect, it } from "vitest";

import { bytes, counted, measured } from "./numbers";
import { plain } from "./plain";
import { ago, ahead, clock, duration, milliseconds, moment } from "./time";

describe("time", () => {
  it("tells durations in two units at most", () => {
    const told = [0, 940, 9_949, 59_400, 61_000, 3_599_000, 3_600_000, 90_000_000].map(duration);
    expect(told).toEqual(["0.0 s", "0.9 s", "9.9 s", "59 s", "1 min 1 s", "59 min 59 s", "1 h 0 min", "1 d 1 h"]);
    expect(duration(-5)).toBe("0.0 s");
  });

  it("tells what is past and to come", () => {
    const now = 1_800_000_000_000;
    expect(ago(now - 3_000, now)).toBe("just now");
    expect(ago(now + 60_000, now)).toBe("just now");
    expect(ago(now - 7_000, now)).toBe("10 s ago");
    expect(ago(now - 3_600_000, now)).toBe("1 h 0 min ago");
    expect(ahead(now + 75_000, now)).toBe("in 1 min 15 s");
    expect(ahead(now - 1, now)).toBe("now");
  });

  it("writes moments from year to second", () => {
    const at = new Date(2026, 0, 2, 3, 4, 5).getTime();
    expect(moment(at)).toBe("2026-01-02 03:04:05");
    expect(clock(at)).toBe("03:04:05");
    expect(milliseconds({ secs: 2, nanos: 500_000_000 })).toBe(2500);
  });
});

describe("numbers", () => {
  it("carries their unit", () => {
    expect(bytes(1536)).toBe("1.50 KiB");
    expect(bytes(-3 * 1024 ** 3)).toBe("-3 GiB");
    expect(measured(0.123, "1")).toBe("12.3 %");
    expect(measured(0.0123, "s")).toBe("12.3 ms");
    expect(measured(1, "bool")).toBe("yes");
    expect(measured(undefined, "s")).toBe("no value");
    expect(measured(Number.NaN, "count")).toBe("no value");
    expect(measured(7, "°C")).toBe("7 °C");
    expect(counted(1, "machine")).toBe("1 machine");
    expect(counted(0, "entry", "entries")).toBe("0 entries");
  });
});

describe("words of others", () => {
  it("shows what cannot be seen, and leaves the rest", () => {
    expect(plain("db\u0000\u001b[31m\u202Egnp.exe\u007f")).toBe("db␀␛[31m\\u{202e}gnp.exe␡");
    expect(plain("<script>alert(1)</script>")).toBe("<script>alert(1)</script>");
    expect(plain("two\nlines\tand Grüße 東京")).toBe("two\nlines\tand Grüße 東京");
    expect(plain("a".repeat(3000))).toHaveLength(2001);
  });
});
