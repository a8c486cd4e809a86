/* disk_put.c - a model from a real directory, and a real directory from a model.  See disk_model.h.
 *
 * What is where it belongs is not touched, so that it keeps its times.  All else goes into a limbo beside the roots first, by its inode's number, and comes back
 * from there under its names. */
#include "tests/sim/disk_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ID(st) sr_disk_id((st).st_dev, (st).st_ino)

static uint64_t sr_disk_id(dev_t dev, ino_t ino)
{
	return (uint64_t)ino + (uint64_t)dev * 0x9e3779b97f4a7c15u;
}

static char kind_of(mode_t mode)
{
	return S_ISDIR(mode) ? 'd' : S_ISREG(mode) ? 'f' : S_ISLNK(mode) ? 'l' : '?';
}

static int not_dots(const struct dirent *e)
{
	return strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
}

/* --- what is there -------------------------------------------------------------------------------------------------- */

static int walk_content(int dir, const char *name, uint64_t id, sr_disk_feed *feed, void *ctx)
{
	char piece[65536];
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	uint64_t off = 0;
	ssize_t n = -1;

	while (fd >= 0 && (n = read(fd, piece, sizeof piece)) > 0) {
		feed(ctx, &(struct sr_disk_op){.kind = SR_DISK_OP_WRITE, .a = id, .off = off, .len = (size_t)n, .data = piece});
		off += (uint64_t)n;
	}
	if (fd >= 0)
		close(fd);
	return n < 0 ? -1 : 0;
}

static int walk_directory(uint64_t id, int dir, const char *name, sr_disk_feed *feed, void *ctx)
{
	struct dirent **list = NULL;
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), n = fd < 0 ? -1 : scandirat(fd, ".", &list, not_dots, alphasort);
	int rc = n < 0 ? -1 : 0;

	for (int i = 0; i < n; i++) {
		if (!rc)
			rc = sr_disk_walk_entry(id, fd, list[i]->d_name, feed, ctx);
		free(list[i]);
	}
	free(list);
	if (fd >= 0)
		close(fd);
	return rc;
}

int sr_disk_walk_entry(uint64_t in, int dir, const char *name, sr_disk_feed *feed, void *ctx)
{
	static const enum sr_disk_kind kinds[] = {['d'] = SR_DISK_OP_DIR, ['f'] = SR_DISK_OP_FILE, ['l'] = SR_DISK_OP_SYMLINK};
	char target[PATH_MAX];
	struct stat st;
	char kind;
	ssize_t n = 0;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW))
		return -1;
	kind = kind_of(st.st_mode);
	if (kind == '?')
		return 0;
	if (kind == 'l' && (n = readlinkat(dir, name, target, sizeof target)) < 0)
		return -1;
	feed(ctx, &(struct sr_disk_op){.kind = kinds[(int)kind], .a = in, .b = ID(st), .name = name, .mode = st.st_mode & 07777,
				       .len = (size_t)n, .data = target});
	if (kind == 'f') {
		if (walk_content(dir, name, ID(st), feed, ctx))
			return -1;
		feed(ctx, &(struct sr_disk_op){.kind = SR_DISK_OP_TIME, .a = ID(st),
					       .off = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec});
	}
	return kind == 'd' ? walk_directory(ID(st), dir, name, feed, ctx) : 0;
}

int sr_disk_walk_root(const char *root, sr_disk_feed *feed, void *ctx)
{
	struct stat st;

	if (stat(root, &st))
		return -1;
	feed(ctx, &(struct sr_disk_op){.kind = SR_DISK_OP_ROOT, .a = ID(st), .name = root, .mode = st.st_mode & 07777});
	if (walk_directory(ID(st), AT_FDCWD, root, feed, ctx))
		return -1;
	feed(ctx, &(struct sr_disk_op){.kind = SR_DISK_OP_SYNCFS});
	return 0;
}

/* --- what shall be there -------------------------------------------------------------------------------------------- */

struct put {
	struct sr_disk_model *m;
	int limbo;
};

static char *limbo_name(char text[20], uint64_t id)
{
	snprintf(text, 20, "%016llx", (unsigned long long)id);
	return text;
}

/* `node` NULL: nothing may stay. */
static int evict(const struct put *p, const struct sr_disk_node *node, int fd);

static int evict_entry(const struct put *p, const struct sr_disk_node *dir, int fd, const char *name)
{
	const struct sr_disk_node *want = dir ? sr_disk_names_find(&dir->durable, name) : NULL;
	char text[20];
	struct stat st;
	bool same;
	int below, rc;

	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW))
		return -1;
	same = want && want->known && want->id == ID(st) && want->kind == kind_of(st.st_mode);
	if (!S_ISDIR(st.st_mode)) {
		if (same)
			return 0;
		return linkat(fd, name, p->limbo, limbo_name(text, ID(st)), 0) && errno != EEXIST ? -1 : unlinkat(fd, name, 0);
	}
	if (fchmodat(fd, name, 0700, 0))
		return -1;
	below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = below < 0 ? -1 : evict(p, same ? want : NULL, below);
	if (below >= 0)
		close(below);
	return rc || same ? rc : unlinkat(fd, name, AT_REMOVEDIR);
}

static int evict(const struct put *p, const struct sr_disk_node *node, int fd)
{
	struct dirent **list = NULL;
	int n = scandirat(fd, ".", &list, not_dots, alphasort), rc = n < 0 ? -1 : 0;

	for (int i = 0; i < n; i++) {
		if (!rc)
			rc = evict_entry(p, node, fd, list[i]->d_name);
		free(list[i]);
	}
	free(list);
	return rc;
}

static int write_all(int fd, const uint8_t *at, uint64_t n)
{
	for (ssize_t w; n; at += w, n -= (uint64_t)w)
		if ((w = write(fd, at, n)) <= 0)
			return -1;
	return 0;
}

static bool has_content(const struct sr_disk_node *node, int fd)
{
	uint8_t piece[65536];
	uint64_t off = 0;
	ssize_t n;

	while ((n = pread(fd, piece, sizeof piece, (off_t)off)) > 0) {
		if (off + (uint64_t)n > node->size || memcmp(piece, node->content + off, (size_t)n) != 0)
			return false;
		off += (uint64_t)n;
	}
	return n == 0 && off == node->size;
}

static int put_file(struct sr_disk_node *node, int dir, const char *name)
{
	struct timespec times[2] = {{0, UTIME_OMIT}, {(time_t)(node->durable_time / 1000000000u), (long)(node->durable_time % 1000000000u)}};
	struct stat st;
	int fd, rc = 0;

	if (!node->dirty)
		return 0;
	(void)!fchmodat(dir, name, 0600, 0);
	fd = openat(dir, name, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		rc = -1;
	if (!rc && !has_content(node, fd))
		rc = ftruncate(fd, 0) || write_all(fd, node->content, node->size);
	if (!rc)
		rc = fchmod(fd, node->durable_mode) || (node->durable_time && futimens(fd, times));
	if (fd >= 0)
		close(fd);
	node->dirty = false;
	return rc ? -1 : 0;
}

static int create(const struct put *p, struct sr_disk_node *node, int fd, const char *name)
{
	char text[20], *target;
	struct stat st;
	int rc;

	if (node->kind == 'f' && node->known && !linkat(p->limbo, limbo_name(text, node->id), fd, name, 0))
		return 0;
	if (node->kind == 'd') {
		rc = mkdirat(fd, name, 0700);
	} else if (node->kind == 'l') {
		target = strndup((char *)node->content, node->size);
		rc = symlinkat(target, fd, name);
		free(target);
	} else {
		rc = openat(fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		rc = rc < 0 ? -1 : close(rc);
		node->dirty = true;
	}
	if (rc || fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW))
		return -1;
	sr_disk_node_bind(p->m, node, ID(st));
	return 0;
}

static int fill(const struct put *p, const struct sr_disk_node *dir, int fd)
{
	int rc = 0;

	for (size_t i = 0; i < dir->durable.n && !rc; i++) {
		const char *name = dir->durable.at[i].text;
		struct sr_disk_node *node = dir->durable.at[i].node;
		struct stat st;
		int below = -1;

		if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW))
			rc = errno == ENOENT ? create(p, node, fd, name) : -1;
		if (!rc && node->kind == 'f')
			rc = put_file(node, fd, name);
		if (rc || node->kind != 'd')
			continue;
		below = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		rc = below < 0 || fill(p, node, below) || fchmod(below, node->durable_mode) ? -1 : 0;
		if (below >= 0)
			close(below);
	}
	return rc;
}

/* The limbo's files are nobody's any more. */
static void empty_limbo(const struct put *p, const char *path)
{
	struct dirent **list = NULL;
	int n = scandirat(p->limbo, ".", &list, not_dots, NULL);

	for (int i = 0; i < n; i++) {
		unlinkat(p->limbo, list[i]->d_name, 0);
		free(list[i]);
	}
	free(list);
	close(p->limbo);
	rmdir(path);
}

int sr_disk_model_put(struct sr_disk_model *m)
{
	struct put p = {m, -1};
	char limbo[PATH_MAX];
	int rc = 0;

	for (struct sr_disk_node *node = m->first; node && !rc; node = node->next) {
		int root;

		if (!node->root)
			continue;
		snprintf(limbo, sizeof limbo, "%s.limbo", node->root);
		root = open(node->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (root < 0)
			return -1;
		(void)!mkdir(limbo, 0700);
		p.limbo = open(limbo, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		rc = p.limbo < 0 || evict(&p, node, root) || fill(&p, node, root) ? -1 : 0;
		close(root);
		if (p.limbo >= 0)
			empty_limbo(&p, limbo);
	}
	return rc;
}
