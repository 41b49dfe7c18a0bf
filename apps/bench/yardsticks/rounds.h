/* What every yardstick times its rounds with. SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

/* Nanoseconds of processor time of this process. */
static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

/* For qsort: rounds in rising order, of which the middle one counts. */
static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}
