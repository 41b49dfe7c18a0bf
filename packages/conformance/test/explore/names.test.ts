import { expect, it } from "vitest";
import { ACTORS, Names, SHARED } from "../../src/explore/names.js";

it("a thing has the same number in every run", () => {
  const names = new Names();
  const first = names.child(names.child(0, 1), 3);
  names.child(0, 2);
  expect(names.child(names.child(0, 1), 3)).toBe(first);
});

it("things are told apart however many children one has", () => {
  const names = new Names();
  const numbers = new Set<number>();
  let given = 0;
  for (const parent of [0, SHARED, ACTORS, names.child(0, 1)]) {
    for (let place = 1; place <= 0x2_0005; place += place < 8 ? 1 : 0xfff) {
      numbers.add(names.child(parent, place));
      given += 1;
    }
  }
  // The child of the root that is a parent here was one of the root's.
  expect(numbers.size).toBe(given);
  expect([...numbers]).not.toContain(ACTORS);
});
