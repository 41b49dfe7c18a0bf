import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { kernelKey } from "../src/kernel.mjs";
import { missingOptions, parseConfig } from "../src/kernel-config.mjs";

const fragment = readFileSync(new URL("../kernel/lab.config", import.meta.url), "utf8");

test("an option that was dropped, one with another value and one that came back are told", () => {
  const wanted =
    "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=8\n# CONFIG_D is not set\n# a comment\nCONFIG_E=y\n";
  const got = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=64\nCONFIG_D=y\n";
  expect(missingOptions(wanted, got)).toEqual([
    { option: "CONFIG_B", wanted: "y", got: "n" },
    { option: "CONFIG_C", wanted: "8", got: "64" },
    { option: "CONFIG_D", wanted: "n", got: "y" },
    { option: "CONFIG_E", wanted: "y", got: "n" },
  ]);
});

test("a configuration that holds everything has no difference, and an absent option is off", () => {
  expect(missingOptions(fragment, `${fragment}CONFIG_EXTRA=y\n`)).toEqual([]);
  expect(missingOptions("# CONFIG_X is not set", "")).toEqual([]);
});

test("a module where built-in was wanted is a difference", () => {
  expect(missingOptions("CONFIG_VFIO_PCI=y", "CONFIG_VFIO_PCI=m")).toHaveLength(1);
});

test("the fragment asks for what the tests stand on, each option once", () => {
  const names = fragment.split("\n").flatMap((line) => /CONFIG_\w+/.exec(line) ?? []);
  expect(new Set(names).size).toBe(names.length);
  const options = parseConfig(fragment);
  for (const name of [
    "VFIO_PCI_DMABUF",
    "IOMMUFD_TEST",
    "PCI_P2PDMA",
    "PROVE_LOCKING",
    "DMABUF_DEBUG",
    "UDMABUF",
  ]) {
    expect(options.get(`CONFIG_${name}`), name).toBe("y");
  }
});

test("a kernel is kept by version, configuration and tree", () => {
  const key = kernelKey("7.2.13-1", fragment, "/a");
  expect(key).toMatch(/^7\.2\.13-1-[0-9a-f]{12}$/);
  expect(kernelKey("7.2.13-1", fragment, "/a")).toBe(key);
  const others = [
    kernelKey("7.2.14-1", fragment, "/a"),
    kernelKey("7.2.13-1", `${fragment}#`, "/a"),
    kernelKey("7.2.13-1", fragment, "/b"),
  ];
  expect(new Set([key, ...others]).size).toBe(4);
});
