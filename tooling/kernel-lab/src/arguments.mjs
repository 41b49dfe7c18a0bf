import { LabError } from "./say.mjs";

/**
 * @typedef {object} Arguments
 * @property {"test" | "shell" | "run" | "differential" | "check" | "bench" | "build" | "machines" | "doctor" | "help"} verb
 * @property {string[]} rest files for `test`, words for `run`
 * @property {string} machine or machines, with commas between, for `differential`
 * @property {number} timeoutSeconds
 * @property {"auto" | "tcg" | "kvm"} accel
 * @property {number} cpus
 * @property {number} memoryMiB
 * @property {boolean} showConsole
 * @property {boolean} refresh
 * @property {number} cases of `differential`
 * @property {number} seed of its first case
 * @property {string | undefined} save folder for its answer files
 * @property {string | undefined} json file for the rounds of `bench`
 * @property {boolean} cached of `bench`: build and install nothing
 */

const verbs = [
  "shell",
  "run",
  "differential",
  "check",
  "bench",
  "build",
  "machines",
  "doctor",
  "help",
];

export const usage = `usage: pnpm lab [OPTIONS] [FILE... | shell | run CMD... | differential | check FILE... | bench | build | machines | doctor]

  FILE...     runs these test files (vitest) inside the machine; without any, the lab's own suite
  shell       a shell inside, for a person; leave it with exit
  run CMD...  one command inside; its output and exit code are the lab's
  differential  random cases asked of the kernel and of the model: --cases N, --seed N, --machine A,B,..., --save FOLDER
  check FILE...  answer files that differential saved, through the model
  bench       loops of ioctls in TypeScript against the same in C: --json FILE keeps the rounds for pnpm bench, --cached builds and
              installs nothing, and ends with 3 where that would be needed
  build       the kernel and the oracle module, nothing else
  machines    the table of machines
  doctor      what is here and what is missing; installs nothing

  --machine NAME     which machine (default switch)
  --timeout SECONDS  for the whole life of the machine (default 600; a shell has a day)
  --accel auto|tcg|kvm  default auto: KVM only where a probe booted with it
  --cpus N, --memory MIB  default 2 and 2048
  --console          the kernel's console on stderr as it comes
  --refresh          (build) look for a newer kernel source

KERNEL_SRC= builds the lab's kernel from a tree of yours, KERNEL_IMAGE= boots an image of yours (KERNEL_BUILD= its build tree).
Exit: the job's own code; 1 where the kernel complained or a buffer leaked; 124 time-out; 2 usage; 3 the lab cannot run here.
`;

/** @param {string[]} words @returns {Arguments} @throws LabError (exit 2) */
export function parseArguments(words) {
  const result = {
    verb: "test",
    rest: [],
    machine: "switch",
    timeoutSeconds: 600,
    accel: "auto",
    cpus: 2,
    memoryMiB: 2048,
    showConsole: false,
    refresh: false,
    cases: 200,
    seed: 1,
    save: undefined,
    json: undefined,
    cached: false,
  };
  let at = 0;
  for (; at < words.length; at++) {
    const word = words[at];
    if (word === "--") continue;
    if (!word.startsWith("-")) break;
    at += option(result, word, words[at + 1]);
  }
  const [first, ...others] = words.slice(at);
  if (first === undefined) return result;
  if (verbs.includes(first)) {
    result.verb = first;
    result.rest = first === "run" ? others : trailing(result, others);
    if (first === "check") return result;
    if (first === "run" && others.length === 0)
      throw new LabError("run what? pnpm lab run CMD...", 2);
    if (first !== "run" && result.rest.length > 0)
      throw new LabError(`${first} takes no ${result.rest[0]}`, 2);
  } else {
    result.rest = trailing(result, [first, ...others]);
  }
  return result;
}

/** Options may follow too, but for `run`, whose words are the command's. */
function trailing(result, words) {
  const rest = [];
  for (let at = 0; at < words.length; at++) {
    if (words[at].startsWith("--")) at += option(result, words[at], words[at + 1]);
    else rest.push(words[at]);
  }
  return rest;
}

/** @returns {number} how many further words the option took */
function option(result, word, value) {
  switch (word) {
    case "--machine":
      result.machine = text(word, value);
      return 1;
    case "--timeout":
      result.timeoutSeconds = count(word, value, 1, 86_400);
      return 1;
    case "--cases":
      result.cases = count(word, value, 1, 1_000_000);
      return 1;
    case "--seed":
      result.seed = count(word, value, 0, 2 ** 31);
      return 1;
    case "--save":
      result.save = text(word, value);
      return 1;
    case "--json":
      result.json = text(word, value);
      return 1;
    case "--cached":
      result.cached = true;
      return 0;
    case "--cpus":
      result.cpus = count(word, value, 1, 8);
      return 1;
    case "--memory":
      result.memoryMiB = count(word, value, 512, 65_536);
      return 1;
    case "--accel":
      if (!["auto", "tcg", "kvm"].includes(value))
        throw new LabError(`--accel is auto, tcg or kvm, not ${value}`, 2);
      result.accel = value;
      return 1;
    case "--console":
      result.showConsole = true;
      return 0;
    case "--refresh":
      result.refresh = true;
      return 0;
    case "--help":
    case "-h":
      result.verb = "help";
      return 0;
    default:
      throw new LabError(`unknown option ${word}; pnpm lab help`, 2);
  }
}

function text(option, value) {
  if (value === undefined || value.startsWith("-"))
    throw new LabError(`${option} needs a value`, 2);
  return value;
}

function count(option, value, least, most) {
  const number = Number(value);
  if (Number.isInteger(number) && number >= least && number <= most) return number;
  throw new LabError(`${option} is a whole number from ${least} to ${most}, not ${value}`, 2);
}
