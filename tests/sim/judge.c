/* judge.c - what was changed, and what has to have become of it.
 *
 * A quiet point: users rest, faults are over, rounds go on until all is in sync, within a bounded number of them.  Then
 *   every node has the same contents, and the datastore's root is that of a tree made from scratch from its files;
 *   every value whose change was done is current, superseded by a change that took effect, or in a conflict archive;
 *   a key that only one user writes has what that user made of it last: nothing was deleted or brought back unasked, an undo stays undone;
 *   a key that all write has a value that somebody gave it, and that no change which was done replaced (unless it was given again).
 * If a backup was put back since the last quiet point, only the first and the second are judged, and what was done on that machine since the backup was made is in
 * doubt: a union deletes nothing, and the older of two versions may win in it, the other being archived.
 * What is current then is where the next part of the history begins. */
#include <dirent.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/datastore/internal.h"
#include "lib/replica/replica.h"
#include "lib/sync/internal.h"
#include "tests/sim/sim.h"

enum { MOST_TURNS = 24, TURNS_TO_WAIT = 8, MOST_KEYS = 256 };

struct change {
	const struct sim_machine *m;
	unsigned store;
	char key[24];
	uint64_t from, to;
	enum sim_fate fate;
	int64_t at_us;
};

static struct change *changes; /* since the last quiet point */
static size_t changes_n, changes_cap;

static struct key {
	unsigned store;
	char key[24];
	uint64_t value;
} *before;             /* current at the last quiet point */
static size_t before_n;

static uint64_t *archived;
static size_t archived_n, archived_cap;

void sim_note(const struct sim_machine *m, unsigned store, const char *key, uint64_t from, uint64_t to, enum sim_fate fate)
{
	if (changes_n == changes_cap) {
		changes_cap = changes_cap ? 2 * changes_cap : 64;
		changes = sr_realloc(changes, changes_cap * sizeof *changes);
	}
	changes[changes_n] = (struct change){.m = m, .store = store, .from = from, .to = to, .fate = fate, .at_us = sim_now()};
	strcpy(changes[changes_n++].key, key);
	sim_trace("%s/%s: %llu -> %llu%s", m->store[store].name, key, (unsigned long long)from, (unsigned long long)to, fate == SIM_DONE ? "" : " in doubt");
}

static bool went_back;             /* some machine, since the last quiet point */
static bool far_back[SIM_MOST];    /* that one, to before it */
static int64_t quiet_us;           /* when it was */

void sim_went_back(const struct sim_machine *m, int64_t then_us)
{
	went_back = true;
	far_back[m->number] |= then_us < quiet_us;
	for (size_t i = 0; i < changes_n; i++)
		if (changes[i].m == m && changes[i].at_us >= then_us)
			changes[i].fate = SIM_DOUBT;
}

/* --- what is there ----------------------------------------------------------------------------------------------------------- */

static void add_key(struct key *keys, size_t *n, unsigned store, const char *key, uint64_t value)
{
	if (*n == MOST_KEYS)
		sim_violation("judge", "more keys than there can be");
	keys[*n] = (struct key){.store = store, .value = value};
	snprintf(keys[(*n)++].key, sizeof keys->key, "%.23s", key);
}

static void read_rows(const struct sim_machine *m, unsigned store, struct key *keys, size_t *n)
{
	sqlite3 *db = NULL;
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_open_v2(m->store[store].path, &db, SQLITE_OPEN_READWRITE, NULL);

	sqlite3_busy_timeout(db, 5000);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(db, "SELECT key, value FROM kept", -1, &s, NULL);
	if (rc == SQLITE_ERROR && strstr(sqlite3_errmsg(db), "no such table")) /* no user came to make it */
		rc = SQLITE_DONE;
	while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
		add_key(keys, n, store, (const char *)sqlite3_column_text(s, 0), sim_token_of((const char *)sqlite3_column_text(s, 1)));
		rc = SQLITE_OK;
	}
	if (rc != SQLITE_DONE)
		sim_violation("unreadable", "%s: %s: %s", m->name, m->store[store].name, sqlite3_errmsg(db));
	sqlite3_finalize(s);
	sqlite3_close(db);
}

static void read_file(const char *path, char text[4096])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, 4095);

	text[n < 0 ? 0 : n] = '\0';
	if (fd >= 0)
		close(fd);
}

static void read_files(const struct sim_machine *m, const char *below, struct key *keys, size_t *n)
{
	char dir[256], path[520], text[4096];
	struct dirent *e;
	DIR *d;

	snprintf(dir, sizeof dir, "%s%s", m->store[2].path, below);
	d = opendir(dir);
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		if (e->d_type == DT_DIR) {
			snprintf(path, sizeof path, "%s/%s", below, e->d_name);
			read_files(m, path, keys, n);
			continue;
		}
		read_file(path, text);
		if (!sim_token_of(text))
			sim_violation("torn", "%s: %s/%s", m->name, below, e->d_name);
		add_key(keys, n, 2, e->d_name, sim_token_of(text));
	}
	if (d)
		closedir(d);
}

static int by_key(const void *a, const void *b)
{
	const struct key *x = a, *y = b;

	return x->store != y->store ? (int)x->store - (int)y->store : strcmp(x->key, y->key);
}

static struct key *read_all(const struct sim_machine *m, size_t *n)
{
	struct key *keys = sr_alloc(MOST_KEYS * sizeof *keys);

	*n = 0;
	for (unsigned i = 0; i < SIM_STORES; i++)
		if (m->store[i].files)
			read_files(m, "", keys, n);
		else if (access(m->store[i].path, F_OK) == 0)
			read_rows(m, i, keys, n);
	qsort(keys, *n, sizeof *keys, by_key);
	return keys;
}

static uint64_t value_of(const struct key *keys, size_t n, unsigned store, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (keys[i].store == store && !strcmp(keys[i].key, key))
			return keys[i].value;
	return 0;
}

/* --- archives ---------------------------------------------------------------------------------------------------------------- */

static void add_archived(const char *text)
{
	for (const char *at = text; (at = strstr(at, "<T-")); at++) {
		if (archived_n == archived_cap) {
			archived_cap = archived_cap ? 2 * archived_cap : 64;
			archived = sr_realloc(archived, archived_cap * sizeof *archived);
		}
		archived[archived_n++] = sim_token_of(at);
	}
}

static bool is_archived(uint64_t token)
{
	for (size_t i = 0; i < archived_n; i++)
		if (archived[i] == token)
			return true;
	return false;
}

/* What a record holds beside its text. */
static void without_zeros(char text[4096], size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!text[i])
			text[i] = ' ';
}

void sim_read_archive(const struct sim_machine *m)
{
	char dir[160], path[520], text[4096];
	struct dirent *e;
	DIR *d;

	snprintf(dir, sizeof dir, "%s/archive", m->state);
	d = opendir(dir);
	while (d && (e = readdir(d))) {
		size_t n = strlen(e->d_name);
		ssize_t got;
		int fd;

		if (n < 5 || strcmp(e->d_name + n - 5, ".data") != 0)
			continue;
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
		if (fd >= 0)
			close(fd);
		text[got < 0 ? 0 : got] = '\0';
		without_zeros(text, got < 0 ? 0 : (size_t)got);
		add_archived(text);
	}
	if (d)
		closedir(d);
}

/* --- the judgement ----------------------------------------------------------------------------------------------------------- */

static bool is_own(const char *key)
{
	return strncmp(key, "shared", 6) != 0;
}

static bool took_effect(const struct change *c, const struct key *now, size_t n, unsigned depth);

static bool is_kept(unsigned store, const char *key, uint64_t token, const struct key *now, size_t n, unsigned depth)
{
	if (value_of(now, n, store, key) == token || is_archived(token))
		return true;
	for (size_t i = 0; i < changes_n; i++)
		if (changes[i].store == store && changes[i].from == token && !strcmp(changes[i].key, key) && took_effect(&changes[i], now, n, depth))
			return true;
	return false;
}

static bool took_effect(const struct change *c, const struct key *now, size_t n, unsigned depth)
{
	if (c->fate == SIM_DONE || !c->to)
		return true;
	return depth < 50 && is_kept(c->store, c->key, c->to, now, n, depth + 1);
}

static const char *name_of(unsigned store)
{
	return sim_machines[0].store[store].name;
}

/* Of what was current at the last quiet point nobody may have anything, if all were put back to before it. */
static bool someone_has_it(void)
{
	for (unsigned i = 0; i < sim_count; i++)
		if (!far_back[i])
			return true;
	return false;
}

static void judge_values(const struct key *now, size_t n)
{
	for (size_t i = 0; i < changes_n; i++)
		if (changes[i].fate == SIM_DONE && changes[i].to && !is_kept(changes[i].store, changes[i].key, changes[i].to, now, n, 0))
			sim_violation("lost", "%s/%s: value %llu of %s is neither current, superseded nor archived; now it is %llu", name_of(changes[i].store),
				      changes[i].key, (unsigned long long)changes[i].to, changes[i].m->name,
				      (unsigned long long)value_of(now, n, changes[i].store, changes[i].key));
	for (size_t i = 0; someone_has_it() && i < before_n; i++)
		if (!is_kept(before[i].store, before[i].key, before[i].value, now, n, 0))
			sim_violation("lost", "%s/%s: value %llu of before is neither current, superseded nor archived; now it is %llu",
				      name_of(before[i].store), before[i].key, (unsigned long long)before[i].value,
				      (unsigned long long)value_of(now, n, before[i].store, before[i].key));
}

/* What it may be now: what was made of it by the last change that was done, or by one in doubt since. */
static void judge_own(unsigned store, const char *key, uint64_t is)
{
	uint64_t last = value_of(before, before_n, store, key);
	bool well = is == last;

	for (size_t i = 0; i < changes_n; i++) {
		const struct change *c = &changes[i];

		if (c->store != store || strcmp(c->key, key) != 0)
			continue;
		if (c->fate == SIM_DONE) {
			last = c->to;
			well = is == last;
		} else {
			well |= is == c->to;
		}
	}
	if (!well)
		sim_violation("changed unasked", "%s/%s is %llu, and was last made %llu by the only one who writes it", name_of(store), key,
			      (unsigned long long)is, (unsigned long long)last);
}

/* A value that came to be once, and was replaced by what was done, is not to come back; one that was given twice (an undo) may: the replacement may have lost
 * against what was undone. */
static void judge_shared(unsigned store, const char *key, uint64_t is)
{
	unsigned given = value_of(before, before_n, store, key) == is;
	const struct change *replaced = NULL;

	for (size_t i = 0; i < changes_n; i++) {
		const struct change *c = &changes[i];

		if (c->store != store || strcmp(c->key, key) != 0)
			continue;
		given += c->to == is;
		if (is && c->from == is && c->fate == SIM_DONE)
			replaced = c;
	}
	if (!given)
		sim_violation("changed unasked", "%s/%s is %llu, which nobody gave it", name_of(store), key, (unsigned long long)is);
	if (replaced && given == 1)
		sim_violation("brought back", "%s/%s is %llu, which %s replaced by %llu", name_of(store), key, (unsigned long long)is, replaced->m->name,
			      (unsigned long long)replaced->to);
}

static void judge_key(unsigned store, const char *key, const struct key *now, size_t n)
{
	(is_own(key) ? judge_own : judge_shared)(store, key, value_of(now, n, store, key));
}

static void judge(const struct key *now, size_t n)
{
	judge_values(now, n);
	if (went_back)
		return;
	for (size_t i = 0; i < n; i++)
		judge_key(now[i].store, now[i].key, now, n);
	for (size_t i = 0; i < before_n; i++)
		judge_key(before[i].store, before[i].key, now, n);
	for (size_t i = 0; i < changes_n; i++)
		judge_key(changes[i].store, changes[i].key, now, n);
}

/* --- equal, and true --------------------------------------------------------------------------------------------------------- */

static void same_everywhere(const struct key *now, size_t n)
{
	for (unsigned k = 1; k < sim_count; k++) {
		size_t others_n;
		struct key *others = read_all(&sim_machines[k], &others_n);

		for (size_t i = 0; i < n || i < others_n; i++)
			if (i >= n || i >= others_n || by_key(&now[i], &others[i]) || now[i].value != others[i].value)
				sim_violation("unequal", "%s has %s/%s = %llu, the datastore %s/%s = %llu, under equal roots", sim_machines[k].name,
					      i < others_n ? name_of(others[i].store) : "-", i < others_n ? others[i].key : "-",
					      (unsigned long long)(i < others_n ? others[i].value : 0), i < n ? name_of(now[i].store) : "-",
					      i < n ? now[i].key : "-", (unsigned long long)(i < n ? now[i].value : 0));
		free(others);
	}
}

/* By a state that knows nothing. */
static void true_to_files(const char *scratch)
{
	const struct sim_machine *m = &sim_machines[0];
	struct sr_config config = *m->config;
	struct sr_replica *r = NULL;
	struct sr_err err = {0};
	enum sr_status rc;

	config.datastore_state_directory = (char *)scratch;
	rc = sr_replica_open(&r, &config, SR_ROLE_DATASTORE, &err);
	if (rc == SR_OK)
		rc = sr_replica_start(r, m->datastore->r->key.secret, &err);
	if (rc == SR_OK)
		sr_replica_look(r);
	for (size_t i = 0; rc == SR_OK && i < r->n; i++)
		if (r->stores[i].mode == SR_MODE_READY) {
			rc = sr_replica_scan(r, i, true, NULL, NULL, &err);
			sr_replica_unview(r);
		}
	if (rc != SR_OK)
		sim_violation("judge", "a tree from scratch: %s", err.text);
	sr_replica_reroot(r);
	if (!sr_hash_eq(&r->root, &m->datastore->r->root))
		sim_violation("untrue", "the datastore's root is not that of its files");
	sr_replica_close(r);
}

/* --- a quiet point ----------------------------------------------------------------------------------------------------------- */

/* Rounds that began when users rested already. */
static bool had_rounds(const uint64_t *since)
{
	for (unsigned i = 0; i < sim_count; i++)
		if (sim_machines[i].rounds < since[i] + 2)
			return false;
	return true;
}

static bool all_in_sync(void)
{
	const struct sim_machine *d = &sim_machines[0];

	if (!d->runs || d->last != SR_OK || !d->datastore)
		return false;
	for (unsigned i = 1; i < sim_count; i++) {
		const struct sim_machine *m = &sim_machines[i];

		if (!m->runs || !m->in_sync || !m->sync || !sr_hash_eq(&m->sync->r->root, &d->datastore->r->root))
			return false;
	}
	return true;
}

static bool any_held(void)
{
	for (unsigned i = 1; i < sim_count; i++)
		if (sim_machines[i].last == SR_E_HELD)
			return true;
	return false;
}

static void operator_says(void)
{
	struct sim_machine *before_ = sim_visit(&sim_machines[0]);
	struct sr_err err;

	if (sim_machines[0].runs)
		(void)!sr_datastore_adopt_deletions(sim_machines[0].datastore, &err);
	if (sim_machines[0].runs && went_back && any_held() && sr_datastore_adopt_union(sim_machines[0].datastore, &err) == SR_OK)
		sim_trace("the operator says adopt --union");
	sim_return(before_);
	for (unsigned i = 1; i < sim_count; i++)
		sim_machines[i].approve = true;
}

static void wait_for_sync(void)
{
	uint64_t since[SIM_MOST];

	for (unsigned i = 0; i < sim_count; i++)
		since[i] = sim_machines[i].rounds;
	for (unsigned turn = 0; !had_rounds(since) || !all_in_sync(); turn++) {
		if (turn == MOST_TURNS) {
			for (unsigned i = 0; i < sim_count; i++)
				sim_trace("%s: %s, %s: %s", sim_machines[i].name, sim_machines[i].runs ? "runs" : "does not run",
					  sr_status_name(sim_machines[i].last), sim_machines[i].err.text);
			sim_violation("never in sync", "after %d intervals without a fault", MOST_TURNS);
		}
		if (turn >= TURNS_TO_WAIT)
			operator_says();
		sim_sleep(10 * SIM_S);
	}
}

void sim_quiet(void)
{
	static char scratch[160];
	static unsigned quiets;
	struct key *now;
	size_t n;

	sim_users.work = false;
	while (!sim_users_rest())
		sim_sleep(SIM_S / 10);
	wait_for_sync();
	for (unsigned i = 0; i < sim_count; i++)
		sim_read_archive(&sim_machines[i]);
	now = read_all(&sim_machines[0], &n);
	same_everywhere(now, n);
	snprintf(scratch, sizeof scratch, "%.*s/scratch%u", (int)(strrchr(sim_machines[0].dir, '/') - sim_machines[0].dir), sim_machines[0].dir, quiets++);
	true_to_files(scratch);
	judge(now, n);
	sim_trace("quiet: %zu changes, %zu keys, %zu archived", changes_n, n, archived_n);
	free(before);
	before = now;
	before_n = n;
	changes_n = 0;
	went_back = false;
	memset(far_back, 0, sizeof far_back);
	quiet_us = sim_now();
}
