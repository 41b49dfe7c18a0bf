// SPDX-License-Identifier: GPL-2.0-only
/*
 * Listens to three functions of the kernel: IOVAs that dma-iommu takes and gives back, and the protection of each IOMMU mapping.
 * That is how a leak and a lost attribute are seen, which no address shows.
 */
#include <linux/atomic.h>
#include <linux/kprobes.h>

#include "oracle.h"

#define EVENTS 512

struct event {
	const char *what;
	unsigned long a, b, c;
};

static struct event events[EVENTS];
static atomic_t count;
static bool watching;

/* Runs inside a breakpoint, where no lock may be taken: each event takes a place of its own. */
static void note(const char *what, unsigned long a, unsigned long b, unsigned long c)
{
	unsigned int at = atomic_inc_return(&count) - 1;

	if (at < EVENTS)
		events[at] = (struct event){ what, a, b, c };
}

/* iommu_map_nosync(domain, iova, paddr, size, prot, gfp) */
static int on_map(struct kprobe *p, struct pt_regs *regs)
{
	note("map", regs->si, regs->cx, regs->r8);
	return 0;
}

/* free_iova_fast(iovad, pfn, size) */
static int on_free(struct kprobe *p, struct pt_regs *regs)
{
	note("free-iova", regs->si, regs->dx, 0);
	return 0;
}

struct alloc_args {
	unsigned long size;
};

/* alloc_iova_fast(iovad, size, limit_pfn, flush) */
static int on_alloc_entry(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	((struct alloc_args *)ri->data)->size = regs->si;
	return 0;
}

static int on_alloc_return(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	note("alloc-iova", regs_return_value(regs), ((struct alloc_args *)ri->data)->size, 0);
	return 0;
}

static struct kprobe map_probe = { .symbol_name = "iommu_map_nosync", .pre_handler = on_map };
static struct kprobe free_probe = { .symbol_name = "free_iova_fast", .pre_handler = on_free };
static struct kretprobe alloc_probe = {
	.kp.symbol_name = "alloc_iova_fast",
	.entry_handler = on_alloc_entry,
	.handler = on_alloc_return,
	.data_size = sizeof(struct alloc_args),
	.maxactive = 16,
};

void oracle_watch_end(void)
{
	if (!watching)
		return;
	unregister_kretprobe(&alloc_probe);
	unregister_kprobe(&free_probe);
	unregister_kprobe(&map_probe);
	watching = false;
}

static int begin(void)
{
	int ret;

	oracle_watch_end();
	atomic_set(&count, 0);
	/* A probe that was registered before keeps its address; the symbol alone must be left. */
	map_probe.addr = NULL;
	free_probe.addr = NULL;
	alloc_probe.kp.addr = NULL;
	map_probe.flags = free_probe.flags = alloc_probe.kp.flags = 0;
	ret = register_kprobe(&map_probe);
	if (ret)
		return ret;
	ret = register_kprobe(&free_probe);
	if (ret)
		goto map;
	ret = register_kretprobe(&alloc_probe);
	if (ret)
		goto free;
	watching = true;
	return 0;

free:
	unregister_kprobe(&free_probe);
map:
	unregister_kprobe(&map_probe);
	return ret;
}

int oracle_watch(struct session *s, const char *what)
{
	unsigned int i, seen;

	if (!strcmp(what, "begin"))
		return begin();
	if (strcmp(what, "end"))
		return -ENOTTY;
	oracle_watch_end();
	seen = atomic_read(&count);
	seq_buf_printf(&s->reply, "%u\n", seen);
	for (i = 0; i < min(seen, EVENTS); i++)
		seq_buf_printf(&s->reply, "%s %lx %lx %lx\n", events[i].what, events[i].a,
			       events[i].b, events[i].c);
	return 0;
}
