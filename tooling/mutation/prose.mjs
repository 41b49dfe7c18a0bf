/** A rule of the specification, which is a fact and not prose: `dma-buf R16`. */
const ruleName = /^[\w-]+ (?:[A-Z]\d+|section \d+)/;

/**
 * Text for people: sentences, and objects that hold nothing but a hint. A test that pins the wording of a message would only repeat it, so
 * these are not mutated. Error codes, operation names and rule names are.
 */
const prose = {
  shouldIgnore({ node, parent }) {
    if (tellsExplorer(node))
      return "what the explorer is told: apps/cli/test/explore-soundness.test.ts";
    if (node.type === "ObjectExpression") {
      const isHint = node.properties.length === 1 && node.properties[0].key?.name === "hint";
      return isHint ? "only a hint" : undefined;
    }
    if (parent?.type === "ImportDeclaration" || !isSentence(textOf(node))) return undefined;
    return "text for people";
  },
};

/** `watch?.touch(true)`: without effect on everything but an explorer, and tried as a whole, over the packages, elsewhere. */
function tellsExplorer({ type, callee }) {
  const calls = type === "CallExpression" || type === "OptionalCallExpression";
  return calls && callee.property?.name === "touch";
}

function textOf(node) {
  if (node.type === "StringLiteral") return node.value;
  if (node.type !== "TemplateLiteral") return undefined;
  return node.quasis.map(({ value }) => value.raw).join("0");
}

function isSentence(text) {
  return text !== undefined && /\S\s\S/.test(text) && !ruleName.test(text);
}

/** What Stryker looks for in a plugin. */
export const strykerPlugins = [{ kind: "Ignore", name: "prose", value: prose }];
