/*
 * Yardstick: map and unmap of one 4 KiB page in a populated plain 4-level radix table (9 bits a level), as a bare program in C:
 * one gap after the other, or with the argument "random" in random gaps. Prints nanoseconds for one map+unmap pair: the median of 5
 * rounds. SPDX-License-Identifier: Apache-2.0
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "rounds.h"

#define ENTRIES 512u
#define POPULATED (1u << 18)
#define ROUND 500000u

static uint64_t **new_table(void)
{
	return calloc(ENTRIES, sizeof(uint64_t));
}

static uint64_t *leaf(uint64_t *root, uint64_t page)
{
	uint64_t *table = root;

	for (int shift = 27; shift > 0; shift -= 9) {
		uint64_t *slot = &table[(page >> shift) & (ENTRIES - 1)];

		if (!*slot)
			*slot = (uint64_t)(uintptr_t)new_table();
		table = (uint64_t *)(uintptr_t)*slot;
	}
	return &table[page & (ENTRIES - 1)];
}

int main(int argc, char **argv)
{
	int random = argc > 1 && argv[1][0] == 'r';
	uint64_t *root = (uint64_t *)new_table();
	double rounds[5];
	uint64_t failed = 0;

	for (uint64_t i = 0; i < POPULATED; i++)
		*leaf(root, 0x100000 + 2 * i) = (i << 12) | 3;
	for (int r = 0; r < 5; r++) {
		uint64_t state = 88172645463325252ull;
		double start = now();

		for (uint64_t i = 0; i < ROUND; i++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			uint64_t page = 0x100001 + 2 * ((random ? state : i) % POPULATED);
			uint64_t *slot = leaf(root, page);

			failed += *slot != 0;
			*slot = (i << 12) | 3;
			slot = leaf(root, page);
			failed += *slot == 0;
			*slot = 0;
		}
		rounds[r] = (now() - start) / ROUND;
	}
	qsort(rounds, 5, sizeof(rounds[0]), by_value);
	printf("%.3f\n", rounds[2]);
	return failed != 0;
}
