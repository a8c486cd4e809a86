/* play.h - a history in a process of its own, so that it may end in any way and leaves nothing behind. */
#ifndef SR_TESTS_PLAY_H
#define SR_TESTS_PLAY_H

#include <stdbool.h>
#include <stdint.h>

struct sim_outcome {
	int status;     /* of the process: 0, 3 (a violation), or 128 + a signal's */
	char text[600]; /* the last line that it printed: the hash of its trace, or the violation */
};

/* history(seed, dir) in a directory that is removed afterwards. */
struct sim_outcome sim_play(void (*history)(uint64_t seed, const char *dir), uint64_t seed);
/* The same, and what it prints is passed on; logs: the product's own log, too.  Its status. */
int sim_show(void (*history)(uint64_t seed, const char *dir), uint64_t seed, bool logs);

/* For tests/run. */
void sim_tap(bool well, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int sim_tap_end(void); /* exit status */
/* False: said so, and there is nothing to be run. */
bool sim_may_run(void);

#endif
