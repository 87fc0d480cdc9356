import { describe, expect, it } from "vitest";

import { address, refusal } from "./ask";

describe("addresses", () => {
  it("escape whatever a name holds", () => {
    const path = { name: "../x y/?#%" };
    expect(address("/failover/applications/{name}", { path })).toBe(
      "/api/v1/failover/applications/..%2Fx%20y%2F%3F%23%25",
    );
    expect(address("/alerts", { query: { limit: 5, none: undefined } })).toBe("/api/v1/alerts?limit=5");
    expect(() => address("/sites/{name}")).toThrow("no value for name");
  });
});

describe("refusals", () => {
  it("tell the chain, or whatever was said", () => {
    const told = refusal(409, '{"chain":["not now","an archive is being made"],"wrong_use":false}');
    expect(told.message).toBe("not now");
    expect(told.chain).toHaveLength(2);
    expect(told.loggedOut).toBe(false);
    expect(refusal(502, "<html>").message).toBe("<html>");
    expect(refusal(401, "").message).toBe("the appliance answered 401");
    expect(refusal(500, "[1]").message).toBe("[1]");
  });
});
