/* files_list.c - see files_list.h. */
#include "lib/store/files_list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/store/watch.h"

#define MANY    16    /* directories in one: threads begin to help */
#define FAR     32768 /* entries: so far ahead, and no more */
#define TOO_FAR 65536 /* entries in one directory: their stats would be too much memory */

enum { NOT_YET, AT_WORK, LISTED, NO_MORE };

/* --- one directory ----------------------------------------------------------------------------------------------------- */

struct sr_listed *sr_listing_add(struct sr_listing *l, struct sr_bytes name, uint8_t type, uint64_t inode, const struct sr_entry *old)
{
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 16;
		l->children = sr_realloc(l->children, l->cap * sizeof *l->children);
	}
	l->children[l->n] = (struct sr_listed){.name = name, .old = old, .type = type, .inode = inode};
	return &l->children[l->n++];
}

void sr_listing_free(struct sr_listing *l)
{
	sr_buf_free(&l->names);
	free(l->children);
	free(l->facts);
	*l = (struct sr_listing){0};
}

static int by_name(const void *a, const void *b)
{
	return sr_bytes_cmp(((const struct sr_listed *)a)->name, ((const struct sr_listed *)b)->name);
}

static void add_listed(struct sr_listing *l, const char *buf, ssize_t len, bool top)
{
	for (ssize_t at = 0; at < len;) {
		const struct dirent64 *e = (const struct dirent64 *)(const void *)(buf + at);
		size_t n = strlen(e->d_name);

		at += e->d_reclen;
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || (top && !strcmp(e->d_name, SR_OWN_DIR)))
			continue;
		(void)sr_listing_add(l, sr_bytes(NULL, n), e->d_type, e->d_ino, NULL);
		sr_buf_add(&l->names, e->d_name, n + 1);
	}
}

bool sr_listing_read(struct sr_listing *l, int fd, bool top)
{
	_Alignas(struct dirent64) char buf[32768];
	bool sorted = true;
	ssize_t len;
	size_t at = 0;

	while ((len = getdents64(fd, buf, sizeof buf)) > 0)
		add_listed(l, buf, len, top);
	if (len < 0)
		return false;
	for (size_t i = 0; i < l->n; i++) { /* only now do the names stay where they are */
		l->children[i].name.at = l->names.at + at;
		at += l->children[i].name.len + 1;
		sorted &= !i || by_name(&l->children[i - 1], &l->children[i]) <= 0;
	}
	if (!sorted)
		qsort(l->children, l->n, sizeof *l->children, by_name);
	return true;
}

static struct sr_facts facts_of(int fd, const struct sr_listed *c)
{
	struct stat st;

	if (fstatat(fd, (const char *)c->name.at, &st, AT_SYMLINK_NOFOLLOW))
		return (struct sr_facts){.fault = errno};
	return (struct sr_facts){
		.dev = st.st_dev, .inode = st.st_ino, .size = (uint64_t)st.st_size, .mode = st.st_mode,
		.mtime = {st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec}, .ctime = {st.st_ctim.tv_sec, (uint32_t)st.st_ctim.tv_nsec},
	};
}

static void stat_all(struct sr_listing *l, int fd)
{
	if (l->n > TOO_FAR)
		return;
	l->facts = sr_alloc((l->n + 1) * sizeof *l->facts);
	l->told = l->n;
	for (size_t i = 0; i < l->n; i++)
		if (l->children[i].type != DT_DIR)
			l->facts[i] = facts_of(fd, &l->children[i]);
}

bool sr_listing_stat(const struct sr_listing *l, size_t i, struct stat *st, int *fault)
{
	const struct sr_facts *f;

	if (i >= l->told)
		return false;
	f = &l->facts[i];
	*fault = f->fault;
	*st = (struct stat){
		.st_dev = f->dev, .st_ino = f->inode, .st_size = (off_t)f->size, .st_mode = f->mode,
		.st_mtim = {.tv_sec = f->mtime.s, .tv_nsec = f->mtime.ns}, .st_ctim = {.tv_sec = f->ctime.s, .tv_nsec = f->ctime.ns},
	};
	return true;
}

/* --- many -------------------------------------------------------------------------------------------------------------- */

static struct sr_listing *look_at(const struct sr_ahead *a, struct sr_bytes path)
{
	struct sr_listing *l = sr_alloc(sizeof *l);
	int fd = sr_open_below(a->root, path, O_RDONLY | O_DIRECTORY);
	bool good = fd >= 0;

	if (good && a->watch)
		sr_watch_add(a->watch, path, fd); /* before it is listed */
	good = good && fstat(fd, &l->st) == 0 && sr_listing_read(l, fd, false);
	if (good)
		stat_all(l, fd);
	if (fd >= 0)
		close(fd);
	if (good)
		return l;
	sr_listing_free(l);
	free(l);
	return NULL;
}

/* The next directory that nobody has come to. */
static struct sr_listed *next_of(struct sr_ahead *a, struct sr_batch **of)
{
	for (struct sr_batch *b = a->waiting < FAR ? a->top : NULL; b; b = b->above) {
		for (; b->next < b->n; b->next++) {
			struct sr_listed *c = &b->children[b->next];

			if (c->type == DT_DIR && c->ahead == NOT_YET) {
				*of = b;
				return c;
			}
		}
	}
	return NULL;
}

static size_t weight(const struct sr_listing *l)
{
	return l->n + 8;
}

/* Under the lock, which is let go meanwhile.  False: there is nothing to do. */
static bool do_next(struct sr_ahead *a)
{
	struct sr_buf path = {0};
	struct sr_listing *l;
	struct sr_batch *b;
	struct sr_listed *c = next_of(a, &b);

	if (!c)
		return false;
	c->ahead = AT_WORK;
	sr_buf_bytes(&path, sr_buf_view(&b->path));
	if (path.len)
		sr_buf_byte(&path, 0);
	sr_buf_bytes(&path, c->name);
	pthread_mutex_unlock(&a->lock);
	l = look_at(a, sr_buf_view(&path));
	sr_buf_free(&path);
	pthread_mutex_lock(&a->lock);
	c->listing = l;
	c->ahead = l ? LISTED : NO_MORE;
	a->waiting += l ? weight(l) : 0;
	pthread_cond_broadcast(&a->wake);
	return true;
}

static void *help(void *ctx)
{
	struct sr_ahead *a = ctx;

	pthread_mutex_lock(&a->lock);
	while (!a->ends)
		if (!do_next(a))
			pthread_cond_wait(&a->wake, &a->lock);
	pthread_mutex_unlock(&a->lock);
	return NULL;
}

void sr_ahead_begin(struct sr_ahead *a, int root, struct sr_watch *watch)
{
	*a = (struct sr_ahead){.root = root, .watch = watch};
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->wake, NULL);
}

void sr_ahead_end(struct sr_ahead *a)
{
	pthread_mutex_lock(&a->lock);
	a->ends = true;
	pthread_cond_broadcast(&a->wake);
	pthread_mutex_unlock(&a->lock);
	for (unsigned i = 0; i < a->n; i++)
		pthread_join(a->threads[i], NULL);
	pthread_cond_destroy(&a->wake);
	pthread_mutex_destroy(&a->lock);
}

/* With one processor, or if none can be started, the scan does it all. */
static void start(struct sr_ahead *a)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	while (a->n < SR_AHEAD_THREADS && (long)a->n + 1 < processors && !pthread_create(&a->threads[a->n], NULL, help, a))
		a->n++;
}

void sr_ahead_push(struct sr_ahead *a, struct sr_batch *b, struct sr_bytes path, struct sr_listed *children, size_t n)
{
	size_t directories = 0;

	*b = (struct sr_batch){.children = children, .n = n};
	sr_buf_bytes(&b->path, path);
	for (size_t i = 0; i < n; i++)
		directories += children[i].type == DT_DIR;
	if (!a->n && directories >= MANY)
		start(a);
	pthread_mutex_lock(&a->lock);
	b->above = a->top;
	a->top = b;
	if (directories > 1)
		pthread_cond_broadcast(&a->wake);
	pthread_mutex_unlock(&a->lock);
}

void sr_ahead_pop(struct sr_ahead *a, struct sr_batch *b)
{
	pthread_mutex_lock(&a->lock);
	a->top = b->above;
	for (size_t i = 0; i < b->n; i++) {
		struct sr_listed *c = &b->children[i];

		while (c->ahead == AT_WORK)
			pthread_cond_wait(&a->wake, &a->lock);
		if (c->listing) { /* the scan was broken off */
			a->waiting -= weight(c->listing);
			sr_listing_free(c->listing);
			free(c->listing);
			c->listing = NULL;
		}
	}
	pthread_mutex_unlock(&a->lock);
	sr_buf_free(&b->path);
}

bool sr_ahead_take(struct sr_ahead *a, struct sr_listed *c, struct sr_listing *out)
{
	struct sr_listing *l;

	pthread_mutex_lock(&a->lock);
	while (c->ahead == AT_WORK)
		if (!do_next(a))
			pthread_cond_wait(&a->wake, &a->lock);
	c->ahead = NO_MORE;
	l = c->listing;
	c->listing = NULL;
	if (l) {
		if (a->waiting >= FAR)
			pthread_cond_broadcast(&a->wake);
		a->waiting -= weight(l);
	}
	pthread_mutex_unlock(&a->lock);
	if (!l)
		return false;
	*out = *l;
	free(l);
	return true;
}
