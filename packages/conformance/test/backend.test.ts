import { backendCases } from "@peerbar/conformance";
import { SimpleIommu } from "@peerbar/conformance/reference";
import { registerSuite } from "@peerbar/conformance/vitest";
import { describe, expect, it } from "vitest";
import { simpleIommuSubject } from "./fixtures/backends.js";
import { countingSubject, markingSubject } from "./wrong/more-backends.js";

registerSuite({ describe, it }, backendCases, simpleIommuSubject("simple IOMMU"));
registerSuite({ describe, it }, backendCases, markingSubject("with attributes", "mmio"));
registerSuite({ describe, it }, backendCases, countingSubject("with a CPU cache", false));

describe("the reference backend", () => {
  it("moves a device that is attached elsewhere (iommufd R26)", () => {
    const iommu = new SimpleIommu();
    const device = { name: "nic", pciAddress: undefined, dmaMask: (1n << 64n) - 1n };
    iommu.connect({ ...device, isPci: true, reserved: [] });
    const [one, other] = [iommu.allocAddressSpace(), iommu.allocAddressSpace()];
    const first = one.attach(device);
    expect(one.attach(device)).toBe(first);
    const own = one.allocDomain(device);
    one.attach(device, own);
    expect(one.domains.map(({ devices }) => devices)).toEqual([["nic"]]);
    expect(other.attach(device).devices).toEqual(["nic"]);
    expect(own.devices).toEqual([]);
    one.freeDomain(own);
  });
});
