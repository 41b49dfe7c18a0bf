/*
 * Yardstick: memcpy of as many bytes as the argument says between two places that were touched before, as a bare program in C. The
 * target's pages begin half a page away from the source's, since some processors copy many times slower where both lie alike. Prints
 * nanoseconds for one copy: the median of 11. SPDX-License-Identifier: Apache-2.0
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rounds.h"

#define COPIES 11
#define PAGE 4096u

int main(int argc, char **argv)
{
	size_t bytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
	/* Volatile: a copy that nobody reads would be left out. */
	void *(*volatile copy)(void *, const void *, size_t) = memcpy;
	unsigned char *source, *target;
	double rounds[COPIES];

	if (bytes == 0)
		return 2;
	source = aligned_alloc(PAGE, (bytes / PAGE + 2) * PAGE);
	target = aligned_alloc(PAGE, (bytes / PAGE + 2) * PAGE);
	if (source == NULL || target == NULL)
		return 1;
	target += PAGE / 2;
	memset(source, 0x5a, bytes);
	memset(target, 0, bytes);
	for (int r = 0; r < COPIES; r++) {
		double start = now();

		copy(target, source, bytes);
		rounds[r] = now() - start;
	}
	qsort(rounds, COPIES, sizeof(rounds[0]), by_value);
	printf("%.3f\n", rounds[COPIES / 2]);
	return target[bytes - 1] != 0x5a;
}
