import { existsSync, statSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { DmaBufError } from "@peerbar/core";
import { type ExitCode, exit } from "./exit.js";
import type { Io } from "./io.js";
import { roles } from "./kinds.js";
import { readVersion } from "./version.js";

type ProjectRole = (typeof roles)[number];

/** Beside `src` and `dist` alike: this file sits directly in either. */
const templates = new URL("../templates/", import.meta.url);

/**
 * `peerbar new ROLE NAME`: writes a project of that role whose tests, the conformance suite included, pass as they are. The folder is
 * the name's last part, in the working directory, and must be empty or not there.
 *
 * @throws DmaBufError EINVAL for another role, and for a name that npm would refuse; EEXIST where the folder has something in it. Nothing
 *   is written then.
 */
export async function newProject(
  io: Io,
  options: { readonly directory?: string },
  role: string,
  name: string,
): Promise<ExitCode> {
  if (!isRole(role)) {
    throw new DmaBufError("EINVAL", "new", `there is no template for ${JSON.stringify(role)}`, {
      hint: `choose one of ${roles.join(", ")}`,
    });
  }
  checkName(name);
  const folder = resolve(options.directory ?? basename(name));
  const files = await filesOf(role, name);
  await makeEmpty(folder);
  for (const [path, text] of files) {
    const file = join(folder, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, text, { flag: "wx" });
  }
  io.out(`${folder}: ${String(files.length)} files. Next:\n\n`);
  io.out(`  cd ${options.directory ?? basename(name)}\n  npm install\n  npm test\n`);
  return exit.ok;
}

function isRole(role: string): role is ProjectRole {
  return (roles as readonly string[]).includes(role);
}

/** What npm takes as the name of a new package: lower case, at most 214 characters, safe in a URL. */
function checkName(name: string): void {
  const part = "[a-z0-9~-][a-z0-9._~-]*";
  const right = new RegExp(`^(?:@${part}/)?${part}$`);
  const taken = ["node_modules", "favicon.ico"];
  if (name.length <= 214 && right.test(name) && !taken.includes(name)) return;
  throw new DmaBufError("EINVAL", "new", `${JSON.stringify(name)} is no package name`, {
    hint: "use lower-case letters, digits and hyphens, as in my-importer or @me/my-importer",
  });
}

/** @throws DmaBufError EEXIST where something is in it, or it is no folder. */
async function makeEmpty(folder: string): Promise<void> {
  let inside: string[];
  try {
    await makeFolders(folder);
    inside = await readdir(folder);
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "unknown error";
    throw new DmaBufError("EINVAL", "new", `${folder} cannot be made (${code})`, {
      hint: "choose another place with --directory",
      cause,
    });
  }
  if (inside.length === 0) return;
  throw new DmaBufError("EEXIST", "new", `${folder} is not empty`, {
    hint: "choose another name, or another place with --directory; nothing was written",
  });
}

/** `mkdir -p`. Not Node's own `recursive`, which never ends in /proc: there a folder is refused with ENOENT, as if its parent were missing. */
async function makeFolders(folder: string): Promise<void> {
  const parent = dirname(folder);
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true) return;
  if (parent !== folder) await makeFolders(parent);
  await mkdir(folder);
}

/** Paths below the new folder, and what goes there. */
async function filesOf(role: ProjectRole, name: string): Promise<(readonly [string, string])[]> {
  const folder = fileURLToPath(new URL(`${role}/`, templates));
  if (!existsSync(folder)) throw new Error(`the templates are missing: ${folder}`);
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const version = await readVersion();
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  return Promise.all(
    paths.sort().map(async (path) => {
      const text = (await readFile(path, "utf8"))
        .replaceAll("__NAME__", name)
        .replaceAll("__VERSION__", version);
      // npm leaves files of this name out of packages.
      const place = path.slice(folder.length).replace(/^gitignore$/, ".gitignore");
      return [place, text] as const;
    }),
  );
}
