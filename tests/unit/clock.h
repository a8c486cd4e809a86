/* clock.h - the machine's clocks, for a door of a test that puts them forward.  Included after cmocka.h. */
#ifndef SR_TESTS_CLOCK_H
#define SR_TESTS_CLOCK_H

#include <stdint.h>
#include <time.h>

static int64_t clock_ms(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

#endif
