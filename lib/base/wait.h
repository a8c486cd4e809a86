/* wait.h - waiting on a condition for a time that no clock's being set can stretch or cut.
 *
 * Thread-safe: there is no state. */
#ifndef SR_BASE_WAIT_H
#define SR_BASE_WAIT_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

/* A condition whose timed waits go by CLOCK_MONOTONIC.  pthread_cond_destroy when done. */
void sr_cond_init(pthread_cond_t *cond);
/* So many milliseconds from now, for pthread_cond_timedwait on such a one; below 0 is now. */
struct timespec sr_after_ms(int64_t ms);

#endif
