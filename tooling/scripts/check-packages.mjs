// What would be published, checked as it is packed: publint (every remark but suggestions is an error) and "are the types wrong".
//
//   pnpm check:packages [--out DIRECTORY]
//
// --out  keeps the tarballs there, for `pnpm consumer --tarballs DIRECTORY`.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { checkPackage, createPackageFromTarballData } from "@arethetypeswrong/core";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { buildAll, packAll } from "./packages.mjs";

const { values } = parseArgs({ options: { out: { type: "string" } } });

/** Packages are ESM alone: CommonJS reaches them by import(), and by require where Node can. */
const notPromised = ["node10", "node16-cjs"];

buildAll();
const place = values.out === undefined ? mkdtempSync(join(tmpdir(), "peerbar-packed-")) : undefined;
try {
  for (const { name, file } of packAll(place ?? resolve(values.out))) {
    const problems = await problemsOf(readFileSync(file));
    console.log(`${problems.length === 0 ? "ok   " : "FAIL "} ${name}`);
    for (const line of problems) console.log(`      ${line}`);
    if (problems.length > 0) process.exitCode = 1;
  }
} finally {
  if (place !== undefined) rmSync(place, { recursive: true, force: true });
}

async function problemsOf(bytes) {
  const tarball = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  const { messages, pkg } = await publint({ pack: { tarball }, strict: true, level: "warning" });
  const remarks = messages.map((message) => `publint: ${formatMessage(message, pkg)}`);
  return pkg.exports === undefined ? remarks : [...remarks, ...(await wrongTypes(bytes))];
}

async function wrongTypes(bytes) {
  const { types, problems = [] } = await checkPackage(createPackageFromTarballData(bytes));
  if (types === false) return ["attw: no types are packed"];
  return problems
    .filter(({ resolutionKind }) => !notPromised.includes(resolutionKind))
    .map(({ kind, ...where }) => `attw: ${kind} ${JSON.stringify(where)}`);
}
