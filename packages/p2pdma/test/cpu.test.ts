import { describe, expect, it } from "vitest";
import { inferCpu } from "../src/index.js";
import { host, machine } from "./machine.js";

describe("the CPU, told by root complexes", () => {
  it.each([
    ["8086:2020", "intel"],
    ["1022:14a4", "amd-zen"],
    ["1022:1410", "amd-old"],
    ["1d94:1450", "hygon"],
    ["19e5:a120", "arm"],
    ["1af4:1000", "unknown"],
  ])("%s is of %s", (id, cpu) => {
    expect(inferCpu(machine([host("00:00.0", id)])).cpu).toBe(cpu);
  });

  it.each(["1237", "29c0", "29a0", "29e0", "7190", "7192", "0d57"])(
    "8086:%s is imitated by hypervisors on any CPU",
    (device) => {
      expect(inferCpu(machine([host("00:00.0", `8086:${device}`)])).cpu).toBe("unknown");
    },
  );

  it("a root port of a maker of one kind of CPU counts, a whole device does not", () => {
    const port = { at: "00:00.0", id: "19e5:a120", type: "root-port", buses: "01-01" } as const;
    expect(inferCpu(machine([port])).cpu).toBe("arm");
    // A drive handed to a virtual machine is the first function of a root bus of its own.
    const drive = { at: "c05b:00:00.0", id: "19e5:3714", classCode: 0x010802 };
    expect(inferCpu(machine([host("00:00.0", "8086:7192"), drive])).cpu).toBe("unknown");
  });

  it("server root buses begin with a system peripheral", () => {
    const peripheral = { ...host("00:00.0", "8086:09a2"), classCode: 0x088000 };
    expect(inferCpu(machine([peripheral])).cpu).toBe("intel");
  });
});
