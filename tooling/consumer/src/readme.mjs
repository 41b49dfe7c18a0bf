/**
 * The programs in a README, and what each says it prints.
 *
 * Every block fenced as `ts` is a program that runs as it stands, but for those below a `<!-- part -->` comment. `// => text` says what
 * console.log prints, in order.
 *
 * @returns {{ line: number, code: string, prints: string[] }[]} `line` is where the code begins, from 1
 */
export function programs(markdown) {
  const found = [];
  for (const match of markdown.matchAll(/^(<!-- part -->\n)?```ts\n([\s\S]*?)^```$/gm)) {
    const [whole, part, code] = match;
    if (part !== undefined) continue;
    const before = markdown.slice(0, match.index + whole.indexOf(code));
    found.push({
      line: before.split("\n").length,
      code,
      prints: [...code.matchAll(/\/\/ => (.*)$/gm)].map(([, text]) => text),
    });
  }
  return found;
}

/** First line of a README's fenced `sh` block that installs (`npm install --save-dev` too), or undefined. */
export function installLine(markdown) {
  return /^npm install .*$/m.exec(markdown)?.[0];
}

/** The docstrings of a TypeScript source as markdown, every other line blank, so that lines keep their numbers. */
export function docstrings(source) {
  return source.replace(/^(?:\s*\* ?(.*)|.*)$/gm, (_, text) => text ?? "");
}
