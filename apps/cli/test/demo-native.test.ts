import { existsSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { runCli } from "./run.js";

// The story itself runs in the kernel lab: test-lab/demo.lab.ts.
describe("demo --backend native", () => {
  test.skipIf(existsSync("/dev/iommu"))(
    "without iommufd: one line with the next step, exit 3",
    async () => {
      const { code, out, err } = await runCli("demo", "--backend", "native");
      expect(out).toBe("");
      expect(err).toMatch(/^peerbar: E[A-Z]+: .*; .+\n$/);
      if (process.platform === "linux")
        expect(err).toMatch(/^peerbar: ENOENT: openat: \/dev\/iommu; modprobe iommufd/);
      expect(code).toBe(3);
    },
  );

  test.each([
    ["-F", "x.json", "--file"],
    ["--report", "x.html", "--report"],
  ])("%s belongs to the mock, exit 2", async (flag, value, name) => {
    const { code, err } = await runCli("demo", "--backend", "native", flag, value);
    expect(err).toMatch(new RegExp(`^peerbar: EINVAL: ${name}: .*; .+\n$`));
    expect(code).toBe(2);
  });

  test("another backend is refused, exit 2", async () => {
    const { code, err } = await runCli("demo", "--backend", "qemu");
    expect(err).toBe('peerbar: EINVAL: --backend: no backend "qemu"; use one of native, mock\n');
    expect(code).toBe(2);
  });
});
