import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

/**
 * Parts by name, or by the path of a JavaScript module that exports one under the name of its role; all that are built in where none is
 * named.
 *
 * @throws Error with a line for the user where there is none of that name, or the module has no such export.
 */
export async function loadParts<Part extends { readonly name: string }>(
  role: "exporter" | "importer" | "backend",
  method: string,
  wanted: readonly string[] | undefined,
  builtIn: readonly Part[],
): Promise<readonly Part[]> {
  if (wanted === undefined) return builtIn;
  return Promise.all(
    wanted.map(async (name) => {
      const known = builtIn.find((part) => part.name === name);
      if (known !== undefined) return known;
      if (!/[./\\]/.test(name)) {
        const names = builtIn.map((part) => part.name).join(", ");
        throw new Error(`no ${role} ${name}; there are ${names}, and files: ./mine.js`);
      }
      return fromModule<Part>(role, method, name);
    }),
  );
}

async function fromModule<Part extends { readonly name: string }>(
  role: string,
  method: string,
  path: string,
): Promise<Part> {
  let exported: Record<string, unknown>;
  try {
    exported = (await import(pathToFileURL(resolve(path)).href)) as Record<string, unknown>;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`${path} cannot be loaded: ${reason}`, { cause });
  }
  const part = exported[role];
  if (!isPart(part, method))
    throw new Error(`${path} exports no ${role}: an object with a name and ${method}()`);
  return part as Part;
}

function isPart(value: unknown, method: string): value is { readonly name: string } {
  if (typeof value !== "object" || value === null) return false;
  const part = value as Record<string, unknown>;
  return typeof part.name === "string" && typeof part[method] === "function";
}
