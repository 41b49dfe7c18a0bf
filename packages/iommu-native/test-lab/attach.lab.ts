import { dispose } from "@peerbar/core";
import { afterEach, describe, expect, it } from "vitest";
import { NativeIommu } from "../src/index.js";
import { SelftestDevice } from "../src/selftest.js";
import { first, labDevices, nothingOpen, withHost } from "./machine.js";

const devices = labDevices();
afterEach(nothingOpen);

const einval = expect.objectContaining({ code: "EINVAL" }) as unknown;

describe("a device that is attached elsewhere", () => {
  it("leaves the page table it was in, whose id the kernel gives out again (iommufd R26)", () => {
    const iommu = new NativeIommu();
    const [device, other] = [new SelftestDevice(iommu, "one"), new SelftestDevice(iommu, "other")];
    const [from, to] = [iommu.allocAddressSpace(), iommu.allocAddressSpace()];
    const automatic = from.attach(device);
    const own = from.allocDomain(device);
    expect(from.attach(device, own)).toBe(own);
    expect(from.domains).toEqual([own]);
    expect([own.devices, automatic.devices]).toEqual([["one"], []]);
    // The lowest free id is the next object's.
    expect(from.attach(other).id).toBe(automatic.id);
    expect(from.domains.map(({ devices }) => devices)).toEqual([["one"], ["other"]]);

    expect(to.attach(device).devices).toEqual(["one"]);
    expect(own.devices).toEqual([]);
    expect(() => {
      from.detach(device);
    }).toThrow(einval);
    from.freeDomain(own);
    // Its file closed: the kernel has detached it, and a detach has nothing left to do.
    other.close();
    expect(from.domains).toEqual([]);
    from.detach(other);
    from[dispose]();
    expect(to.domains.map(({ devices }) => devices)).toEqual([["one"]]);
    to.detach(device);
    expect(device.hwpt).toBeUndefined();
    device.close();
    iommu.close();
  });

  it("a function behind the machine's IOMMU, through vfio: also one that was closed and opened again", async () => {
    await withHost(async (host) => {
      const nic = host.function(first(devices.edu, "edu"));
      const opened = await host.open(nic);
      const [from, to] = [host.iommu.allocAddressSpace(), host.iommu.allocAddressSpace()];
      from.attach(nic);
      to.attach(nic);
      expect([from.domains.length, to.domains[0]?.devices]).toEqual([0, [nic.name]]);
      expect(() => {
        from.detach(nic);
      }).toThrow(einval);
      await opened.close();
      expect(to.domains).toEqual([]);
      await host.open(nic);
      from.attach(nic);
      to.detach(nic);
      expect(from.domains.map(({ devices }) => devices)).toEqual([[nic.name]]);
      from.detach(nic);
      from[dispose]();
      to[dispose]();
    });
  });
});

describe("an address space that cannot be ended", () => {
  it("does not keep /dev/iommu open, nor the others", () => {
    const iommu = new NativeIommu();
    const [broken] = [iommu.allocAddressSpace(), iommu.allocAddressSpace()];
    // Gone behind its back.
    iommu.file.destroy(broken.id);
    expect(() => {
      iommu.close();
    }).toThrow(expect.objectContaining({ code: "ENOENT" }));
    expect(iommu.live).toBe(0);
  });
});
