// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the kernel itself says about peer-to-peer DMA and dma-buf, for the tests of peerbar.
 *
 * /dev/peerbar-oracle takes one command a write and gives its answer to a read at offset 0. PROTOCOL.md has the commands.
 * For the kernel lab only: whoever may open the device may map any buffer for any PCI function.
 */
#include <linux/fs.h>
#include <linux/iommu.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci-p2pdma.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "oracle.h"

#define COMMAND_BYTES 256

struct pci_dev *oracle_pci(const char *bdf)
{
	unsigned int domain, bus, slot, fn;
	struct pci_dev *pdev;

	if (sscanf(bdf, "%x:%x:%x.%u", &domain, &bus, &slot, &fn) != 4)
		return ERR_PTR(-EINVAL);
	pdev = pci_get_domain_bus_and_slot(domain, bus, PCI_DEVFN(slot, fn));
	return pdev ?: ERR_PTR(-ENODEV);
}

static int distance(struct session *s, const char *provider, const char *client, bool verbose)
{
	struct pci_dev *from = oracle_pci(provider), *to;

	if (IS_ERR(from))
		return PTR_ERR(from);
	to = oracle_pci(client);
	if (IS_ERR(to)) {
		pci_dev_put(from);
		return PTR_ERR(to);
	}
	seq_buf_printf(&s->reply, "%d\n", pci_p2pdma_distance(from, &to->dev, verbose));
	pci_dev_put(to);
	pci_dev_put(from);
	return 0;
}

static const char *domain_name(struct iommu_domain *domain)
{
	if (!domain)
		return "none";
	switch (domain->type) {
	case IOMMU_DOMAIN_BLOCKED:
		return "blocked";
	case IOMMU_DOMAIN_IDENTITY:
		return "identity";
	case IOMMU_DOMAIN_UNMANAGED:
		return "unmanaged";
	case IOMMU_DOMAIN_DMA:
		return "dma";
	case IOMMU_DOMAIN_DMA_FQ:
		return "dma-fq";
	default:
		return "other";
	}
}

static int domain(struct session *s, const char *bdf)
{
	struct pci_dev *pdev = oracle_pci(bdf);

	if (IS_ERR(pdev))
		return PTR_ERR(pdev);
	seq_buf_printf(&s->reply, "%s mask %llx\n",
		       domain_name(iommu_get_domain_for_dev(&pdev->dev)), dma_get_mask(&pdev->dev));
	pci_dev_put(pdev);
	return 0;
}

static int mask(const char *bdf, unsigned int bits)
{
	struct pci_dev *pdev = oracle_pci(bdf);
	int ret;

	if (IS_ERR(pdev))
		return PTR_ERR(pdev);
	ret = bits > 64 || !bits ? -EINVAL :
	      dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(bits));
	pci_dev_put(pdev);
	return ret;
}

static int version(struct session *s)
{
	seq_buf_printf(&s->reply, "peerbar-oracle 1\n");
	return 0;
}

/* -ENOTTY: no such command. */
static int dispatch(struct session *s, const char *line)
{
	char verb[16] = "", a[24] = "", b[24] = "";
	unsigned long long x = 0, y = 0;
	unsigned int id, other;
	int fd;

	if (sscanf(line, "%15s", verb) != 1)
		return -EINVAL;
	if (!strcmp(verb, "version"))
		return version(s);
	if (!strcmp(verb, "distance") && sscanf(line, "%*s %23s %23s %u", a, b, &other) == 3)
		return distance(s, a, b, other);
	if (!strcmp(verb, "domain") && sscanf(line, "%*s %23s", a) == 1)
		return domain(s, a);
	if (!strcmp(verb, "mask") && sscanf(line, "%*s %23s %u", a, &id) == 2)
		return mask(a, id);
	if (!strcmp(verb, "attach") && sscanf(line, "%*s %d %23s %23s", &fd, a, b) == 3)
		return oracle_attach(s, fd, a, b);
	if (!strcmp(verb, "detach") && sscanf(line, "%*s %u", &id) == 1)
		return oracle_detach(s, id);
	if (!strcmp(verb, "map") && sscanf(line, "%*s %u %23s", &id, a) >= 1)
		return oracle_map(s, id, a);
	if (!strcmp(verb, "unmap") && sscanf(line, "%*s %u %u", &id, &other) == 2)
		return oracle_unmap(s, id, other);
	if (!strcmp(verb, "pin") && sscanf(line, "%*s %u", &id) == 1)
		return oracle_pin(s, id, true);
	if (!strcmp(verb, "unpin") && sscanf(line, "%*s %u", &id) == 1)
		return oracle_pin(s, id, false);
	if (!strcmp(verb, "state") && sscanf(line, "%*s %u", &id) == 1)
		return oracle_state(s, id);
	if (!strcmp(verb, "umem") &&
	    sscanf(line, "%*s %d %23s %23s %llx %llx", &fd, a, b, &x, &y) == 5)
		return oracle_umem(s, fd, a, b, x, y);
	if (!strcmp(verb, "umem-map") && sscanf(line, "%*s %u", &id) == 1)
		return oracle_umem_map(s, id, true);
	if (!strcmp(verb, "umem-unmap") && sscanf(line, "%*s %u", &id) == 1)
		return oracle_umem_map(s, id, false);
	if (!strcmp(verb, "umem-state") && sscanf(line, "%*s %u", &id) == 1)
		return oracle_umem_state(s, id);
	if (!strcmp(verb, "umem-page-size") && sscanf(line, "%*s %u %llx %llx", &id, &x, &y) == 3)
		return oracle_umem_page_size(s, id, x, y);
	if (!strcmp(verb, "umem-release") && sscanf(line, "%*s %u", &id) == 1)
		return oracle_umem_release(s, id);
	if (!strcmp(verb, "watch") && sscanf(line, "%*s %23s", a) == 1)
		return oracle_watch(s, a);
	return -ENOTTY;
}

static ssize_t oracle_write(struct file *file, const char __user *from, size_t count, loff_t *pos)
{
	struct session *s = file->private_data;
	char line[COMMAND_BYTES];
	int ret;

	if (count >= sizeof(line))
		return -E2BIG;
	if (copy_from_user(line, from, count))
		return -EFAULT;
	line[count] = 0;

	mutex_lock(&s->lock);
	seq_buf_init(&s->reply, s->text, REPLY_BYTES);
	seq_buf_puts(&s->reply, "0 ");
	ret = dispatch(s, line);
	if (ret < 0) {
		seq_buf_clear(&s->reply);
		seq_buf_printf(&s->reply, "%d\n", ret);
	}
	s->reply_len = seq_buf_used(&s->reply);
	mutex_unlock(&s->lock);
	return ret == -ENOTTY ? ret : count;
}

static ssize_t oracle_read(struct file *file, char __user *to, size_t count, loff_t *pos)
{
	struct session *s = file->private_data;
	ssize_t ret;

	mutex_lock(&s->lock);
	ret = simple_read_from_buffer(to, count, pos, s->text, s->reply_len);
	mutex_unlock(&s->lock);
	return ret;
}

static int oracle_open(struct inode *inode, struct file *file)
{
	struct session *s = kzalloc(sizeof(*s), GFP_KERNEL);

	if (!s)
		return -ENOMEM;
	s->text = kvmalloc(REPLY_BYTES, GFP_KERNEL);
	if (!s->text) {
		kfree(s);
		return -ENOMEM;
	}
	mutex_init(&s->lock);
	INIT_LIST_HEAD(&s->attachments);
	INIT_LIST_HEAD(&s->umems);
	file->private_data = s;
	return 0;
}

static int oracle_release(struct inode *inode, struct file *file)
{
	struct session *s = file->private_data;

	oracle_drop_umems(s);
	oracle_drop_attachments(s);
	kvfree(s->text);
	kfree(s);
	return 0;
}

static const struct file_operations oracle_fops = {
	.owner = THIS_MODULE,
	.open = oracle_open,
	.release = oracle_release,
	.read = oracle_read,
	.write = oracle_write,
	.llseek = noop_llseek,
};

static struct miscdevice oracle_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "peerbar-oracle",
	.fops = &oracle_fops,
};

static int __init oracle_init(void)
{
	return misc_register(&oracle_misc);
}

static void __exit oracle_exit(void)
{
	misc_deregister(&oracle_misc);
	oracle_watch_end();
}

module_init(oracle_init);
module_exit(oracle_exit);
MODULE_IMPORT_NS("DMA_BUF");
MODULE_DESCRIPTION("Answers of the running kernel about peer-to-peer DMA, for tests");
MODULE_LICENSE("GPL");
