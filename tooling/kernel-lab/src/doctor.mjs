import { findKernel } from "./kernel.mjs";
import { missingRequirements, requirements, unsupported } from "./requirements.mjs";

/** What is here and what is missing, without touching anything. @returns {Promise<number>} 0 where the lab can run, else 3 */
export async function doctor(print) {
  const reason = unsupported();
  if (reason !== undefined) {
    print(`no   ${reason}`);
    return 3;
  }
  const missing = new Set(missingRequirements(["boot", "build"]));
  for (const entry of requirements) {
    const mark = missing.has(entry) ? "no  " : "yes ";
    print(`${mark} ${entry.what} (${entry.for}; Debian: ${entry.package})`);
  }
  const kernel = await findKernel({ cachedOnly: true });
  print(
    kernel === undefined
      ? "no   a kernel in the cache: pnpm lab build"
      : `yes  kernel ${kernel.version}: ${kernel.image}`,
  );
  const needed = [...missing].filter((entry) => entry.for === "boot" || kernel === undefined);
  if (needed.length > 0)
    print(`     apt-get install ${needed.map((entry) => entry.package).join(" ")}`);
  return needed.length === 0 ? 0 : 3;
}
