import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The yardstick of an audit, as a process of its own: each file of a folder is read, hashed and parsed as JSON, and nothing is kept. */
const [folder] = process.argv.slice(2);
if (folder === undefined) {
  process.stderr.write("usage: node fleet-reader.js FOLDER\n");
  process.exit(2);
}
let [files, functions] = [0, 0];
const digest = createHash("sha256");
for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
  if (!name.endsWith(".json")) continue;
  const bytes = readFileSync(join(folder, name));
  digest.update(createHash("sha256").update(bytes).digest());
  const capture = JSON.parse(bytes.toString("utf8")) as { functions: readonly unknown[] };
  files += 1;
  functions += capture.functions.length;
}
process.stdout.write(
  `${String(files)} files, ${String(functions)} functions, ${digest.digest("hex")}\n`,
);
