import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { constants, Script } from "node:vm";

/**
 * Parts by name, or of a JavaScript module that exports one under the name of its role, by its path or by the name of a package that the
 * folder one stands in (`from`) can import; all that are built in where none is named.
 *
 * @throws Error with a line for the user where there is none of that name, or the module has no such export.
 */
export async function loadParts<Part extends { readonly name: string }>(
  role: "exporter" | "importer" | "backend",
  method: string,
  wanted: readonly string[] | undefined,
  builtIn: readonly Part[],
  from = process.cwd(),
): Promise<readonly Part[]> {
  if (wanted === undefined) return builtIn;
  return Promise.all(
    wanted.map(async (name) => {
      const known = builtIn.find((part) => part.name === name);
      if (known !== undefined) return known;
      return fromModule<Part>({ role, method, name, from }, builtIn);
    }),
  );
}

function importFile(url: string): Promise<Record<string, unknown>> {
  return import(url) as Promise<Record<string, unknown>>;
}

/** As a module in that folder would import it: a package's name is looked up from there, not from here. */
function importFrom(folder: string, specifier: string): Promise<Record<string, unknown>> {
  const script = new Script("(specifier) => import(specifier)", {
    filename: join(folder, "combo.js"),
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  const load = script.runInThisContext() as (specifier: string) => Promise<Record<string, unknown>>;
  return load(specifier);
}

function isPath(folder: string, name: string): boolean {
  return /^(?:\.\.?)?[/\\]/.test(name) || existsSync(resolve(folder, name));
}

interface Wanted {
  readonly role: string;
  readonly method: string;
  readonly name: string;
  readonly from: string;
}

async function fromModule<Part extends { readonly name: string }>(
  { role, method, name, from }: Wanted,
  builtIn: readonly Part[],
): Promise<Part> {
  const path = isPath(from, name) ? pathToFileURL(resolve(from, name)).href : undefined;
  let exported: Record<string, unknown>;
  try {
    exported = await (path === undefined ? importFrom(from, name) : importFile(path));
  } catch (cause) {
    const reason = (cause instanceof Error ? cause.message : String(cause)).split("\n", 1)[0] ?? "";
    if (path === undefined && reason.includes(`Cannot find package '${packageOf(name)}'`)) {
      const names = builtIn.map((part) => part.name).join(", ");
      throw new Error(
        `no ${role} ${name}; there are ${names}, files (./mine.js) and packages that ${from} can import`,
        { cause },
      );
    }
    throw new Error(`${name} cannot be loaded: ${reason}`, { cause });
  }
  const part = exported[role];
  if (!isPart(part, method))
    throw new Error(`${name} exports no ${role}: an object with a name and ${method}()`);
  return part as Part;
}

function packageOf(specifier: string): string {
  const parts = specifier.split("/");
  return parts.slice(0, specifier.startsWith("@") ? 2 : 1).join("/");
}

function isPart(value: unknown, method: string): value is { readonly name: string } {
  if (typeof value !== "object" || value === null) return false;
  const part = value as Record<string, unknown>;
  return typeof part.name === "string" && typeof part[method] === "function";
}
