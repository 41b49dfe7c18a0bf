import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../../scripts/lib.mjs";
import { run } from "../../scripts/packages.mjs";
import { runInBrowser } from "./browser.mjs";
import { same } from "./checks.mjs";
import { freshFolder, writePrograms } from "./folders.mjs";
import { checkNotices } from "./notices.mjs";

/** What the report page is made of, besides peerbar's own packages. */
const inPage = Object.keys(
  JSON.parse(readFileSync(join(root, "apps/report/package.json"), "utf8")).dependencies,
).filter((name) => !name.startsWith("@peerbar/"));

const tsc = join(root, "node_modules/typescript/bin/tsc");

/** Everything about one package manager's folder, on every runtime. */
export async function checkFolder(checks, place, manager, packed, runtimes) {
  let folder = "";
  const installed = await checks.check(
    `${manager} installs the tarballs into a fresh folder`,
    () => {
      folder = freshFolder(place, manager, packed, { "@types/node": "20.19.0" });
    },
  );
  if (!installed) return;
  const programs = writePrograms(folder, packed);
  await checkTypes(checks, folder, manager);
  await checks.check(
    `${manager}: peerbar names what it holds of others, with their licences`,
    () => {
      const told = checkNotices(join(folder, "node_modules/peerbar"), inPage);
      return `${told.length} packages`;
    },
  );
  await checks.check(
    `${manager}: a browser bundle of the pure packages runs without Node`,
    async () => {
      const { said, bytes } = await runInBrowser(folder);
      same(said, "bus-addr ok 0 ENODEV object", "what the page said");
      return `${bytes} bytes`;
    },
  );
  for (const { version, node } of runtimes) {
    const on = `${manager}, Node ${version}`;
    await checks.check(`${on}: plain JavaScript imports every entry`, () =>
      run([node, "plain.mjs"], { cwd: folder }).trim(),
    );
    await checks.check(`${on}: CommonJS, by import() and require`, () => {
      same(run([node, "common.cjs"], { cwd: folder }).trim(), "bus-addr", "what it printed");
    });
    await checks.check(`${on}: the ${programs.length} programs of the READMEs`, () => {
      for (const { name, prints } of programs) {
        const printed = run([node, `out/${name}.js`], { cwd: folder })
          .split("\n")
          .slice(0, -1);
        if (prints.length > 0) same(printed, prints, name);
      }
    });
    await checkBin(checks, folder, on, node);
  }
}

async function checkTypes(checks, folder, manager) {
  const projects = {
    nodenext: "strict TypeScript, module nodenext",
    bundler: "strict TypeScript, moduleResolution bundler",
    browser: "strict TypeScript for a browser, without Node's types",
  };
  for (const [name, what] of Object.entries(projects)) {
    await checks.check(`${manager}: ${what}`, () => {
      run([process.execPath, tsc, "-p", `tsconfig.${name}.json`], { cwd: folder });
    });
  }
}

/** The command line tool from its tarball. */
async function checkBin(checks, folder, on, node) {
  const bin = [node, "node_modules/peerbar/bin/peerbar.js"];
  const options = { cwd: folder };
  await checks.check(`${on}: peerbar demo`, () => {
    const last = run([...bin, "demo"], options)
      .trim()
      .split("\n")
      .at(-1);
    if (!/^done: all \d+ checks/.test(last)) throw new Error(last);
    return last;
  });
  await checks.check(`${on}: peerbar why`, () => {
    const capture = "node_modules/@peerbar/p2pdma/captures/gpu-server-2s.json";
    const said = run([...bin, "why", "1b:00.0", "1d:00.0", "-F", capture], options);
    if (!said.includes("YES")) throw new Error(said);
  });
  await checks.check(`${on}: peerbar check on a module of the user's`, () => {
    const report = run([...bin, "check", "backend.subject.mjs", "--json"], options);
    const [{ passed, failed }] = JSON.parse(report).reports;
    same(failed, 0, "failed cases");
    return `${passed} cases`;
  });
}
