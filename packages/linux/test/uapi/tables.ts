import { pciRegs } from "@peerbar/p2pdma";
import type { Request, Struct } from "../../src/index.js";
import {
  dmaBuf,
  dmaHeap,
  iommufd,
  iommufdTest,
  syncFile,
  udmabuf,
  vfio,
  vfioContainer,
} from "../../src/index.js";

/** One exported table and the header it restates. */
interface Table {
  /** As an #include names it. */
  readonly header: string;
  readonly entries: Readonly<Record<string, number | Request | Struct>>;
}

const tables: readonly Table[] = [
  { header: "linux/iommufd.h", entries: iommufd },
  { header: "linux/vfio.h", entries: vfio },
  { header: "linux/vfio.h", entries: vfioContainer },
  { header: "linux/dma-buf.h", entries: dmaBuf },
  { header: "linux/udmabuf.h", entries: udmabuf },
  { header: "linux/dma-heap.h", entries: dmaHeap },
  { header: "linux/sync_file.h", entries: syncFile },
  { header: "linux/pci_regs.h", entries: pciRegs },
  { header: "iommufd_test.h", entries: iommufdTest },
];

/** One number that C must agree with. */
export interface Fact {
  readonly header: string;
  /** For people: `"iommu_destroy.id offset"`. */
  readonly what: string;
  /** A C expression of integer type. */
  readonly c: string;
  readonly ours: bigint;
}

/** Everything the tables declare, fact by fact. */
export function facts(): Fact[] {
  return tables.flatMap(({ header, entries }) =>
    Object.entries(entries).flatMap(([name, entry]) => {
      if (typeof entry === "number") return [{ header, what: name, c: name, ours: BigInt(entry) }];
      if ("fields" in entry) return structFacts(header, entry);
      return [
        ...requestFacts(header, name, entry),
        ...(entry.struct ? structFacts(header, entry.struct as Struct) : []),
      ];
    }),
  );
}

function requestFacts(header: string, name: string, request: Request): Fact[] {
  const ours = BigInt(request.number);
  if (!name.startsWith("IOMMU_TEST_OP_")) return [{ header, what: name, c: name, ours }];
  // One ioctl for all ops: the number is in the struct, and encode fills it in.
  const op = (request.struct as Struct).encode()[4] ?? 0;
  return [
    { header, what: `${name} ioctl`, c: "IOMMU_TEST_CMD", ours },
    { header, what: name, c: name, ours: BigInt(op) },
  ];
}

function structFacts(header: string, struct: Struct): Fact[] {
  const type = `struct ${struct.name}`;
  const facts: Fact[] = [
    { header, what: `${struct.name} size`, c: `sizeof(${type})`, ours: BigInt(struct.size) },
  ];
  for (const { c, kind, offset, size } of struct.fields) {
    const what = `${struct.name}.${c}`;
    const member = `((${type} *)0)->${c}`;
    facts.push(
      { header, what: `${what} offset`, c: `offsetof(${type}, ${c})`, ours: BigInt(offset) },
      { header, what: `${what} size`, c: `sizeof(${member})`, ours: BigInt(size) },
    );
    if (typeof kind === "string")
      facts.push({
        header,
        what: `${what} signed`,
        c: `((__typeof__(${member}))-1 < (__typeof__(${member}))1)`,
        ours: kind.startsWith("s") ? 1n : 0n,
      });
  }
  return facts;
}
