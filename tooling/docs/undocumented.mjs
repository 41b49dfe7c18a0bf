import { ReflectionKind } from "typedoc";

/** Types whose values have a unit, or count from somewhere: a name alone does not say which. */
const quantities = new Set(["number", "bigint", "DmaAddr", "PhysAddr", "BusAddr", "Iova"]);

/**
 * Public constructors that take something, and properties and accessors that are quantities, without a docstring.
 *
 * @returns {{ name: string, place: string }[]}
 */
export function undocumented(project) {
  const members = project.getReflectionsByKind(
    ReflectionKind.Property | ReflectionKind.Accessor | ReflectionKind.Constructor,
  );
  return members
    .filter((member) => isOurs(member) && mustSay(member) && !says(member))
    .map((member) => {
      const [source] = member.sources ?? [];
      return { name: member.getFullName(), place: `${source?.fileName}:${source?.line}` };
    });
}

/** Declared here, and by a name that users see: what is inherited is said where it is declared. */
function isOurs(member) {
  if (member.flags.isInherited || member.inheritedFrom !== undefined) return false;
  if (member.kind !== ReflectionKind.Constructor && restates(member)) return false;
  const [source] = member.sources ?? [];
  if (source === undefined || source.fullFileName.includes("node_modules")) return false;
  // A literal's members are said by what has the literal.
  return member.parent.kindOf(ReflectionKind.Class | ReflectionKind.Interface);
}

function restates(member) {
  return member.overwrites !== undefined || member.implementationOf !== undefined;
}

function mustSay(member) {
  if (member.kind === ReflectionKind.Constructor) {
    return (member.signatures ?? []).some(({ parameters = [] }) => parameters.length > 0);
  }
  const type = member.type ?? member.getSignature?.type;
  return type !== undefined && isQuantity(type);
}

function isQuantity(type) {
  if (type.type === "union") return type.types.some(isQuantity);
  return (type.type === "intrinsic" || type.type === "reference") && quantities.has(type.name);
}

function says(member) {
  const signatures = [...(member.signatures ?? []), member.getSignature].filter(Boolean);
  // What is said with @param stands at the parameters.
  const parts = signatures.flatMap(({ parameters = [] }) => parameters);
  return [member, ...signatures, ...parts].some((one) => one.hasComment());
}
