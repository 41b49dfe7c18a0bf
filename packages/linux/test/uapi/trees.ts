import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { env } from "node:process";

/** A place where headers are, in the order in which they are believed. */
interface Tree {
  /** For people. */
  readonly name: string;
  readonly path: string;
}

const cache = join(env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "peerbar");

function subfolders(path: string): Tree[] {
  if (!existsSync(path)) return [];
  return readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => ({ name, path: join(path, name) }))
    .sort((a, b) => (a.name < b.name ? 1 : -1));
}

/** Trees of this machine: what the caller names, the kernel lab's source, fetched headers, the system's own. */
function trees(): Tree[] {
  const named = ["PEERBAR_KERNEL_HEADERS", "KERNEL_SRC"].flatMap((name) => {
    const path = env[name];
    return path ? [{ name: `$${name}`, path }] : [];
  });
  const lab = subfolders(join(cache, "kernel-lab", "source")).flatMap((tree) => [
    tree,
    ...subfolders(tree.path),
  ]);
  return [
    ...named,
    ...lab,
    ...subfolders(join(cache, "uapi-headers")),
    { name: "/usr/include", path: "/usr/include" },
  ];
}

/** Where `header` is in a tree: a kernel's source, an unpacked linux-libc-dev, or an include folder. */
function locate({ path }: Tree, header: string): string | undefined {
  return ["include/uapi", "usr/include", "drivers/iommu/iommufd", "."]
    .map((folder) => join(path, folder, header))
    .find((file) => existsSync(file));
}

/** Headers of ours that a header includes: they must come from the same tree. */
const includes: Readonly<Record<string, readonly string[]>> = {
  "iommufd_test.h": ["linux/iommufd.h"],
};

/** The first tree that has `header`, and the files to compile with, by the name an #include has. */
export function find(
  header: string,
): { readonly tree: Tree; readonly files: Readonly<Record<string, string>> } | undefined {
  for (const tree of trees()) {
    const names = [header, ...(includes[header] ?? [])];
    const files: Record<string, string> = {};
    for (const name of names) {
      const file = locate(tree, name);
      if (file !== undefined) files[name] = file;
    }
    if (names.every((name) => name in files)) return { tree, files };
  }
  return undefined;
}
