// SPDX-License-Identifier: GPL-2.0-only
/* An importer that stands in for any PCI function: attach, map, count what the exporter invalidates. */
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "oracle.h"

struct mapping {
	struct list_head node;
	unsigned int id;
	struct sg_table *sgt;
	enum dma_data_direction direction;
};

/* Everything below `node` is guarded by the buffer's reservation: the exporter calls in with it held. */
struct attached {
	struct list_head node;
	unsigned int id;
	struct pci_dev *pdev;
	struct dma_buf *buf;
	struct dma_buf_attachment *attachment;
	bool dynamic;
	bool late;
	struct list_head mappings;
	unsigned int next_mapping;
	unsigned int invalidations;
	unsigned int pins;
};

static void unmap_one(struct attached *a, struct mapping *m)
{
	dma_buf_unmap_attachment(a->attachment, m->sgt, m->direction);
	list_del(&m->node);
	kfree(m);
}

static void unmap_all(struct attached *a)
{
	struct mapping *m, *next;

	list_for_each_entry_safe(m, next, &a->mappings, node)
		unmap_one(a, m);
}

static void invalidate(struct dma_buf_attachment *attachment)
{
	struct attached *a = attachment->importer_priv;

	a->invalidations++;
	if (!a->late)
		unmap_all(a);
}

static const struct dma_buf_attach_ops revocable_ops = {
	.allow_peer2peer = true,
	.invalidate_mappings = invalidate,
};

static const struct dma_buf_attach_ops pinned_ops = {
	.allow_peer2peer = true,
};

static const struct dma_buf_attach_ops no_peer_ops = {
	.invalidate_mappings = invalidate,
};

static int ops_of(const char *mode, struct attached *a, const struct dma_buf_attach_ops **ops)
{
	a->dynamic = true;
	if (!strcmp(mode, "dynamic")) {
		*ops = &revocable_ops;
	} else if (!strcmp(mode, "late")) {
		a->late = true;
		*ops = &revocable_ops;
	} else if (!strcmp(mode, "pinned")) {
		*ops = &pinned_ops;
	} else if (!strcmp(mode, "no-peer")) {
		*ops = &no_peer_ops;
	} else if (!strcmp(mode, "static")) {
		a->dynamic = false;
		*ops = NULL;
	} else {
		return -ENOTTY;
	}
	return 0;
}

int oracle_attach(struct session *s, int fd, const char *bdf, const char *mode)
{
	const struct dma_buf_attach_ops *ops;
	struct attached *a = kzalloc(sizeof(*a), GFP_KERNEL);
	int ret;

	if (!a)
		return -ENOMEM;
	INIT_LIST_HEAD(&a->mappings);
	ret = ops_of(mode, a, &ops);
	if (ret)
		goto free;
	a->pdev = oracle_pci(bdf);
	if (IS_ERR(a->pdev)) {
		ret = PTR_ERR(a->pdev);
		goto free;
	}
	a->buf = dma_buf_get(fd);
	if (IS_ERR(a->buf)) {
		ret = PTR_ERR(a->buf);
		goto put_pdev;
	}
	a->attachment = dma_buf_dynamic_attach(a->buf, &a->pdev->dev, ops, a);
	if (IS_ERR(a->attachment)) {
		ret = PTR_ERR(a->attachment);
		goto put_buf;
	}
	a->id = ++s->next_id;
	list_add_tail(&a->node, &s->attachments);
	seq_buf_printf(&s->reply, "%u peer2peer %d\n", a->id, a->attachment->peer2peer);
	return 0;

put_buf:
	dma_buf_put(a->buf);
put_pdev:
	pci_dev_put(a->pdev);
free:
	kfree(a);
	return ret;
}

static struct attached *find(struct session *s, unsigned int id)
{
	struct attached *a;

	list_for_each_entry(a, &s->attachments, node)
		if (a->id == id)
			return a;
	return NULL;
}

static void drop(struct attached *a)
{
	dma_resv_lock(a->buf->resv, NULL);
	unmap_all(a);
	while (a->pins) {
		dma_buf_unpin(a->attachment);
		a->pins--;
	}
	dma_resv_unlock(a->buf->resv);
	dma_buf_detach(a->buf, a->attachment);
	dma_buf_put(a->buf);
	pci_dev_put(a->pdev);
	list_del(&a->node);
	kfree(a);
}

int oracle_detach(struct session *s, unsigned int id)
{
	struct attached *a = find(s, id);

	if (!a)
		return -ENOENT;
	drop(a);
	return 0;
}

void oracle_drop_attachments(struct session *s)
{
	struct attached *a, *next;

	list_for_each_entry_safe(a, next, &s->attachments, node)
		drop(a);
}

static void print_entries(struct seq_buf *reply, struct sg_table *sgt)
{
	struct scatterlist *sg;
	int i;

	for_each_sgtable_dma_sg(sgt, sg, i)
		seq_buf_printf(reply, "%llx %x\n", (u64)sg_dma_address(sg), sg_dma_len(sg));
}

static enum dma_data_direction direction_of(const char *name)
{
	if (!strcmp(name, "to-device"))
		return DMA_TO_DEVICE;
	if (!strcmp(name, "from-device"))
		return DMA_FROM_DEVICE;
	return DMA_BIDIRECTIONAL;
}

int oracle_map(struct session *s, unsigned int id, const char *direction)
{
	struct attached *a = find(s, id);
	struct mapping *m;
	int ret = 0;

	if (!a)
		return -ENOENT;
	m = kzalloc(sizeof(*m), GFP_KERNEL);
	if (!m)
		return -ENOMEM;
	m->direction = direction_of(direction);
	dma_resv_lock(a->buf->resv, NULL);
	m->sgt = dma_buf_map_attachment(a->attachment, m->direction);
	if (IS_ERR(m->sgt)) {
		ret = PTR_ERR(m->sgt);
		kfree(m);
	} else {
		m->id = ++a->next_mapping;
		list_add_tail(&m->node, &a->mappings);
		seq_buf_printf(&s->reply, "%u orig %u\n", m->id, m->sgt->orig_nents);
		print_entries(&s->reply, m->sgt);
	}
	dma_resv_unlock(a->buf->resv);
	return ret;
}

int oracle_unmap(struct session *s, unsigned int id, unsigned int mapping)
{
	struct attached *a = find(s, id);
	struct mapping *m;
	int ret = -ENOENT;

	if (!a)
		return -ENOENT;
	dma_resv_lock(a->buf->resv, NULL);
	list_for_each_entry(m, &a->mappings, node) {
		if (m->id != mapping)
			continue;
		unmap_one(a, m);
		ret = 0;
		break;
	}
	dma_resv_unlock(a->buf->resv);
	return ret;
}

int oracle_pin(struct session *s, unsigned int id, bool pin)
{
	struct attached *a = find(s, id);
	int ret = 0;

	if (!a || !a->dynamic)
		return a ? -EINVAL : -ENOENT;
	dma_resv_lock(a->buf->resv, NULL);
	if (pin) {
		ret = dma_buf_pin(a->attachment);
		if (!ret)
			a->pins++;
	} else if (a->pins) {
		dma_buf_unpin(a->attachment);
		a->pins--;
	} else {
		ret = -EINVAL;
	}
	dma_resv_unlock(a->buf->resv);
	return ret;
}

int oracle_state(struct session *s, unsigned int id)
{
	struct attached *a = find(s, id);

	if (!a)
		return -ENOENT;
	dma_resv_lock(a->buf->resv, NULL);
	seq_buf_printf(&s->reply, "invalidations %u mappings %zu pins %u\n", a->invalidations,
		       list_count_nodes(&a->mappings), a->pins);
	dma_resv_unlock(a->buf->resv);
	return 0;
}
