import { expect, it } from "vitest";

import { drawn, range } from "./series";

const point = (at: number, mean: number | null, bad = 0) => ({ at, mean, least: mean, most: mean, looks: 1, bad });

it("leaves out where nobody looked, and marks what was not good", () => {
  const { line, band, bad } = drawn([point(0, 1), point(1, null), point(2, 3, 1)]);
  expect(line.map(({ y }) => y)).toEqual([1, 3]);
  expect(band[1]).toMatchObject({ y: 3, y0: 3 });
  expect(bad).toHaveLength(1);
});

it("has a height, whatever there is to show", () => {
  expect(range([], null)).toEqual([0, 1]);
  expect(range([point(0, 2)], null)).toEqual([1.5, 2.5]);
  expect(range([point(0, 2)], { low: 0, high: 9 })).toEqual([0, 9]);
});
