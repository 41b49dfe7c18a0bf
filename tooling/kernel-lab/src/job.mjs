import { root } from "./paths.mjs";

/** One word for sh. */
export function quote(word) {
  return /^[A-Za-z0-9_./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Variables a job sees beside the caller's own choice (PEERBAR_*). */
function environment(machine, extra = {}) {
  const own = Object.entries(process.env).filter(([name]) => name.startsWith("PEERBAR_"));
  const values = {
    ...Object.fromEntries(own),
    HOME: "/root",
    TMPDIR: "/run/tmp",
    PEERBAR_LAB: "1",
    PEERBAR_LAB_MACHINE: machine.name,
    PEERBAR_LAB_IOMMU: machine.iommu,
    NO_COLOR: "1",
    CI: "true",
    ...extra,
  };
  return Object.entries(values).map(([name, value]) => `export ${name}=${quote(value)}`);
}

/** The caller's Node runs the tests inside too. */
const nodeFolder = process.execPath.replace(/\/[^/]+$/, "");

function script(machine, cwd, lines, extra) {
  return [
    `export PATH=${quote(nodeFolder)}:$PATH`,
    ...environment(machine, extra),
    `cd ${quote(cwd)} || exit 126`,
    ...lines,
    "",
  ].join("\n");
}

/** A command of the caller's, in the caller's folder. */
export function commandJob(machine, words, cwd) {
  return script(machine, cwd, [words.length === 1 ? words[0] : words.map(quote).join(" ")]);
}

/** A login shell. */
export function shellJob(machine, cwd) {
  return script(machine, cwd, ["PS1='lab# ' exec bash --norc -i"], {
    TERM: process.env.TERM ?? "vt100",
  });
}

/** Test files that `bundleTests` has put into the job's folder. */
export function testJob(machine) {
  return script(machine, root, ["node --enable-source-maps /run/lab/tests/main.mjs"]);
}

/** A program that `bundleProgram` has put into the job's folder. */
export function programJob(machine, name, values) {
  return script(machine, root, [`node --enable-source-maps /run/lab/tests/${name}`], values);
}
