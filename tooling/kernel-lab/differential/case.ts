/** One step of a case: what an importer, a user or the device does. Buffers and importers are named by the step that made them. */
export type Step =
  | {
      readonly do: "export";
      readonly bar: number;
      readonly ranges: readonly (readonly [number, number])[];
    }
  | {
      readonly do: "attach";
      readonly buffer: number;
      readonly client: string;
      readonly mode: AttachMode;
    }
  | { readonly do: "map"; readonly attachment: number }
  | { readonly do: "unmap"; readonly attachment: number }
  | { readonly do: "detach"; readonly attachment: number }
  | {
      readonly do: "umem";
      readonly buffer: number;
      readonly client: string;
      readonly mode: UmemMode;
      readonly offset: number;
      readonly length: number;
    }
  | { readonly do: "umem-map" | "umem-unmap" | "umem-release"; readonly umem: number }
  | { readonly do: "umem-page-size"; readonly umem: number; readonly virt: number }
  | { readonly do: "memory"; readonly on: boolean }
  | { readonly do: "power"; readonly state: 0 | 3 }
  | { readonly do: "byte-write" }
  | { readonly do: "reset" }
  | { readonly do: "low-power"; readonly enter: boolean }
  | { readonly do: "close" }
  | { readonly do: "distance"; readonly client: string };

export type AttachMode = "dynamic" | "pinned" | "no-peer" | "static";
export type UmemMode = "dynamic" | "pinned" | "revocable";

/** Address and length in bytes of one scatterlist entry, as hex and number: JSON has no bigint. */
export type Entry = readonly [address: string, length: number];

/** State of one importer after a step: invalidations heard, mappings live; of a umem its callbacks and flags. */
export type ImporterState = readonly [
  kind: "attachment" | "umem",
  step: number,
  ...numbers: number[],
];

/** What came of a step, on the kernel or in the model. */
export interface Outcome {
  /** 0 or a negative errno; undefined where the step could not be tried because an earlier one failed. */
  readonly errno?: number;
  readonly entries?: readonly Entry[];
  readonly value?: number;
  /** Every live importer, in the order they were made: a trigger moves all of them. */
  readonly states: readonly ImporterState[];
}

export interface Case {
  readonly seed: number;
  /** The function whose BAR is shared, and the BAR. */
  readonly provider: string;
  readonly bar: number;
  readonly steps: readonly Step[];
}

/** A case with what a kernel did. */
export interface AnsweredCase extends Case {
  readonly outcomes: readonly Outcome[];
}

/** All that one boot gave. */
export interface Answers {
  readonly schemaVersion: 1;
  /** Name in the table of machines. */
  readonly machine: string;
  readonly iommu: string;
  /** Release of the kernel that answered, e.g. `7.2.13`. */
  readonly kernel: string;
  readonly seed: number;
  /** `peerbar capture` of the machine. */
  readonly capture: string;
  /** pci_p2pdma_distance of every ordered pair of functions, -1 where not supported, by "provider client". */
  readonly distances: Readonly<Record<string, number>>;
  /** Kind of the IOMMU domain of each client, as the kernel names it. */
  readonly domains: Readonly<Record<string, string>>;
  /** Providers that the kernel found no way to reset when vfio opened them (no VFIO_DEVICE_FLAGS_RESET). */
  readonly unresettable: readonly string[];
  /** DMA mask of each client, hex. */
  readonly masks: Readonly<Record<string, string>>;
  readonly cases: readonly AnsweredCase[];
}

/** A world that runs steps: the kernel, or the model. */
export interface World {
  open(provider: string): Promise<void>;
  run(step: Step, index: number): Promise<Outcome>;
  /** Ends the case: everything is unmapped, detached, closed. */
  end(): Promise<void>;
}

/** Runs one case in a world. */
export async function runCase(world: World, subject: Case): Promise<Outcome[]> {
  await world.open(subject.provider);
  try {
    const outcomes: Outcome[] = [];
    for (const [index, step] of subject.steps.entries()) {
      outcomes.push(await world.run(step, index));
    }
    return outcomes;
  } finally {
    await world.end();
  }
}
