import { iova } from "@peerbar/core";
import { describe, expect, it } from "vitest";
import { Area, AreaPages } from "../src/area.js";
import { AreaTable } from "../src/area-table.js";
import { MockIommu, PROT_READ } from "../src/index.js";
import { SPACE_END } from "../src/iova-set.js";

const space = new MockIommu().allocAddressSpace();
const pages = new AreaPages([], true);

function area(page: number, count: number): Area {
  const at = { page, count, iova: iova(BigInt(page) << 12n), length: BigInt(count) << 12n };
  return new Area(space, pages, 0, at, PROT_READ, false);
}

describe("the table of areas", () => {
  it("ends where the space ends: one past its last page is no area (iommufd M17)", () => {
    const table = new AreaTable();
    const areas = [area(16, 1), area(SPACE_END - 1, 1)];
    for (const one of [...areas].reverse()) table.add(one);
    // Bounded: a table that goes on behind its last page never ends.
    const met: Area[] = [];
    for (const one of table) if (met.push(one) > areas.length) break;
    expect(met).toEqual(areas);
    expect([table.at(SPACE_END), table.from(SPACE_END)]).toEqual([undefined, undefined]);
    expect([table.meets(SPACE_END, SPACE_END + 1), table.meets(17, SPACE_END)]).toEqual([
      false,
      true,
    ]);
    for (const one of areas) table.remove(one);
    expect([table.size, table.from(0)]).toEqual([0, undefined]);
  });
});
