import { expect, it } from "vitest";

import { above, CHUNK, piece, taken } from "./draft";

const volume = (upload: string) => ({ from: "upload" as const, upload });

it("gathers the disks of each machine", () => {
  const chosen = [
    { machine: 2, title: "", volume: volume("c") },
    { machine: 1, title: "", volume: volume("a") },
    { machine: 2, title: "", volume: volume("d") },
  ];
  expect(taken(chosen)).toEqual([[volume("a")], [volume("c"), volume("d")]]);
  expect(above("a/b/c")).toBe("a/b");
  expect(above("a")).toBe("");
});

it("cuts an upload into pieces that fit together", () => {
  expect(piece(10, 0)).toEqual([0, 10]);
  expect(piece(CHUNK + 1, CHUNK)).toEqual([CHUNK, CHUNK + 1]);
  expect(piece(10, 10)).toBeUndefined();
  expect(piece(0, 0)).toBeUndefined();
});
