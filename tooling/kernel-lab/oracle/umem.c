// SPDX-License-Identifier: GPL-2.0-only
/*
 * The RDMA core's dma-buf memory (ib_umem_dmabuf) for any PCI function. The code under test reads nothing of the ib_device but its
 * dma_device, so a zeroed one that was never registered serves.
 */
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/slab.h>
#include <rdma/ib_umem.h>
#include <rdma/ib_verbs.h>

#include "oracle.h"

enum umem_mode { UMEM_DYNAMIC, UMEM_PINNED, UMEM_REVOCABLE };

struct region {
	struct list_head node;
	unsigned int id;
	struct pci_dev *pdev;
	struct ib_device *device;
	struct ib_umem_dmabuf *umem;
	unsigned int callbacks;
};

/* The driver's part of a dynamic importer, as a device with on-demand paging does it. */
static void invalidate(struct dma_buf_attachment *attachment)
{
	struct ib_umem_dmabuf *umem = attachment->importer_priv;
	struct region *r = umem->private;

	if (r)
		r->callbacks++;
	ib_umem_dmabuf_unmap_pages(umem);
}

static const struct dma_buf_attach_ops dynamic_ops = {
	.allow_peer2peer = true,
	.invalidate_mappings = invalidate,
};

static void revoked(void *priv)
{
	struct region *r = priv;

	r->callbacks++;
}

static struct ib_umem_dmabuf *get(struct region *r, enum umem_mode mode, int fd, u64 offset,
				  u64 length)
{
	struct ib_umem_dmabuf *umem;
	int access = IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE | IB_ACCESS_REMOTE_READ;

	switch (mode) {
	case UMEM_DYNAMIC:
		umem = ib_umem_dmabuf_get(r->device, offset, length, fd, access, &dynamic_ops);
		if (!IS_ERR(umem)) {
			ib_umem_dmabuf_revoke_lock(umem);
			umem->private = r;
			ib_umem_dmabuf_revoke_unlock(umem);
		}
		return umem;
	case UMEM_PINNED:
		return ib_umem_dmabuf_get_pinned(r->device, offset, length, fd, access);
	default:
		umem = ib_umem_dmabuf_get_pinned_revocable_and_lock(r->device, offset, length, fd,
								    access);
		if (!IS_ERR(umem)) {
			ib_umem_dmabuf_set_revoke_locked(umem, revoked, r);
			ib_umem_dmabuf_revoke_unlock(umem);
		}
		return umem;
	}
}

static int mode_of(const char *name, enum umem_mode *mode)
{
	if (!strcmp(name, "dynamic"))
		*mode = UMEM_DYNAMIC;
	else if (!strcmp(name, "pinned"))
		*mode = UMEM_PINNED;
	else if (!strcmp(name, "revocable"))
		*mode = UMEM_REVOCABLE;
	else
		return -ENOTTY;
	return 0;
}

static struct region *find(struct session *s, unsigned int id)
{
	struct region *r;

	list_for_each_entry(r, &s->umems, node)
		if (r->id == id)
			return r;
	return NULL;
}

/* Entries as the importer sees them: trimmed to the slice. */
static void print_entries(struct session *s, struct region *r)
{
	struct sg_table *sgt = &r->umem->umem.sgt_append.sgt;
	struct scatterlist *sg;
	int i;

	if (!r->umem->sgt)
		return;
	for_each_sg(sgt->sgl, sg, sgt->nents, i)
		seq_buf_printf(&s->reply, "%llx %x\n", (u64)sg_dma_address(sg), sg_dma_len(sg));
}

int oracle_umem(struct session *s, int fd, const char *bdf, const char *name, u64 offset,
		u64 length)
{
	enum umem_mode mode;
	struct region *r;
	int ret = mode_of(name, &mode);

	if (ret)
		return ret;
	r = kzalloc(sizeof(*r), GFP_KERNEL);
	if (!r)
		return -ENOMEM;
	r->device = kvzalloc(sizeof(*r->device), GFP_KERNEL);
	if (!r->device) {
		ret = -ENOMEM;
		goto free;
	}
	r->pdev = oracle_pci(bdf);
	if (IS_ERR(r->pdev)) {
		ret = PTR_ERR(r->pdev);
		goto free_device;
	}
	r->device->dma_device = &r->pdev->dev;
	r->umem = get(r, mode, fd, offset, length);
	if (IS_ERR(r->umem)) {
		ret = PTR_ERR(r->umem);
		goto put;
	}
	r->id = ++s->next_id;
	list_add_tail(&r->node, &s->umems);
	ib_umem_dmabuf_revoke_lock(r->umem);
	seq_buf_printf(&s->reply, "%u pages %zu\n", r->id, ib_umem_num_pages(&r->umem->umem));
	print_entries(s, r);
	ib_umem_dmabuf_revoke_unlock(r->umem);
	return 0;

put:
	pci_dev_put(r->pdev);
free_device:
	kvfree(r->device);
free:
	kfree(r);
	return ret;
}

int oracle_umem_map(struct session *s, unsigned int id, bool map)
{
	struct region *r = find(s, id);
	int ret = 0;

	if (!r)
		return -ENOENT;
	ib_umem_dmabuf_revoke_lock(r->umem);
	if (map)
		ret = ib_umem_dmabuf_map_pages(r->umem);
	else
		ib_umem_dmabuf_unmap_pages(r->umem);
	if (!ret) {
		seq_buf_puts(&s->reply, "\n");
		print_entries(s, r);
	}
	ib_umem_dmabuf_revoke_unlock(r->umem);
	return ret;
}

int oracle_umem_state(struct session *s, unsigned int id)
{
	struct region *r = find(s, id);

	if (!r)
		return -ENOENT;
	ib_umem_dmabuf_revoke_lock(r->umem);
	seq_buf_printf(&s->reply, "callbacks %u mapped %d pinned %d revoked %d\n", r->callbacks,
		       !!r->umem->sgt, r->umem->pinned, r->umem->revoked);
	ib_umem_dmabuf_revoke_unlock(r->umem);
	return 0;
}

int oracle_umem_page_size(struct session *s, unsigned int id, u64 bitmap, u64 virt)
{
	struct region *r = find(s, id);
	unsigned long size = 0;
	int ret = 0;

	if (!r)
		return -ENOENT;
	ib_umem_dmabuf_revoke_lock(r->umem);
	if (r->umem->sgt)
		size = ib_umem_find_best_pgsz(&r->umem->umem, bitmap, virt);
	else
		ret = -EINVAL;
	ib_umem_dmabuf_revoke_unlock(r->umem);
	if (!ret)
		seq_buf_printf(&s->reply, "%lx\n", size);
	return ret;
}

static void drop(struct region *r)
{
	list_del(&r->node);
	ib_umem_release(&r->umem->umem);
	pci_dev_put(r->pdev);
	kvfree(r->device);
	kfree(r);
}

int oracle_umem_release(struct session *s, unsigned int id)
{
	struct region *r = find(s, id);

	if (!r)
		return -ENOENT;
	drop(r);
	return 0;
}

void oracle_drop_umems(struct session *s)
{
	struct region *r, *next;

	list_for_each_entry_safe(r, next, &s->umems, node)
		drop(r);
}
