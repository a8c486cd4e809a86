/* test_files.c - a directory tree as a store, on real directories. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/store/stager.h"
#include "lib/store/store.h"
#include "tests/sim/disk.h"
#include "tests/unit/clock.h"

/* ---- a world: one store in a directory of its own, and an owner of applies that writes down what it is told ---- */

#define ROOM 4096

struct world;

struct told {
	enum sr_verdict verdict;
	bool refuse; /* displaced fails */
	void (*meanwhile)(struct world *w, const char *path); /* and before that the application does this */
	size_t clashes, displaced, unexpected, applied;
	struct sr_version actual;   /* of the last clash */
	char content[ROOM];         /* last displaced */
	uint64_t signature;         /* last applied */
};

struct world {
	char dir[64], root[96];
	struct sr_tree_key key;
	struct sr_nodes *nodes;
	struct sr_store *st;
	struct sr_leaves *leaves;
	struct sr_stage *stages[16];
	size_t staged;
	uint8_t *paths[64];
	size_t made;
	struct told told;
	struct sr_apply_ops ops;
	size_t signatures; /* told by a scan */
	int64_t ahead_ms;  /* of the real clock */
};

static int64_t shifted_now(void *ctx)
{
	return clock_ms(CLOCK_REALTIME) + ((struct world *)ctx)->ahead_ms;
}

static int64_t real_ticks(void *ctx)
{
	(void)ctx;
	return 0;
}

static void counted_random(void *ctx, void *out, size_t n)
{
	(void)ctx;
	static atomic_uchar next; /* a test's own, asked by staging threads, too: names must differ and no more */

	memset(out, 0x5a, n);
	((uint8_t *)out)[0] = next++;
}

/* "a/b" as a path within the store; kept until the world ends. */
static struct sr_bytes path_of(struct world *w, const char *text)
{
	size_t n = strlen(text);
	uint8_t *at = (uint8_t *)sr_strdup(text);

	for (size_t i = 0; i < n; i++)
		if (at[i] == '/')
			at[i] = 0;
	assert_true(w->made < 64);
	w->paths[w->made++] = at;
	return sr_bytes(at, n);
}

static char *at(struct world *w, const char *name)
{
	static char text[ROOM];

	snprintf(text, sizeof(text), "%s/%s", w->root, name);
	return text;
}

static void put(struct world *w, const char *name, const char *content)
{
	int fd = open(at(w, name), O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	assert_int_equal(fchmod(fd, 0644), 0);
	close(fd);
}

static void dir(struct world *w, const char *name)
{
	assert_int_equal(mkdir(at(w, name), 0755), 0);
	assert_int_equal(chmod(at(w, name), 0755), 0);
}

static const char *content(struct world *w, const char *name)
{
	static char text[ROOM];
	int fd = open(at(w, name), O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return NULL;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return n < 0 ? NULL : text;
}

static bool there(struct world *w, const char *name)
{
	struct stat st;

	return !lstat(at(w, name), &st);
}

static mode_t mode_of(struct world *w, const char *name)
{
	struct stat st;

	assert_int_equal(lstat(at(w, name), &st), 0);
	return st.st_mode & 07777;
}

static size_t in_staging(struct world *w)
{
	char text[160];
	FILE *p;
	unsigned n = 99;

	snprintf(text, sizeof(text), "ls -A %s/.sameroot/stage 2>/dev/null | wc -l", w->root);
	p = popen(text, "r");
	assert_int_equal(fscanf(p, "%u", &n), 1);
	pclose(p);
	return n;
}

static enum sr_verdict on_clash(void *ctx, size_t i, const struct sr_leaf *leaf, const struct sr_version *actual, struct sr_bytes record)
{
	struct world *w = ctx;

	(void)i, (void)leaf;
	assert_int_equal(record.len, 0);
	w->told.clashes++;
	w->told.actual = *actual;
	return w->told.verdict;
}

static enum sr_status on_displaced(void *ctx, size_t i, const struct sr_leaf *leaf, const struct sr_displaced *old, struct sr_err *err)
{
	struct world *w = ctx;
	struct sr_hash hash;
	ssize_t n;
	int fd = openat(old->dirfd, old->name, O_RDONLY);

	(void)i;
	assert_true(fd >= 0);
	n = read(fd, w->told.content, sizeof(w->told.content) - 1);
	assert_true(n >= 0);
	close(fd);
	w->told.content[n] = '\0';
	sr_hash_of(&hash, &w->key, sr_bytes(w->told.content, (size_t)n));
	assert_true(sr_hash_eq(&hash, &old->version.hash));
	if (w->told.meanwhile) {
		char *path = sr_text(leaf->path);

		w->told.meanwhile(w, path);
		free(path);
	}
	if (w->told.refuse)
		return sr_err_set(err, SR_E_FULL, "the archive is full");
	w->told.displaced++;
	w->told.unexpected += !old->expected;
	return SR_OK;
}

static void on_applied(void *ctx, size_t i, const struct sr_leaf *leaf, uint64_t signature)
{
	struct world *w = ctx;

	(void)i, (void)leaf;
	w->told.applied++;
	w->told.signature = signature;
}

static void open_store(struct world *w, uint64_t max_size, const char *const *exclude, size_t excludes)
{
	struct sr_store_options o = {
		.name = "resources", .kind = SR_KIND_FILES, .path = w->root, .exclude = exclude, .excludes = excludes, .max_size = max_size,
		.key = &w->key,
	};

	sr_store_close(w->st);
	assert_int_equal(sr_store_open(&w->st, &o, NULL), SR_OK);
}

static const char *place = "/tmp";

static int set_up(void **state)
{
	struct world *w = sr_alloc(sizeof(*w));
	struct sr_door door = {shifted_now, real_ticks, counted_random, w};
	uint8_t secret[SR_KEY_LEN];

	umask(022);
	sr_door_install(&door);
	for (size_t i = 0; i < sizeof(secret); i++)
		secret[i] = (uint8_t)(i * 37 + 11);
	sr_tree_key_set(&w->key, secret);
	snprintf(w->dir, sizeof w->dir, "%s/sameroot-files-XXXXXX", place);
	assert_non_null(mkdtemp(w->dir));
	chmod(w->dir, 0755);
	snprintf(w->root, sizeof(w->root), "%s/deeper/store", w->dir);
	w->nodes = sr_nodes_new(&w->key);
	w->leaves = sr_leaves_new(NULL);
	w->ops = (struct sr_apply_ops){.ctx = w, .clash = on_clash, .displaced = on_displaced, .applied = on_applied};
	w->told.verdict = SR_KEEP;
	open_store(w, 0, NULL, 0);
	assert_int_equal(sr_store_create(w->st, NULL), SR_OK);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;
	struct sr_buf command = {0};
	int failed;

	sr_buf_printf(&command, "rm -rf %s", w->dir);
	for (size_t i = 0; i < w->staged; i++)
		sr_stage_free(w->stages[i]);
	for (size_t i = 0; i < w->made; i++)
		free(w->paths[i]);
	sr_leaves_free(w->leaves);
	sr_store_close(w->st);
	sr_nodes_free(w->nodes);
	sr_door_install(NULL);
	failed = system(sr_buf_text(&command)); /* rm goes deeper than nftw */
	sr_buf_free(&command);
	free(w);
	return failed;
}

/* ---- versions, leaves ---- */

static const struct sr_version nothing;

static struct sr_version file_v(struct world *w, const char *text, uint16_t mode)
{
	struct sr_version v = {.kind = SR_KIND_FILE, .mode = mode, .bytes = strlen(text)};

	sr_hash_of(&v.hash, &w->key, sr_bytes_of(text));
	return v;
}

static struct sr_version dir_v(uint16_t mode)
{
	return (struct sr_version){.kind = SR_KIND_DIR, .mode = mode};
}

/* Add a leaf; with text its content is staged. */
static struct sr_leaf leaf(struct world *w, const char *path, struct sr_version expect, struct sr_version to, const char *text)
{
	struct sr_leaf l = {.path = path_of(w, path), .expect = expect, .to = to, .mtime_ns = 1000000000123456789};

	if (text) {
		struct sr_stage *s;

		assert_true(w->staged < 16);
		assert_int_equal(sr_stage_open(&s, w->st, NULL), SR_OK);
		w->stages[w->staged++] = s;
		assert_int_equal(sr_stage_write(s, text, strlen(text), NULL), SR_OK);
		assert_int_equal(sr_stage_finish(s, &to, l.mtime_ns, &l, NULL), SR_OK);
	}
	assert_int_equal(sr_leaves_add(w->leaves, &l, NULL), SR_OK);
	return l;
}

static struct sr_marker some_marker(void)
{
	struct sr_marker m = {.epoch = 3, .seq = 42};

	m.id.b[0] = 1;
	m.node.b[1] = 2;
	m.instance.b[15] = 3;
	return m;
}

static enum sr_status prepare(struct world *w)
{
	struct sr_marker m = some_marker();

	assert_int_equal(sr_leaves_sort(w->leaves, NULL), SR_OK);
	return sr_apply_prepare(w->st, w->leaves, &m, &w->ops, NULL);
}

static enum sr_status apply(struct world *w, struct sr_err *err)
{
	assert_int_equal(prepare(w), SR_OK);
	return sr_apply_commit(w->st, err);
}

static enum sr_status recover(struct world *w)
{
	struct sr_marker m = some_marker();

	return sr_apply_recover(w->st, w->leaves, &m, &w->ops, NULL);
}

static void forget(struct world *w)
{
	sr_leaves_free(w->leaves);
	w->leaves = sr_leaves_new(NULL);
	w->told = (struct told){.verdict = SR_KEEP};
}

/* ---- scans ---- */

static void on_signature(void *ctx, struct sr_bytes path, uint64_t signature)
{
	(void)path, (void)signature;
	((struct world *)ctx)->signatures++;
}

static enum sr_status try_scan(struct world *w, const struct sr_hash *before, struct sr_scan *out)
{
	struct sr_view *v;
	enum sr_status s = sr_view_open(&v, w->st, SR_VIEW_MAIN, NULL);

	w->signatures = 0;
	if (s != SR_OK)
		return s;
	s = sr_view_scan(v, w->nodes, before, on_signature, w, out, NULL);
	sr_view_close(v);
	return s;
}

static void look(struct world *w)
{
	struct sr_marker m;
	char why[256];
	bool any;

	(void)sr_store_look(w->st, &m, &any, why);
}

static struct sr_scan scan(struct world *w, const struct sr_hash *before)
{
	struct sr_scan out;

	assert_int_equal(try_scan(w, before, &out), SR_OK);
	return out;
}

/* Is what a scan sees now just these? */
static void assert_tree(struct world *w, const struct sr_edit *items, size_t n)
{
	struct sr_scan now = scan(w, NULL);
	struct sr_hash empty, expected;

	sr_store_empty(w->nodes, SR_KIND_FILES, &empty);
	assert_int_equal(sr_store_edit(w->nodes, SR_KIND_FILES, &empty, items, n, &expected, NULL), SR_OK);
	assert_true(sr_hash_eq(&now.map, &expected));
	sr_scan_free(&now);
}

static int why_unknown(const struct sr_scan *scan, struct sr_bytes path)
{
	for (size_t i = 0; i < scan->unknowns; i++)
		if (sr_bytes_eq(scan->unknown[i].path, path))
			return (int)scan->unknown[i].why;
	return -1;
}

static void test_scan_sees_every_kind(void **state)
{
	struct world *w = *state;
	const char *const exclude[] = {"*.tmp", "cache/*", "/logs/"};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sr_scan now;

	open_store(w, 100, exclude, 3);
	put(w, "a", "alpha");
	put(w, "\xff\xfe name", "not UTF-8");
	dir(w, "empty");
	dir(w, "img");
	dir(w, "img/deep");
	put(w, "img/deep/logo", "");
	put(w, "img/x.tmp", "excluded");
	dir(w, "cache");
	put(w, "cache/page", "excluded");
	dir(w, "logs");
	put(w, "logs/l", "below what is excluded");
	dir(w, "odd");
	dir(w, "odd/er");
	assert_int_equal(symlink("/etc/passwd", at(w, "odd/er/link")), 0);
	assert_int_equal(mkfifo(at(w, "fifo"), 0600), 0);
	strcpy(address.sun_path, at(w, "socket"));
	assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof(address)), 0);
	close(s);
	put(w, "large", "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789");

	const struct sr_edit expected[] = {
		{path_of(w, "a"), file_v(w, "alpha", 0644)},
		{path_of(w, "empty"), dir_v(0755)},
		{path_of(w, "img"), dir_v(0755)},
		{path_of(w, "img/deep"), dir_v(0755)},
		{path_of(w, "img/deep/logo"), file_v(w, "", 0644)},
		{path_of(w, "\xff\xfe name"), file_v(w, "not UTF-8", 0644)},
	};

	assert_tree(w, expected, 6); /* cache, odd and odd/er hold only unknown things: no entries */
	now = scan(w, NULL);
	assert_int_equal(now.unknowns, 7);
	for (size_t i = 1; i < now.unknowns; i++)
		assert_true(sr_bytes_cmp(now.unknown[i - 1].path, now.unknown[i].path) < 0);
	assert_int_equal(why_unknown(&now, path_of(w, "img/x.tmp")), SR_UNKNOWN_EXCLUDED);
	assert_int_equal(why_unknown(&now, path_of(w, "cache/page")), SR_UNKNOWN_EXCLUDED);
	assert_int_equal(why_unknown(&now, path_of(w, "logs")), SR_UNKNOWN_EXCLUDED);
	assert_int_equal(why_unknown(&now, path_of(w, "odd/er/link")), SR_UNKNOWN_KIND);
	assert_int_equal(why_unknown(&now, path_of(w, "fifo")), SR_UNKNOWN_KIND);
	assert_int_equal(why_unknown(&now, path_of(w, "socket")), SR_UNKNOWN_KIND);
	assert_int_equal(why_unknown(&now, path_of(w, "large")), SR_UNKNOWN_SIZE);
	assert_int_equal(now.hashed, 3);
	sr_scan_free(&now);
}

/* What becomes excluded stays in the map as it was seen last, whatever happens to it; lifted, it is seen as it is. */
static void test_exclude_later(void **state)
{
	static const char *const later[] = {"cache/", "*.tmp"};
	struct world *w = *state;
	struct sr_scan before, now;

	open_store(w, 0, NULL, 0);
	dir(w, "cache");
	put(w, "cache/page", "one");
	put(w, "x.tmp", "two");
	put(w, "a", "three");
	before = scan(w, NULL);
	sr_store_set_exclude(w->st, later, 2);
	put(w, "cache/page", "changed");
	put(w, "cache/more", "new");
	assert_int_equal(unlink(at(w, "x.tmp")), 0);
	now = scan(w, &before.map);
	assert_true(now.same);
	assert_int_equal(now.unknowns, 2); /* cache, and x.tmp, which is not even there */
	sr_scan_free(&now);
	put(w, "a", "changed");
	now = scan(w, &before.map);
	assert_false(now.same);
	sr_store_set_exclude(w->st, NULL, 0);

	const struct sr_edit expected[] = {
		{path_of(w, "a"), file_v(w, "changed", 0644)},
		{path_of(w, "cache"), dir_v(0755)},
		{path_of(w, "cache/more"), file_v(w, "new", 0644)},
		{path_of(w, "cache/page"), file_v(w, "changed", 0644)},
	};

	assert_tree(w, expected, 4);
	sr_scan_free(&before);
	sr_scan_free(&now);
}

static void test_unchanged_files_are_not_read_again(void **state)
{
	struct world *w = *state;
	struct sr_scan first, again, third;

	dir(w, "d");
	put(w, "d/a", "one");
	put(w, "b", "two");
	first = scan(w, NULL);
	again = scan(w, &first.map); /* too young to be trusted */
	assert_true(again.same);
	assert_int_equal(again.hashed, 2);
	assert_int_equal(w->signatures, 0);
	w->ahead_ms = 10000;
	again = scan(w, &first.map);
	assert_int_equal(again.hashed, 2);
	assert_int_equal(w->signatures, 2);
	again = scan(w, &first.map);
	assert_true(again.same);
	assert_int_equal(again.hashed, 0);
	assert_int_equal(w->signatures, 0);
	put(w, "d/a", "six"); /* the same size */
	third = scan(w, &again.map);
	assert_false(third.same);
	assert_int_equal(third.hashed, 1);
	assert_int_equal(third.hashed_bytes, 3);
}

static void test_an_edit_that_hides_its_mtime_is_found(void **state)
{
	struct world *w = *state;
	struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
	struct sr_scan first, second, third;

	put(w, "f", "aaaa");
	assert_int_equal(utimensat(AT_FDCWD, at(w, "f"), old, 0), 0);
	first = scan(w, NULL);
	put(w, "f", "bbbb");
	assert_int_equal(utimensat(AT_FDCWD, at(w, "f"), old, 0), 0);
	second = scan(w, &first.map); /* in the same second */
	assert_false(second.same);
	w->ahead_ms = 10000;
	second = scan(w, &second.map);
	put(w, "f", "cccc");
	assert_int_equal(utimensat(AT_FDCWD, at(w, "f"), old, 0), 0);
	third = scan(w, &second.map);
	assert_false(third.same);
}

static void test_a_signature_vouches_for_its_own_content_only(void **state)
{
	struct world *w = *state;
	struct sr_edit lie = {path_of(w, "f"), file_v(w, "bbbb", 0644)};
	struct sr_scan first, second;
	struct sr_hash other;

	put(w, "f", "aaaa");
	w->ahead_ms = 10000;
	first = scan(w, NULL);
	assert_int_equal(sr_store_edit(w->nodes, SR_KIND_FILES, &first.map, &lie, 1, &other, NULL), SR_OK);
	second = scan(w, &other);
	assert_int_equal(second.hashed, 1);
	assert_true(sr_hash_eq(&second.map, &first.map));
}

struct kept {
	char name[8];
	uint64_t signature;
};

static void keep_signature(void *ctx, struct sr_bytes path, uint64_t signature)
{
	struct kept *k = ctx;

	memcpy(k->name, path.at, path.len);
	k->signature = signature;
}

static void test_signatures_are_remembered_over_a_restart(void **state)
{
	struct world *w = *state;
	struct kept kept = {0};
	struct sr_scan first, second;
	struct sr_view *v;

	put(w, "f", "aaaa");
	w->ahead_ms = 10000;
	assert_int_equal(sr_view_open(&v, w->st, SR_VIEW_MAIN, NULL), SR_OK);
	assert_int_equal(sr_view_scan(v, w->nodes, NULL, keep_signature, &kept, &first, NULL), SR_OK);
	sr_view_close(v);
	assert_string_equal(kept.name, "f");
	open_store(w, 0, NULL, 0);
	sr_store_remember(w->st, path_of(w, "f"), kept.signature);
	second = scan(w, &first.map);
	assert_true(second.same);
	assert_int_equal(second.hashed, 0);
}

static void test_many_files_come_and_go(void **state)
{
	struct world *w = *state;
	struct sr_scan first, second;
	char name[32];

	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		put(w, name, name);
	}
	w->ahead_ms = 10000;
	first = scan(w, NULL);
	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		assert_int_equal(unlink(at(w, name)), 0);
	}
	second = scan(w, &first.map);
	assert_int_equal(second.hashed, 0);
	assert_false(second.same);
	second = scan(w, &second.map);
	assert_true(second.same);
	assert_int_equal(second.hashed, 0); /* what is left is still remembered */
}

/* Four hundred directories of one file and a directory in each, which holds another. */
static void make_hundreds(struct world *w)
{
	char name[32];

	for (int i = 0; i < 400; i++) {
		snprintf(name, sizeof(name), "d%03d", i);
		dir(w, name);
		snprintf(name, sizeof(name), "d%03d/f", i);
		put(w, name, name);
		snprintf(name, sizeof(name), "d%03d/in", i);
		dir(w, name);
		snprintf(name, sizeof(name), "d%03d/in/g", i);
		put(w, name, name);
	}
}

static void assert_hundreds(struct world *w, const struct sr_hash *map)
{
	static const char *const files[] = {"f", "in\0g"};
	static const size_t lens[] = {1, 4};

	for (int i = 0; i < 800; i++) {
		struct sr_version v, want;
		char path[32], text[32];
		int n = snprintf(path, sizeof(path), "d%03d", i / 2);

		memcpy(path + n + 1, files[i % 2], lens[i % 2]);
		snprintf(text, sizeof(text), "d%03d/%s", i / 2, i % 2 ? "in/g" : "f");
		want = file_v(w, text, 0644);
		assert_int_equal(sr_store_get(w->nodes, SR_KIND_FILES, map, sr_bytes(path, (size_t)n + 1 + lens[i % 2]), &v, NULL), SR_OK);
		assert_true(sr_version_eq(&v, &want));
	}
}

/* So many that they are listed ahead, where there is more than one processor. */
static void test_many_directories_are_seen_as_few_are(void **state)
{
	struct world *w = *state;
	struct sr_scan first, second, third;
	char away[96];

	make_hundreds(w);
	w->ahead_ms = 10000;
	first = scan(w, NULL);
	assert_int_equal(first.hashed, 800);
	assert_int_equal(first.unknowns, 0);
	assert_hundreds(w, &first.map);
	second = scan(w, &first.map);
	assert_true(second.same);
	assert_int_equal(second.hashed, 0);

	put(w, "d007/f", "another");
	put(w, "d031/in/new", "new");
	snprintf(away, sizeof(away), "%s/d020", w->dir);
	assert_int_equal(rename(at(w, "d020"), away), 0);
	assert_int_equal(symlink(away, at(w, "d020")), 0);
	w->ahead_ms = 20000;
	second = scan(w, &second.map);
	assert_false(second.same);
	assert_int_equal(second.hashed, 2);
	assert_int_equal(second.unknowns, 1);
	assert_int_equal(second.unknown[0].why, SR_UNKNOWN_KIND);

	assert_int_equal(unlink(at(w, "d031/in/new")), 0);
	put(w, "d007/f", "d007/f");
	assert_int_equal(unlink(at(w, "d020")), 0);
	assert_int_equal(rename(away, at(w, "d020")), 0);
	third = scan(w, &second.map);
	sr_scan_free(&second);
	assert_int_equal(third.unknowns, 0);
	assert_hundreds(w, &third.map);
	assert_true(sr_hash_eq(&third.map, &first.map));
}

/* A chain of directories deeper than any one system call's path; the last holds `f`.  *path gets the path of the last. */
static void make_deep(struct world *w, size_t levels, size_t length, struct sr_buf *path)
{
	int fd = open(w->root, O_RDONLY | O_DIRECTORY), next;
	char name[256];

	memset(name, 'n', sizeof(name));
	name[length] = '\0';
	for (size_t i = 0; i < levels; i++) {
		assert_int_equal(mkdirat(fd, name, 0755), 0);
		next = openat(fd, name, O_RDONLY | O_DIRECTORY);
		assert_true(next >= 0);
		close(fd);
		fd = next;
		if (i)
			sr_buf_byte(path, 0);
		sr_buf_add(path, name, length);
	}
	next = openat(fd, "f", O_WRONLY | O_CREAT, 0644);
	assert_int_equal(write(next, "deep", 4), 4);
	close(next);
	close(fd);
}

static void test_paths_longer_than_a_system_call_takes(void **state)
{
	struct world *w = *state;
	struct sr_buf path = {0};
	struct sr_version found;
	struct sr_content c;
	struct sr_scan now;
	struct sr_view *v;
	size_t end;

	make_deep(w, 40, 250, &path); /* 10 KB */
	end = path.len;
	sr_buf_add(&path, "\0f", 2);
	now = scan(w, NULL);
	assert_int_equal(now.unknowns, 0);
	assert_int_equal(sr_store_get(w->nodes, SR_KIND_FILES, &now.map, sr_buf_view(&path), &found, NULL), SR_OK);
	assert_int_equal(found.bytes, 4);
	assert_int_equal(sr_view_open(&v, w->st, SR_VIEW_EXTRA, NULL), SR_OK);
	assert_int_equal(sr_view_read(v, sr_buf_view(&path), &c, NULL), SR_OK);
	assert_int_equal(c.version.bytes, 4);
	close(c.fd);
	sr_view_close(v);

	path.len = end;
	sr_buf_add(&path, "\0g", 2);
	struct sr_leaf l = leaf(w, "x", nothing, file_v(w, "new", 0600), "new");

	sr_leaves_free(w->leaves);
	w->leaves = sr_leaves_new(NULL);
	l.path = sr_buf_view(&path);
	assert_int_equal(sr_leaves_add(w->leaves, &l, NULL), SR_OK);
	assert_int_equal(apply(w, NULL), SR_OK);
	now = scan(w, NULL);
	assert_int_equal(sr_store_get(w->nodes, SR_KIND_FILES, &now.map, sr_buf_view(&path), &found, NULL), SR_OK);
	assert_int_equal(found.bytes, 3);
	sr_buf_free(&path);
}

static void test_deeper_than_there_are_descriptors(void **state)
{
	struct world *w = *state;
	struct sr_buf path = {0};
	struct sr_scan now;

	make_deep(w, 1500, 1, &path);
	now = scan(w, NULL);
	assert_int_equal(now.unknowns, 0);
	assert_int_equal(now.hashed, 1);
	sr_buf_free(&path);
}

static void test_too_deep_is_unknown(void **state)
{
	struct world *w = *state;
	struct sr_buf path = {0};
	struct sr_scan now;

	make_deep(w, SR_DEPTH_MAX, 1, &path); /* and f below it */
	now = scan(w, NULL);
	assert_int_equal(now.unknowns, 1);
	assert_int_equal(now.unknown[0].why, SR_UNKNOWN_NAME);
	sr_scan_free(&now);
	sr_buf_free(&path);
}

static void test_unreadable_is_unknown(void **state)
{
	struct world *w = *state;
	pid_t child;
	int status;

	put(w, "shut", "secret");
	put(w, "open", "public");
	dir(w, "closed");
	put(w, "closed/f", "below");
	assert_int_equal(chmod(at(w, "shut"), 0600), 0);
	assert_int_equal(chmod(at(w, "closed"), 0700), 0);
	if (geteuid()) { /* then what is shut is shut for its owner, too */
		assert_int_equal(chmod(at(w, "shut"), 0), 0);
		assert_int_equal(chmod(at(w, "closed"), 0), 0);
	}
	child = fork();
	if (!child) {
		struct sr_scan now;
		bool ok = (geteuid() || !setresuid(65534, 65534, 65534)) && try_scan(w, NULL, &now) == SR_OK && now.unknowns == 2 &&
		          now.unknown[0].why == SR_UNKNOWN_UNREADABLE && now.unknown[1].why == SR_UNKNOWN_UNREADABLE && now.hashed == 1;

		_exit(ok ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	chmod(at(w, "closed"), 0700);
}

/* ---- the whole ---- */

static void test_unmarkable(void **state)
{
	struct world *w = *state;
	struct sr_marker m, wrote = some_marker();
	char why[256];
	bool content_there;

	put(w, "f", "x");
	assert_int_equal(rmdir(at(w, ".sameroot/stage")), 0);
	assert_int_equal(rmdir(at(w, ".sameroot")), 0);
	put(w, ".sameroot", "in the way");
	assert_int_equal(sr_store_look(w->st, &m, &content_there, why), SR_UNMARKABLE);
	assert_non_null(strstr(why, ".sameroot"));
	assert_int_not_equal(sr_store_mark(w->st, &wrote, NULL), SR_OK);
	assert_int_equal(unlink(at(w, ".sameroot")), 0);
	assert_int_equal(symlink("elsewhere", at(w, ".sameroot")), 0);
	assert_int_equal(sr_store_look(w->st, &m, &content_there, why), SR_UNMARKABLE);
	assert_int_equal(unlink(at(w, ".sameroot")), 0);
	assert_int_equal(sr_store_look(w->st, &m, &content_there, why), SR_PRESENT);
	assert_int_equal(sr_store_mark(w->st, &wrote, NULL), SR_OK);
}

static void test_look(void **state)
{
	struct world *w = *state;
	struct sr_marker m, wrote = some_marker();
	char why[256];
	bool content_there;

	snprintf(wrote.store, sizeof wrote.store, "%s", sr_store_name(w->st));
	assert_int_equal(sr_store_look(w->st, &m, &content_there, why), SR_ABSENT); /* empty, no marker */
	assert_int_equal(sr_store_mark(w->st, &wrote, NULL), SR_OK);
	assert_int_equal(sr_store_look(w->st, &m, &content_there, why), SR_PRESENT); /* emptied */
	assert_false(content_there);
	assert_memory_equal(&m, &wrote, sizeof(m));
	assert_int_equal(mode_of(w, ".sameroot"), 0700);
	put(w, "f", "x");
	assert_int_equal(sr_store_look(w->st, &m, &content_there, why), SR_PRESENT);
	assert_true(content_there);
	put(w, ".sameroot/marker", "sameroot marker 1\nid nonsense\n");
	assert_int_equal(sr_store_look(w->st, &m, &content_there, why), SR_PRESENT);
	assert_true(sr_uuid_none(&m.id));
	assert_true(strstr(why, "malformed"));
	wrote.epoch = SR_MARKER_END - 1;
	assert_int_equal(sr_store_mark(w->st, &wrote, NULL), SR_OK);
	assert_int_equal(sr_store_look(w->st, &m, &content_there, why), SR_PRESENT);
	assert_memory_equal(&m, &wrote, sizeof(m));
	wrote.epoch = SR_MARKER_END;
	assert_int_equal(sr_store_mark(w->st, &wrote, NULL), SR_OK);
	assert_int_equal(sr_store_look(w->st, &m, &content_there, why), SR_PRESENT);
	assert_true(sr_uuid_none(&m.id));
	assert_true(sr_store_seen(w->st).inode != 0);
	assert_int_equal(rename(w->root, at(w, "../away")), 0);
	assert_int_equal(sr_store_look(w->st, &m, &content_there, why), SR_ABSENT);
	assert_int_equal(sr_store_seen(w->st).inode, 0);
	close(open(w->root, O_WRONLY | O_CREAT, 0644));
	assert_int_equal(sr_store_look(w->st, &m, &content_there, why), SR_CORRUPT);
	assert_int_equal(unlink(w->root), 0);
	assert_int_equal(sr_store_create(w->st, NULL), SR_OK);
	assert_int_equal(sr_store_create(w->st, NULL), SR_OK);
	assert_int_equal(sr_store_look(w->st, &m, &content_there, why), SR_ABSENT);
}

static void test_a_lost_store_is_never_empty(void **state)
{
	struct world *w = *state;
	struct sr_marker m = some_marker();
	struct sr_scan first, now;
	struct sr_view *v;

	put(w, "f", "x");
	first = scan(w, NULL);
	assert_int_equal(sr_view_open(&v, w->st, SR_VIEW_MAIN, NULL), SR_OK);
	assert_int_equal(rename(w->root, at(w, "../away")), 0);
	assert_int_equal(sr_view_scan(v, w->nodes, &first.map, NULL, NULL, &now, NULL), SR_E_UNAVAILABLE);
	assert_int_equal(mkdir(w->root, 0755), 0); /* the mount point below */
	assert_int_equal(sr_view_scan(v, w->nodes, &first.map, NULL, NULL, &now, NULL), SR_E_UNAVAILABLE);
	sr_view_close(v);
	assert_int_equal(try_scan(w, &first.map, &now), SR_E_UNAVAILABLE);
	look(w);
	assert_int_equal(sr_store_mark(w->st, &m, NULL), SR_OK);
	now = scan(w, &first.map); /* empty with its marker: all deleted */
	assert_false(now.same);
}

/* Before its first push, say. */
static void test_a_store_without_a_marker_may_become_empty(void **state)
{
	struct world *w = *state;
	struct sr_scan first, now;

	put(w, "f", "x");
	first = scan(w, NULL);
	look(w);
	assert_int_equal(unlink(at(w, "f")), 0);
	look(w);
	now = scan(w, &first.map);
	assert_false(now.same);
}

static const char *away(struct world *w)
{
	static char text[128];

	snprintf(text, sizeof(text), "%s/away", w->dir);
	return text;
}

/* Unmounted since the last look, be it between staging and preparing: with our marker in it the mount point would be a store whose files were all deleted. */
static void test_nothing_is_written_into_what_was_not_looked_at(void **state)
{
	struct world *w = *state;
	struct sr_marker m = some_marker();
	struct sr_version to = file_v(w, "new", 0644);
	struct sr_stage *s;
	struct sr_view *v;

	put(w, "f", "x");
	assert_int_equal(sr_store_mark(w->st, &m, NULL), SR_OK);
	look(w);
	(void)leaf(w, "new", nothing, to, "new");
	assert_int_equal(rename(w->root, away(w)), 0);
	assert_int_equal(mkdir(w->root, 0755), 0); /* the mount point below */
	assert_int_equal(prepare(w), SR_E_UNAVAILABLE);
	assert_int_equal(sr_stage_open(&s, w->st, NULL), SR_E_UNAVAILABLE);
	assert_int_equal(sr_stage_flush(w->st, NULL), SR_E_UNAVAILABLE);
	assert_int_equal(sr_store_mark(w->st, &m, NULL), SR_E_UNAVAILABLE);
	assert_int_equal(sr_view_open(&v, w->st, SR_VIEW_MAIN, NULL), SR_E_UNAVAILABLE);
	assert_int_equal(rmdir(w->root), 0); /* it is still empty */
	assert_int_equal(prepare(w), SR_E_UNAVAILABLE);
	assert_int_equal(rename(away(w), w->root), 0); /* mounted again */
	look(w);
	assert_int_equal(apply(w, NULL), SR_OK);
	assert_string_equal(content(w, "new"), "new");
}

/* Unmounted while an apply is under way: it goes on in the store that it began in. */
static void test_an_apply_stays_in_the_store_that_it_began_in(void **state)
{
	struct world *w = *state;

	look(w);
	(void)leaf(w, "new", nothing, file_v(w, "new", 0644), "new");
	assert_int_equal(prepare(w), SR_OK);
	assert_int_equal(rename(w->root, away(w)), 0);
	assert_int_equal(mkdir(w->root, 0755), 0);
	assert_int_equal(sr_apply_commit(w->st, NULL), SR_OK);
	assert_int_equal(rmdir(w->root), 0);
	assert_int_equal(rename(away(w), w->root), 0);
	assert_string_equal(content(w, "new"), "new");
	assert_true(there(w, ".sameroot/marker"));
}

/* A restart would find nothing that tells how far it came: there is no reason to ask for one. */
static void test_an_apply_whose_store_is_removed_is_not_applied(void **state)
{
	static const char *const removed[] = {"", "/.sameroot", "/.sameroot/stage"};
	struct world *w = *state;
	struct sr_err err;
	char text[256];

	for (size_t i = 0; i < sizeof(removed) / sizeof(*removed); i++) {
		put(w, "f", "x");
		look(w);
		(void)leaf(w, "new", nothing, file_v(w, "new", 0644), "new");
		assert_int_equal(prepare(w), SR_OK);
		snprintf(text, sizeof(text), "rm -r %s%s", w->root, removed[i]);
		assert_int_equal(system(text), 0);
		assert_int_equal(sr_apply_commit(w->st, &err), SR_E_CHANGED);
		assert_non_null(strstr(err.text, ".sameroot was removed meanwhile"));
		assert_false(there(w, "new"));
		mkdir(w->root, 0755);
		forget(w);
	}
}

static void test_read(void **state)
{
	struct world *w = *state;
	struct sr_content c;
	struct sr_view *v;

	put(w, "f", "content");
	dir(w, "d");
	assert_int_equal(symlink("f", at(w, "link")), 0);
	assert_int_equal(symlink("d", at(w, "dlink")), 0);
	put(w, "d/g", "x");
	assert_int_equal(sr_view_open(&v, w->st, SR_VIEW_MAIN, NULL), SR_OK);
	assert_int_equal(sr_view_read(v, path_of(w, "f"), &c, NULL), SR_OK);
	assert_int_equal(c.version.kind, SR_KIND_FILE);
	assert_int_equal(c.version.mode, 0644);
	assert_int_equal(c.version.bytes, 7);
	close(c.fd);
	assert_int_equal(sr_view_read(v, path_of(w, "d"), &c, NULL), SR_OK);
	assert_int_equal(c.version.kind, SR_KIND_DIR);
	assert_int_equal(c.fd, -1);
	assert_int_equal(sr_view_read(v, path_of(w, "link"), &c, NULL), SR_E_NOTFOUND);
	assert_int_equal(sr_view_read(v, path_of(w, "dlink/g"), &c, NULL), SR_E_NOTFOUND);
	assert_int_equal(sr_view_read(v, path_of(w, "none"), &c, NULL), SR_E_NOTFOUND);
	assert_int_equal(sr_view_read(v, path_of(w, "f/g"), &c, NULL), SR_E_NOTFOUND);
	assert_int_not_equal(sr_view_read(v, path_of(w, "../x"), &c, NULL), SR_OK);
	sr_view_close(v);
}

/* ---- applying ---- */

static void test_apply_all_kinds_of_change(void **state)
{
	struct world *w = *state;
	struct sr_marker m;
	char why[256];
	bool any;

	put(w, "edit", "old");
	put(w, "mode", "same");
	put(w, "gone", "bye");
	dir(w, "olddir");
	put(w, "olddir/moved", "moving");
	put(w, "to-dir", "was a file");
	dir(w, "to-file");
	dir(w, "to-file/sub");
	put(w, "to-file/sub/x", "below");
	dir(w, "ro");

	leaf(w, "edit", file_v(w, "old", 0644), file_v(w, "new!", 0600), "new!");
	leaf(w, "mode", file_v(w, "same", 0644), file_v(w, "same", 0755), NULL);
	leaf(w, "gone", file_v(w, "bye", 0644), nothing, NULL);
	leaf(w, "create", nothing, file_v(w, "fresh", 0640), "fresh");
	leaf(w, "newdir", nothing, dir_v(0750), NULL);
	leaf(w, "newdir/moved", nothing, file_v(w, "moving", 0644), "moving");
	leaf(w, "olddir", dir_v(0755), nothing, NULL);
	leaf(w, "olddir/moved", file_v(w, "moving", 0644), nothing, NULL);
	leaf(w, "to-dir", file_v(w, "was a file", 0644), dir_v(0700), NULL);
	leaf(w, "to-dir/inside", nothing, file_v(w, "i", 0644), "i");
	leaf(w, "to-file", dir_v(0755), file_v(w, "f", 0644), "f");
	leaf(w, "to-file/sub", dir_v(0755), nothing, NULL);
	leaf(w, "to-file/sub/x", file_v(w, "below", 0644), nothing, NULL);
	leaf(w, "ro", dir_v(0755), dir_v(0555), NULL);
	leaf(w, "ro/f", nothing, file_v(w, "in", 0444), "in");
	assert_int_equal(apply(w, NULL), SR_OK);

	const struct sr_edit expected[] = {
		{path_of(w, "create"), file_v(w, "fresh", 0640)},
		{path_of(w, "edit"), file_v(w, "new!", 0600)},
		{path_of(w, "mode"), file_v(w, "same", 0755)},
		{path_of(w, "newdir"), dir_v(0750)},
		{path_of(w, "newdir/moved"), file_v(w, "moving", 0644)},
		{path_of(w, "ro"), dir_v(0555)},
		{path_of(w, "ro/f"), file_v(w, "in", 0444)},
		{path_of(w, "to-dir"), dir_v(0700)},
		{path_of(w, "to-dir/inside"), file_v(w, "i", 0644)},
		{path_of(w, "to-file"), file_v(w, "f", 0644)},
	};

	assert_tree(w, expected, 10);
	assert_int_equal(w->told.clashes, 0);
	assert_int_equal(w->told.applied, 15);
	assert_int_equal(w->told.displaced, 5); /* edit, gone, moved, to-dir, x */
	assert_int_equal(w->told.unexpected, 0);
	assert_int_not_equal(in_staging(w), 0); /* evidence, until the intents are gone */
	sr_store_sweep_stage(w->st);
	assert_int_equal(in_staging(w), 0);
	assert_int_equal(sr_store_look(w->st, &m, &any, why), SR_PRESENT);
	assert_int_equal(m.seq, 42);

	struct stat st;

	assert_int_equal(stat(at(w, "create"), &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, 1000000000);
	assert_int_equal(st.st_mtim.tv_nsec, 123456789);

	forget(w); /* again: all is there, nothing is written */
	leaf(w, "create", nothing, file_v(w, "fresh", 0640), "fresh");
	leaf(w, "gone", file_v(w, "bye", 0644), nothing, NULL);
	assert_int_equal(apply(w, NULL), SR_OK);
	assert_int_equal(w->told.applied, 2);
	assert_int_equal(w->told.clashes + w->told.displaced, 0);
	chmod(at(w, "ro"), 0755);
}

static void test_clash_keep_and_take(void **state)
{
	struct world *w = *state;
	struct sr_marker m;
	char why[256];
	bool any;

	put(w, "f", "theirs");
	leaf(w, "f", file_v(w, "base", 0644), file_v(w, "ours", 0644), "ours");
	assert_int_equal(apply(w, NULL), SR_OK);
	assert_int_equal(w->told.clashes, 1);
	assert_int_equal(w->told.actual.bytes, 6);
	assert_int_equal(w->told.applied, 0);
	assert_string_equal(content(w, "f"), "theirs");
	assert_int_equal(sr_store_look(w->st, &m, &any, why), SR_PRESENT);
	assert_int_equal(m.seq, 42); /* the marker is new all the same */
	assert_int_equal(in_staging(w), 2); /* the content, and the sign that it began */
	sr_store_sweep_stage(w->st);
	assert_int_equal(in_staging(w), 0);

	forget(w);
	w->told.verdict = SR_TAKE;
	leaf(w, "f", file_v(w, "base", 0644), file_v(w, "ours", 0644), "ours");
	assert_int_equal(apply(w, NULL), SR_OK);
	assert_int_equal(w->told.applied, 1);
	assert_int_equal(w->told.unexpected, 1);
	assert_string_equal(w->told.content, "theirs");
	assert_string_equal(content(w, "f"), "ours");
}

static void test_what_changes_between_prepare_and_commit(void **state)
{
	struct world *w = *state;

	put(w, "edited", "base");
	put(w, "deleted", "base");
	put(w, "vanishes", "base");
	put(w, "linked", "base");
	leaf(w, "edited", file_v(w, "base", 0644), file_v(w, "new", 0644), "new");
	leaf(w, "deleted", file_v(w, "base", 0644), nothing, NULL);
	leaf(w, "vanishes", file_v(w, "base", 0644), nothing, NULL);
	leaf(w, "comes", nothing, file_v(w, "new", 0644), "new");
	leaf(w, "linked", file_v(w, "base", 0644), file_v(w, "new", 0644), "new");
	assert_int_equal(prepare(w), SR_OK);
	put(w, "edited", "late");
	put(w, "deleted", "late too");
	assert_int_equal(unlink(at(w, "vanishes")), 0);
	put(w, "comes", "came first");
	assert_int_equal(unlink(at(w, "linked")), 0);
	assert_int_equal(symlink("edited", at(w, "linked")), 0);
	assert_int_equal(sr_apply_commit(w->st, NULL), SR_E_CHANGED); /* linked */
	assert_int_equal(w->told.clashes, 1);
	assert_string_equal(content(w, "comes"), "came first"); /* kept */
	assert_string_equal(content(w, "edited"), "new");
	assert_false(there(w, "deleted"));
	assert_int_equal(w->told.displaced, 2);
	assert_int_equal(w->told.unexpected, 2);
	assert_int_equal(w->told.applied, 3);

	forget(w);
	w->told.verdict = SR_TAKE;
	leaf(w, "comes2", nothing, file_v(w, "new", 0644), "new");
	leaf(w, "goes", nothing, nothing, NULL);
	assert_int_equal(prepare(w), SR_OK);
	put(w, "comes2", "came first");
	assert_int_equal(sr_apply_commit(w->st, NULL), SR_OK);
	assert_string_equal(content(w, "comes2"), "new");
	assert_string_equal(w->told.content, "came first");
	assert_int_equal(w->told.unexpected, 1);
}

static void test_apply_by_trusted_signatures(void **state)
{
	struct world *w = *state;
	struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
	struct sr_scan first;

	put(w, "known", "base");
	put(w, "edited", "base");
	put(w, "there", "want");
	assert_int_equal(utimensat(AT_FDCWD, at(w, "edited"), old, 0), 0);
	w->ahead_ms = 10000;
	first = scan(w, NULL);
	leaf(w, "known", file_v(w, "base", 0644), file_v(w, "new", 0644), "new");
	leaf(w, "edited", file_v(w, "base", 0644), nothing, NULL);
	leaf(w, "there", nothing, file_v(w, "want", 0644), NULL);
	assert_int_equal(prepare(w), SR_OK);
	put(w, "edited", "late");
	assert_int_equal(utimensat(AT_FDCWD, at(w, "edited"), old, 0), 0); /* size and mtime say nothing */
	assert_int_equal(sr_apply_commit(w->st, NULL), SR_OK);
	assert_int_equal(w->told.applied, 3);
	assert_int_not_equal(w->told.signature, 0); /* there: untouched, so trusted */
	assert_int_equal(w->told.displaced, 2);
	assert_int_equal(w->told.unexpected, 1);
	first = scan(w, &first.map); /* what was applied is told by nothing but its content */
	assert_int_equal(first.hashed, 1);
}

static void test_what_cannot_be_archived_stays(void **state)
{
	struct world *w = *state;
	struct sr_err err;

	put(w, "edit", "old");
	put(w, "gone", "bye");
	put(w, "to-dir", "file");
	w->told.refuse = true;
	leaf(w, "edit", file_v(w, "old", 0644), file_v(w, "new", 0644), "new");
	leaf(w, "gone", file_v(w, "bye", 0644), nothing, NULL);
	leaf(w, "to-dir", file_v(w, "file", 0644), dir_v(0755), NULL);
	leaf(w, "other", nothing, file_v(w, "o", 0644), "o");
	assert_int_equal(apply(w, &err), SR_E_CHANGED);
	assert_non_null(strstr(err.text, "3 of 4"));
	assert_non_null(strstr(err.text, "resources/to-dir"));
	assert_non_null(strstr(err.text, "archive is full"));
	assert_string_equal(content(w, "edit"), "old");
	assert_string_equal(content(w, "gone"), "bye");
	assert_string_equal(content(w, "to-dir"), "file");
	assert_string_equal(content(w, "other"), "o");
	assert_int_equal(w->told.applied, 1);
	assert_int_equal(in_staging(w), 2); /* edit's content, and the sign that it began */
}

static void writes_into(struct world *w, const char *path)
{
	int fd = open(at(w, path), O_WRONLY | O_CREAT | O_TRUNC, 0644);

	assert_int_equal(write(fd, "the application's", 17), 17);
	close(fd);
}

static void replaces(struct world *w, const char *path)
{
	char *from = sr_strdup(at(w, "another"));

	put(w, "another", "the application's");
	assert_int_equal(rename(from, at(w, path)), 0);
	free(from);
}

static void removes(struct world *w, const char *path)
{
	assert_int_equal(remove(at(w, path)), 0);
}

/* The only file of that kind in staging: its content. */
static const char *kept_aside(struct world *w, const struct sr_err *err)
{
	char text[200], *at = strstr(err->text, ".sameroot/stage/aside-");

	assert_non_null(at);
	snprintf(text, sizeof(text), "%.*s", (int)strcspn(at, " ,:)"), at);
	return content(w, text);
}

/* What was displaced cannot be kept, and something else is at its path by now. */
static void test_what_cannot_be_put_back_is_kept_aside(void **state)
{
	static const struct {
		void (*meanwhile)(struct world *w, const char *path);
		int to; /* 0: deleted, 1: replaced, 2: a directory */
		bool back;
	} cases[] = {{writes_into, 0, false}, {writes_into, 1, false}, {replaces, 1, false}, {removes, 1, true}, {removes, 2, true}};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char name[16], old[16];
		struct sr_err err;

		forget(w);
		snprintf(name, sizeof(name), "file-%zu", i);
		snprintf(old, sizeof(old), "old %zu", i);
		put(w, name, old);
		leaf(w, name, file_v(w, old, 0644), cases[i].to == 0 ? nothing : cases[i].to == 1 ? file_v(w, "new", 0644) : dir_v(0755),
		     cases[i].to == 1 ? "new" : NULL);
		w->told.refuse = true;
		w->told.meanwhile = cases[i].meanwhile;
		assert_int_equal(apply(w, &err), SR_E_CHANGED);
		assert_non_null(strstr(err.text, "archive is full"));
		sr_store_sweep_stage(w->st);
		sr_store_sweep_stage(w->st);
		assert_string_equal(content(w, name), cases[i].back ? old : "the application's");
		if (!cases[i].back)
			assert_string_equal(kept_aside(w, &err), old);
		assert_int_equal(in_staging(w), i < 3 ? i + 1 : 3);
	}
}

static void test_links_are_not_followed(void **state)
{
	struct world *w = *state;
	char outside[128];

	snprintf(outside, sizeof(outside), "%s/outside", w->dir);
	assert_int_equal(mkdir(outside, 0755), 0);
	assert_int_equal(symlink(outside, at(w, "evil")), 0);
	put(w, "../../outside/victim", "untouched");
	leaf(w, "evil/new", nothing, file_v(w, "x", 0644), "x");
	leaf(w, "evil/victim", file_v(w, "untouched", 0644), nothing, NULL);
	assert_int_equal(apply(w, NULL), SR_E_CHANGED);
	assert_false(there(w, "../../outside/new"));
	assert_true(there(w, "../../outside/victim"));

	forget(w); /* planted between prepare and commit */
	dir(w, "d");
	leaf(w, "d/new", nothing, file_v(w, "x", 0644), "x");
	assert_int_equal(prepare(w), SR_OK);
	assert_int_equal(rmdir(at(w, "d")), 0);
	assert_int_equal(symlink(outside, at(w, "d")), 0);
	assert_int_equal(sr_apply_commit(w->st, NULL), SR_E_CHANGED);
	assert_false(there(w, "../../outside/new"));
}

static void test_bad_paths_are_refused(void **state)
{
	struct world *w = *state;
	static const char *const bad[] = {"../out", "a/../../out", ".sameroot/marker", "a//b", "."};

	for (size_t i = 0; i < 5; i++) {
		struct sr_leaf l = {.path = path_of(w, bad[i]), .to = dir_v(0755)};

		struct sr_marker m = some_marker();
		bool taken = sr_leaves_add(w->leaves, &l, NULL) == SR_OK && sr_apply_prepare(w->st, w->leaves, &m, &w->ops, NULL) == SR_OK;

		assert_true(!taken || sr_apply_commit(w->st, NULL) == SR_E_CHANGED);
		assert_int_equal(w->told.applied, 0);
		forget(w);
	}
	assert_false(there(w, "../out"));
}

static void test_directories_with_something_left(void **state)
{
	struct world *w = *state;

	dir(w, "unknown");
	assert_int_equal(symlink("x", at(w, "unknown/link")), 0);
	dir(w, "known");
	put(w, "known/new", "came since");
	dir(w, "to-file");
	assert_int_equal(symlink("x", at(w, "to-file/link")), 0);
	leaf(w, "unknown", dir_v(0755), nothing, NULL);
	leaf(w, "known", dir_v(0755), nothing, NULL);
	leaf(w, "to-file", dir_v(0755), file_v(w, "f", 0644), "f");
	leaf(w, "adopted", nothing, dir_v(0711), NULL);
	dir(w, "adopted");
	assert_int_equal(apply(w, NULL), SR_E_CHANGED); /* to-file */
	assert_int_equal(w->told.clashes, 0);
	assert_int_equal(w->told.applied, 2); /* unknown, adopted */
	assert_true(there(w, "unknown/link"));
	assert_true(there(w, "known/new"));
	assert_true(there(w, "to-file/link"));
	assert_int_equal(mode_of(w, "adopted"), 0711);
}

static void test_missing_parents_are_made(void **state)
{
	struct world *w = *state;

	leaf(w, "a/b/c", nothing, file_v(w, "x", 0644), "x");
	leaf(w, "q/r", file_v(w, "x", 0644), nothing, NULL);
	w->told.verdict = SR_TAKE;
	assert_int_equal(apply(w, NULL), SR_OK);
	assert_string_equal(content(w, "a/b/c"), "x");
	assert_int_equal(mode_of(w, "a/b"), 0755);
	assert_int_equal(w->told.applied, 2);
	assert_false(there(w, "q"));
}

static void test_owners(void **state)
{
	struct world *w = *state;
	struct stat st;

	if (geteuid())
		skip(); /* only root may give files away */
	assert_int_equal(chown(w->root, 1234, 2345), 0);
	put(w, "f", "old");
	assert_int_equal(chown(at(w, "f"), 77, 88), 0);
	leaf(w, "f", file_v(w, "old", 0644), file_v(w, "new", 0644), "new");
	leaf(w, "n", nothing, file_v(w, "new", 0644), "new");
	leaf(w, "d", nothing, dir_v(0755), NULL);
	assert_int_equal(apply(w, NULL), SR_OK);
	assert_int_equal(stat(at(w, "f"), &st), 0);
	assert_int_equal(st.st_uid, 77);
	assert_int_equal(st.st_gid, 88);
	assert_int_equal(stat(at(w, "n"), &st), 0);
	assert_int_equal(st.st_uid, 1234);
	assert_int_equal(st.st_gid, 2345);
	assert_int_equal(stat(at(w, "d"), &st), 0);
	assert_int_equal(st.st_uid, 1234);
}

static void test_owner_option(void **state)
{
	struct world *w = *state;
	struct sr_store_options o = {.name = "r", .kind = SR_KIND_FILES, .path = w->root, .owner = "no-such-user-here", .key = &w->key};
	struct sr_store *st;

	assert_int_equal(sr_store_open(&st, &o, NULL), SR_E_CONFIG);
	o.owner = "root";
	o.group = "no-such-group-here";
	assert_int_equal(sr_store_open(&st, &o, NULL), SR_E_CONFIG);
	o.group = NULL;
	assert_int_equal(sr_store_open(&st, &o, NULL), SR_OK);
	sr_store_close(st);
}

/* ---- staging ---- */

static void test_stage_checks(void **state)
{
	struct world *w = *state;
	struct sr_version to = file_v(w, "right", 0644);
	struct sr_leaf l = {.to = to};
	struct sr_stage *s;
	struct sr_err err;

	assert_int_equal(sr_stage_open(&s, w->st, NULL), SR_OK);
	assert_int_equal(sr_stage_write(s, "wrong", 5, NULL), SR_OK);
	assert_int_equal(sr_stage_finish(s, &to, 0, &l, &err), SR_E_DATA);
	assert_int_equal(in_staging(w), 0); /* so little is looked at before */
	sr_stage_free(s);

	put(w, "f", "right");
	assert_int_equal(sr_stage_copy(w->st, path_of(w, "f"), &l, NULL), SR_OK);
	assert_int_equal(in_staging(w), 1);
	put(w, "f", "other");
	assert_int_equal(sr_stage_copy(w->st, path_of(w, "f"), &l, &err), SR_E_CHANGED);
	assert_int_equal(err.code, SR_E_CHANGED);
	assert_int_equal(in_staging(w), 1);
}

#define STAGED 600 /* more than are staged ahead */

struct staged {
	struct world *w;
	size_t told;
	size_t fails; /* the one that is not taken */
};

/* Of a KB and more, one of them too large to be held. */
static size_t content_of(size_t i, char text[100000])
{
	size_t n = i == 100 ? 99999 : 1000 + i; /* all differ */

	memset(text, 'a' + (int)(i % 26), n);
	text[n] = '\0';
	return n;
}

static enum sr_status on_staged(void *ctx, size_t store, const struct sr_leaf *leaf, struct sr_err *err)
{
	static char text[100000], is[100000];
	struct staged *d = ctx;
	char name[256];
	struct stat st;
	size_t n = content_of(d->told, text);
	FILE *file;

	assert_int_equal(store, 7);
	snprintf(name, sizeof name, "%s/.sameroot/stage/%.*s", d->w->root, (int)leaf->stage.len, (const char *)leaf->stage.at);
	assert_int_equal(stat(name, &st), 0);
	assert_int_equal(st.st_ino, leaf->inode);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(st.st_mtim.tv_sec, 1000 + (time_t)d->told);
	file = fopen(name, "r");
	assert_non_null(file);
	assert_int_equal(fread(is, 1, sizeof is, file), n);
	assert_int_equal(fclose(file), 0);
	assert_memory_equal(is, text, n);
	return d->told++ == d->fails ? sr_err_set(err, SR_E_LIMIT, "not this one") : SR_OK;
}

/* n of them; `wrong` is not what its leaf says. */
static enum sr_status stage_many(struct staged *d, struct sr_stager *g, size_t n, size_t wrong, struct sr_err *err)
{
	static char text[100000];
	enum sr_status rc = SR_OK;

	for (size_t i = 0; i < n && rc == SR_OK; i++) {
		size_t len = content_of(i, text);
		struct sr_leaf l = {.path = sr_bytes_of("f"), .to = file_v(d->w, text, 0640), .mtime_ns = (int64_t)(1000 + i) * 1000000000};
		struct sr_stage *s;

		text[20] ^= i == wrong;
		assert_int_equal(sr_stage_expect(&s, d->w->st, &l.to.hash, NULL), SR_OK);
		assert_int_equal(sr_stage_write(s, text, len, NULL), SR_OK);
		rc = sr_stager_put(g, s, 7, &l, err);
	}
	return rc;
}

static void test_many_are_staged_in_their_order(void **state)
{
	struct staged d = {.w = *state, .fails = SIZE_MAX};
	struct sr_stager *g = sr_stager_new(on_staged, &d);

	assert_int_equal(stage_many(&d, g, STAGED, SIZE_MAX, NULL), SR_OK);
	assert_int_equal(sr_stager_wait(g, NULL), SR_OK);
	assert_int_equal(d.told, STAGED);
	assert_int_equal(in_staging(d.w), STAGED);
	sr_stager_free(g);
}

/* What came before it is told, what comes after it is not, wherever it is noticed. */
static void test_one_of_many_fails(void **state)
{
	struct staged d = {.w = *state, .fails = SIZE_MAX};
	struct sr_err err = {0};

	for (size_t wrong = 10; wrong < STAGED; wrong += 290) {
		struct sr_stager *g = sr_stager_new(on_staged, &d);
		enum sr_status rc = stage_many(&d, g, STAGED, wrong, &err);

		if (rc == SR_OK)
			rc = sr_stager_wait(g, &err);
		assert_int_equal(rc, SR_E_DATA);
		assert_non_null(strstr(err.text, "what was staged is"));
		assert_int_equal(d.told, wrong);
		sr_stager_free(g);
		d.told = 0;
	}
	d.fails = 300;
	{
		struct sr_stager *g = sr_stager_new(on_staged, &d);
		enum sr_status rc = stage_many(&d, g, STAGED, SIZE_MAX, &err);

		assert_int_equal(rc == SR_OK ? sr_stager_wait(g, &err) : rc, SR_E_LIMIT);
		assert_string_equal(err.text, "not this one");
		assert_int_equal(d.told, 301);
		sr_stager_free(g);
	}
}

/* The file system may not shrink it by itself. */
static void test_staging_that_was_swept_is_small(void **state)
{
	struct world *w = *state;
	struct sr_stage *s;
	struct stat st;

	for (unsigned i = 0; i < 1500; i++) {
		char name[64];

		snprintf(name, sizeof name, ".sameroot/stage/s%032u%06u", i, i);
		put(w, name, "");
	}
	sr_store_sweep_stage(w->st);
	assert_int_equal(in_staging(w), 0);
	assert_true(stat(at(w, ".sameroot/stage"), &st) || st.st_size < 65536);
	assert_int_equal(sr_stage_open(&s, w->st, NULL), SR_OK);
	sr_stage_free(s);
	assert_int_equal(stat(at(w, ".sameroot/stage"), &st), 0);
	assert_true(st.st_size < 65536);
	leaf(w, "new", nothing, file_v(w, "new", 0644), "new");
	assert_int_equal(apply(w, NULL), SR_OK);
	assert_string_equal(content(w, "new"), "new");
}

/* A connection was cut: what had come is there for the next try. */
static void test_what_nobody_waits_for_is_staged_all_the_same(void **state)
{
	struct staged d = {.w = *state, .fails = SIZE_MAX};
	struct sr_stager *g = sr_stager_new(on_staged, &d);

	assert_int_equal(stage_many(&d, g, 200, SIZE_MAX, NULL), SR_OK);
	sr_stager_free(g);
	assert_int_equal(in_staging(d.w), 200);
	assert_true(d.told <= 200);
}

/* ---- parts ---- */

static char *part(struct world *w, const struct sr_version *of)
{
	char name[SR_HASH_TEXT], path[80];

	sr_hash_text(name, &of->hash);
	snprintf(path, sizeof(path), ".sameroot/parts/%s", name);
	return at(w, path);
}

/* Write `text` to the part of `to`, which has to have `have` bytes before, and go away. */
static void begin_part(struct world *w, const struct sr_version *to, uint64_t have, const char *text)
{
	uint64_t is = 99;
	struct sr_stage *s;

	assert_int_equal(sr_stage_resume(&s, w->st, to, &is, NULL), SR_OK);
	assert_int_equal(is, have);
	assert_int_equal(sr_stage_write(s, text, strlen(text), NULL), SR_OK);
	sr_stage_free(s);
	assert_int_equal(sr_stage_part(w->st, &to->hash), have + strlen(text));
}

/* Claim the content of `to`, which may be at `from`; SR_OK: it is staged, and what it should be. */
static enum sr_status claim_from(struct world *w, const struct sr_version *to, struct sr_bytes from)
{
	struct sr_leaf l = {.to = *to};
	struct sr_stage *s = NULL;
	enum sr_status status = sr_stage_claim(&s, w->st, to, from, NULL);

	if (status == SR_OK)
		status = sr_stage_finish(s, to, 0, &l, NULL);
	sr_stage_free(s);
	return status;
}

static enum sr_status claim(struct world *w, const struct sr_version *to)
{
	return claim_from(w, to, sr_bytes(NULL, 0));
}

static void test_a_part_goes_on(void **state)
{
	struct world *w = *state;
	struct sr_version to = file_v(w, "all of it", 0640);
	struct sr_leaf l = {.path = path_of(w, "f"), .to = to};
	uint64_t have;
	struct sr_stage *s, *other;

	assert_int_equal(sr_stage_part(w->st, &to.hash), 0);
	begin_part(w, &to, 0, "all");
	assert_false(sr_stage_has(w->st, &to));
	assert_int_equal(claim(w, &to), SR_E_NOTFOUND);
	open_store(w, 0, NULL, 0); /* over a restart */
	sr_store_sweep_stage(w->st);
	begin_part(w, &to, 3, " of");
	assert_int_equal(sr_stage_resume(&s, w->st, &to, &have, NULL), SR_OK);
	assert_int_equal(have, 6);
	assert_int_equal(sr_stage_resume(&other, w->st, &to, &have, NULL), SR_E_BUSY);
	assert_int_equal(sr_stage_claim(&other, w->st, &to, sr_bytes(NULL, 0), NULL), SR_E_BUSY);
	assert_int_equal(sr_stage_write(s, " it", 3, NULL), SR_OK);
	assert_int_equal(sr_stage_finish(s, &to, 1, &l, NULL), SR_OK);
	assert_int_equal(sr_stage_part(w->st, &to.hash), 0);
	assert_int_equal(sr_leaves_add(w->leaves, &l, NULL), SR_OK);
	sr_stage_free(s);
	assert_int_equal(apply(w, NULL), SR_OK);
	assert_string_equal(content(w, "f"), "all of it");
	assert_int_equal(mode_of(w, "f"), 0640);
}

static void test_a_part_that_is_something_else(void **state)
{
	struct world *w = *state;
	struct sr_version to = file_v(w, "right", 0644), none = {0};
	char name[ROOM];

	begin_part(w, &to, 0, "wrong");
	assert_true(sr_stage_has(w->st, &to));
	assert_int_equal(claim(w, &to), SR_E_DATA);
	assert_int_equal(in_staging(w), 0);
	begin_part(w, &to, 0, "r"); /* it begins anew */
	begin_part(w, &to, 1, "eading");
	begin_part(w, &to, 0, "r"); /* too long */
	snprintf(name, sizeof(name), "%s", part(w, &to));
	assert_int_equal(link(name, at(w, "live")), 0); /* a second name: not ours to write to */
	begin_part(w, &to, 0, "right");
	assert_string_equal(content(w, "live"), "r");
	assert_int_equal(claim(w, &to), SR_OK);
	assert_int_equal(claim(w, &none), SR_E_NOTFOUND);
}

static void test_staged_content_is_kept(void **state)
{
	struct world *w = *state;
	struct sr_version to = file_v(w, "content", 0400);
	struct sr_leaf l = {.path = path_of(w, "f"), .to = to};
	struct sr_stage *s;

	assert_int_equal(sr_stage_expect(&s, w->st, &to.hash, NULL), SR_OK);
	assert_int_equal(sr_stage_write(s, "content", 7, NULL), SR_OK);
	assert_int_equal(sr_stage_finish(s, &to, 0, &l, NULL), SR_OK);
	sr_stage_free(s);
	assert_true(sr_stage_has(w->st, &to)); /* staged: for a second leaf it is copied */
	assert_int_equal(claim(w, &to), SR_OK);
	assert_int_equal(in_staging(w), 2);
	sr_store_sweep_stage(w->st);
	assert_int_equal(in_staging(w), 0);
	assert_int_equal(sr_stage_part(w->st, &to.hash), 7);

	assert_int_equal(sr_stage_claim(&s, w->st, &to, sr_bytes(NULL, 0), NULL), SR_OK);
	assert_int_equal(sr_stage_finish(s, &to, 0, &l, NULL), SR_OK);
	put(w, "f", "there before");
	assert_int_equal(sr_leaves_add(w->leaves, &l, NULL), SR_OK);
	w->told.verdict = SR_TAKE;
	assert_int_equal(apply(w, NULL), SR_OK);
	sr_stage_keep(w->st, &l); /* what has its name in staging now is what was there before */
	sr_stage_free(s);
	sr_store_sweep_stage(w->st);
	assert_int_equal(in_staging(w), 0);
	assert_int_equal(sr_stage_part(w->st, &to.hash), 0);
}

static void test_content_from_another_path(void **state)
{
	struct world *w = *state;
	struct sr_version to = file_v(w, "content", 0600), other = file_v(w, "CONTENT", 0600);

	assert_int_equal(mkdir(at(w, "d"), 0755), 0);
	put(w, "d/f", "content");
	assert_int_equal(mkfifo(at(w, "fifo"), 0600), 0);
	assert_int_equal(symlink("d/f", at(w, "link")), 0);
	assert_int_equal(symlink("d", at(w, "e")), 0);
	assert_int_equal(claim(w, &to), SR_E_NOTFOUND);
	assert_int_equal(claim_from(w, &to, path_of(w, "nothing")), SR_E_NOTFOUND);
	assert_int_equal(claim_from(w, &to, path_of(w, "d")), SR_E_NOTFOUND);
	assert_int_equal(claim_from(w, &to, path_of(w, "fifo")), SR_E_NOTFOUND);
	assert_int_equal(claim_from(w, &to, path_of(w, "link")), SR_E_NOTFOUND);
	assert_int_equal(claim_from(w, &to, path_of(w, "e/f")), SR_E_NOTFOUND);
	assert_int_equal(in_staging(w), 0);
	assert_int_equal(claim_from(w, &other, path_of(w, "d/f")), SR_E_DATA); /* as long, and another */
	assert_int_equal(in_staging(w), 0);
	assert_int_equal(claim_from(w, &to, path_of(w, "d/f")), SR_OK);
	assert_int_equal(in_staging(w), 1);
	assert_string_equal(content(w, "d/f"), "content");
}

static void test_parts_are_forgotten(void **state)
{
	struct world *w = *state;
	struct sr_version to = file_v(w, "content", 0644);
	struct sr_stage *dead, *s;
	uint64_t have;

	begin_part(w, &to, 0, "con");
	assert_int_equal(sr_stage_resume(&dead, w->st, &to, &have, NULL), SR_OK);
	w->ahead_ms = 31000; /* a writer that is silent for so long has lost it ... */
	assert_int_equal(sr_stage_resume(&s, w->st, &to, &have, NULL), SR_OK);
	assert_int_equal(have, 3);
	assert_int_equal(sr_stage_write(dead, "XXXX", 4, NULL), SR_OK); /* ... and when he wakes up, nobody sees what he writes */
	assert_int_equal(sr_stage_write(s, "tent", 4, NULL), SR_OK);
	sr_stage_free(dead);
	sr_stage_free(s);
	assert_int_equal(claim(w, &to), SR_OK);

	sr_store_sweep_stage(w->st);
	assert_int_equal(sr_stage_part(w->st, &to.hash), 7);
	w->ahead_ms = 86400000 - 60000;
	sr_store_sweep_stage(w->st);
	assert_int_equal(sr_stage_part(w->st, &to.hash), 7);
	w->ahead_ms = 86400000 + 60000;
	assert_int_equal(sr_stage_claim(&s, w->st, &to, sr_bytes(NULL, 0), NULL), SR_OK);
	sr_store_expire_parts(w->st); /* it is being staged, and may have its file's old date already */
	assert_int_equal(sr_stage_part(w->st, &to.hash), 7);
	sr_stage_free(s);
	sr_store_sweep_stage(w->st);
	assert_int_equal(sr_stage_part(w->st, &to.hash), 0);
}

static void test_setuid_never(void **state)
{
	struct world *w = *state;
	struct sr_version to = file_v(w, "x", 0755);

	to.mode |= 06000;
	leaf(w, "a", nothing, file_v(w, "x", 0755), "x");
	assert_int_equal(apply(w, NULL), SR_OK);
	assert_int_equal(mode_of(w, "a"), 0755);
	put(w, "s", "x");
	assert_int_equal(chmod(at(w, "s"), 04755), 0);

	struct sr_scan now = scan(w, NULL);
	struct sr_version found;

	assert_int_equal(sr_store_get(w->nodes, SR_KIND_FILES, &now.map, path_of(w, "s"), &found, NULL), SR_OK);
	assert_int_equal(found.mode, 0755);
}

/* ---- after a crash: the states a commit passes through, made by hand ---- */

static char *staged(struct world *w, struct sr_bytes name)
{
	static char text[ROOM];

	snprintf(text, sizeof(text), "%s/.sameroot/stage/%.*s", w->root, (int)name.len, (const char *)name.at);
	return text;
}

/* Where a file goes that is displaced by nothing or by a directory. */
static char *displaced(struct world *w, const char *path)
{
	struct sr_marker m = some_marker();
	struct sr_bytes p = path_of(w, path);
	struct sr_buf facts = {0};
	char name[SR_HASH_TEXT + 1] = "d";
	struct sr_hash h;

	sr_buf_add(&facts, m.id.b, sizeof(m.id.b));
	sr_buf_bytes(&facts, p);
	sr_hash_of(&h, &w->key, sr_buf_view(&facts));
	sr_hash_text(name + 1, &h);
	sr_buf_free(&facts);
	return staged(w, sr_bytes_of(name));
}

static void swap(const char *a, const char *b)
{
	assert_int_equal(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE), 0);
}

static void test_recover_before_anything_happened(void **state)
{
	struct world *w = *state;

	put(w, "edit", "old");
	put(w, "gone", "bye");
	put(w, "to-dir", "f");
	put(w, "mode", "m");
	leaf(w, "edit", file_v(w, "old", 0644), file_v(w, "new", 0644), "new");
	leaf(w, "create", nothing, file_v(w, "new", 0644), "new");
	leaf(w, "gone", file_v(w, "bye", 0644), nothing, NULL);
	leaf(w, "to-dir", file_v(w, "f", 0644), dir_v(0755), NULL);
	leaf(w, "newdir", nothing, dir_v(0755), NULL);
	leaf(w, "mode", file_v(w, "m", 0644), file_v(w, "m", 0600), NULL);
	for (int twice = 0; twice < 2; twice++) {
		assert_int_equal(recover(w), SR_OK);
		assert_int_equal(w->told.applied + w->told.displaced, 0);
	}
	assert_string_equal(content(w, "edit"), "old");
	sr_store_sweep_stage(w->st);
	assert_int_equal(in_staging(w), 0);
}

/* What an apply puts into staging before its first change. */
static void sign(struct world *w)
{
	FILE *f = fopen(displaced(w, ""), "w");

	assert_non_null(f);
	assert_int_equal(fclose(f), 0);
}

static void test_recover_when_all_was_done_but_told(void **state)
{
	struct world *w = *state;
	struct sr_leaf edit, create;
	struct sr_marker m;
	char why[256];
	bool any;

	put(w, "edit", "edited meanwhile");
	put(w, "gone", "bye");
	dir(w, "newdir");
	put(w, "mode", "m");
	edit = leaf(w, "edit", file_v(w, "old", 0644), file_v(w, "new", 0644), "new");
	create = leaf(w, "create", nothing, file_v(w, "new", 0644), "new");
	leaf(w, "newdir", nothing, dir_v(0755), NULL);
	leaf(w, "mode", file_v(w, "m", 0600), file_v(w, "m", 0644), NULL);
	leaf(w, "gone", file_v(w, "bye", 0644), nothing, NULL);
	swap(staged(w, edit.stage), at(w, "edit"));
	assert_int_equal(rename(staged(w, create.stage), at(w, "create")), 0);
	assert_int_equal(rename(at(w, "gone"), displaced(w, "gone")), 0);
	put(w, "create", "and used since"); /* evidence is not content */
	assert_int_equal(recover(w), SR_OK);
	assert_int_equal(w->told.applied, 0); /* staging without the sign was put back from a copy: nothing in it is evidence */
	sign(w);
	for (int twice = 0; twice < 2; twice++) {
		w->told = (struct told){0};
		assert_int_equal(recover(w), SR_OK);
		assert_int_equal(w->told.applied, 5);
		assert_int_equal(w->told.displaced, 2);
		assert_int_equal(w->told.unexpected, 1);
		assert_int_equal(w->told.clashes, 0);
	}
	assert_int_equal(sr_store_look(w->st, &m, &any, why), SR_PRESENT);
	assert_int_equal(m.seq, 42);
	sr_store_sweep_stage(w->st);
	assert_int_equal(in_staging(w), 0);
}

static void test_recover_one_in_the_place_of_the_other(void **state)
{
	struct world *w = *state;
	struct sr_leaf to_file, busy;

	dir(w, "to-file");
	dir(w, "busy");
	put(w, "busy/f", "filled in the last moment");
	put(w, "to-dir", "was a file");
	to_file = leaf(w, "to-file", dir_v(0755), file_v(w, "f", 0644), "f");
	busy = leaf(w, "busy", dir_v(0755), file_v(w, "f", 0644), "f");
	leaf(w, "to-dir", file_v(w, "was a file", 0644), dir_v(0755), NULL);
	assert_int_equal(mkdir(displaced(w, "to-dir"), 0700), 0); /* its mode was lost with the power */
	assert_int_equal(recover(w), SR_OK); /* only made ready */
	assert_int_equal(w->told.applied + w->told.displaced, 0);
	swap(staged(w, to_file.stage), at(w, "to-file"));
	swap(staged(w, busy.stage), at(w, "busy"));
	swap(displaced(w, "to-dir"), at(w, "to-dir"));
	sign(w);
	assert_int_equal(recover(w), SR_OK);
	assert_int_equal(w->told.applied, 2);
	assert_int_equal(w->told.displaced, 1);
	assert_string_equal(w->told.content, "was a file");
	assert_int_equal(mode_of(w, "to-dir"), 0755);
	assert_string_equal(content(w, "to-file"), "f");
	assert_string_equal(content(w, "busy/f"), "filled in the last moment");
}

/* ---- the power fails ---- */

static void is_as_applied(void *ctx, size_t i, const struct sr_leaf *leaf, uint64_t signature)
{
	struct world *w = ctx;
	char name[64];
	struct stat st;

	(void)i, (void)signature;
	assert_true(leaf->path.len < sizeof name);
	for (size_t n = 0; n < leaf->path.len; n++)
		name[n] = leaf->path.at[n] ? (char)leaf->path.at[n] : '/';
	name[leaf->path.len] = '\0';
	if (leaf->to.kind == SR_KIND_NONE) {
		assert_false(there(w, name));
		return;
	}
	assert_int_equal(lstat(at(w, name), &st), 0);
	assert_int_equal(S_ISDIR(st.st_mode), leaf->to.kind == SR_KIND_DIR);
	assert_int_equal(st.st_mode & 0777, leaf->to.mode);
	assert_int_equal(leaf->to.kind == SR_KIND_FILE ? (uint64_t)st.st_size : leaf->to.bytes, leaf->to.bytes);
}

static void change_of_each_kind(struct world *w)
{
	put(w, "edit", "old");
	put(w, "gone", "bye");
	put(w, "to-dir", "file");
	put(w, "mode", "m");
	dir(w, "to-file");
	dir(w, "olddir");
	put(w, "olddir/last", "last");
	leaf(w, "edit", file_v(w, "old", 0644), file_v(w, "new", 0644), "new");
	leaf(w, "gone", file_v(w, "bye", 0644), nothing, NULL);
	leaf(w, "to-dir", file_v(w, "file", 0644), dir_v(0755), NULL);
	leaf(w, "to-dir/inner", nothing, file_v(w, "i", 0644), "i");
	leaf(w, "mode", file_v(w, "m", 0644), file_v(w, "m", 0600), NULL);
	leaf(w, "to-file", dir_v(0755), file_v(w, "f", 0644), "f");
	leaf(w, "olddir", dir_v(0755), nothing, NULL);
	leaf(w, "olddir/last", file_v(w, "last", 0644), nothing, NULL);
	leaf(w, "newdir", nothing, dir_v(0711), NULL);
	leaf(w, "newdir/first", nothing, file_v(w, "first", 0644), "first");
	leaf(w, "missing/parent/of", nothing, file_v(w, "of", 0644), "of");
	assert_int_equal(sr_stage_flush(w->st, NULL), SR_OK);
	assert_int_equal(sr_leaves_sort(w->leaves, NULL), SR_OK);
}

/* False: it was over before step k. */
static bool cut_at(struct world *w, uint64_t k, enum sr_disk_how how)
{
	struct sr_disk *disk = sr_disk_open(w->root);
	bool stopped;

	assert_non_null(disk);
	w->told.verdict = SR_TAKE;
	assert_int_equal(prepare(w), SR_OK);
	sr_disk_stop_at(disk, k, SR_DISK_BEFORE);
	w->ops.applied = is_as_applied;
	(void)!sr_apply_commit(w->st, NULL);
	stopped = sr_disk_stopped(disk);
	sr_disk_stop(disk);
	open_store(w, 0, NULL, 0);
	assert_int_equal(sr_disk_cut(disk, k, how), 0);
	open_store(w, 0, NULL, 0);
	assert_int_equal(recover(w), SR_OK);
	sr_disk_close(disk);
	return stopped;
}

static void test_what_recovery_calls_applied_is_there(void **state)
{
	bool stopped = true;

	(void)state;
	place = access("/dev/shm", W_OK) ? place : "/dev/shm"; /* quicker, for hundreds of worlds */
	for (uint64_t k = 1; stopped; k++)
		for (enum sr_disk_how how = SR_DISK_NOTHING; how < SR_DISK_ANY; how++) {
			void *world;

			set_up(&world);
			change_of_each_kind(world);
			stopped = cut_at(world, k, how);
			assert_int_equal(tear_down(&world), 0);
		}
}

/* A directory with another mode than it should have would be pushed as an edit. */
static void test_a_directory_that_cannot_be_finished_is_none(void **state)
{
	struct world *w = *state;
	struct sr_disk *disk = sr_disk_open(w->root);
	bool made = false;

	leaf(w, "newdir", nothing, dir_v(0755), NULL);
	for (uint64_t k = 1; !made; k++) {
		assert_int_equal(prepare(w), SR_OK);
		sr_disk_fail_at(disk, sr_disk_steps(disk) + k, EIO);
		(void)!sr_apply_commit(w->st, NULL);
		made = there(w, "newdir");
		assert_true(!made || mode_of(w, "newdir") == 0755);
	}
	sr_disk_close(disk);
}

/* An application made it, and whoever heard that the file is applied does not ask for it again. */
static void test_what_comes_into_an_application_s_new_directories_is_durable(void **state)
{
	struct world *w = *state;
	struct sr_disk *disk = sr_disk_open(w->root);

	dir(w, "new");
	dir(w, "new/deep");
	leaf(w, "new/deep/file", nothing, file_v(w, "ours", 0644), "ours");
	assert_int_equal(prepare(w), SR_OK);
	assert_int_equal(sr_apply_commit(w->st, NULL), SR_OK);
	sr_disk_stop(disk);
	open_store(w, 0, NULL, 0);
	assert_int_equal(sr_disk_cut(disk, 1, SR_DISK_NOTHING), 0);
	open_store(w, 0, NULL, 0);
	assert_string_equal(content(w, "new/deep/file"), "ours");
	sr_disk_close(disk);
}

/* Few are synced by themselves: what an application wrote, changed, moved and deleted is as it was said to be. */
static void test_what_is_marked_with_few_leaves_is_durable(void **state)
{
	struct world *w = *state;
	struct sr_marker m = some_marker();
	struct sr_disk *disk;
	const char *const paths[] = {"changed", "from/moved", "gone", "modes", "new/deep/file", "to/moved"};

	put(w, "changed", "old");
	put(w, "gone", "old");
	put(w, "modes", "old");
	dir(w, "from");
	dir(w, "to");
	put(w, "from/moved", "it");
	assert_int_equal(sr_store_mark(w->st, &m, NULL), SR_OK);
	disk = sr_disk_open(w->dir);
	put(w, "changed", "new");
	assert_int_equal(unlink(at(w, "gone")), 0);
	assert_int_equal(chmod(at(w, "modes"), 0600), 0);
	dir(w, "new");
	dir(w, "new/deep");
	put(w, "new/deep/file", "app's");
	{
		char *from = sr_strdup(at(w, "from/moved"));

		assert_int_equal(rename(from, at(w, "to/moved")), 0);
		free(from);
	}
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
		leaf(w, paths[i], nothing, nothing, NULL);
	m.seq++;
	assert_int_equal(sr_store_mark_with(w->st, &m, w->leaves, NULL), SR_OK);
	sr_disk_stop(disk);
	open_store(w, 0, NULL, 0);
	assert_int_equal(sr_disk_cut(disk, 1, SR_DISK_NOTHING), 0);
	open_store(w, 0, NULL, 0);
	assert_string_equal(content(w, "changed"), "new");
	assert_false(there(w, "gone"));
	assert_int_equal(mode_of(w, "modes"), 0600);
	assert_string_equal(content(w, "new/deep/file"), "app's");
	assert_string_equal(content(w, "to/moved"), "it");
	assert_false(there(w, "from/moved"));
	sr_disk_close(disk);
}

static void rename_the_directory(struct world *w, const char *path)
{
	(void)path;
	assert_int_equal(rename(at(w, "here"), away(w)), 0);
	assert_int_equal(rename(away(w), at(w, "there")), 0);
}

/* What is called applied, and then seen as moved, has to be there where it was moved to. */
static void test_what_goes_into_a_directory_that_is_renamed_is_durable(void **state)
{
	struct world *w = *state;
	struct sr_disk *disk;

	dir(w, "here");
	put(w, "here/a", "old");
	disk = sr_disk_open(w->dir);
	w->told.meanwhile = rename_the_directory;
	leaf(w, "here/a", file_v(w, "old", 0644), file_v(w, "new", 0644), "new");
	leaf(w, "here/b", nothing, file_v(w, "ours", 0644), "ours");
	assert_int_equal(prepare(w), SR_OK);
	assert_int_equal(sr_apply_commit(w->st, NULL), SR_OK);
	assert_int_equal(w->told.applied, 2);
	sr_disk_stop(disk);
	open_store(w, 0, NULL, 0);
	assert_int_equal(sr_disk_cut(disk, 1, SR_DISK_NOTHING), 0);
	open_store(w, 0, NULL, 0);
	assert_string_equal(content(w, there(w, "there/b") ? "there/b" : "here/b"), "ours");
	sr_disk_close(disk);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(test_scan_sees_every_kind),
		T(test_exclude_later),
		T(test_unchanged_files_are_not_read_again),
		T(test_an_edit_that_hides_its_mtime_is_found),
		T(test_a_signature_vouches_for_its_own_content_only),
		T(test_signatures_are_remembered_over_a_restart),
		T(test_many_files_come_and_go),
		T(test_many_directories_are_seen_as_few_are),
		T(test_paths_longer_than_a_system_call_takes),
		T(test_deeper_than_there_are_descriptors),
		T(test_too_deep_is_unknown),
		T(test_unreadable_is_unknown),
		T(test_unmarkable),
		T(test_look),
		T(test_a_lost_store_is_never_empty),
		T(test_a_store_without_a_marker_may_become_empty),
		T(test_nothing_is_written_into_what_was_not_looked_at),
		T(test_an_apply_stays_in_the_store_that_it_began_in),
		T(test_an_apply_whose_store_is_removed_is_not_applied),
		T(test_read),
		T(test_apply_all_kinds_of_change),
		T(test_clash_keep_and_take),
		T(test_what_changes_between_prepare_and_commit),
		T(test_apply_by_trusted_signatures),
		T(test_what_cannot_be_archived_stays),
		T(test_what_cannot_be_put_back_is_kept_aside),
		T(test_links_are_not_followed),
		T(test_bad_paths_are_refused),
		T(test_directories_with_something_left),
		T(test_missing_parents_are_made),
		T(test_owners),
		T(test_owner_option),
		T(test_stage_checks),
		T(test_many_are_staged_in_their_order),
		T(test_one_of_many_fails),
		T(test_what_nobody_waits_for_is_staged_all_the_same),
		T(test_staging_that_was_swept_is_small),
		T(test_a_part_goes_on),
		T(test_a_part_that_is_something_else),
		T(test_staged_content_is_kept),
		T(test_content_from_another_path),
		T(test_parts_are_forgotten),
		T(test_setuid_never),
		T(test_recover_before_anything_happened),
		T(test_recover_when_all_was_done_but_told),
		T(test_recover_one_in_the_place_of_the_other),
		cmocka_unit_test(test_what_recovery_calls_applied_is_there),
		T(test_a_directory_that_cannot_be_finished_is_none),
		T(test_what_comes_into_an_application_s_new_directories_is_durable),
		T(test_what_goes_into_a_directory_that_is_renamed_is_durable),
		T(test_what_is_marked_with_few_leaves_is_durable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
