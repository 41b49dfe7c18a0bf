/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef PEERBAR_ORACLE_H
#define PEERBAR_ORACLE_H

#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/seq_buf.h>

#define REPLY_BYTES (256 * 1024)

/* What one open of the device owns. Closing it unmaps, detaches and drops everything. */
struct session {
	struct mutex lock;
	struct list_head attachments;
	struct list_head umems;
	unsigned int next_id;
	size_t reply_len;
	struct seq_buf reply;
	char *text;
};

/* Each command writes its words after "0 " on success; a negative errno is all there is on failure. */
int oracle_attach(struct session *s, int fd, const char *bdf, const char *mode);
int oracle_detach(struct session *s, unsigned int id);
int oracle_map(struct session *s, unsigned int id, const char *direction);
int oracle_unmap(struct session *s, unsigned int id, unsigned int mapping);
int oracle_pin(struct session *s, unsigned int id, bool pin);
int oracle_state(struct session *s, unsigned int id);
void oracle_drop_attachments(struct session *s);

int oracle_umem(struct session *s, int fd, const char *bdf, const char *mode,
		u64 offset, u64 length);
int oracle_umem_map(struct session *s, unsigned int id, bool map);
int oracle_umem_state(struct session *s, unsigned int id);
int oracle_umem_page_size(struct session *s, unsigned int id, u64 bitmap, u64 virt);
int oracle_umem_release(struct session *s, unsigned int id);
void oracle_drop_umems(struct session *s);

int oracle_watch(struct session *s, const char *what);
void oracle_watch_end(void);

/* The function at "dddd:bb:dd.f", with a reference. ERR_PTR(-ENODEV) where there is none. */
struct pci_dev *oracle_pci(const char *bdf);

#endif
