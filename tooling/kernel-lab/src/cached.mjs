import { findKernel } from "./kernel.mjs";
import { missingRequirements, requirements, unsupported } from "./requirements.mjs";
import { LabError } from "./say.mjs";

/**
 * The kernel to boot, where nothing has to be built or installed for it; `also` names commands that are needed beside the machine's.
 *
 * @param {string[]} [also]
 * @returns {Promise<import("./kernel.mjs").Kernel>}
 * @throws LabError (exit 3) that says in one line what is missing, and how to get it
 */
export async function kernelAtHand(also = []) {
  const reason = unsupported();
  if (reason !== undefined) throw new LabError(reason);
  const missing = [
    ...missingRequirements(["boot"]),
    ...requirements.filter(({ what, here }) => also.includes(what) && !here()),
  ];
  if (missing.length > 0) {
    const [names, packages] = [
      missing.map(({ what }) => what).join(", "),
      missing.map((entry) => entry.package).join(" "),
    ];
    throw new LabError(`${names} is not here: apt-get install ${packages}`);
  }
  const kernel = await findKernel({ cachedOnly: true });
  if (kernel === undefined)
    throw new LabError("no kernel of the lab's is built: pnpm lab build (once, some minutes)");
  return kernel;
}
