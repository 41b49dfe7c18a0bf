import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder } from "./paths.mjs";
import { LabError, Progress, say } from "./say.mjs";

const SUITE = "sid";
const OLDEST = [6, 19];

/**
 * The newest kernel source that Debian's unstable suite has, unpacked in the cache.
 *
 * apt does the work in a root of its own: its lists, archives and sources lie in the cache, and the machine's sources stay as they are.
 * The mirror is the one that apt already uses here. The suite's signature is checked against the same keyring as the machine's own
 * Debian sources, and apt checks the package's hash against the signed index: no key is fetched, so nothing is trusted that was not
 * trusted before. Where that keyring is older than the suite's keys, the machine's own (signed) debian-archive-keyring update has them.
 *
 * @returns {{ folder: string, version: string }} the Debian version
 */
export function debianSource() {
  const apt = new PrivateApt();
  apt.update();
  const name = apt.newestSource();
  const version = apt.version(name);
  const folder = join(cacheFolder("source"), `${name}_${version}`);
  if (existsSync(join(folder, "Makefile"))) return { folder, version };
  const archive = apt.download(name);
  unpack(archive, name, folder);
  rmSync(archive);
  return { folder, version };
}

class PrivateApt {
  #folder = cacheFolder("apt");
  #options;

  constructor() {
    const at = (path) => {
      mkdirSync(join(this.#folder, path), { recursive: true });
      return join(this.#folder, path);
    };
    at("lists/partial");
    at("cache/archives/partial");
    const sources = at("sources");
    writeFileSync(join(sources, "lab.sources"), sourcesFile(debianRepository()));
    this.#options = [
      `Dir::State::Lists=${at("lists")}`,
      `Dir::Cache=${at("cache")}`,
      "Dir::Etc::SourceList=/dev/null",
      `Dir::Etc::SourceParts=${sources}`,
      "APT::Sandbox::User=root",
      "Acquire::Retries=3",
    ].flatMap((option) => ["-o", option]);
  }

  update() {
    const progress = new Progress(`reading the index of Debian ${SUITE}`);
    const result = this.#run("apt-get", ["update"]);
    progress.end(result.status === 0 ? "done" : "failed");
    if (result.status === 0) return;
    const text = `${result.stdout}${result.stderr}`;
    const hint = /NO_PUBKEY|not signed|couldn't be verified/.test(text)
      ? "; the keyring is older than the suite's keys: apt-get install debian-archive-keyring, then again"
      : "; or give KERNEL_SRC=, a kernel tree of 6.19 or newer";
    throw new LabError(`apt cannot read Debian ${SUITE}: ${firstError(text)}${hint}`);
  }

  newestSource() {
    const result = this.#run("apt-cache", ["search", "--names-only", "^linux-source-[0-9.]+$"]);
    const names = result.stdout
      .split("\n")
      .map((line) => /^(linux-source-(\d+)\.(\d+)) /.exec(line))
      .filter((match) => match !== null)
      .map((match) => ({ name: match[1], major: Number(match[2]), minor: Number(match[3]) }))
      .filter(
        ({ major, minor }) => major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]),
      )
      .sort((a, b) => b.major - a.major || b.minor - a.minor);
    if (names.length > 0) return names[0].name;
    throw new LabError(
      `Debian ${SUITE} has no linux-source of ${OLDEST.join(".")} or newer; give KERNEL_SRC=`,
    );
  }

  version(name) {
    const result = this.#run("apt-cache", ["show", "--no-all-versions", name]);
    const version = /^Version: (.+)$/m.exec(result.stdout)?.[1];
    if (version === undefined) throw new LabError(`apt does not tell the version of ${name}`);
    return version.replaceAll(":", "-");
  }

  /** @returns path of the package's file */
  download(name) {
    const progress = new Progress(`downloading ${name} (about 160 MB)`);
    const result = this.#run("apt-get", ["download", name]);
    progress.end(result.status === 0 ? "done" : "failed");
    const file = readdirSync(this.#folder).find(
      (path) => path.startsWith(`${name}_`) && path.endsWith(".deb"),
    );
    if (result.status === 0 && file !== undefined) return join(this.#folder, file);
    throw new LabError(
      `apt cannot download ${name}: ${firstError(`${result.stdout}${result.stderr}`)}`,
    );
  }

  #run(program, args) {
    return spawnSync(program, [...this.#options, ...args], {
      cwd: this.#folder,
      encoding: "utf8",
      maxBuffer: 64 * 1024 * 1024,
      env: { ...process.env, LC_ALL: "C" },
    });
  }
}

/** The Debian mirror and keyring that this machine's apt uses. */
function debianRepository() {
  const ask = () =>
    spawnSync(
      "apt-get",
      [
        "indextargets",
        "--format",
        "$(REPO_URI) $(SIGNED_BY)",
        "Created-By: Packages",
        "Origin: Debian",
        "Label: Debian",
      ],
      { encoding: "utf8" },
    );
  let lines = (ask().stdout ?? "").trim();
  if (lines === "" && process.getuid?.() === 0) {
    say("apt has no index yet: apt-get update ...");
    spawnSync("apt-get", ["-o", "DPkg::Lock::Timeout=600", "update"], { encoding: "utf8" });
    lines = (ask().stdout ?? "").trim();
  }
  const [uri, signedBy] = lines.split("\n")[0].split(" ");
  if (!uri) {
    throw new LabError(
      "apt knows no Debian mirror here; give KERNEL_SRC=, a kernel tree of 6.19 or newer, or KERNEL_IMAGE=",
    );
  }
  return {
    uri,
    signedBy: signedBy?.startsWith("/")
      ? signedBy
      : "/usr/share/keyrings/debian-archive-keyring.gpg",
  };
}

function sourcesFile({ uri, signedBy }) {
  return `Types: deb\nURIs: ${uri}\nSuites: ${SUITE}\nComponents: main\nArchitectures: amd64\nSigned-By: ${signedBy}\n`;
}

/** Unpacks beside the goal and moves there, so that a half-unpacked tree is never taken for a whole one. */
function unpack(archive, name, folder) {
  const progress = new Progress("unpacking the source");
  const tag = createHash("sha256").update(folder).digest("hex").slice(0, 8);
  const scratch = join(cacheFolder("source"), `partial-${tag}`);
  rmSync(scratch, { recursive: true, force: true });
  mkdirSync(scratch);
  must("dpkg-deb", ["-x", archive, scratch]);
  must("tar", ["-xf", join(scratch, "usr/src", `${name}.tar.xz`), "-C", scratch]);
  renameSync(join(scratch, name), folder);
  rmSync(scratch, { recursive: true, force: true });
  progress.end();
}

function must(program, args) {
  const result = spawnSync(program, args, { encoding: "utf8" });
  if (result.status !== 0)
    throw new LabError(`${program} failed: ${(result.stderr ?? `${result.error}`).trim()}`);
}

function firstError(text) {
  const line =
    text.split("\n").find((entry) => /^(E|Err|W):?/.test(entry)) ??
    text.trim().split("\n").at(-1) ??
    "";
  return line.replace(/^E: /, "");
}
