/* powercut.c - what the loss of power does to a directory on which programs worked with disk.so preloaded (preload.c), after they have ended.
 *
 *   powercut begin LOG DIRECTORY   what is in DIRECTORY now is durable: LOG begins with it
 *   powercut steps LOG             a line for each counted step: its number, the call, the path; the last one is "stopped" if the program was stopped
 *   powercut cut LOG SEED HOW      DIRECTORY becomes what survived; HOW: nothing all names data prefix random any (see tests/sim/disk.h) */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/sim/disk_model.h"

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static void to_log(void *ctx, const struct sr_disk_op *op)
{
	size_t n;
	void *bytes = sr_disk_op_pack(op, &n);

	fwrite(bytes, 1, n, ctx);
	free(bytes);
}

static int begin(const char *log, const char *directory)
{
	FILE *out = fopen(log, "we");

	if (!out)
		return fail(log);
	if (sr_disk_walk_root(directory, to_log, out))
		return fail(directory);
	return fclose(out) ? fail(log) : 0;
}

/* Each op of the log. */
static int replay(const char *log, sr_disk_feed *each, void *ctx)
{
	int fd = open(log, O_RDONLY | O_CLOEXEC);
	struct sr_disk_op op;
	struct stat st;
	const char *at;
	size_t left, n;

	if (fd < 0 || fstat(fd, &st))
		return fail(log);
	at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		return fail(log);
	for (left = (size_t)st.st_size; (n = sr_disk_op_unpack(&op, at, left)); at += n, left -= n)
		each(ctx, &op);
	close(fd);
	return 0;
}

static void show(void *ctx, const struct sr_disk_op *op)
{
	(void)ctx;
	if (op->kind == SR_DISK_OP_STEP && op->mode)
		puts("stopped");
	else if (op->kind == SR_DISK_OP_STEP)
		printf("%llu %s %s\n", (unsigned long long)op->off, op->name, op->name2);
}

static void feed(void *ctx, const struct sr_disk_op *op)
{
	sr_disk_model_feed(ctx, op);
}

static enum sr_disk_how how_of(const char *text)
{
	static const char *names[] = {"nothing", "all", "names", "data", "prefix", "random", "any"};
	int i = 0;

	while (i < SR_DISK_ANY && strcmp(names[i], text) != 0)
		i++;
	return (enum sr_disk_how)i;
}

static int cut(const char *log, const char *seed, const char *how)
{
	struct sr_disk_model *m = sr_disk_model_new();

	if (replay(log, feed, m))
		return 1;
	sr_disk_model_cut(m, strtoull(seed, NULL, 10), how_of(how));
	if (sr_disk_model_put(m))
		return fail("the tree is in disorder");
	sr_disk_model_free(m);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "begin"))
		return begin(argv[2], argv[3]);
	if (argc == 3 && !strcmp(argv[1], "steps"))
		return replay(argv[2], show, NULL);
	if (argc == 5 && !strcmp(argv[1], "cut"))
		return cut(argv[2], argv[3], argv[4]);
	fputs("powercut begin LOG DIRECTORY | steps LOG | cut LOG SEED HOW\n", stderr);
	return 64;
}
