/**
 * Fetches the uAPI headers of Debian's newest kernel (package linux-libc-dev of the unstable release) into
 * ~/.cache/peerbar/uapi-headers/VERSION, for the test that compares our tables with C. The mirror is the one apt is configured with, and
 * apt verifies the signatures; nothing of the system's own apt state is touched, and no privilege is needed.
 *
 *   node packages/linux/scripts/fetch-headers.mjs
 *
 * Exit 0: there (now or before); 3: this machine cannot (no apt, no Debian mirror, no network), with the reason.
 */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
const cache = join(
  process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"),
  "peerbar",
  "uapi-headers",
);

/** Ends the attempt; what is printed is the reason. */
class CannotFetch extends Error {}

function run(command, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    ...options,
  });
  if (error) throw new CannotFetch(`${command}: ${error.message}`);
  return { ok: status === 0, stdout, stderr };
}

/** Mirrors of Debian itself that apt is configured with. */
function mirrors() {
  const format = "$(ORIGIN)\t$(LABEL)\t$(REPO_URI)";
  const { stdout } = run("apt-get", ["indextargets", "--format", format, "Created-By: Packages"]);
  const rows = stdout
    .trim()
    .split("\n")
    .map((line) => line.split("\t"));
  const debian = rows.filter(([origin, label]) => origin === "Debian" && label === "Debian");
  // Before the first `apt-get update` apt does not know whose mirror it is; the path tells.
  const likely = rows.filter(([, , uri = ""]) => /\/debian\/?$/.test(uri));
  return [...new Set([...debian, ...likely].map(([, , uri]) => uri))];
}

/** Options that give apt a root of its own below `root`. */
function privateApt(root) {
  for (const folder of ["state/lists/partial", "cache/archives/partial"])
    mkdirSync(join(root, folder), { recursive: true });
  writeFileSync(join(root, "status"), "");
  const settings = {
    "Dir::Etc::sourcelist": join(root, "sources.list"),
    "Dir::Etc::sourceparts": "-",
    "Dir::State": join(root, "state"),
    "Dir::State::status": join(root, "status"),
    "Dir::Cache": join(root, "cache"),
    "Acquire::Languages": "none",
    // The download folder belongs to whoever runs this, not to the user _apt.
    "APT::Sandbox::User": "",
  };
  return Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
}

function fetch(root, mirror) {
  const apt = privateApt(root);
  const signed = existsSync(keyring) ? `[signed-by=${keyring}] ` : "";
  writeFileSync(join(root, "sources.list"), `deb ${signed}${mirror} sid main\n`);
  const update = run("apt-get", [...apt, "update", "--error-on=any"]);
  if (!update.ok) return `apt-get update: ${update.stderr.trim().split("\n").at(-1)}`;
  const download = run("apt-get", [...apt, "download", "linux-libc-dev"], { cwd: root });
  if (!download.ok) return `apt-get download: ${download.stderr.trim().split("\n").at(-1)}`;
  const deb = readdirSync(root).find((name) => name.endsWith(".deb"));
  if (!deb) return "apt-get download left no package";
  const version = deb.split("_")[1];
  const unpacked = join(root, "unpacked");
  if (!run("dpkg-deb", ["-x", deb, unpacked], { cwd: root }).ok) return `dpkg-deb: ${deb}`;
  mkdirSync(cache, { recursive: true });
  const target = join(cache, version);
  rmSync(target, { recursive: true, force: true });
  run("cp", ["-r", unpacked, `${target}.new`]);
  renameSync(`${target}.new`, target);
  console.log(`fetch-headers: linux-libc-dev ${version} is in ${target}`);
  return undefined;
}

function main() {
  if (existsSync(cache) && readdirSync(cache).some((name) => !name.endsWith(".new"))) {
    console.log(`fetch-headers: there already: ${cache} (remove it to fetch again)`);
    return;
  }
  const root = mkdtempSync(join(tmpdir(), "peerbar-headers-"));
  try {
    let reason = "apt knows no mirror of Debian; name headers with PEERBAR_KERNEL_HEADERS=";
    for (const mirror of mirrors()) {
      reason = fetch(root, mirror);
      if (reason === undefined) return;
    }
    throw new CannotFetch(reason);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

try {
  main();
} catch (error) {
  if (!(error instanceof CannotFetch)) throw error;
  console.error(`fetch-headers: ${error.message}`);
  process.exitCode = 3;
}
