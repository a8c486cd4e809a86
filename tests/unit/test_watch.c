/* test_watch.c - scans of a watched tree are what scans of all of it are; real trees, the kernel's own events. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "lib/base/door.h"
#include "lib/store/store.h"
#include "lib/store/watcher.h"
#include "tests/unit/clock.h"

#define FULL_S 3600

/* One directory, seen by a store that is watched and by one that is not. */
struct world {
	char dir[64], root[96];
	struct sr_tree_key key;
	struct sr_watcher *watcher;
	struct sr_side {
		struct sr_nodes *nodes;
		struct sr_store *st;
		struct sr_hash map;
		struct sr_scan scan;
	} watched, plain;
	int64_t ahead_ms, ticks_ms;
};

static int64_t shifted_now(void *ctx)
{
	return clock_ms(CLOCK_REALTIME) + ((struct world *)ctx)->ahead_ms;
}

static int64_t shifted_ticks(void *ctx)
{
	return clock_ms(CLOCK_MONOTONIC) + ((struct world *)ctx)->ticks_ms;
}

static void some_random(void *ctx, void *out, size_t n)
{
	static uint8_t next;

	(void)ctx;
	memset(out, 0x5a, n);
	*(uint8_t *)out = next++;
}

static void open_side(struct world *w, struct sr_side *side, const char *const *exclude, size_t excludes)
{
	struct sr_store_options o = {
		.name = "resources", .kind = SR_KIND_FILES, .path = w->root, .exclude = exclude, .excludes = excludes, .key = &w->key};

	side->nodes = sr_nodes_new(&w->key);
	assert_int_equal(sr_store_open(&side->st, &o, NULL), SR_OK);
}

static int set_up(void **state)
{
	struct world *w = sr_alloc(sizeof *w);
	struct sr_door door = {shifted_now, shifted_ticks, some_random, w};
	uint8_t secret[SR_KEY_LEN];

	umask(022);
	sr_door_install(&door);
	for (size_t i = 0; i < sizeof secret; i++)
		secret[i] = (uint8_t)(i * 37 + 11);
	sr_tree_key_set(&w->key, secret);
	snprintf(w->dir, sizeof w->dir, "/tmp/sameroot-watch-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->root, sizeof w->root, "%s/store", w->dir);
	open_side(w, &w->watched, NULL, 0);
	open_side(w, &w->plain, NULL, 0);
	assert_int_equal(sr_watcher_start(&w->watcher, FULL_S, NULL, NULL, NULL), SR_OK);
	sr_store_watch(w->watched.st, w->watcher);
	assert_int_equal(sr_store_create(w->watched.st, NULL), SR_OK);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;
	char *command = sr_format("chmod -R u+rwx %s; rm -rf %s", w->dir, w->dir);
	struct sr_side *sides[] = {&w->watched, &w->plain};
	int failed;

	for (size_t i = 0; i < 2; i++) {
		sr_scan_free(&sides[i]->scan);
		sr_store_close(sides[i]->st);
		sr_nodes_free(sides[i]->nodes);
	}
	sr_watcher_stop(w->watcher);
	sr_door_install(NULL);
	failed = system(command);
	free(command);
	free(w);
	return failed;
}

/* --- doing and looking ----------------------------------------------------------------------------------------------------- */

/* In the tree. */
static void sh(struct world *w, const char *what)
{
	char *command = sr_format("cd %s && %s", w->root, what);

	assert_int_equal(system(command), 0);
	free(command);
}

static void see(struct sr_side *side, bool take)
{
	struct sr_marker marker;
	struct sr_scan scan;
	struct sr_view *v;
	struct sr_err err = {0};
	bool content;
	char why[256];

	(void)sr_store_look(side->st, &marker, &content, why);
	assert_int_equal(sr_view_open(&v, side->st, SR_VIEW_MAIN, NULL), SR_OK);
	if (sr_view_scan(v, side->nodes, &side->map, NULL, NULL, &scan, &err) != SR_OK)
		fail_msg("%s", err.text);
	sr_view_close(v);
	if (take) {
		sr_nodes_hold(side->nodes, &scan.map);
		sr_nodes_release(side->nodes, &side->map);
		side->map = scan.map;
		sr_store_taken(side->st);
	}
	sr_scan_free(&side->scan);
	side->scan = scan;
}

static void assert_same_scan(const struct sr_scan *a, const struct sr_scan *b)
{
	assert_true(sr_hash_eq(&a->map, &b->map));
	assert_int_equal(a->unknowns, b->unknowns);
	for (size_t i = 0; i < a->unknowns; i++) {
		assert_true(sr_bytes_eq(a->unknown[i].path, b->unknown[i].path));
		assert_int_equal(a->unknown[i].why, b->unknown[i].why);
	}
}

/* Both see the same, and the watched one without seeing all. */
static void same(struct world *w)
{
	see(&w->watched, true);
	see(&w->plain, true);
	assert_same_scan(&w->watched.scan, &w->plain.scan);
}

static struct sr_watch_report report(struct world *w)
{
	struct sr_watch_report r;

	sr_store_watch_report(w->watched.st, &r);
	return r;
}

static void same_by_hints(struct world *w)
{
	uint64_t full = report(w).full;

	same(w);
	assert_int_equal(report(w).full, full);
}

static void same_after(struct world *w, const char *what)
{
	sh(w, what);
	same_by_hints(w);
}

/* Nothing is racy any more, and nothing marked. */
static void settle(struct world *w)
{
	w->ahead_ms += 10000;
	same(w);
	same(w);
	assert_true(sr_store_is_quiet(w->watched.st));
}

static void begin(struct world *w)
{
	sh(w, "mkdir -p a/b/c d/e empty && echo 1 >a/1 && echo 2 >a/b/2 && echo 3 >a/b/c/3 && echo 4 >d/e/4 && ln -s a link && ln -s x d/e/link");
	same(w);
	assert_true(report(w).watched);
	settle(w);
}

/* --- trees ----------------------------------------------------------------------------------------------------------------- */

static void test_what_changes_is_seen(void **state)
{
	struct world *w = *state;

	begin(w);
	same_after(w, "echo new >a/new");
	same_after(w, "echo more >>a/b/c/3");
	same_after(w, "rm a/b/2");
	same_after(w, "echo x >a/b/.x.tmp && mv a/b/.x.tmp a/b/x");
	same_after(w, "echo y >a/b/.x.tmp && mv a/b/.x.tmp a/b/x");
	same_after(w, "chmod 600 d/e/4");
	same_after(w, "chmod 700 d/e");
	same_after(w, "ln d/e/4 d/e/5");
	same_after(w, "truncate -s 3 a/1");
	same_after(w, "mkdir -p n/e/w/er && echo deep >n/e/w/er/deep");
	same_after(w, "echo deep >n/e/w/er/deeper");
	same_after(w, "rm -r n");
	same_after(w, "rmdir empty && echo file >empty");
	same_after(w, "rm empty && mkdir empty");
	same_after(w, "rm link && echo file >link");
	same_after(w, "echo top >top");
	assert_int_equal(report(w).full, 1);
}

static void test_what_did_not_change_is_not_opened(void **state)
{
	struct world *w = *state;

	begin(w);
	assert_int_equal(report(w).full, 1);
	/* What nothing was told of is taken as it was: the proof is a file that was changed unseen, through a mapping. */
	sh(w, "dd if=/dev/zero of=d/e/4 bs=4096 count=1 status=none");
	settle(w);
	{
		char *path = sr_format("%s/d/e/4", w->root);
		int fd = open(path, O_RDWR);
		char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		struct sr_hash before = w->watched.map;

		assert_true(at != MAP_FAILED);
		same(w); /* nothing is told of opening */
		*at = 1;
		assert_int_equal(msync(at, 4096, MS_SYNC), 0);
		sh(w, "echo other >a/other");
		see(&w->watched, true);
		see(&w->plain, true);
		assert_false(sr_hash_eq(&w->watched.map, &w->plain.map));
		assert_false(sr_hash_eq(&w->watched.map, &before));
		assert_int_equal(munmap(at, 4096), 0);
		close(fd); /* now it is told */
		free(path);
	}
	same_by_hints(w);
	assert_int_equal(report(w).full, 1);
}

static void test_directories_that_move(void **state)
{
	struct world *w = *state;

	begin(w);
	assert_int_equal(report(w).directories, 7);
	same_after(w, "mv a/b d/b");
	same_after(w, "echo after >d/b/c/after");
	same_after(w, "mv d/b a/b && echo back >a/b/c/back");
	same_after(w, "mv a z && echo in >z/b/in && mv z a && echo again >a/b/again");
	same_after(w, "mv a/b ../away");
	assert_int_equal(report(w).directories, 5);
	same_after(w, "echo outside >../away/outside");
	same_after(w, "mv ../away a/b");
	assert_int_equal(report(w).directories, 7);
	same_after(w, "echo inside >a/b/c/inside");
	same_after(w, "mv ../away x 2>/dev/null; mv a/b/c c && mv d a/b/ && echo e >a/b/d/e/e && echo c >c/c");
	same_after(w, "mv c c2 && mkdir c && echo other >c/other && echo old >c2/old");
	same_after(w, "rm -r c && mv c2 c");
	same_after(w, "echo one >c/one && rm -r a && mkdir -p a/b/d && echo new >a/b/d/new");
	assert_int_equal(report(w).full, 1);
}

static void test_what_is_unknown_stays_so_below_clean_directories(void **state)
{
	static const char *const exclude[] = {"*.log", "cache"};
	struct world *w = *state;

	sh(w, "mkdir -p p/q cache/x r/only && mkfifo p/q/fifo && ln -s / r/only/link && echo l >p/a.log && echo c >cache/x/c");
	sr_store_set_exclude(w->watched.st, exclude, 2);
	sr_store_set_exclude(w->plain.st, exclude, 2);
	begin(w);
	assert_int_equal(w->watched.scan.unknowns, 6);
	same_after(w, "echo 1 >d/1");
	same_after(w, "echo 1 >p/1");
	same_after(w, "echo 1 >r/1");
	same_after(w, "rm p/q/fifo");
	same_after(w, "rm r/only/link && echo 1 >r/only/1");
	same_after(w, "mkdir p/cache && echo 1 >p/cache/1 && echo b >p/q/b.log");
	same_after(w, "mv p/q q && mkfifo q/f");
	same_after(w, "rm -r q cache");
	settle(w);
	sh(w, "echo more >>p/a.log");
	assert_true(sr_store_is_quiet(w->watched.st));
	assert_int_equal(report(w).full, 1);
	sr_store_set_exclude(w->watched.st, exclude, 1);
	sr_store_set_exclude(w->plain.st, exclude, 1);
	same(w);
	assert_int_equal(report(w).full, 2);
}

static void test_a_burst(void **state)
{
	struct world *w = *state;

	begin(w);
	same_after(w, "for i in 1 2 3 4 5 6 7 8 9; do mkdir -p t/$i/u/$i; for j in 1 2 3 4 5 6 7 8 9; do echo $j >t/$i/u/$i/$j; done; done && cp -r t t2");
	same_after(w, "cp -r t2 a/b/t3 && rm -r t");
	assert_int_equal(report(w).full, 1);
	settle(w);
}

static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER;

static void be_busy(void *ctx)
{
	(void)ctx;
	pthread_mutex_lock(&busy);
	pthread_mutex_unlock(&busy);
}

static void test_more_than_the_queue_holds(void **state)
{
	struct world *w = *state;
	struct sr_watcher *deaf = NULL;
	char path[160];
	unsigned most = 0;
	FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%u", &most), 1);
	fclose(f);
	if (most > 100000)
		skip();
	assert_int_equal(sr_watcher_start(&deaf, FULL_S, be_busy, NULL, NULL), SR_OK);
	sr_store_close(w->watched.st);
	sr_nodes_free(w->watched.nodes);
	open_side(w, &w->watched, NULL, 0);
	sr_store_watch(w->watched.st, deaf);
	begin(w);
	pthread_mutex_lock(&busy);
	sh(w, "echo first >a/first");
	for (int i = 0; i < 6000 && sr_watcher_due(deaf) == SR_WATCHER_NEVER; i++)
		usleep(10000);
	for (unsigned i = 0; i <= most / 2; i++) {
		snprintf(path, sizeof path, "%s/%s/f", w->root, i & 1 ? "a" : "d");
		close(open(path, O_WRONLY | O_CREAT, 0600));
		unlink(path);
	}
	sh(w, "echo lost >a/b/c/lost");
	assert_int_equal(report(w).full, 1);
	same(w);
	assert_int_equal(report(w).full, 2);
	same_after(w, "echo found >a/b/c/found");
	pthread_mutex_unlock(&busy);
	sr_store_close(w->watched.st);
	sr_watcher_stop(deaf);
	sr_nodes_free(w->watched.nodes);
	open_side(w, &w->watched, NULL, 0);
	w->watched.map = (struct sr_hash){0};
}

static void test_what_was_not_taken_is_looked_at_again(void **state)
{
	struct world *w = *state;

	begin(w);
	sh(w, "echo new >a/b/new && rm d/e/4");
	see(&w->watched, false);
	assert_false(sr_store_is_quiet(w->watched.st));
	see(&w->watched, false);
	same_after(w, "echo other >d/other");
	settle(w);
	/* and so is a first scan */
	sr_store_set_exclude(w->watched.st, NULL, 0);
	see(&w->watched, false);
	sh(w, "echo x >a/x");
	same(w);
	settle(w);
}

static void test_racy_files_are_looked_at_again(void **state)
{
	struct world *w = *state;

	begin(w);
	w->ahead_ms = 0;
	assert_false(sr_store_has_news(w->watched.st));
	sh(w, "echo new >a/new");
	assert_true(sr_store_has_news(w->watched.st));
	same_by_hints(w);
	assert_false(sr_store_is_quiet(w->watched.st));
	assert_false(sr_store_has_news(w->watched.st)); /* it is merely looked at again */
	w->ahead_ms += 10000;
	same_by_hints(w);
	assert_int_equal(w->watched.scan.hashed, 1);
	same_by_hints(w);
	assert_int_equal(w->watched.scan.hashed, 0);
	assert_true(sr_store_is_quiet(w->watched.st));
}

/* One change after the other: each look is at what changed since, and once more at all of it when it is settled. */
static void test_racy_files_wait_until_they_are_settled(void **state)
{
	struct world *w = *state;

	begin(w);
	w->ahead_ms = 0;
	sh(w, "echo new >a/new");
	same_by_hints(w);
	assert_int_equal(w->watched.scan.hashed, 1);
	sh(w, "echo new >d/new");
	same_by_hints(w);
	assert_int_equal(w->watched.scan.hashed, 1);
	same_by_hints(w);
	assert_int_equal(w->watched.scan.hashed, 0);
	assert_false(sr_store_is_quiet(w->watched.st));
	sh(w, "mv d moved");
	w->ahead_ms += 10000;
	same_by_hints(w);
	same_by_hints(w);
	assert_int_equal(w->watched.scan.hashed, 0);
	assert_true(sr_store_is_quiet(w->watched.st));
}

/* And those of a scan that is not taken are put off no further than to the next. */
static void test_racy_files_of_a_scan_that_is_not_taken(void **state)
{
	struct world *w = *state;

	begin(w);
	w->ahead_ms = 0;
	sh(w, "echo new >a/new");
	same_by_hints(w);
	w->ahead_ms += 10000;
	see(&w->watched, false);
	assert_int_equal(w->watched.scan.hashed, 1);
	same_by_hints(w);
	assert_true(sr_store_is_quiet(w->watched.st));
	w->ahead_ms = 0;
	sh(w, "echo old >a/new");
	same_by_hints(w);
	w->ahead_ms -= 60000; /* the clock is set back */
	same_by_hints(w);
	assert_false(sr_store_is_quiet(w->watched.st));
	w->ahead_ms += 120000;
	same_by_hints(w);
	same_by_hints(w);
	assert_true(sr_store_is_quiet(w->watched.st));
}

/* More than are kept in mind. */
static void test_very_many_directories_are_racy(void **state)
{
	struct world *w = *state;

	sh(w, "seq -f 'm/%.0f' 1050 | xargs mkdir -p && for d in m/*; do : >$d/f; done");
	same(w);
	same(w);
	assert_false(sr_store_is_quiet(w->watched.st));
	settle(w);
}

static void test_another_root(void **state)
{
	struct world *w = *state;

	begin(w);
	sh(w, "cp -a ../store ../other && mv ../store ../old && mv ../other ../store && echo here >../store/a/here");
	assert_false(sr_store_is_quiet(w->watched.st));
	same(w);
	assert_int_equal(report(w).full, 2);
	settle(w);
	same_after(w, "echo there >a/b/there");
	sh(w, "echo marker >.sameroot/marker");
	assert_false(sr_store_is_quiet(w->watched.st));
}

static void test_a_full_scan_now_and_then(void **state)
{
	struct world *w = *state;

	begin(w);
	w->ticks_ms += (FULL_S - 1) * 1000;
	assert_true(sr_store_is_quiet(w->watched.st));
	w->ticks_ms += 1000;
	assert_false(sr_store_is_quiet(w->watched.st));
	same(w);
	assert_int_equal(report(w).full, 2);
	same_by_hints(w);
	assert_true(sr_store_is_quiet(w->watched.st));
}

/* A step as no person makes it. */
static void disturb(const char *root, unsigned *seed)
{
	static const char *const names[] = {"a", "b", "c", "d"};
	char from[200], to[200];
	const char *of[6];
	int fd;

	for (size_t i = 0; i < 6; i++)
		of[i] = names[rand_r(seed) / 7 % 4];
	snprintf(from, sizeof from, rand_r(seed) & 64 ? "%s/%s/%s/%s" : "%s/%s/%s", root, of[0], of[1], of[2]);
	snprintf(to, sizeof to, rand_r(seed) & 64 ? "%s/%s/%s" : "%s/%s", root, of[3], of[4]);
	switch (rand_r(seed) / 5 % 9) {
	case 0:
	case 1:
	case 2:
		(void)!mkdir(to, 0755);
		(void)!mkdir(from, 0755);
		break;
	case 3:
	case 4:
		fd = open(from, O_WRONLY | O_CREAT | O_APPEND, 0644);
		if (fd >= 0) {
			(void)!write(fd, of[5], 1);
			close(fd);
		}
		break;
	case 5:
		(void)!rename(from, to);
		break;
	case 6:
		(void)!rename(to, from);
		break;
	case 7:
		(void)!remove(from);
		break;
	case 8:
		(void)!chmod(from, rand_r(seed) & 16 ? 0755 : 0711);
		break;
	}
}

static void test_anything_between_scans(void **state)
{
	struct world *w = *state;
	unsigned seed = 4711;

	begin(w);
	for (int k = 0; k < 2000; k++) {
		disturb(w->root, &seed);
		if (rand_r(&seed) % 11 == 0)
			same_by_hints(w);
	}
	settle(w);
	assert_int_equal(report(w).full, 1);
}

/* New directories that fill up while they are come to. */
static void fill(const char *root, unsigned round)
{
	char path[200];

	for (unsigned i = 0; i < 20; i++) {
		snprintf(path, sizeof path, "%s/n%u.%u", root, round, i);
		(void)!mkdir(path, 0755);
		for (unsigned j = 0; j < 60; j++) {
			snprintf(path, sizeof path, "%s/n%u.%u/%u", root, round, i, j);
			close(open(path, O_WRONLY | O_CREAT, 0644));
		}
	}
}

static void test_anything_during_scans(void **state)
{
	struct world *w = *state;

	begin(w);
	for (unsigned k = 1; k <= 3; k++) {
		unsigned seed = k;
		pid_t child = fork();
		int status;

		if (!child) {
			for (int i = 0; i < 400; i++)
				disturb(w->root, &seed);
			fill(w->root, k);
			_exit(0);
		}
		assert_true(child > 0);
		while (waitpid(child, &status, WNOHANG) == 0)
			see(&w->watched, true);
		assert_int_equal(status, 0);
		same_by_hints(w);
	}
	settle(w);
	assert_int_equal(report(w).full, 1);
}

static void on_applied(void *ctx, size_t i, const struct sr_leaf *leaf, uint64_t signature)
{
	(void)i, (void)leaf, (void)signature;
	*(bool *)ctx = true;
}

static void test_what_we_apply_ourselves_waits(void **state)
{
	struct world *w = *state;
	struct sr_leaves *leaves = sr_leaves_new(NULL);
	struct sr_leaf leaf = {.path = sr_bytes_of("ours"), .to = {.kind = SR_KIND_DIR, .mode = 0755}};
	bool applied = false;
	struct sr_apply_ops ops = {.ctx = &applied, .applied = on_applied};

	begin(w);
	assert_int_equal(sr_leaves_add(leaves, &leaf, NULL), SR_OK);
	assert_int_equal(sr_apply_prepare(w->watched.st, leaves, NULL, &ops, NULL), SR_OK);
	sr_watcher_take(w->watcher);
	assert_int_equal(sr_apply_commit(w->watched.st, NULL), SR_OK);
	assert_true(applied);
	sr_leaves_free(leaves);
	assert_false(sr_store_has_news(w->watched.st));
	assert_false(sr_store_is_quiet(w->watched.st));
	assert_true(sr_watcher_due(w->watcher) != SR_WATCHER_NEVER);
	w->ticks_ms += 2500;
	assert_true(sr_store_has_news(w->watched.st));
	same_by_hints(w);
	assert_false(sr_store_has_news(w->watched.st));
	same_after(w, "rmdir ours");
}

/* In a user namespace of its own, which has a limit of its own: what is said then, or nothing where there may be none. */
static void limited(struct world *w, const char *what, unsigned most, char why[160])
{
	unsigned uid = getuid();
	int ends[2];
	pid_t child;
	ssize_t n;

	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		char *path = sr_format("/proc/sys/user/%s", what);
		struct sr_watcher *watcher = NULL;
		FILE *f = unshare(CLONE_NEWUSER) ? NULL : fopen("/proc/self/uid_map", "w");

		if (!f || fprintf(f, "0 %u 1", uid) < 0 || fclose(f) || !(f = fopen(path, "w")) || fprintf(f, "%u", most) < 0 || fclose(f))
			_exit(0);
		sr_store_close(w->watched.st);
		open_side(w, &w->watched, NULL, 0);
		memset(&w->watched.map, 0, sizeof w->watched.map);
		if (sr_watcher_start(&watcher, FULL_S, NULL, NULL, NULL) != SR_OK)
			_exit(1);
		sr_store_watch(w->watched.st, watcher);
		same(w);
		same(w);
		if (!sr_store_is_quiet(w->watched.st))
			(void)!write(ends[1], report(w).why, sizeof report(w).why);
		_exit(0);
	}
	close(ends[1]);
	n = read(ends[0], why, 160);
	close(ends[0]);
	why[n > 0 ? 159 : 0] = 0;
	waitpid(child, NULL, 0);
}

static void test_when_there_are_no_watches_left(void **state)
{
	struct world *w = *state;
	char why[160];

	begin(w);
	limited(w, "max_inotify_watches", 3, why);
	if (!*why)
		skip();
	assert_non_null(strstr(why, "max_user_watches"));
	limited(w, "max_inotify_instances", 0, why);
	assert_non_null(strstr(why, "max_user_instances"));
}

/* --- databases ------------------------------------------------------------------------------------------------------------- */

static void sql(const char *path, const char *text)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void database_in(struct world *w, const char *mode)
{
	char path[128], text[640];
	struct sr_store_options o = {.name = "db", .kind = SR_KIND_DATABASE, .path = path, .key = &w->key};
	struct sr_marker marker = {.id = sr_uuid_random(), .epoch = 1};
	struct sr_side side = {.nodes = sr_nodes_new(&w->key)};

	snprintf(path, sizeof path, "%s/%s.db", w->dir, mode);
	snprintf(text, sizeof text, "PRAGMA journal_mode=%s; CREATE TABLE t(k INTEGER PRIMARY KEY, v); INSERT INTO t VALUES(1, 1)", mode);
	sql(path, text);
	assert_int_equal(sr_store_open(&side.st, &o, NULL), SR_OK);
	sr_store_watch(side.st, w->watcher);
	see(&side, true);
	see(&side, true);
	assert_true(sr_store_is_quiet(side.st));
	sql(path, "SELECT * FROM t");
	sql(path, "INSERT INTO t VALUES(2, 2)");
	assert_false(sr_store_is_quiet(side.st));
	see(&side, true);
	assert_int_equal(side.scan.rows_read, 2);
	see(&side, true);
	assert_true(sr_store_is_quiet(side.st));
	/* Our own marker moves nothing. */
	assert_int_equal(sr_store_mark(side.st, &marker, NULL), SR_OK);
	if (!strcmp(mode, "WAL"))
		assert_false(sr_store_has_news(side.st));
	if (!strcmp(mode, "WAL"))
		assert_true(sr_store_is_quiet(side.st));
	see(&side, true);
	assert_int_equal(side.scan.rows_read, 0);
	assert_true(sr_store_is_quiet(side.st));
	/* What is committed after the view began is not lost. */
	sql(path, "UPDATE t SET v = 3");
	{
		struct sr_scan scan;
		struct sr_view *v;

		assert_int_equal(sr_view_open(&v, side.st, SR_VIEW_MAIN, NULL), SR_OK);
		if (!strcmp(mode, "WAL"))
			sql(path, "UPDATE t SET v = 4");
		assert_int_equal(sr_view_scan(v, side.nodes, &side.map, NULL, NULL, &scan, NULL), SR_OK);
		sr_view_close(v);
		sr_store_taken(side.st);
		sr_scan_free(&scan);
		if (!strcmp(mode, "WAL"))
			assert_false(sr_store_is_quiet(side.st));
	}
	see(&side, true);
	see(&side, true);
	assert_true(sr_store_is_quiet(side.st));
	snprintf(text, sizeof text, "cp %s %s.new && mv %s.new %s", path, path, path, path);
	assert_int_equal(system(text), 0);
	assert_false(sr_store_is_quiet(side.st));
	sr_scan_free(&side.scan);
	sr_store_close(side.st);
	sr_nodes_free(side.nodes);
}

static struct sr_store *asked; /* while an application writes */
static size_t asks;

static ssize_t write_and_ask(int fd, const void *at, size_t n, off_t where)
{
	ssize_t done = pwrite(fd, at, n, where);
	struct sr_store *st = asked;

	asked = NULL; /* it may write, too */
	if (st) {
		asks++;
		assert_true(sr_store_is_quiet(st)); /* what is told of cannot be seen yet */
	}
	asked = st;
	return done;
}

static void test_a_commit_that_is_told_of_before_it_can_be_seen(void **state)
{
	struct world *w = *state;
	char path[128];
	struct sr_store_options o = {.name = "db", .kind = SR_KIND_DATABASE, .path = path, .key = &w->key};
	struct sr_side side = {.nodes = sr_nodes_new(&w->key)};
	sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
	sqlite3 *db;

	snprintf(path, sizeof path, "%s/a.db", w->dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA journal_mode=WAL; CREATE TABLE t(k INTEGER PRIMARY KEY, v)", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sr_store_open(&side.st, &o, NULL), SR_OK);
	sr_store_watch(side.st, w->watcher);
	see(&side, true);
	see(&side, true);
	assert_true(sr_store_is_quiet(side.st));
	assert_int_equal(vfs->xSetSystemCall(vfs, "pwrite", (sqlite3_syscall_ptr)write_and_ask), SQLITE_OK);
	assert_int_equal(vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)write_and_ask), SQLITE_OK);
	asked = side.st;
	asks = 0;
	assert_int_equal(sqlite3_exec(db, "INSERT INTO t VALUES(1, 1)", NULL, NULL, NULL), SQLITE_OK);
	asked = NULL;
	vfs->xSetSystemCall(vfs, NULL, NULL);
	assert_true(asks > 0);
	assert_true(sr_watcher_due(w->watcher) != SR_WATCHER_NEVER); /* nothing more is told */
	assert_true(sr_store_has_news(side.st));
	assert_false(sr_store_is_quiet(side.st));
	see(&side, true);
	assert_int_equal(side.scan.rows_read, 1);
	sqlite3_close(db);
	sr_scan_free(&side.scan);
	sr_store_close(side.st);
	sr_nodes_free(side.nodes);
}

static void test_a_database(void **state)
{
	database_in(*state, "WAL");
	database_in(*state, "DELETE");
	database_in(*state, "TRUNCATE");
	database_in(*state, "PERSIST");
}

/* --- when a round is due ----------------------------------------------------------------------------------------------------- */

static void wait_told(struct world *w)
{
	for (int i = 0; i < 6000 && sr_watcher_due(w->watcher) == SR_WATCHER_NEVER; i++)
		usleep(10000);
	assert_true(sr_watcher_due(w->watcher) != SR_WATCHER_NEVER);
}

static _Atomic int64_t stopped; /* these tests have a clock of their own */

static int64_t stopped_ticks(void *ctx)
{
	(void)ctx;
	return stopped;
}

static void test_when_a_round_is_due(void **state)
{
	struct world *w = *state;
	struct sr_door door = {shifted_now, stopped_ticks, some_random, w};

	stopped = 1000;
	sr_door_install(&door);
	begin(w);
	sr_watcher_begin(w->watcher);
	sr_watcher_end(w->watcher, 10000);
	stopped = 5000;
	assert_true(sr_watcher_due(w->watcher) == SR_WATCHER_NEVER);
	sh(w, "echo 1 >.new && mv .new a/2");
	wait_told(w);
	assert_int_equal(sr_watcher_due(w->watcher), 5000); /* at once */
	sr_watcher_begin(w->watcher);
	stopped = 5004;
	sh(w, "mkdir x");
	sr_watcher_end(w->watcher, 10000);
	wait_told(w);
	assert_int_equal(sr_watcher_due(w->watcher), 5024); /* together */
	stopped = 5030;
	sr_watcher_begin(w->watcher);
	sr_watcher_end(w->watcher, 10000);
	sh(w, "mkdir y");
	wait_told(w);
	assert_int_equal(sr_watcher_due(w->watcher), 5070); /* a flood */
	stopped = 5080;
	sr_watcher_begin(w->watcher);
	stopped = 6080;
	sr_watcher_end(w->watcher, 2000);
	sh(w, "mkdir z");
	wait_told(w);
	assert_int_equal(sr_watcher_due(w->watcher), 8080); /* the round took long, and the interval is short */
	sr_watcher_take(w->watcher);
	assert_true(sr_watcher_due(w->watcher) == SR_WATCHER_NEVER);
	stopped = 20000;
	sh(w, "ln a/1 a/ln");
	wait_told(w);
	assert_int_equal(sr_watcher_due(w->watcher), 21000); /* it may be that more of it comes */
	sr_watcher_begin(w->watcher);
	sr_watcher_end(w->watcher, 2000);
	stopped = 30000;
	sh(w, "rm a/ln");
	wait_told(w);
	assert_int_equal(sr_watcher_due(w->watcher), 31000);
	sr_watcher_begin(w->watcher);
	sr_watcher_end(w->watcher, 2000);
	stopped = 40000;
	sh(w, "touch 1 2 3 4 5 6 7 8 9 10 11 12");
	sr_watcher_begin(w->watcher);
	see(&w->watched, true); /* takes in what was told */
	sr_watcher_take(w->watcher);
	sr_watcher_end(w->watcher, 2000);
	stopped = 50000;
	sh(w, "rm 1 2 3 4 5 6 7 8 9 10 11 12 && mkdir after");
	for (int i = 0; i < 6000 && sr_watcher_due(w->watcher) != 51000; i++)
		usleep(10000);
	assert_int_equal(sr_watcher_due(w->watcher), 51000); /* though a directory was made */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_changes_is_seen, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_did_not_change_is_not_opened, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_directories_that_move, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_unknown_stays_so_below_clean_directories, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_burst, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_more_than_the_queue_holds, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_was_not_taken_is_looked_at_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_racy_files_are_looked_at_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_racy_files_wait_until_they_are_settled, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_racy_files_of_a_scan_that_is_not_taken, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_very_many_directories_are_racy, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_another_root, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_full_scan_now_and_then, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anything_between_scans, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_anything_during_scans, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_we_apply_ourselves_waits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_when_there_are_no_watches_left, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_commit_that_is_told_of_before_it_can_be_seen, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_database, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_when_a_round_is_due, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
