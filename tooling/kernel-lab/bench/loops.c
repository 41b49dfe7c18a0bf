// SPDX-License-Identifier: Apache-2.0
/*
 * The yardstick: the same ioctls as loops.ts, in C.
 *
 * loops CDEV map|export COUNT: binds the device, and prints the nanoseconds that one turn of the loop took.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define REQUEST(n) _IO(';', n)
#define LENGTH 0x100000

struct alloc { uint32_t size, flags, id; };
struct bind { uint32_t argsz, flags; int32_t iommufd; uint32_t devid; uint64_t token; };
struct attach { uint32_t argsz, flags, pt, pasid; };
struct map { uint32_t size, flags, ioas; int32_t fd; uint64_t start, length, iova; };
struct unmap { uint32_t size, ioas; uint64_t iova, length; };
struct feature {
	uint32_t argsz, flags, region, open_flags, none, ranges;
	uint64_t offset, length;
};

static int check(int result, const char *what)
{
	if (result >= 0)
		return result;
	perror(what);
	exit(1);
}

static int export_bar(int device)
{
	struct feature f = { sizeof(f), 11 | 1 << 16, 2, O_CLOEXEC | O_RDWR, 0, 1, 0, LENGTH };

	return check(ioctl(device, REQUEST(100 + 17), &f), "VFIO_DEVICE_FEATURE");
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	int device = check(open(argv[1], O_RDWR | O_CLOEXEC), argv[1]);
	int iommu = check(open("/dev/iommu", O_RDWR | O_CLOEXEC), "/dev/iommu");
	struct bind b = { sizeof(b), 0, iommu, 0, 0 };
	struct alloc a = { sizeof(a), 0, 0 };

	check(ioctl(device, REQUEST(100 + 18), &b), "VFIO_DEVICE_BIND_IOMMUFD");
	check(ioctl(iommu, REQUEST(0x81), &a), "IOMMU_IOAS_ALLOC");
	struct attach at = { sizeof(at), 0, a.id, 0 };

	check(ioctl(device, REQUEST(100 + 19), &at), "VFIO_DEVICE_ATTACH_IOMMUFD_PT");
	long count = atol(argv[3]);
	int fd = export_bar(device);
	struct timespec from, to;

	clock_gettime(CLOCK_MONOTONIC, &from);
	for (long i = 0; i < count; i++) {
		if (!strcmp(argv[2], "export")) {
			close(export_bar(device));
			continue;
		}
		struct map m = { sizeof(m), 6, a.id, fd, 0, LENGTH, 0 };

		check(ioctl(iommu, REQUEST(0x8f), &m), "IOMMU_IOAS_MAP_FILE");
		struct unmap u = { sizeof(u), a.id, m.iova, LENGTH };

		check(ioctl(iommu, REQUEST(0x86), &u), "IOMMU_IOAS_UNMAP");
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	double took = (to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec);

	printf("%.0f\n", took / count);
	return 0;
}
