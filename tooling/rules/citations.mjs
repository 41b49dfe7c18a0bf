/**
 * Rule ids as ranges of one letter: "R1-R3, R5" stands for R1, R2, R3 and R5.
 *
 * @param {string} text
 * @returns {string[]}
 */
export function expandRules(text) {
  return [...text.matchAll(/([A-Z])(\d+)(?:\s*(?:-|to)\s*\1?(\d+))?/g)].flatMap(
    ([, letter, from, to]) => {
      const last = Number(to ?? from);
      if (last - Number(from) > 200) throw new Error(`no range of rules: ${text}`);
      return Array.from(
        { length: last - Number(from) + 1 },
        (_, i) => `${letter}${Number(from) + i}`,
      );
    },
  );
}

/**
 * Ids to ranges, in order of letter and number.
 *
 * @param {readonly string[]} ids
 * @returns {string}
 */
export function compactRules(ids) {
  const sorted = [...new Set(ids)]
    .map((id) => ({ letter: id[0], number: Number(id.slice(1)) }))
    .sort((a, b) => a.letter.localeCompare(b.letter) || a.number - b.number);
  const runs = [];
  for (const { letter, number } of sorted) {
    const run = runs.at(-1);
    if (run?.letter === letter && run.to + 1 === number) run.to = number;
    else runs.push({ letter, from: number, to: number });
  }
  return runs
    .map(({ letter, from, to }) =>
      from === to ? `${letter}${from}` : `${letter}${from}-${letter}${to}`,
    )
    .join(", ");
}

/**
 * Ids that a spec file defines: list items, table rows and headings that begin with one.
 *
 * @param {string} markdown
 * @returns {string[]}
 */
export function definedRules(markdown) {
  return [
    ...new Set([...markdown.matchAll(/^(?:[-*] |\| *|\*\*)\**([A-Z]\d+)\b/gm)].map(([, id]) => id)),
  ];
}

const titles =
  /(?:\b(?:it|test|describe)(?:\.(?:each|for|only|runIf|skipIf|concurrent)\([^\n]*?\))?|\))\(\s*(["'`])((?:\\[\s\S]|(?!\1)[\s\S])*?)\1/g;
const ruleFields = /\brules:\s*(["'`])((?:\\[\s\S]|(?!\1)[\s\S])*?)\1/g;

/**
 * What counts as a citation in a source file: titles of tests and groups, and `rules` fields of conformance cases. Comments and
 * expectations do not count.
 *
 * @param {string} source
 * @param {readonly string[]} specs
 * @returns {{ spec: string, id: string }[]}
 */
export function citedRules(source, specs) {
  const texts = [...source.matchAll(titles), ...source.matchAll(ruleFields)].map(
    ([, , text]) => text,
  );
  return texts.flatMap((text) => citationsIn(text, specs));
}

/**
 * Citations in running text: `dma-buf R12`, `dma-buf R12, R13 and R15`, `dma-buf R41-R47`, `dma-buf R41 to R47`.
 *
 * @param {string} text
 * @param {readonly string[]} specs
 * @returns {{ spec: string, id: string }[]}
 */
export function citationsIn(text, specs) {
  const id = "[A-Z]\\d+(?:\\s*(?:-|to)\\s*[A-Z]?\\d+)?";
  const pattern = new RegExp(
    `(?<![\\w-])(${specs.join("|")}) (${id}(?:(?:,| and|, and) ${id})*)`,
    "g",
  );
  return [...text.matchAll(pattern)].flatMap(([, spec, ids]) =>
    // Ids of defects are one series for all specs.
    expandRules(ids).map((rule) => ({
      spec: rule.startsWith("B") ? "known-bugs" : spec,
      id: rule,
    })),
  );
}

/**
 * Rules that cannot exist in a library: lines `dma-buf R53: reason`.
 *
 * @param {string} markdown
 * @param {readonly string[]} specs
 * @returns {{ spec: string, id: string }[]}
 */
export function excusedRules(markdown, specs) {
  return markdown.split("\n").flatMap((line) => {
    const [, cited, reason] = /^(?:- )?([a-z][^:]*): (.+)$/.exec(line) ?? [];
    return cited === undefined || reason === undefined || reason.length < 20
      ? []
      : citationsIn(cited, specs);
  });
}
