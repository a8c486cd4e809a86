/* watch.c - see watch.h. */
#include "lib/store/watch.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/store/exclude.h"
#include "lib/store/files.h"

#define TREE                                                                                                                                 \
	(IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_ONLYDIR |         \
	 IN_EXCL_UNLINK)
#define OWN      (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE | IN_ATTRIB | IN_ONLYDIR) /* for the marker */
#define DATABASE (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF | IN_ONLYDIR)
#define SETTLE_MS 10000
#define LATER_MS   2100 /* what changed before is settled then (sr_files_settled), of a scan that began a little earlier, too */
#define LATER_MOST 1000 /* directories */
#define READS    1024 /* of READ_SIZE: more than a queue holds */
#define READ_SIZE 16384

enum { /* of a directory: */
	MARKED = 1,      /* something was told of it, */
	BELOW = 2,       /* or of one below */
	TAKEN = 4,       /* by the last scan, which is not taken yet */
	TAKEN_BELOW = 8,
	GONE = 16,       /* it was deleted */
};

struct node {
	struct node *parent, *children, *next, **at; /* at: what points to it in its parent's list */
	struct node *by_wd, *by_name;                /* the next in the same slot */
	uint64_t inode, hash;                        /* hash: of its place, parent and name */
	int wd;
	uint32_t met;                                /* by which listing */
	uint16_t len;
	uint8_t flags;
	uint8_t name[];
};

struct later {
	int64_t ms; /* of sr_now_ms, when it was put off */
	struct sr_buf path;
};

struct sr_watch {
	pthread_mutex_t lock;
	struct sr_watcher *watcher;
	struct sr_store *st;
	char *dir, *file;        /* of a database: its directory and name */
	int fd;                  /* -1: not watched */
	dev_t dev;
	ino_t inode;             /* of the directory that is watched, the root */
	uint64_t mount;          /* its mount; 0: the kernel does not say */
	int own;                 /* the watch of .sameroot, or -1 */
	bool whole;              /* the next scan is a full one */
	bool news;               /* sr_watch_has_news */
	bool applying, ours;     /* sr_watch_ours; something was told meanwhile, at ours_ms, of sr_ticks_ms */
	int64_t ours_ms;
	bool looked, taken;      /* since the last event that matters for a look; what was scanned */
	bool began_whole;        /* the scan that is not taken yet */
	bool written;            /* a database was, at written_ms, of sr_ticks_ms */
	int64_t written_ms;
	bool failed;             /* in this scan: something of the tree cannot be watched */
	int64_t full_ms;         /* when the last full scan began, or the last try to watch, of sr_ticks_ms */
	bool tried;
	uint32_t listing, moved; /* moved: the cookie of a name that went */
	char why[160];
	uint64_t full, partial;
	struct later *later;     /* directories to be looked at when they are settled, first come first */
	size_t laters, later_cap;
	struct node *root;
	struct node **wds, **names; /* `size` slots each */
	size_t size, n;
};

/* --- nodes ----------------------------------------------------------------------------------------------------------------- */

static size_t wd_slot(const struct sr_watch *w, int wd)
{
	return (size_t)wd & (w->size - 1);
}

static uint64_t place(const struct sr_watch *w, const struct node *parent, struct sr_bytes name)
{
	struct sr_hash h;
	uint64_t v;

	sr_hash_of(&h, w->st->key, name);
	memcpy(&v, h.b, sizeof v);
	return v + (uint64_t)(uintptr_t)parent * UINT64_C(0x9e3779b97f4a7c15);
}

static struct sr_bytes name_of(const struct node *n)
{
	return sr_bytes(n->name, n->len);
}

static struct node *node_of(const struct sr_watch *w, int wd)
{
	struct node *n = w->size ? w->wds[wd_slot(w, wd)] : NULL;

	while (n && n->wd != wd)
		n = n->by_wd;
	return n;
}

static struct node *child_of(const struct sr_watch *w, const struct node *parent, struct sr_bytes name)
{
	uint64_t hash = place(w, parent, name);
	struct node *n = w->size ? w->names[hash & (w->size - 1)] : NULL;

	while (n && (n->hash != hash || n->parent != parent || !sr_bytes_eq(name_of(n), name)))
		n = n->by_name;
	return n;
}

/* The last of it, or, `nearest`, of those above it that are watched; NULL: none. */
static struct node *node_at(const struct sr_watch *w, struct sr_bytes path, bool nearest)
{
	struct node *n = w->root;

	while (n && path.len) {
		const uint8_t *nul = memchr(path.at, 0, path.len);
		size_t len = nul ? (size_t)(nul - path.at) : path.len;
		struct node *next = child_of(w, n, sr_bytes(path.at, len));

		if (!next)
			return nearest ? n : NULL;
		n = next;
		path = nul ? sr_bytes(nul + 1, path.len - len - 1) : sr_bytes(NULL, 0);
	}
	return n;
}

static void enter_wd(struct sr_watch *w, struct node *n)
{
	struct node **slot = &w->wds[wd_slot(w, n->wd)];

	n->by_wd = *slot;
	*slot = n;
}

static void enter_name(struct sr_watch *w, struct node *n)
{
	struct node **slot = &w->names[n->hash & (w->size - 1)];

	n->by_name = *slot;
	*slot = n;
}

static void leave_wd(struct sr_watch *w, struct node *n)
{
	struct node **slot = &w->wds[wd_slot(w, n->wd)];

	while (*slot != n)
		slot = &(*slot)->by_wd;
	*slot = n->by_wd;
}

static void leave_name(struct sr_watch *w, struct node *n)
{
	struct node **slot = &w->names[n->hash & (w->size - 1)];

	while (*slot != n)
		slot = &(*slot)->by_name;
	*slot = n->by_name;
}

static void grow(struct sr_watch *w)
{
	struct node **old = w->wds;
	size_t size = w->size;

	w->size = size ? 2 * size : 64;
	w->wds = sr_alloc(w->size * sizeof(struct node *));
	free(w->names);
	w->names = sr_alloc(w->size * sizeof(struct node *));
	for (size_t i = 0; i < size; i++)
		for (struct node *n = old[i], *next; n; n = next) {
			next = n->by_wd;
			enter_wd(w, n);
			enter_name(w, n);
		}
	free(old);
}

static struct node *make(struct sr_watch *w, struct node *parent, struct sr_bytes name, int wd)
{
	struct node *n = sr_alloc(sizeof *n + name.len);

	if (w->n == w->size)
		grow(w);
	w->n++;
	n->wd = wd;
	n->parent = parent;
	n->hash = place(w, parent, name);
	n->len = (uint16_t)name.len;
	if (name.len)
		memcpy(n->name, name.at, name.len);
	n->at = parent ? &parent->children : &w->root;
	n->next = *n->at;
	if (n->next)
		n->next->at = &n->next;
	*n->at = n;
	enter_wd(w, n);
	enter_name(w, n);
	return n;
}

/* One that has no children. */
static void unmake(struct sr_watch *w, struct node *n)
{
	assert(!n->children);
	*n->at = n->next;
	if (n->next)
		n->next->at = n->at;
	leave_wd(w, n);
	leave_name(w, n);
	w->n--;
	free(n);
}

/* It and all below it, deepest first; `keep` keeps its watch, which is another one's now, or gone. */
static void drop(struct sr_watch *w, struct node *top, bool keep)
{
	struct node *n = top;

	for (;;) {
		struct node *up;

		while (n->children)
			n = n->children;
		up = n == top ? NULL : n->parent;
		if (n != top || !keep)
			inotify_rm_watch(w->fd, n->wd); /* what is still told of it is of an unknown watch then */
		unmake(w, n);
		if (!up)
			return;
		n = up;
	}
}

static void mark(struct node *n)
{
	n->flags |= MARKED;
	for (n = n->parent; n && !(n->flags & BELOW); n = n->parent)
		n->flags |= BELOW;
}

/* --- what is put off ------------------------------------------------------------------------------------------------------- */

static void drop_later(struct sr_watch *w, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sr_buf_free(&w->later[i].path);
	w->laters -= n;
	if (w->laters && n)
		memmove(w->later, w->later + n, w->laters * sizeof *w->later);
}

static void put_off(struct sr_watch *w, struct sr_bytes path)
{
	struct later *last = w->laters ? &w->later[w->laters - 1] : NULL;

	if (last && sr_bytes_eq(sr_buf_view(&last->path), path)) {
		last->ms = sr_now_ms();
		return;
	}
	if (w->laters == w->later_cap) {
		w->later_cap = w->later_cap ? 2 * w->later_cap : 16;
		w->later = sr_realloc(w->later, w->later_cap * sizeof *w->later);
	}
	last = &w->later[w->laters++];
	*last = (struct later){.ms = sr_now_ms()};
	sr_buf_bytes(&last->path, path);
}

/* Or the clock was set back. */
static bool is_due(const struct later *l)
{
	int64_t past = sr_now_ms() - l->ms;

	return past > LATER_MS || past < 0;
}

static void mark_due(struct sr_watch *w)
{
	size_t n = 0;

	for (; n < w->laters && is_due(&w->later[n]); n++) {
		struct node *at = node_at(w, sr_buf_view(&w->later[n].path), true);

		if (at)
			mark(at);
	}
	drop_later(w, n);
}

/* --- on and off ------------------------------------------------------------------------------------------------------------ */

static void let_go(struct sr_watch *w)
{
	for (size_t i = 0; i < w->size; i++)
		for (struct node *n = w->wds[i], *next; n; n = next) {
			next = n->by_wd;
			free(n);
		}
	drop_later(w, w->laters);
	free(w->wds);
	free(w->names);
	w->wds = w->names = NULL;
	w->root = NULL;
	w->size = w->n = 0;
	if (w->fd >= 0)
		close(w->fd);
	w->fd = w->own = -1;
	w->whole = true;
	w->looked = w->taken = w->written = false;
}

/* Not to be watched, and why.  The last word counts. */
static void give_up(struct sr_watch *w, const char *why)
{
	char now[sizeof w->why];

	let_go(w);
	snprintf(now, sizeof now, "%s", why);
	if (strcmp(now, w->why) != 0)
		sr_info("store %s is not watched, but scanned each interval: %s", w->st->name, now);
	memcpy(w->why, now, sizeof now);
}

static void give_up_for(struct sr_watch *w, int sys, const char *what)
{
	char why[sizeof w->why], text[64];

	if (sys == ENOSPC)
		snprintf(why, sizeof why, "no inotify watches are left (fs.inotify.max_user_watches)");
	else if (sys == EMFILE)
		snprintf(why, sizeof why, "no inotify instances or descriptors are left (fs.inotify.max_user_instances)");
	else
		snprintf(why, sizeof why, "%s: %s", what, strerror_r(sys, text, sizeof text));
	give_up(w, why);
}

/* What others change there the kernel here is not told of. */
static const char *unwatchable(int fd)
{
	static const struct {
		uint32_t type;
		const char *name;
	} types[] = {
		{0x6969, "nfs"}, {0x517b, "smb"}, {0xff534d42, "cifs"}, {0xfe534d42, "cifs"}, {0x65735546, "fuse"}, {0x01021997, "9p"},
		{0x00c36400, "ceph"}, {0x5346414f, "afs"}, {0x6b414653, "afs"}, {0x73757245, "coda"}, {0x0bd00bd0, "lustre"},
		{0x47504653, "gpfs"}, {0x7461636f, "ocfs2"}, {0x01161970, "gfs2"}, {0x786f4256, "vboxsf"}, {0xbacbacbc, "vmhgfs"}, {0x9fa0, "proc"},
		{0x62656572, "sysfs"},
	};
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return "unknown";
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (types[i].type == (uint32_t)fs.f_type)
			return types[i].name;
	return NULL;
}

static bool facts(int fd, struct statx *out)
{
	return statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_TYPE | STATX_INO | STATX_MNT_ID, out) == 0;
}

static dev_t dev_of(const struct statx *sx)
{
	return ((dev_t)sx->stx_dev_major << 32) | sx->stx_dev_minor;
}

static uint64_t mount_of(const struct statx *sx)
{
	return sx->stx_mask & STATX_MNT_ID ? sx->stx_mnt_id : 0;
}

static int add_fd(struct sr_watch *w, int fd, uint32_t mask)
{
	char path[40];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return inotify_add_watch(w->fd, path, mask);
}

/* The directory at fd from now on, with nothing in it yet.  False: why. */
static bool begin_to_watch(struct sr_watch *w, int fd)
{
	const char *type = unwatchable(fd);
	char why[sizeof w->why];
	struct statx sx;

	let_go(w);
	w->full_ms = sr_ticks_ms();
	w->tried = true;
	if (!facts(fd, &sx)) {
		give_up_for(w, errno, "statx");
		return false;
	}
	w->dev = dev_of(&sx);
	w->inode = sx.stx_ino;
	w->mount = mount_of(&sx);
	if (type) {
		snprintf(why, sizeof why, "its file system (%s) does not tell of what others change", type);
		give_up(w, why);
		return false;
	}
	w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (w->fd < 0 || !sr_watcher_poll(w->watcher, w->fd)) {
		give_up_for(w, errno, "inotify");
		return false;
	}
	return true;
}

struct sr_watch *sr_watch_new(struct sr_watcher *watcher, struct sr_store *st)
{
	struct sr_watch *w = sr_alloc(sizeof *w);

	pthread_mutex_init(&w->lock, NULL);
	w->watcher = watcher;
	w->st = st;
	w->fd = w->own = -1;
	w->whole = true;
	w->listing = 1;
	snprintf(w->why, sizeof w->why, "it was not scanned yet");
	sr_watcher_add(watcher, w);
	return w;
}

void sr_watch_free(struct sr_watch *w)
{
	if (!w)
		return;
	sr_watcher_remove(w->watcher, w);
	let_go(w);
	free(w->later);
	free(w->dir);
	free(w->file);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* --- events ---------------------------------------------------------------------------------------------------------------- */

static void lose(struct sr_watch *w, struct sr_hints *hints)
{
	w->whole = w->news = true;
	w->looked = w->taken = false;
	hints->now++;
}

static bool is_excluded(const struct sr_watch *w, const struct node *dir, struct sr_bytes name)
{
	struct sr_buf path = {0};
	size_t len = name.len, end;
	bool yes;

	if (!w->st->excludes)
		return false;
	for (const struct node *n = dir; n->parent; n = n->parent)
		len += n->len + 1u;
	(void)sr_buf_room(&path, len);
	path.len = end = len;
	memcpy(path.at + end - name.len, name.at, name.len);
	end -= name.len;
	for (const struct node *n = dir; n->parent; n = n->parent) {
		path.at[--end] = 0;
		end -= n->len;
		memcpy(path.at + end, n->name, n->len);
	}
	yes = sr_exclude_matches(SR_KIND_FILES, (const char *const *)w->st->exclude, w->st->excludes, sr_buf_view(&path));
	sr_buf_free(&path);
	return yes;
}

static void count(struct sr_watch *w, const struct inotify_event *e, struct sr_hints *hints)
{
	if (e->mask & IN_DELETE) {
		hints->deleted++;
	} else if (e->mask & IN_MOVED_FROM) {
		hints->deleted++;
		w->moved = e->cookie;
	} else if (e->mask & IN_MOVED_TO) {
		if (e->cookie == w->moved && hints->deleted) /* from here to here */
			hints->deleted--;
		hints->now++;
	} else if (e->mask & (IN_CLOSE_WRITE | IN_ATTRIB | IN_ISDIR)) {
		hints->now++;
	} else {
		hints->soon++;
	}
}

static void told_of_tree(struct sr_watch *w, struct node *n, const struct inotify_event *e, struct sr_hints *hints)
{
	struct sr_bytes name = e->len ? sr_bytes_of(e->name) : sr_bytes(NULL, 0);
	struct node *child;
	bool excluded;

	if (e->mask & IN_DELETE_SELF) {
		n->flags |= GONE; /* the one above was told, too */
		return;
	}
	if (n == w->root) {
		w->looked = false;
		if (sr_bytes_eq(name, sr_bytes_of(SR_OWN_DIR))) {
			if (w->own >= 0 && (e->mask & (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO))) { /* another comes, or came */
				inotify_rm_watch(w->fd, w->own);
				w->own = -1;
			}
			return;
		}
	}
	excluded = name.len && is_excluded(w, n, name);
	if (excluded && !(e->mask & (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)))
		return;
	mark(n); /* what is excluded is known by name: it is looked at when it is time, and hurries nobody */
	if (excluded) {
	} else if (w->applying) {
		w->ours = true;
		w->ours_ms = sr_ticks_ms();
		hints->ours++;
	} else {
		w->news = true;
		count(w, e, hints);
	}
	child = (e->mask & IN_ISDIR) && (e->mask & (IN_DELETE | IN_MOVED_FROM)) ? child_of(w, n, name) : NULL;
	if (child)
		drop(w, child, false);
}

/* *look: what is there, and its marker, may be another.  A journal that goes is a commit.  (Each root's SQLite gives a log its owner anew when it opens it.) */
static bool told_of_database(const struct sr_watch *w, const struct inotify_event *e, bool *look)
{
	size_t len = strlen(w->file);
	const char *rest;

	if (!e->len || strncmp(e->name, w->file, len))
		return false;
	rest = e->name + len;
	*look = !*rest || (!strcmp(rest, "-wal") && !(e->mask & (IN_MODIFY | IN_ATTRIB)));
	if (!*rest || (e->mask & IN_ATTRIB))
		return !*rest;
	return !strcmp(rest, "-wal") || (!strcmp(rest, "-journal") && !(e->mask & IN_CREATE));
}

static void told(struct sr_watch *w, const struct inotify_event *e, struct sr_hints *hints)
{
	struct node *n = node_of(w, e->wd);
	bool look = false;

	if (e->mask & IN_Q_OVERFLOW) {
		sr_debug("store %s: more changed than the kernel keeps to tell", w->st->name);
		lose(w, hints);
	} else if (e->wd == w->own) {
		w->looked &= e->len && strcmp(e->name, "marker") != 0;
		if (e->mask & IN_IGNORED)
			w->own = -1;
	} else if (!n) { /* of a watch that was removed */
	} else if (e->mask & IN_UNMOUNT) {
		lose(w, hints);
	} else if (e->mask & IN_IGNORED) {
		if (!(n->flags & GONE) || n == w->root)
			lose(w, hints);
		drop(w, n, true);
	} else if (w->st->kind == SR_KIND_FILES) {
		told_of_tree(w, n, e, hints);
	} else if (told_of_database(w, e, &look) && (e->mask & IN_ATTRIB)) {
		w->looked = false; /* when it is time */
	} else if (told_of_database(w, e, &look)) {
		w->written = true;
		w->written_ms = sr_ticks_ms();
		w->looked &= !look;
		w->news |= look;
		if (w->st->ours) /* what is deleted directly, one statement after the other, is judged together */
			hints->deleted += SR_HINTS_MANY;
		else
			hints->now++;
	}
}

static void drain(struct sr_watch *w, struct sr_hints *hints)
{
	_Alignas(struct inotify_event) char buf[READ_SIZE];

	for (int k = 0; w->fd >= 0 && k < READS; k++) {
		ssize_t n = read(w->fd, buf, sizeof buf);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 && errno != EAGAIN)
			lose(w, hints);
		if (n <= 0)
			return;
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *e = (const struct inotify_event *)(buf + at);

			told(w, e, hints);
			at += (ssize_t)(sizeof *e + e->len);
		}
	}
}

void sr_watch_drain(struct sr_watch *w, struct sr_hints *hints)
{
	pthread_mutex_lock(&w->lock);
	drain(w, hints);
	pthread_mutex_unlock(&w->lock);
}

static void drain_here(struct sr_watch *w)
{
	struct sr_hints here = {0};

	drain(w, &here);
}

void sr_watch_lose(struct sr_watch *w)
{
	struct sr_hints here = {0};

	pthread_mutex_lock(&w->lock);
	lose(w, &here);
	pthread_mutex_unlock(&w->lock);
}

void sr_watch_hold(struct sr_watch *w)
{
	if (w)
		pthread_mutex_lock(&w->lock);
}

void sr_watch_release(struct sr_watch *w)
{
	if (w)
		pthread_mutex_unlock(&w->lock);
}

void sr_watch_ours(struct sr_watch *w, bool begin)
{
	struct sr_hints hints = {0};

	pthread_mutex_lock(&w->lock);
	drain(w, &hints);
	w->applying = begin;
	pthread_mutex_unlock(&w->lock);
	sr_watcher_note(w->watcher, &hints);
}

void sr_watch_report(struct sr_watch *w, struct sr_watch_report *out)
{
	pthread_mutex_lock(&w->lock);
	*out = (struct sr_watch_report){.asked = true, .watched = w->fd >= 0, .directories = w->n, .full = w->full, .partial = w->partial};
	snprintf(out->why, sizeof out->why, "%s", w->fd >= 0 ? "" : w->why);
	pthread_mutex_unlock(&w->lock);
}

/* --- looks ----------------------------------------------------------------------------------------------------------------- */

int64_t sr_watch_full_ms(const struct sr_watch *w)
{
	return sr_watcher_full_ms(w->watcher);
}

static bool is_full_due(const struct sr_watch *w)
{
	return !w->tried || sr_ticks_ms() - w->full_ms >= sr_watch_full_ms(w);
}

/* Is the directory at the path the one that is watched? */
static bool is_same_place(const struct sr_watch *w)
{
	struct statx sx;

	return statx(AT_FDCWD, w->dir ? w->dir : w->st->path, 0, STATX_INO, &sx) == 0 && dev_of(&sx) == w->dev && sx.stx_ino == w->inode;
}

static bool is_settled(const struct sr_watch *w)
{
	return w->fd >= 0 && w->looked && w->taken && !w->whole && !is_full_due(w) && w->root && !(w->root->flags & (MARKED | BELOW)) && !w->laters;
}

bool sr_watch_is_quiet(struct sr_watch *w)
{
	bool is;

	pthread_mutex_lock(&w->lock);
	drain_here(w);
	is = is_settled(w) && !w->written && is_same_place(w);
	pthread_mutex_unlock(&w->lock);
	return is;
}

/* Before it is looked at. */
static void clear_written(struct sr_watch *w)
{
	w->written &= sr_ticks_ms() - w->written_ms < SETTLE_MS;
}

/* After it. */
static void look_again_soon(struct sr_watch *w)
{
	int64_t past = sr_ticks_ms() - w->written_ms;

	if (w->written)
		sr_watcher_again(w->watcher, past > 0 ? past : 1);
}

bool sr_watch_has_news(struct sr_watch *w)
{
	int64_t past;
	bool has;

	pthread_mutex_lock(&w->lock);
	drain_here(w);
	past = sr_ticks_ms() - w->ours_ms;
	has = w->news || (w->ours && past >= SR_OURS_MS);
	if (!has && w->ours)
		sr_watcher_again(w->watcher, SR_OURS_MS - past);
	pthread_mutex_unlock(&w->lock);
	return has;
}

bool sr_watch_was_written(struct sr_watch *w, bool anyhow)
{
	bool is;

	pthread_mutex_lock(&w->lock);
	drain_here(w);
	is = w->written && (anyhow || (is_settled(w) && is_same_place(w)));
	if (is)
		clear_written(w);
	pthread_mutex_unlock(&w->lock);
	return is;
}

void sr_watch_looked_at(struct sr_watch *w, bool moved)
{
	pthread_mutex_lock(&w->lock);
	w->written |= moved;
	if (!moved)
		look_again_soon(w);
	pthread_mutex_unlock(&w->lock);
}

static void split_path(struct sr_watch *w)
{
	const char *slash = strrchr(w->st->path, '/');

	free(w->dir);
	free(w->file);
	w->dir = !slash ? sr_strdup(".") : slash == w->st->path ? sr_strdup("/") : sr_text(sr_bytes(w->st->path, (size_t)(slash - w->st->path)));
	w->file = sr_strdup(slash ? slash + 1 : w->st->path);
}

/* The directory of a database. */
static void watch_database(struct sr_watch *w)
{
	struct statx sx = {0};
	int fd = -1, wd;

	split_path(w);
	fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || !begin_to_watch(w, fd)) {
		if (fd < 0)
			give_up_for(w, errno, w->dir);
		goto out;
	}
	wd = add_fd(w, fd, DATABASE);
	if (wd < 0) {
		give_up_for(w, errno, "inotify");
		goto out;
	}
	(void)make(w, NULL, sr_bytes(NULL, 0), wd);
	if (statx(fd, w->file, AT_SYMLINK_NOFOLLOW, STATX_TYPE | STATX_MNT_ID, &sx) == 0 && S_ISLNK(sx.stx_mode))
		give_up(w, "its path is a symbolic link");
	else if (mount_of(&sx) && mount_of(&sx) != w->mount)
		give_up(w, "its file is a mount point");
	else
		w->whole = false;
	w->full++;
out:
	if (fd >= 0)
		close(fd);
}

void sr_watch_look(struct sr_watch *w)
{
	pthread_mutex_lock(&w->lock);
	drain_here(w);
	if (w->st->kind == SR_KIND_DATABASE && (w->whole || is_full_due(w) || !is_same_place(w)) && (w->fd >= 0 || is_full_due(w) || !w->tried))
		watch_database(w);
	if (w->st->kind == SR_KIND_DATABASE)
		w->news = false;
	w->looked = true;
	pthread_mutex_unlock(&w->lock);
}

/* --- scans ----------------------------------------------------------------------------------------------------------------- */

static void clear_taken(struct node *n)
{
	n->flags &= (uint8_t)~(TAKEN | TAKEN_BELOW);
	for (struct node *c = n->children; c; c = c->next)
		if (c->flags & (TAKEN | TAKEN_BELOW))
			clear_taken(c);
}

/* What is marked is looked at now, and what is marked from now on the next time. */
static void take_marks(struct node *n)
{
	if (n->flags & MARKED)
		n->flags |= TAKEN;
	if (n->flags & BELOW)
		n->flags |= TAKEN_BELOW;
	for (struct node *c = n->flags & BELOW ? n->children : NULL; c; c = c->next)
		if (c->flags & (MARKED | BELOW))
			take_marks(c);
	n->flags &= (uint8_t)~(MARKED | BELOW);
}

static void watch_own(struct sr_watch *w, int root)
{
	int fd = w->own < 0 ? sr_open_beneath(root, SR_OWN_DIR, O_RDONLY | O_DIRECTORY, 0) : -1;

	if (fd < 0)
		return;
	w->own = add_fd(w, fd, OWN);
	w->looked = false; /* it may have come with a marker */
	close(fd);
}

static bool is_root(const struct sr_watch *w, int root)
{
	struct statx sx;

	return facts(root, &sx) && dev_of(&sx) == w->dev && sx.stx_ino == w->inode;
}

bool sr_watch_begin(struct sr_watch *w, int root, bool full)
{
	bool whole, same;

	pthread_mutex_lock(&w->lock);
	drain_here(w);
	same = w->tried && is_root(w, root);
	whole = full || w->fd < 0 || w->whole || !same || is_full_due(w) || (!w->taken && w->began_whole);
	if (whole && (w->fd >= 0 || !same || is_full_due(w)))
		(void)begin_to_watch(w, root);
	w->failed = w->fd < 0;
	if (!w->failed)
		watch_own(w, root);
	if (!whole) {
		if (w->taken)
			clear_taken(w->root);
		mark_due(w);
		take_marks(w->root);
	}
	w->whole = w->news = w->ours = false; /* until it is told of again */
	w->taken = false;
	w->began_whole = whole;
	pthread_mutex_unlock(&w->lock);
	return whole;
}

void sr_watch_begin_database(struct sr_watch *w)
{
	pthread_mutex_lock(&w->lock);
	drain_here(w);
	clear_written(w);
	look_again_soon(w);
	w->taken = false;
	pthread_mutex_unlock(&w->lock);
}

/* An inode has one watch: if it has been at another place, it is no more. */
static void put(struct sr_watch *w, struct sr_bytes path, int wd, uint64_t inode)
{
	struct node *old = node_of(w, wd), *here = node_at(w, path, false), *parent;
	const uint8_t *nul = path.len ? memrchr(path.at, 0, path.len) : NULL;
	struct sr_bytes above = sr_bytes(path.at, nul ? (size_t)(nul - path.at) : 0);

	if (old && old == here) {
		here->inode = inode;
		return;
	}
	if (here)
		drop(w, here, false);
	old = node_of(w, wd); /* it may have been below */
	if (old)
		drop(w, old, true);
	parent = path.len ? node_at(w, above, false) : NULL;
	if (path.len && !parent) { /* the one above went meanwhile, and what is above that is marked */
		inotify_rm_watch(w->fd, wd);
		return;
	}
	make(w, parent, path.len ? sr_bytes(nul ? nul + 1 : path.at, path.len - (nul ? above.len + 1 : 0)) : path, wd)->inode = inode;
}

void sr_watch_add(struct sr_watch *w, struct sr_bytes path, int fd)
{
	struct statx sx;
	int wd;

	pthread_mutex_lock(&w->lock);
	if (w->failed)
		goto out;
	w->failed = true;
	if (!facts(fd, &sx)) {
		give_up_for(w, errno, "statx");
	} else if (w->mount && mount_of(&sx) ? mount_of(&sx) != w->mount : dev_of(&sx) != w->dev) {
		give_up(w, "there is a mount point in it");
	} else if ((wd = add_fd(w, fd, TREE)) < 0) {
		give_up_for(w, errno, errno == ENOENT ? "/proc" : "inotify");
	} else {
		w->failed = false;
		put(w, path, wd, sx.stx_ino);
	}
out:
	pthread_mutex_unlock(&w->lock);
}

enum sr_watch_state sr_watch_state(struct sr_watch *w, struct sr_bytes path, uint64_t inode)
{
	enum sr_watch_state state = SR_WATCH_NEW;
	struct node *n;

	pthread_mutex_lock(&w->lock);
	n = w->failed ? NULL : node_at(w, path, false);
	if (n)
		n->met = w->listing;
	if (n && (!inode || n->inode == inode))
		state = n->flags & TAKEN ? SR_WATCH_MARKED : n->flags & TAKEN_BELOW ? SR_WATCH_BELOW : SR_WATCH_CLEAN;
	pthread_mutex_unlock(&w->lock);
	return state;
}

void sr_watch_listed(struct sr_watch *w, struct sr_bytes path)
{
	struct node *n;

	pthread_mutex_lock(&w->lock);
	n = w->failed ? NULL : node_at(w, path, false);
	for (struct node *c = n ? n->children : NULL, *next; c; c = next) {
		next = c->next;
		if (c->met != w->listing)
			drop(w, c, false);
	}
	w->listing++;
	pthread_mutex_unlock(&w->lock);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void sr_watch_below(struct sr_watch *w, struct sr_bytes path, struct sr_buf *names)
{
	struct node *n;
	char **list = NULL;
	size_t count = 0;

	pthread_mutex_lock(&w->lock);
	n = w->failed ? NULL : node_at(w, path, false);
	for (struct node *c = n ? n->children : NULL; c; c = c->next)
		if (c->flags & (TAKEN | TAKEN_BELOW)) {
			list = sr_realloc(list, (count + 1) * sizeof *list);
			list[count++] = sr_text(name_of(c));
		}
	pthread_mutex_unlock(&w->lock);
	if (count)
		qsort(list, count, sizeof *list, by_text);
	for (size_t i = 0; i < count; i++) {
		sr_buf_add(names, list[i], strlen(list[i]) + 1);
		free(list[i]);
	}
	free(list);
}

void sr_watch_again(struct sr_watch *w, struct sr_bytes path)
{
	struct node *n;

	pthread_mutex_lock(&w->lock);
	n = w->failed ? NULL : node_at(w, path, true);
	if (n)
		mark(n);
	pthread_mutex_unlock(&w->lock);
}

void sr_watch_later(struct sr_watch *w, struct sr_bytes path)
{
	bool many;

	pthread_mutex_lock(&w->lock);
	many = w->laters >= LATER_MOST;
	if (!w->failed && !many)
		put_off(w, path);
	pthread_mutex_unlock(&w->lock);
	if (many)
		sr_watch_again(w, path);
}

void sr_watch_end(struct sr_watch *w, bool well)
{
	pthread_mutex_lock(&w->lock);
	if (well && w->began_whole)
		w->full++;
	else if (well)
		w->partial++;
	if (w->failed || !w->root)
		w->whole = true;
	pthread_mutex_unlock(&w->lock);
}

void sr_watch_taken(struct sr_watch *w)
{
	pthread_mutex_lock(&w->lock);
	w->taken = w->fd >= 0;
	pthread_mutex_unlock(&w->lock);
}
