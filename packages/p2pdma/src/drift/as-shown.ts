import type { FactName } from "./facts.js";

/** What separates the parts of a value that has several; any part may be unknown by itself, written with question marks. */
const separators: Partial<Record<FactName, RegExp>> = {
  device: /:/,
  "link-maximum": /x/,
  bars: /[ :]/,
  iommu: /,/,
};

/** Whether two values of a fact differ in nothing but parts that one of them does not show: `8086:????` and `8086:2030`. */
export function agreesAsShown(name: FactName, a: string, b: string): boolean {
  const separator = separators[name];
  if (separator === undefined) return a === b;
  const [left, right] = [a.split(separator), b.split(separator)];
  return (
    left.length === right.length &&
    left.every((part, at) => part === right[at] || isUnknown(part) || isUnknown(right[at]))
  );
}

function isUnknown(part: string | undefined): boolean {
  return part?.startsWith("?") === true;
}
