/** Reading kernel configurations: what was asked for, what came out, and the difference. */

/** @returns {Map<string, string>} option to value; "n" where the file says "is not set" */
export function parseConfig(text) {
  const options = new Map();
  for (const line of text.split("\n")) {
    const set = /^(CONFIG_[A-Za-z0-9_]+)=(.*)$/.exec(line);
    const unset = /^# (CONFIG_[A-Za-z0-9_]+) is not set$/.exec(line);
    if (set) options.set(set[1], set[2]);
    else if (unset) options.set(unset[1], "n");
  }
  return options;
}

/**
 * What a configuration does not hold of what was wanted. Kconfig drops an option without a word where a dependency is missing, so each
 * one is compared after `make olddefconfig`.
 *
 * @param {string} wanted the fragment
 * @param {string} got the finished .config
 * @returns {{ option: string, wanted: string, got: string }[]}
 */
export function missingOptions(wanted, got) {
  const finished = parseConfig(got);
  return [...parseConfig(wanted)]
    .map(([option, value]) => ({ option, wanted: value, got: finished.get(option) ?? "n" }))
    .filter((entry) => entry.wanted !== entry.got);
}
