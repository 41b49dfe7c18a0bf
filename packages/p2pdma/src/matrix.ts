import { type Chains, newWalk } from "./chains.js";
import { type MapType, mapTypeCodes, type P2pdmaDecision } from "./decision.js";
import { mapTypesOf, type P2pdma } from "./p2pdma.js";
import type { FunctionRef } from "./pci-topology.js";
import { ACS_REDIRECT } from "./topology.js";

const codeOfSet: readonly number[] = Array.from({ length: 8 }, (_, set) => {
  const types = mapTypesOf(set);
  const [only] = types;
  return types.length === 1 && only !== undefined ? mapTypeCodes[only] : mapTypeCodes.unknown;
});
const nameOfCode: readonly (MapType | "unknown")[] = (() => {
  const names: (MapType | "unknown")[] = [];
  for (const [name, code] of Object.entries(mapTypeCodes))
    names[code] = name as MapType | "unknown";
  return names;
})();

/**
 * The answers for all ordered pairs of some functions.
 *
 * Functions with the same bridge above them and the same redirect bits of their own have the same answers towards all others, so only
 * one pair for each two such classes is walked. Rows and columns are positions in `members`; results are those of the moment when the
 * matrix was made.
 */
export class PairMatrix {
  /** Function indexes, in the order that was asked for. */
  readonly members: Int32Array;
  readonly #p2pdma: P2pdma;
  readonly #chains: Chains;
  /** Class of each member, and one member of each class. */
  readonly #classOf: Int32Array;
  readonly #classes: number;
  /** By two classes: map type code; distance. Same class: for two different members of it. */
  readonly #codes: Uint8Array;
  readonly #distances: Int32Array;
  /** By member: the pair with itself. */
  readonly #selfCodes: Uint8Array;

  /** @throws DmaBufError ENODEV for a member that the topology does not have */
  constructor(p2pdma: P2pdma, members: readonly FunctionRef[]) {
    this.#p2pdma = p2pdma;
    this.#chains = p2pdma.chains;
    this.members = Int32Array.from(members, (ref) => p2pdma.topology.resolve(ref));
    const classes = classify(p2pdma, this.members);
    this.#classOf = classes.classOf;
    this.#classes = classes.first.length;
    this.#codes = new Uint8Array(this.#classes ** 2);
    this.#distances = new Int32Array(this.#classes ** 2);
    this.#fill(classes.first, classes.second);
    this.#selfCodes = this.#selves();
  }

  #fill(first: readonly number[], second: readonly number[]): void {
    const chains = this.#chains;
    const walk = newWalk();
    for (let row = 0; row < this.#classes; row += 1) {
      const provider = first[row] ?? 0;
      for (let column = 0; column < this.#classes; column += 1) {
        // Within a class two different members are asked: a class of one has no such pair, and its entry is never read.
        const client = (row === column ? second[column] : first[column]) ?? 0;
        chains.walk(provider, client, walk);
        const at = row * this.#classes + column;
        this.#codes[at] = codeOfSet[chains.possible(provider, client, walk)] ?? 0;
        this.#distances[at] = walk.up + walk.down;
      }
    }
  }

  #selves(): Uint8Array {
    const walk = newWalk();
    return Uint8Array.from(this.members, (index) => {
      this.#chains.walk(index, index, walk);
      return codeOfSet[this.#chains.possible(index, index, walk)] ?? 0;
    });
  }

  /** Number of members: the matrix has its square of pairs. */
  get size(): number {
    return this.members.length;
  }

  /** Map type as the kernel's number (mapTypeCodes; 0 is unknown), for loops over many pairs. */
  codeAt(row: number, column: number): number {
    if (row === column || this.members[row] === this.members[column]) {
      return this.#selfCodes[row] ?? 0;
    }
    return (
      this.#codes[(this.#classOf[row] ?? 0) * this.#classes + (this.#classOf[column] ?? 0)] ?? 0
    );
  }

  /** Map type of the pair at row `provider` and column `client`, both counted among the members. */
  mapTypeAt(row: number, column: number): MapType | "unknown" {
    return nameOfCode[this.codeAt(row, column)] ?? "unknown";
  }

  /** Distance in hops of the pair at that row and column. */
  distanceAt(row: number, column: number): number {
    if (row === column || this.members[row] === this.members[column]) return 0;
    const at = (this.#classOf[row] ?? 0) * this.#classes + (this.#classOf[column] ?? 0);
    return this.#distances[at] ?? 0;
  }

  /**
   * Number of the class that a member's answers come from. Members of one class differ in nothing but their addresses, so that text
   * for a pair can be made once for each two classes.
   */
  classAt(row: number): number {
    return this.#classOf[row] ?? 0;
  }

  /** The whole reasoning for one pair. */
  decisionAt(row: number, column: number): P2pdmaDecision {
    return this.#p2pdma.decide(this.members[row] ?? -1, this.members[column] ?? -1);
  }

  /** How many ordered pairs have each answer. */
  counts(): Record<MapType | "unknown", number> {
    const sums = new Float64Array(8);
    const n = this.size;
    for (let row = 0; row < n; row += 1) {
      for (let column = 0; column < n; column += 1) {
        const code = this.codeAt(row, column);
        sums[code] = (sums[code] ?? 0) + 1;
      }
    }
    const of = (name: MapType | "unknown"): number => sums[mapTypeCodes[name]] ?? 0;
    return {
      "bus-addr": of("bus-addr"),
      "thru-host-bridge": of("thru-host-bridge"),
      "not-supported": of("not-supported"),
      unknown: of("unknown"),
    };
  }
}

/** All ordered pairs of the given functions; default all endpoints (header type 0). Errors as {@link PciTopology.resolve}. */
export function matrix(p2pdma: P2pdma, members?: readonly FunctionRef[]): PairMatrix {
  return new PairMatrix(p2pdma, members ?? p2pdma.topology.endpoints());
}

interface Classes {
  readonly classOf: Int32Array;
  readonly first: readonly number[];
  /** Another member of the class where there is one. */
  readonly second: readonly number[];
}

function classify(p2pdma: P2pdma, members: Int32Array): Classes {
  const { chains } = p2pdma;
  const numbers = new Map<string, number>();
  const first: number[] = [];
  const second: number[] = [];
  const classOf = new Int32Array(members.length);
  const hasBelow = new Uint8Array(chains.up.length);
  for (const above of chains.up) if (above >= 0) hasBelow[above] = 1;
  for (const [position, index] of members.entries()) {
    const up = chains.up[index] ?? -1;
    // Reasons name the bits that redirect: functions that differ in those only have the same answers, but not the same text.
    const acs = p2pdma.acsOf(index);
    const state = acs.state === "present" ? acs.control & ACS_REDIRECT : acs.state;
    // A bridge may itself be the common device of a pair: it is like no other function.
    const own = hasBelow[index] === 1 ? `b${index.toString()}` : "";
    const key = `${up.toString()}/${(chains.host[index] ?? -1).toString()}/${state.toString()}/${(chains.gap[index] ?? 0).toString()}/${own}`;
    let number = numbers.get(key);
    if (number === undefined) {
      number = first.length;
      numbers.set(key, number);
      first.push(index);
      second.push(index);
    } else if (second[number] === first[number]) second[number] = index;
    classOf[position] = number;
  }
  return { classOf, first, second };
}
