import { describe, expect, it } from "vitest";
import { agree, type Interconnects, type OpenInterconnectName } from "../src/index.js";
import { errorOf } from "./fixtures/expect-error.js";
import {
  buffer,
  device,
  EventLog,
  importer,
  locked,
  RecordingExporter,
} from "./fixtures/exporter.js";

// What a third party writes: its own way to hand a buffer over.
declare module "../src/interconnect.js" {
  interface Interconnects {
    "acme-fabric": { readonly fabricKey: number };
  }
}

class FabricExporter extends RecordingExporter {
  override offered = ["acme-fabric", "sgt"] as const;

  override open<N extends OpenInterconnectName>(_attachment: unknown, name: N): Interconnects[N] {
    const fabric: Pick<Interconnects, "acme-fabric"> = { "acme-fabric": { fabricKey: 42 } };
    return (fabric as Partial<Interconnects>)[name] as Interconnects[N];
  }
}

describe("interconnects", () => {
  it("of third parties are negotiated and opened like the built-in ones", () => {
    const { buffer: made } = buffer(new FabricExporter());
    const attachment = made.attach(device("a"), importer());
    const agreed = attachment.negotiate(["phys", "acme-fabric"]);
    expect(agreed).toBe("acme-fabric");
    const key: number = locked(made, (held) => attachment.open("acme-fabric", held).fabricKey);
    expect(key).toBe(42);
  });

  it("are the first of the importer's that the exporter offers", () => {
    expect(agree(["fd", "phys", "sgt"], ["sgt", "phys"], "test")).toBe("phys");
  });

  it("without a common one are EOPNOTSUPP with both lists in the message", () => {
    const { buffer: made, ops } = buffer(new FabricExporter());
    const attachment = made.attach(device("a"), importer());
    expect(() => attachment.negotiate(["fd", "phys"])).toThrow(
      /EOPNOTSUPP.*\[fd, phys\].*\[acme-fabric, sgt\]/,
    );
    expect(errorOf(() => locked(made, (held) => attachment.open("phys", held)))?.code).toBe(
      "EOPNOTSUPP",
    );
    expect(ops.log).toEqual(["attach"]);
  });

  it("that are offered must open; the exporter's errno comes back as it is", () => {
    const events = new EventLog();
    const { buffer: made, ops } = buffer(undefined, { events });
    const attachment = made.attach(device("a"), importer());
    expect(locked(made, (held) => attachment.open("phys", held)).length).toBe(1);
    ops.fail.set("open", "ENODEV");
    expect(errorOf(() => locked(made, (held) => attachment.open("phys", held)))?.code).toBe(
      "ENODEV",
    );
    Object.defineProperty(ops, "open", { value: undefined });
    expect(errorOf(() => locked(made, (held) => attachment.open("phys", held)))?.rule).toBe(
      "interconnect",
    );
    expect(events.types.filter((type) => type === "open" || type === "refuse")).toEqual([
      "open",
      "refuse",
    ]);
  });
});
