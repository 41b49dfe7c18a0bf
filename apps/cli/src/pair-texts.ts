import type { P2pdmaDecision, PairMatrix, PciTopology } from "@peerbar/p2pdma";

/** A pair's text with the provider's and the client's address taken out: text, address, text, ... */
interface Template {
  readonly texts: readonly string[];
  /** Which address stands between two texts: true the provider's, false the client's. */
  readonly isProvider: readonly boolean[];
}

/**
 * The text of every pair of a matrix, a row at a time. Members of one class differ in nothing but their addresses, so the decision is
 * written out once for each two classes and the addresses are put in: a quarter of a million pairs cost a few hundred decisions.
 */
export class PairTexts {
  readonly #pairs: PairMatrix;
  readonly #write: (decision: P2pdmaDecision) => string;
  readonly #addresses: readonly string[];
  /** Positions in the matrix by class, those first whose address stands in no other role in a text. */
  readonly #membersOf: readonly (readonly number[])[];
  readonly #isNamed: readonly boolean[];
  /** By two classes; null where each pair has to be written out by itself. */
  readonly #templates = new Map<number, Template | null>();

  /** @param write - text of one decision; it may name both functions any number of times */
  constructor(
    topology: PciTopology,
    pairs: PairMatrix,
    write: (decision: P2pdmaDecision) => string,
  ) {
    this.#pairs = pairs;
    this.#write = write;
    this.#addresses = Array.from(pairs.members, (index) => topology.at(index).address);
    // The first device of a root bus is named in reasons whoever the pair is.
    const named = new Set(
      topology.hostBridges.map((host) => topology.functions[host.first]?.address),
    );
    this.#isNamed = this.#addresses.map((address) => named.has(address));
    const membersOf: number[][] = [];
    for (const position of this.#addresses.keys()) {
      const members = membersOf[pairs.classAt(position)] ?? [];
      membersOf[pairs.classAt(position)] = members;
      if (this.#isNamed[position] === true) members.push(position);
      else members.unshift(position);
    }
    this.#membersOf = membersOf;
  }

  /** Texts of the pairs of one provider, in the order of the members. */
  row(row: number): string[] {
    const provider = this.#addresses[row] ?? "";
    const rowClass = this.#pairs.classAt(row);
    // By the client's class: the texts that stand around the client's address.
    const around: (readonly string[] | null | undefined)[] = [];
    return this.#addresses.map((client, column) => {
      const columnClass = this.#pairs.classAt(column);
      let texts = around[columnClass];
      if (texts === undefined) {
        texts = withProvider(this.#template(rowClass, columnClass), provider);
        around[columnClass] = texts;
      }
      if (texts === null || row === column) return this.#write(this.#pairs.decisionAt(row, column));
      return texts.length === 2
        ? `${texts[0] ?? ""}${client}${texts[1] ?? ""}`
        : texts.join(client);
    });
  }

  #template(rowClass: number, columnClass: number): Template | null {
    const key = rowClass * this.#membersOf.length + columnClass;
    let template = this.#templates.get(key);
    if (template === undefined) {
      template = this.#makeTemplate(rowClass, columnClass);
      this.#templates.set(key, template);
    }
    return template;
  }

  #makeTemplate(rowClass: number, columnClass: number): Template | null {
    const [row = -1] = this.#membersOf[rowClass] ?? [];
    const columns = this.#membersOf[columnClass] ?? [];
    const column = (row === columns[0] ? columns[1] : columns[0]) ?? -1;
    if (row < 0 || column < 0 || this.#isNamed[row] === true || this.#isNamed[column] === true) {
      return null;
    }
    const text = this.#write(this.#pairs.decisionAt(row, column));
    return split(text, this.#addresses[row] ?? "", this.#addresses[column] ?? "");
  }
}

function withProvider(template: Template | null, provider: string): readonly string[] | null {
  if (template === null) return null;
  const around = [template.texts[0] ?? ""];
  for (const [i, isProvider] of template.isProvider.entries()) {
    const text = template.texts[i + 1] ?? "";
    if (isProvider) around.push(`${around.pop() ?? ""}${provider}${text}`);
    else around.push(text);
  }
  return around;
}

function split(text: string, provider: string, client: string): Template {
  const texts: string[] = [];
  const isProvider: boolean[] = [];
  let from = 0;
  let nextProvider = find(text, provider, 0);
  let nextClient = find(text, client, 0);
  while (nextProvider < text.length || nextClient < text.length) {
    const first = nextProvider < nextClient;
    const at = first ? nextProvider : nextClient;
    texts.push(text.slice(from, at));
    isProvider.push(first);
    from = at + (first ? provider : client).length;
    if (first) nextProvider = find(text, provider, from);
    else nextClient = find(text, client, from);
  }
  texts.push(text.slice(from));
  return { texts, isProvider };
}

/** Where an address stands, not as a part of a longer one (domains may have more than four digits); the text's length where it does not. */
function find(text: string, address: string, from: number): number {
  let at = text.indexOf(address, from);
  while (at > 0 && isHexDigit(text.charCodeAt(at - 1))) at = text.indexOf(address, at + 1);
  return at < 0 ? text.length : at;
}

function isHexDigit(code: number): boolean {
  return (code >= 0x30 && code <= 0x39) || (code >= 0x61 && code <= 0x66);
}
