// The API reference of every published library as static HTML with a search, in docs/api.
//
//   pnpm reference [--check] [--out DIRECTORY]
//
// --check  writes nothing: every public symbol must be documented, constructors with parameters and quantities (numbers, 64-bit numbers,
//          addresses) among them, and every link must lead somewhere.
import { relative } from "node:path";
import { parseArgs } from "node:util";
import { Application, Comment, ReflectionKind } from "typedoc";
import { root } from "../scripts/lib.mjs";
import { publicPackages } from "../scripts/packages.mjs";
import { entries } from "./entries.mjs";
import { undocumented } from "./undocumented.mjs";

const { values } = parseArgs({
  options: { check: { type: "boolean", default: false }, out: { type: "string" } },
});

const found = entries();
const app = await Application.bootstrapWithPlugins({
  name: "peerbar",
  entryPoints: found.map(({ source }) => source),
  entryPointStrategy: "resolve",
  tsconfig: `${root}/tooling/docs/tsconfig.json`,
  readme: `${root}/tooling/docs/index.md`,
  excludeInternal: true,
  excludePrivate: true,
  excludeExternals: true,
  sourceLinkTemplate: "https://github.com/peerbar/peerbar/blob/main/{path}#L{line}",
  gitRevision: "main",
  sort: ["source-order"],
  navigation: { includeGroups: false, includeCategories: false },
  validation: { notExported: false, invalidLink: true, rewrittenLink: true, notDocumented: true },
  requiredToBeDocumented: ["Class", "Interface", "TypeAlias", "Function", "Variable"],
  packagesRequiringDocumentation: [
    ...new Set(publicPackages().map(({ manifest }) => manifest.name)),
  ],
  logLevel: "Warn",
  treatWarningsAsErrors: false,
});

const project = await app.convert();
if (project === undefined) process.exit(1);
// typedoc names modules by path: readers know them by what they import.
for (const module of project.getReflectionsByKind(ReflectionKind.Module)) {
  const file = module.sources?.[0]?.fullFileName ?? "";
  const entry = found.find(({ source }) => source === file);
  if (entry !== undefined) module.name = entry.name;
}
// `using` ends an object as its close does: said once here instead of at every class.
for (const method of project.getReflectionsByKind(ReflectionKind.CallSignature)) {
  if (/^\[(?:async)?[dD]ispose\]$/.test(method.name) && !method.hasComment()) {
    method.comment = new Comment([
      { kind: "text", text: "Ends it at the end of a `using` block." },
    ]);
  }
}
app.validate(project);
for (const { name, place } of undocumented(project))
  app.logger.error(`${name} says nothing of itself (${place})`);
if (app.logger.hasErrors() || app.logger.hasWarnings()) {
  console.error(`docs: ${app.logger.errorCount} errors, ${app.logger.warningCount} warnings`);
  process.exit(1);
}
if (values.check) {
  console.log(`docs: ${found.length} entry points are documented`);
} else {
  const out = values.out ?? `${root}/docs/api`;
  await app.generateDocs(project, out);
  console.log(`docs: ${relative(process.cwd(), out)}/index.html`);
}
