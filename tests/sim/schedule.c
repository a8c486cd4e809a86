/* schedule.c - many threads, of which one runs; virtual time; and libc's waiting under its own names, so that nobody waits but here.
 *
 * The running thread has the baton and gives it to another at a point (sim_point), when it sleeps, and when it waits for a lock: chance chooses among those that
 * are not asleep.  Time goes on by a little at each point, and by leaps when all sleep. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/disk_step.h"
#include "tests/sim/sim.h"

enum { MOST_POINTS = 4000000, PIPE_ROOM = 1 << 20 };

struct sim_thread {
	struct sim_thread *next, *parent;
	pthread_t real;
	sem_t go;
	const char *name;
	struct sim_machine *at;
	int64_t wake; /* asleep until then */
	bool done;
	unsigned children;
	void *(*run)(void *);
	void *arg;
};

static __thread struct sim_thread *self;
static struct sim_thread *threads;
static int64_t now = 1000 * SIM_S;
static unsigned switches;
static uint64_t points;

/* --- libc's own -------------------------------------------------------------------------------------------------------------- */

#define OWN(name, type, ...) static type (*own_##name)(__VA_ARGS__)
OWN(pthread_create, int, pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
OWN(pthread_join, int, pthread_t, void **);
OWN(pthread_cond_wait, int, pthread_cond_t *, pthread_mutex_t *);
OWN(pthread_cond_timedwait, int, pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
OWN(pthread_mutex_lock, int, pthread_mutex_t *);
OWN(pthread_rwlock_rdlock, int, pthread_rwlock_t *);
OWN(pthread_rwlock_wrlock, int, pthread_rwlock_t *);

__attribute__((constructor)) static void find_own(void)
{
#define FIND(name) *(void **)&own_##name = dlsym(RTLD_NEXT, #name)
	if (own_pthread_create)
		return;
	FIND(pthread_join);
	FIND(pthread_cond_wait);
	FIND(pthread_cond_timedwait);
	FIND(pthread_mutex_lock);
	FIND(pthread_rwlock_rdlock);
	FIND(pthread_rwlock_wrlock);
	FIND(pthread_create);
}

/* --- the baton --------------------------------------------------------------------------------------------------------------- */

static void wait_for_baton(void)
{
	while (sem_wait(&self->go) && errno == EINTR)
		;
}

/* One of those that are awake; all asleep: time leaps. */
static struct sim_thread *choose(void)
{
	struct sim_thread *first = NULL;
	uint64_t n = 0, k;

	for (struct sim_thread *t = threads; t; t = t->next) {
		n += !t->done && t->wake <= now;
		if (!t->done && (!first || t->wake < first->wake))
			first = t;
	}
	if (!n) {
		now = first->wake;
		return first;
	}
	k = sim_below(n);
	for (struct sim_thread *t = threads;; t = t->next)
		if (!t->done && t->wake <= now && k-- == 0)
			return t;
}

static void give_to(struct sim_thread *t)
{
	if (t == self)
		return;
	sem_post(&t->go);
	wait_for_baton();
}

static void count_point(void)
{
	now += (int64_t)sim_below(200);
	if (++points == MOST_POINTS)
		sim_violation("endless", "%d points, and no end", MOST_POINTS);
}

void sim_point(void)
{
	if (!self)
		return;
	count_point();
	if (sim_chance(switches))
		give_to(choose());
}

void sim_sleep(int64_t us)
{
	count_point();
	self->wake = now + (us > 0 ? us : 1);
	give_to(choose());
}

int64_t sim_now(void)
{
	return now;
}

struct sim_machine *sim_here(void)
{
	return self ? self->at : NULL;
}

struct sim_machine *sim_visit(struct sim_machine *m)
{
	struct sim_machine *before = self->at;

	m->inside++;
	self->at = m;
	return before;
}

void sim_return(struct sim_machine *before)
{
	self->at->inside--;
	self->at = before;
}

/* --- threads ----------------------------------------------------------------------------------------------------------------- */

void sim_schedule_begin(unsigned switch_per_mille)
{
	switches = switch_per_mille;
	self = calloc(1, sizeof *self);
	self->name = "world";
	self->real = pthread_self();
	sem_init(&self->go, 0, 0);
	threads = self;
}

static void *begin(void *arg)
{
	void *result;

	self = arg;
	wait_for_baton();
	result = self->run(self->arg);
	if (self->at)
		sim_return(NULL);
	if (self->parent)
		self->parent->children--;
	self->done = true;
	sem_post(&choose()->go);
	return result;
}

struct sim_thread *sim_spawn(struct sim_machine *m, const char *name, void *(*run)(void *), void *arg, int64_t after_us)
{
	struct sim_thread *t = calloc(1, sizeof *t), **last = &threads;
	pthread_attr_t attr;

	*t = (struct sim_thread){.name = name, .run = run, .arg = arg, .wake = now + after_us, .at = m};
	if (m)
		m->inside++;
	sem_init(&t->go, 0, 0);
	while (*last)
		last = &(*last)->next;
	*last = t;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 1 << 20);
	if (own_pthread_create(&t->real, &attr, begin, t)) {
		perror("pthread_create");
		abort();
	}
	pthread_attr_destroy(&attr);
	return t;
}

/* What the product makes a thread for is part of what made it. */
int pthread_create(pthread_t *out, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	struct sim_thread *t;

	if (!self)
		return find_own(), own_pthread_create(out, attr, run, arg);
	t = sim_spawn(self->at, "thread", run, arg, 0);
	t->parent = self;
	self->children++;
	*out = t->real;
	return 0;
}

int pthread_join(pthread_t real, void **result)
{
	for (struct sim_thread *t = self ? threads : NULL; t; t = t->next)
		while (pthread_equal(t->real, real) && !t->done)
			sim_sleep(SIM_MS);
	for (struct sim_thread **at = self ? &threads : NULL; at && *at; at = &(*at)->next)
		if (pthread_equal((*at)->real, real)) {
			struct sim_thread *over = *at;
			int rc = own_pthread_join(real, result);

			*at = over->next;
			free(over);
			return rc;
		}
	return find_own(), own_pthread_join(real, result);
}

void sim_wait_children(void)
{
	while (self->children)
		sim_sleep(SIM_MS);
}

/* --- waiting ----------------------------------------------------------------------------------------------------------------- */

int pthread_mutex_lock(pthread_mutex_t *m)
{
	int rc;

	if (!self)
		return find_own(), own_pthread_mutex_lock(m);
	while ((rc = pthread_mutex_trylock(m)) == EBUSY)
		sim_sleep(SIM_MS / 10);
	return rc;
}

int pthread_rwlock_rdlock(pthread_rwlock_t *l)
{
	int rc;

	if (!self)
		return find_own(), own_pthread_rwlock_rdlock(l);
	while ((rc = pthread_rwlock_tryrdlock(l)) == EBUSY)
		sim_sleep(SIM_MS / 10);
	return rc;
}

int pthread_rwlock_wrlock(pthread_rwlock_t *l)
{
	int rc;

	if (!self)
		return find_own(), own_pthread_rwlock_wrlock(l);
	while ((rc = pthread_rwlock_trywrlock(l)) == EBUSY)
		sim_sleep(SIM_MS / 10);
	return rc;
}

/* A wake for no reason is always allowed. */
int pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
	if (!self)
		return find_own(), own_pthread_cond_wait(c, m);
	pthread_mutex_unlock(m);
	sim_sleep(SIM_MS);
	return pthread_mutex_lock(m);
}

int pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
	struct timespec t;

	if (!self)
		return find_own(), own_pthread_cond_timedwait(c, m, until);
	pthread_cond_wait(c, m);
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec > until->tv_sec || (t.tv_sec == until->tv_sec && t.tv_nsec >= until->tv_nsec) ? ETIMEDOUT : 0;
}

/* Whoever writes a body writes all of it before anyone reads (network.c). */
int pipe(int fds[2])
{
	int rc = (int)sr_disk_real(SYS_pipe2, (long)fds, 0, 0, 0, 0, 0);

	if (!rc)
		(void)fcntl(fds[1], F_SETPIPE_SZ, PIPE_ROOM);
	return rc;
}

/* --- clocks ------------------------------------------------------------------------------------------------------------------ */

static const int64_t epoch_us = 1790000000 * SIM_S; /* 2026 */

static int64_t wall(void)
{
	return epoch_us + now + (self && self->at ? self->at->clock_us : 0);
}

static int64_t ticks(void)
{
	return self && self->at ? now - self->at->boot_us + SIM_S : now;
}

static bool is_wall(clockid_t clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
	int64_t us;

	if (!self)
		return (int)sr_disk_real(SYS_clock_gettime, clock, (long)out, 0, 0, 0, 0);
	us = is_wall(clock) ? wall() : ticks();
	*out = (struct timespec){.tv_sec = (time_t)(us / SIM_S), .tv_nsec = (long)(us % SIM_S) * 1000};
	return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
	struct timespec t;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &t);
	*out = (struct timeval){.tv_sec = t.tv_sec, .tv_usec = t.tv_nsec / 1000};
	return 0;
}

time_t time(time_t *out)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	if (out)
		*out = t.tv_sec;
	return t.tv_sec;
}

int nanosleep(const struct timespec *for_, struct timespec *left)
{
	if (!self)
		return (int)sr_disk_real(SYS_nanosleep, (long)for_, (long)left, 0, 0, 0, 0);
	sim_sleep((int64_t)for_->tv_sec * SIM_S + for_->tv_nsec / 1000);
	return 0;
}

int usleep(useconds_t us)
{
	return nanosleep(&(struct timespec){.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000}, NULL);
}

unsigned sleep(unsigned s)
{
	return (unsigned)nanosleep(&(struct timespec){.tv_sec = s}, NULL);
}

/* --- chance ------------------------------------------------------------------------------------------------------------------ */

ssize_t getrandom(void *out, size_t n, unsigned flags)
{
	if (!self)
		return sr_disk_real(SYS_getrandom, (long)out, (long)n, flags, 0, 0, 0);
	sim_bytes(out, n);
	return (ssize_t)n;
}

int getentropy(void *out, size_t n)
{
	return getrandom(out, n, 0) == (ssize_t)n ? 0 : -1;
}

pid_t getpid(void)
{
	return self ? 4242 : (pid_t)sr_disk_real(SYS_getpid, 0, 0, 0, 0, 0, 0);
}
