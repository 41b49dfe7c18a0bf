/**
 * Reads a kernel console for what a kernel says when something is wrong: WARN, BUG, oops, panic, lockdep, hung tasks, stalls and the
 * debug checks that are built into the lab's kernel.
 */

/** @typedef {{ kind: string, title: string, lines: string[] }} Finding */

/** First match wins. The text is a console line without its time stamp. */
const alarms = [
  ["panic", /^Kernel panic - not syncing/],
  [
    "oops",
    /^(Oops|general protection fault|stack segment|invalid opcode|int3|divide error)\b.*[:,]/,
  ],
  ["oops", /^BUG: (kernel NULL pointer dereference|unable to handle|stack guard page)/],
  [
    "lockdep",
    /^WARNING: (possible |inconsistent |bad unlock balance|suspicious RCU|held lock freed|lock held when|Nested lock|bad contended|task .* still has locks held)/i,
  ],
  [
    "lockdep",
    /^(BUG: .*(lockdep|MAX_LOCK)|turning off the locking correctness validator|INFO: (trying to register non-static key|possible |inconsistent ))/,
  ],
  ["bug", /^(kernel BUG at|BUG:|BUG )/],
  ["warn", /^WARNING: /],
  ["sanitizer", /^(UBSAN|KASAN|KFENCE|KMSAN|KCSAN)\b/],
  ["dma-api", /^DMA-API: .*(device driver|exceeded|debugging out of memory|cannot allocate)/],
  ["hung", /^INFO: task .* blocked for more than/],
  ["hung", /^watchdog: BUG: soft lockup|^watchdog: .*hard LOCKUP/],
  ["hung", /^rcu: .*(detected stalls|self-detected stall|detected expedited stalls)/],
  ["memory", /^Out of memory: |^Memory cgroup out of memory/],
  ["slab", /^(?:Slab|Object|Redzone|Padding) .*(?:Err|overwritten)/],
];

const stamp = /^(?:<\d+>)?\[\s*\d+\.\d+\](?:\[[^\]]*\])?\s?/;
const marker = /^peerbar-lab: (expect|allow) (.+)$/;

/** The console line without priority and time stamp. */
export function message(line) {
  return line.replace(/\r+$/, "").replace(stamp, "");
}

/**
 * Every alarm in a console, each with the lines that follow it up to the end of its trace.
 *
 * A job that provokes a warning on purpose writes `peerbar-lab: expect TEXT` to /dev/kmsg first: the next alarm whose title contains
 * TEXT is then what was wanted, and an expectation that nothing met is an alarm itself. `allow TEXT` may be met or not.
 *
 * @param {string[]} lines
 * @returns {Finding[]}
 */
export function findings(lines) {
  /** @type {Finding[]} */
  const found = [];
  const expected = [];
  const allowed = [];
  for (let at = 0; at < lines.length; at++) {
    const text = message(lines[at]);
    const wanted = marker.exec(text);
    if (wanted) (wanted[1] === "expect" ? expected : allowed).push(wanted[2]);
    const alarm = alarms.find(([, pattern]) => pattern.test(text));
    if (alarm === undefined) continue;
    const end = endOfTrace(lines, at);
    const finding = { kind: alarm[0], title: text, lines: lines.slice(at, end).map(message) };
    at = end - 1;
    const meets = (part) => finding.lines.some((line) => line.includes(part));
    const match = expected.findIndex(meets);
    if (match >= 0) expected.splice(match, 1);
    else if (allowed.some(meets)) continue;
    else if (!repeats(found, finding)) found.push(finding);
  }
  for (const part of expected) {
    found.push({ kind: "missing", title: `expected and not seen: ${part}`, lines: [] });
  }
  return found;
}

/** A trace ends with its own mark, or where lines stop being part of one; a nested alarm belongs to the outer one. */
function endOfTrace(lines, start) {
  const limit = Math.min(lines.length, start + 120);
  for (let at = start + 1; at < limit; at++) {
    const text = message(lines[at]);
    if (/^---\[ end (trace|Kernel panic)/.test(text)) return at + 1;
    if (/^-+\[ cut here \]-+$/.test(text) || text.startsWith("peerbar-lab: ")) return at;
  }
  const quiet = lines.findIndex((line, at) => at > start && at < limit && isOutside(message(line)));
  return quiet < 0 ? limit : quiet;
}

/** A line that no trace contains: another subsystem's `name: text`. */
function isOutside(text) {
  return /^(pci|vfio-pci|usb|systemd|nvme|Freeing|Run |DMAR|iommu)\b/.test(text);
}

/** The same warning twice is one finding: an oops and the panic that follows it stay two. */
function repeats(found, finding) {
  return found.some((other) => other.title === finding.title);
}

/**
 * How many buffers are left according to /sys/kernel/debug/dma_buf/bufinfo.
 *
 * @returns {number | undefined} undefined where the text is not one
 */
export function buffersLeft(bufinfo) {
  const total = /^Total (\d+) objects, \d+ bytes/m.exec(bufinfo);
  return total === null ? undefined : Number(total[1]);
}
