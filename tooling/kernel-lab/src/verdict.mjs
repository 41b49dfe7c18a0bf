/**
 * What a run of the lab comes to: the job's own exit code, unless the machine has something to say.
 *
 * @param {import("./boot.mjs").BootResult} result
 * @returns {{ exitCode: number, lines: string[] }}
 */
export function verdict(result) {
  const lines = [];
  for (const finding of result.findings) {
    lines.push(`the kernel complained (${finding.kind}): ${finding.title}`);
    lines.push(...finding.lines.slice(1, 40).map((line) => `    ${line}`));
  }
  if (result.buffersLeft !== undefined && result.buffersLeft > 0) {
    lines.push(`${result.buffersLeft} dma-buf(s) outlived the job (dma_buf/bufinfo)`);
  }
  for (const program of result.leftRunning)
    lines.push(`still running when the job ended: ${program}`);
  if (result.timedOut) {
    lines.push(`timed out; the console's last lines:`, ...tail(result));
    return { exitCode: 124, lines };
  }
  if (result.exitCode === undefined) {
    lines.push("the machine ended before the job did; the console's last lines:", ...tail(result));
    if (result.qemuErrors !== "") lines.push(`QEMU: ${result.qemuErrors}`);
    return { exitCode: result.findings.length > 0 ? 1 : 3, lines };
  }
  if (result.buffersLeft === undefined) lines.push("the machine left no dma_buf/bufinfo");
  return { exitCode: result.exitCode || (lines.length > 0 ? 1 : 0), lines };
}

function tail(result) {
  return result.console.slice(-15).map((line) => `    ${line.trimEnd()}`);
}
