import { fileURLToPath } from "node:url";
import { createContext, runInContext } from "node:vm";
import { build } from "esbuild";
import { describe, expect, it } from "vitest";

/** What a browser without `Symbol.dispose`, without Node and without DOM must be able to run. */
const program = `
  import { DmaBuf, MicrotaskScheduler, POLLIN, ScatterTable, FdTable, ioctl, DMA_BUF_SET_NAME_B, dispose, ChromeTrace } from "./index.js";
  const log = [];
  const trace = new ChromeTrace();
  const buffer = DmaBuf.export({
    size: 4096n,
    scheduler: new MicrotaskScheduler(),
    events: trace,
    ops: {
      name: "bare",
      offers: () => ["sgt"],
      map: () => ScatterTable.fromSpans("bus", [{ pfn: 1, pages: 1 }]),
      unmap: () => log.push("unmap"),
      release: () => log.push("release"),
    },
  });
  globalThis.result = (async () => {
    const attachment = buffer.attach({ name: "nic", pciAddress: undefined, dmaMask: 1n }, { allowPeer2Peer: true });
    const held = await buffer.reservation.lock();
    const table = attachment.map("to-device", held);
    attachment.unmap(table, "to-device", held);
    held.release();
    const fds = new FdTable();
    const fd = fds.fd(buffer);
    await ioctl(fds, fd, DMA_BUF_SET_NAME_B, new Uint8Array([65, 0]));
    log.push(fds.readlink(fd), String(buffer.poll(POLLIN)));
    attachment[dispose]();
    fds[dispose]();
    await null; await null;
    log.push(String(trace.toJSON().traceEvents.length > 5));
    return JSON.stringify(log);
  })();
`;

async function bundle(): Promise<string> {
  const { outputFiles } = await build({
    stdin: {
      contents: program,
      resolveDir: fileURLToPath(new URL("../src", import.meta.url)),
      loader: "ts",
    },
    bundle: true,
    platform: "browser",
    format: "iife",
    target: "es2022",
    write: false,
    logLevel: "silent",
  });
  const code = outputFiles[0]?.text;
  if (code === undefined) throw new Error("esbuild wrote nothing");
  return code;
}

describe("in a browser bundle", () => {
  it("core runs in a bare context: no Node, no DOM, and no Symbol.dispose where the engine has none", async () => {
    const context = createContext({});
    const bare = runInContext(
      "[typeof process, typeof require, typeof AbortController]",
      context,
    ) as string[];
    expect([...bare]).toEqual(["undefined", "undefined", "undefined"]);
    // Node 20 and 22 give contexts a Symbol without it; newer engines have it for good.
    runInContext("try { delete Symbol.dispose; delete Symbol.asyncDispose; } catch {}", context);
    runInContext(await bundle(), context);
    const result = await (runInContext("result", context) as Promise<string>);
    expect(JSON.parse(result)).toEqual(["unmap", "/dmabuf:A", "1", "release", "true"]);
  });

  it("the main entry imports no module at all", async () => {
    const { metafile } = await build({
      entryPoints: [fileURLToPath(new URL("../src/index.ts", import.meta.url))],
      bundle: true,
      platform: "neutral",
      write: false,
      metafile: true,
      logLevel: "silent",
    });
    const outside = Object.keys(metafile.inputs).filter((path) => !path.includes("src/"));
    expect(outside).toEqual([]);
    const imports = Object.values(metafile.outputs).flatMap((output) => output.imports);
    expect(imports).toEqual([]);
  });
});
