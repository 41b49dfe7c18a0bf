import { describe, expect, test } from "vitest";
import { buffersLeft, findings, message } from "../src/console.mjs";

/** A console as the kernel prints it, with time stamps. */
const lines = (text) => text.split("\n").map((line, index) => `[    ${index}.123456] ${line}\r`);
const kinds = (text) => findings(lines(text)).map((finding) => finding.kind);

const warn = `------------[ cut here ]------------
WARNING: drivers/iommu/iova.c:699 at iova_magazine_free_pfns+0x1/0x2, CPU#0: node/99
Modules linked in: peerbar_oracle(O)
Call Trace:
 <TASK>
 free_iova_fast+0x1a/0x30
 </TASK>
---[ end trace 0000000000000000 ]---`;

const circular = `======================================================
WARNING: possible circular locking dependency detected
7.2.13 #1 Not tainted
------------------------------------------------------
node/99 is trying to acquire lock:
ffff888003 (&pages->mutex){+.+.}-{4:4}, at: iopt_unmap+0x1/0x2
but task is already holding lock:
ffff888004 (reservation_ww_class_mutex){+.+.}-{4:4}, at: dma_buf_move+0x1/0x2`;

const oops = `BUG: kernel NULL pointer dereference, address: 0000000000000010
#PF: supervisor read access in kernel mode
Oops: Oops: 0000 [#1] SMP
RIP: 0010:vfio_pci_dma_buf_attach+0x1/0x2
---[ end trace 0000000000000000 ]---
Kernel panic - not syncing: Fatal exception`;

const ordinary = `Linux version 7.2.13 (root@build) (gcc 12.2.0)
Command line: console=ttyS0 root=root rootfstype=9p oops=panic panic=-1
pci 0000:00:04.0: [1b36:000c] type 01 class 0x060400 PCIe Root Port
Running RCU self tests
RCU: Adjusting geometry for rcu_fanout_leaf=16, nr_cpu_ids=2
DMAR: DRHD: handling fault status reg 2
DMAR: [DMA Write NO_PASID] Request device [06:00.0] fault addr 0x20000000 [fault reason 0x05] PTE Write access is not set
debug: unmapping init memory
DMA-API: preallocated 65536 debug entries
random: crng init done
peerbar-lab: ready
BUGS are described elsewhere
peerbar-lab: job ended with 0`;

describe("kernel console", () => {
  test("an ordinary boot, DMAR faults included, is silent", () => {
    expect(findings(lines(ordinary))).toEqual([]);
  });

  test.each([
    ["a WARN", warn, ["warn"]],
    ["a lock order that can deadlock", circular, ["lockdep"]],
    ["an oops and the panic after it", oops, ["oops", "panic"]],
    ["a BUG", "kernel BUG at mm/slub.c:534!", ["bug"]],
    [
      "a sleep where none may be",
      "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:591",
      ["bug"],
    ],
    ["a recursive lock", "WARNING: possible recursive locking detected", ["lockdep"]],
    [
      "lockdep giving up",
      "BUG: MAX_LOCKDEP_ENTRIES too low!\nturning off the locking correctness validator.",
      ["lockdep"],
    ],
    ["a lock held at return", "WARNING: lock held when returning to user space!", ["lockdep"]],
    ["a hung task", "INFO: task node:99 blocked for more than 122 seconds.", ["hung"]],
    ["a soft lockup", "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [node:99]", ["hung"]],
    ["an RCU stall", "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", ["hung"]],
    ["UBSAN", "UBSAN: array-index-out-of-bounds in drivers/x.c:1:2", ["sanitizer"]],
    ["memory gone", "Out of memory: Killed process 99 (node)", ["memory"]],
    ["a wild access", "BUG: unable to handle page fault for address: ffffc90000", ["oops"]],
    [
      "a protection fault",
      "Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP",
      ["oops"],
    ],
  ])("%s is found", (_name, text, expected) => {
    expect(kinds(`${ordinary}\n${text}\n${ordinary}`)).toEqual(expected);
  });

  test("a finding has its trace and nothing after it", () => {
    const [found] = findings(lines(`${ordinary}\n${warn}\nnvme nvme0: 2/0/0 queues`));
    expect(found.title).toMatch(/^WARNING: drivers\/iommu\/iova.c:699/);
    expect(found.lines).toContain(" free_iova_fast+0x1a/0x30");
    expect(found.lines.join("\n")).not.toContain("nvme nvme0");
  });

  test("DMA-API complaints count, its greeting does not", () => {
    expect(
      kinds(
        "DMA-API: vfio-pci 0000:01:00.0: device driver tries to free DMA memory it has not allocated",
      ),
    ).toEqual(["dma-api"]);
  });

  test("the same warning again is one finding", () => {
    expect(kinds(`${warn}\n${warn}`)).toEqual(["warn"]);
  });

  test("an announced warning is none; an announcement that nothing meets is one", () => {
    expect(kinds(`peerbar-lab: expect iova_magazine_free_pfns\n${warn}`)).toEqual([]);
    expect(kinds(`peerbar-lab: expect iova_magazine_free_pfns\n${circular}`)).toEqual([
      "lockdep",
      "missing",
    ]);
    expect(kinds(`${warn}\npeerbar-lab: expect iova_magazine_free_pfns`)).toEqual([
      "warn",
      "missing",
    ]);
  });

  test("an allowed warning may come or not, and allows nothing else", () => {
    const allow = "peerbar-lab: allow iova_magazine_free_pfns";
    expect(kinds(allow)).toEqual([]);
    expect(kinds(`${allow}\n${warn}`)).toEqual([]);
    expect(kinds(`${allow}\n${circular}`)).toEqual(["lockdep"]);
  });

  test("stamps with a caller id and lines without one are read", () => {
    expect(message("[   12.345678][   T99] WARNING: x\r")).toBe("WARNING: x");
    expect(message("<4>[ 0.1] a")).toBe("a");
    expect(message("plain")).toBe("plain");
  });
});

describe("bufinfo", () => {
  test("no buffer, some buffers, no table", () => {
    const table = (total) => `\nDma-buf Objects:\nsize    \tflags\n\n${total}\n`;
    expect(buffersLeft(table("Total 0 objects, 0 bytes"))).toBe(0);
    expect(buffersLeft(table("Total 3 objects, 12288 bytes"))).toBe(3);
    expect(buffersLeft("")).toBeUndefined();
  });
});
