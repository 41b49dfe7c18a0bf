import { existsSync } from "node:fs";
import { DmaBufError } from "@peerbar/core";
import { openFds } from "@peerbar/linux";
import { describe, expect, it } from "vitest";
import { explained } from "../src/explain.js";
import { parseFault } from "../src/host/fault-log.js";
import { NoIommufd } from "../src/host/no-iommufd.js";
import { createUdmabuf, NativeDmaBuf, NativeIommu, verbsDevices } from "../src/index.js";
import { mapFileCauses } from "../src/iommufd/causes.js";
import { load } from "../src/rdma/verbs-library.js";
import { assertInside } from "../src/vfio/regions.js";

const failing = (code: "EINVAL" | "EOPNOTSUPP" | "EIO") => () => {
  throw new DmaBufError(code, "IOMMU_IOAS_MAP_FILE", "fd 9 (/dev/iommu)");
};

describe("an errno of the kernel", () => {
  const request = {
    ioas: 1,
    fd: -1,
    slice: { offset: 0n, length: 0x1000n },
    access: "rw" as const,
  };
  const space = () => ({
    ranges: [{ first: 0x1000n as never, last: 0xffff_ffffn as never }],
    alignment: 0x1000n,
  });
  const caught = (change: object, code: "EINVAL" | "EOPNOTSUPP" | "EIO" = "EINVAL"): unknown => {
    const asked = { ...request, ...change };
    try {
      return explained(failing(code), () => mapFileCauses(asked, space));
    } catch (error) {
      return error;
    }
  };

  it.each([
    ["iommufd M5", { slice: { offset: 0n, length: 0n } }],
    ["iommufd M8", {}],
    ["iommufd M16", { slice: { offset: 0n, length: 0x800n } }],
    ["iommufd M17", { iova: 0x1800n }],
    ["iommufd M17", { iova: 0x1_0000_0000n }],
    ["iommufd M19", { slice: { offset: 0x800n, length: 0x1000n } }],
  ])("EINVAL of a map names %s", (rule, change) => {
    expect(caught(change)).toMatchObject({ code: "EINVAL", syscall: "IOMMU_IOAS_MAP_FILE", rule });
  });

  it("keeps code and call, and says what to do; others pass as they are", () => {
    expect(caught({}, "EOPNOTSUPP")).toMatchObject({
      code: "EOPNOTSUPP",
      rule: "iommufd M13",
      hint: expect.stringContaining("memfd") as string,
    });
    expect(caught({}, "EIO")).toMatchObject({ code: "EIO", rule: undefined });
  });
});

describe("what is not there is named, with the next step", () => {
  it("libibverbs", () => {
    expect(() => load("libibverbs-none-such.so.1")).toThrow(
      expect.objectContaining({
        code: "ENOENT",
        hint: expect.stringContaining("libibverbs1") as string,
      }),
    );
  });

  it("a function that an old library lacks", () => {
    expect(() => load("libc.so.6")).toThrow(
      expect.objectContaining({ code: "ENOSYS", syscall: "dlsym" }),
    );
  });

  it("iommufd: no address space, and the reason why /dev/iommu did not open", () => {
    const cause = new DmaBufError("ENOENT", "openat", "/dev/iommu");
    expect(() => new NoIommufd(cause).allocAddressSpace()).toThrow(
      expect.objectContaining({ code: "EOPNOTSUPP", cause }),
    );
  });

  it.skipIf(existsSync("/dev/iommu"))("/dev/iommu (runs where the machine has none)", () => {
    expect(() => new NativeIommu()).toThrow(
      expect.objectContaining({
        code: "ENOENT",
        hint: expect.stringContaining("CONFIG_IOMMUFD") as string,
      }),
    );
  });

  it.skipIf(existsSync("/dev/udmabuf"))("/dev/udmabuf (runs where the machine has none)", () => {
    expect(() => createUdmabuf(0x1000n)).toThrow(
      expect.objectContaining({
        code: "ENOENT",
        hint: expect.stringContaining("udmabuf") as string,
      }),
    );
  });

  it.skipIf(existsSync("/dev/infiniband"))("RDMA devices (runs where the machine has none)", () => {
    try {
      expect(verbsDevices()).toEqual([]);
    } catch (error) {
      expect(error).toMatchObject({
        hint: expect.stringMatching(/ib_uverbs|libibverbs1/) as string,
      });
    }
  });

  it("a descriptor that is no dma-buf stays the caller's", () => {
    expect(() => NativeDmaBuf.fromFd(0)).toThrow(expect.objectContaining({ code: "EINVAL" }));
    expect(openFds()).toEqual([]);
  });
});

describe("bounds of a region", () => {
  const region = {
    index: 0,
    size: 0x100n,
    offset: 0n,
    readable: true,
    writable: true,
    mappable: false,
  };

  it.each([
    [-1n, 1],
    [0x100n, 1],
    [0xffn, 2],
    [0n, 0],
    [1n << 63n, 8],
  ])("offset %s, %s bytes: EINVAL, for behind one region lies the next", (at, length) => {
    expect(() => assertInside(region, at, length, "pread64")).toThrow(
      expect.objectContaining({ code: "EINVAL" }),
    );
  });

  it("the last byte is inside", () => {
    expect(() => assertInside(region, 0xffn, 1, "pread64")).not.toThrow();
  });
});

describe("faults in the kernel log", () => {
  it("VT-d", () => {
    const line =
      "3,812,9911223,-;DMAR: [DMA Write NO_PASID] Request device [0000:05:00.0] fault addr 0x100000 [fault reason 0x05] PTE Write access is not set\n";
    expect(parseFault(line)).toMatchObject({
      device: "0000:05:00.0",
      iova: 0x10_0000n,
      access: "w",
    });
    expect(
      parseFault(line.replace("0000:05:00.0", "05:00.0").replace("Write", "Read")),
    ).toMatchObject({ device: "0000:05:00.0", access: "r" });
  });

  it("AMD-Vi", () => {
    const line =
      "3,9,1,-;vfio-pci 0000:05:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0003 address=0x7f000 flags=0x0020]";
    expect(parseFault(line)).toMatchObject({ device: "0000:05:00.0", iova: 0x7f000n, access: "w" });
  });

  it.each(["", "6,1,1,-;usb 1-1: new device", "3,1,1,-;DMAR: DRHD: handling fault status reg 2"])(
    "not %j",
    (line) => {
      expect(parseFault(line)).toBeUndefined();
    },
  );
});
