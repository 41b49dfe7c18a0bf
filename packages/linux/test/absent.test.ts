import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import Module from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDmaBufError } from "@peerbar/core";
import { afterAll, afterEach, describe, expect, test, vi } from "vitest";
import { openFds, platformProblem, probe } from "../src/index.js";

const hidden = "peerbar: koffi is hidden";
type Load = (request: string, ...rest: unknown[]) => unknown;
const loader = Module as unknown as { _load: Load };
const load = loader._load;

afterEach(() => {
  loader._load = load;
  vi.resetModules();
});

describe("where no system call can be made", () => {
  test.each([
    ["darwin", "x64", /this is darwin/],
    ["win32", "x64", /this is win32/],
    ["linux", "arm", /this is arm/],
    ["linux", "s390x", /this is s390x/],
  ])("%s on %s has a reason and a next step", (platform, arch, reason) => {
    const problem = platformProblem(platform, arch);
    expect(problem?.reason).toMatch(reason);
    expect(problem?.hint).toMatch(/mock backend/);
  });

  test.each(["x64", "arm64"])("linux on %s has none", (arch) => {
    expect(platformProblem("linux", arch)).toBeUndefined();
  });

  test("without koffi's binary the package loads, the tables work, and a call says what to install", async () => {
    loader._load = (request, ...rest) => {
      if (request === "koffi") throw new Error(`${hidden}\nRequire stack: ...`);
      return load.call(Module, request, ...rest);
    };
    vi.resetModules();
    const fresh = await import("../src/index.js");
    expect(fresh.iommufd.IOMMU_DESTROY.struct.encode({ id: 3 })).toHaveLength(8);
    try {
      fresh.open("/dev/null");
      expect.unreachable();
    } catch (error) {
      if (!isDmaBufError(error)) throw error;
      expect(error.code).toBe("ENOSYS");
      expect(error.syscall).toBe("openat");
      if (process.platform === "linux") {
        expect(error.reason).toBe(`koffi cannot be loaded: ${hidden}`);
        expect(error.hint).toContain("npm install koffi");
      }
    }
    const [ffi] = fresh.probe("/nowhere");
    expect(ffi).toMatchObject({ name: "ffi", available: false });
  });
});

describe.skipIf(platformProblem())("probe", () => {
  const root = mkdtempSync(join(tmpdir(), "peerbar-dev-"));
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  test("each entry point that is not there says why, and names the next step", () => {
    const [ffi, ...others] = probe(join(root, "empty"));
    expect(ffi).toEqual({ name: "ffi", available: true });
    for (const answer of others) {
      if (answer.available) throw new Error(answer.name);
      expect(answer.reason).toMatch(/^ENOENT: openat: .*empty/);
      expect(answer.hint, answer.name).toMatch(/modprobe|bind the device/);
    }
    expect(openFds()).toEqual([]);
  });

  test("a node that answers otherwise is not taken for the real one", () => {
    const dev = join(root, "dev");
    for (const folder of ["vfio/devices", "dma_heap", "infiniband"])
      mkdirSync(join(dev, folder), { recursive: true });
    for (const node of ["iommu", "udmabuf", "vfio/vfio", "dma_heap/system"])
      writeFileSync(join(dev, node), "");
    const answers = probe(dev).filter(({ name }) => name !== "ffi");
    expect(answers.filter(({ available }) => available)).toEqual([]);
    const reasons = answers.map((answer) => (answer.available ? "" : answer.reason));
    expect(reasons.map((reason) => reason.split(": ").slice(0, 2).join(" "))).toEqual([
      "ENOTTY IOMMU_IOAS_ALLOC",
      "ENOTTY IOMMU_IOAS_MAP_FILE",
      "ENOTTY IOMMU_TEST_OP_DMABUF_GET",
      "ENODEV openat",
      "ENOTTY VFIO_GET_API_VERSION",
      "ENOTTY UDMABUF_CREATE_LIST",
      "ENOTTY DMA_HEAP_IOCTL_ALLOC",
      "ENODEV openat",
    ]);
    expect(openFds()).toEqual([]);
  });

  test("this machine", () => {
    for (const answer of probe())
      console.info(
        answer.available
          ? `${answer.name}: available`
          : `${answer.name}: ${answer.reason} (${answer.hint ?? "no hint"})`,
      );
    expect(openFds()).toEqual([]);
  });
});
