/* preload.c - the disk of a test (tests/sim/disk.h) for a program that knows nothing of it: build/tests/disk.so, for LD_PRELOAD.
 *
 *   SR_DISK_ROOT=DIRECTORY   what is watched; absolute
 *   SR_DISK_LOG=FILE         every step and what it did, for `powercut`, which began it (powercut.c); several programs may write one log
 *   SR_DISK_ARM=FILE         steps are counted only while this file exists; without it always
 *   SR_DISK_STOP=K           kill -9 at step K, SR_DISK_WHEN=before (the default), half or after it
 *   SR_DISK_FAIL=K           step K fails once with EIO
 *   SR_DISK_FULL=K           from step K on the disk is full
 *
 * What the program sends by stream sockets counts, too.  Its children are not watched.  Nothing is really synced: a power cut is played by `powercut`. */
#include "tests/sim/disk_step.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct sr_disk disk;
static const char *arm;
static uint64_t full;
static int logged = -1;

static void lock_log(void)
{
	while (sr_disk_real(SYS_flock, logged, LOCK_EX, 0, 0, 0, 0) && errno == EINTR)
		;
}

static void unlock_log(void)
{
	sr_disk_real(SYS_flock, logged, LOCK_UN, 0, 0, 0, 0);
}

static bool is_armed(void)
{
	bool is = !arm || !access(arm, F_OK);

	if (is && full && disk.steps + 1 >= full)
		disk.room = 0;
	return is;
}

static void to_log(void *ctx, const struct sr_disk_op *op)
{
	size_t n;
	void *bytes = sr_disk_op_pack(op, &n);

	(void)ctx;
	if (sr_disk_real(SYS_write, logged, (long)bytes, (long)n, 0, 0, 0) != (long)n)
		abort();
	free(bytes);
}

static void die(void)
{
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

static enum sr_disk_when when_of(const char *text)
{
	return text && !strcmp(text, "after") ? SR_DISK_AFTER : text && !strcmp(text, "half") ? SR_DISK_HALF : SR_DISK_BEFORE;
}

static uint64_t number(const char *name)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : 0;
}

__attribute__((constructor)) static void begin(void)
{
	static const struct sr_disk_hooks hooks = {lock_log, unlock_log, is_armed, to_log, die};
	const char *root = getenv("SR_DISK_ROOT"), *log = getenv("SR_DISK_LOG");

	unsetenv("LD_PRELOAD");
	if (!root || !log)
		return;
	logged = (int)sr_disk_real(SYS_openat, AT_FDCWD, (long)log, O_WRONLY | O_APPEND | O_CLOEXEC, 0, 0, 0);
	if (logged < 0)
		abort();
	arm = getenv("SR_DISK_ARM");
	full = number("SR_DISK_FULL");
	disk = (struct sr_disk){.root = strdup(root), .root_len = strlen(root), .stop = number("SR_DISK_STOP"), .fail = number("SR_DISK_FAIL"),
				.when = when_of(getenv("SR_DISK_WHEN")), .error = EIO, .room = -1, .hooks = &hooks};
	sr_disks = &disk;
}
