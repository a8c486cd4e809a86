/* limit.c - see limit.h. */
#include "lib/replica/limit.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define META      "deletions"
#define HOUR_MS   3600000
#define MINUTE_MS 60000
#define STALE_MS  (10 * MINUTE_MS) /* what others push and was refused is asked again every round; if not, it is off the table */
#define SMALL     10               /* leaves: below it, half of them is nothing to ask about */

static const char *const ways[] = {
	[SR_WAY_PUSH] = "push", [SR_WAY_PULL] = "pull", [SR_WAY_SCAN] = "scan", [SR_WAY_RECEIVE] = "receive"};

/* --- judging ---------------------------------------------------------------------------------------------------------- */

static bool more_than_percent(uint64_t n, uint64_t leaves, uint64_t percent)
{
	return n > leaves / 100 * percent + leaves % 100 * percent / 100;
}

bool sr_limit_holds(const struct sr_limit_case *c)
{
	if (c->most_percent >= 100)
		return false;
	if (c->deletions > c->most_count && more_than_percent(c->deletions, c->leaves, c->most_percent))
		return true;
	return c->leaves >= SMALL && c->deletions > c->leaves / 2;
}

static int by_hash(const void *a, const void *b)
{
	return memcmp(a, b, SR_HASH_LEN);
}

uint64_t sr_limit_net(const struct sr_hash *deleted, size_t n, struct sr_hash *created, size_t m, bool *net)
{
	bool *taken = sr_alloc(m * sizeof *taken);
	uint64_t count = 0;

	if (m)
		qsort(created, m, sizeof *created, by_hash);
	for (size_t i = 0; i < n; i++) {
		size_t low = 0, high = m;

		while (low < high) { /* the first one that is not lower */
			size_t middle = low + (high - low) / 2;

			if (by_hash(&created[middle], &deleted[i]) < 0)
				low = middle + 1;
			else
				high = middle;
		}
		while (low < m && taken[low] && !by_hash(&created[low], &deleted[i]))
			low++;
		net[i] = low == m || by_hash(&created[low], &deleted[i]);
		if (!net[i])
			taken[low] = true;
		count += net[i];
	}
	free(taken);
	return count;
}

static const char *table_text(const struct sr_unit *u, struct sr_buf *out)
{
	sr_percent(out, u->table, NULL);
	return sr_buf_text(out);
}

static void limits_of(const struct sr_config_store *limits, const struct sr_unit *u, struct sr_limit_case *out)
{
	char *table = u->table.len ? sr_text(u->table) : NULL;

	out->most_count = sr_config_limit(&limits->max_delete_count, table);
	out->most_percent = sr_config_limit(&limits->max_delete_percent, table);
	free(table);
}

bool sr_limit_judges(const struct sr_config_store *limits)
{
	const struct sr_config_limit *p = &limits->max_delete_percent;
	bool judges = p->value < 100;

	for (size_t i = 0; i < p->count; i++)
		judges &= p->tables[i].value < 100;
	return judges;
}

/* --- the ledger --------------------------------------------------------------------------------------------------------- */

struct done { /* deletions of one minute */
	int64_t at_ms;
	uint64_t n, leaves; /* as many there were before */
};

struct entry { /* of one unit */
	char *store, *table; /* table percent-encoded; OWNED, as are `done` and `paths` */
	enum sr_way way;
	struct done *done; /* oldest first */
	size_t dones;
	bool held, judged;      /* judged: since the last settling */
	bool empties;           /* held: a push that leaves nothing of the store */
	int64_t since_ms, seen_ms;
	uint64_t n, leaves; /* of what is held */
	uint64_t approved;  /* so many, or 0 */
	struct sr_buf paths; /* a few of them, each with a newline */
};

struct sr_ledger {
	struct sr_state *state;
	struct entry *at;
	size_t n;
	bool dirty;
};

static struct entry *find(const struct sr_ledger *l, const char *store, const char *table, enum sr_way way)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->at[i].way == way && !strcmp(l->at[i].store, store) && !strcmp(l->at[i].table, table))
			return &l->at[i];
	return NULL;
}

static struct entry *make(struct sr_ledger *l, const char *store, const char *table, enum sr_way way)
{
	struct entry *e = find(l, store, table, way);

	if (e)
		return e;
	l->at = sr_realloc(l->at, (l->n + 1) * sizeof *l->at);
	e = &l->at[l->n++];
	*e = (struct entry){.store = sr_strdup(store), .table = sr_strdup(table), .way = way};
	return e;
}

static struct entry *entry_of(struct sr_ledger *l, const struct sr_unit *u)
{
	struct sr_buf table = {0};
	struct entry *e = make(l, u->store, table_text(u, &table), u->way);

	sr_buf_free(&table);
	return e;
}

static void forget_entry(struct entry *e)
{
	free(e->store);
	free(e->table);
	free(e->done);
	sr_buf_free(&e->paths);
}

/* What is older than an hour goes, and units of which there is nothing left to say. */
static void tidy(struct sr_ledger *l, int64_t now)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++) {
		struct entry *e = &l->at[i];
		size_t old = 0;

		while (old < e->dones && e->done[old].at_ms + HOUR_MS <= now)
			old++;
		if (old) {
			memmove(e->done, e->done + old, (e->dones - old) * sizeof *e->done);
			e->dones -= old;
			l->dirty = true;
		}
		if (e->dones || e->held || e->approved || e->judged)
			l->at[n++] = *e;
		else
			forget_entry(e);
	}
	l->n = n;
}

static void release(struct sr_ledger *l, struct entry *e)
{
	l->dirty |= e->held || e->approved;
	e->held = e->empties = false;
	e->approved = 0;
}

static void hold(struct sr_ledger *l, struct entry *e, uint64_t n, uint64_t leaves, int64_t now)
{
	l->dirty |= !e->held || e->n != n || e->leaves != leaves || e->empties;
	if (!e->held)
		e->since_ms = now;
	e->held = true;
	e->n = n;
	e->leaves = leaves;
	e->seen_ms = now;
}

enum sr_limit_verdict sr_ledger_judge(struct sr_ledger *l, const struct sr_unit *unit, const struct sr_config_store *limits, uint64_t n,
				      uint64_t leaves, enum sr_limit_reason reason)
{
	struct sr_limit_case c = {.deletions = n, .leaves = leaves};
	int64_t now = sr_now_ms();
	struct entry *e;

	if (!n)
		return SR_LIMIT_PASS;
	tidy(l, now);
	e = entry_of(l, unit);
	e->judged = true;
	for (size_t i = 0; i < e->dones; i++)
		c.deletions += e->done[i].n;
	if (e->dones && e->done[0].leaves > leaves)
		c.leaves = e->done[0].leaves;
	if (c.deletions > c.leaves - leaves + n) /* what came again within the hour did not go */
		c.deletions = c.leaves - leaves + n;
	limits_of(limits, unit, &c);
	if (n <= e->approved)
		return SR_LIMIT_APPROVED;
	if (reason == SR_LIMIT_COUNTED && !e->empties && !sr_limit_holds(&c))
		return SR_LIMIT_PASS;
	e->approved = 0;
	e->empties |= reason == SR_LIMIT_EMPTIES && e->way == SR_WAY_PUSH;
	hold(l, e, n, leaves, now);
	return SR_LIMIT_HELD;
}

void sr_ledger_sample(struct sr_ledger *l, const struct sr_unit *unit, struct sr_bytes paths)
{
	struct entry *e = entry_of(l, unit);

	if (sr_bytes_eq(sr_buf_view(&e->paths), paths))
		return;
	sr_buf_clear(&e->paths);
	sr_buf_bytes(&e->paths, paths);
	l->dirty = true;
}

static void add_done(struct entry *e, int64_t now, uint64_t n, uint64_t leaves)
{
	struct done *last = e->dones ? &e->done[e->dones - 1] : NULL;

	if (last && now - last->at_ms < MINUTE_MS) {
		last->n += n;
		return;
	}
	e->done = sr_realloc(e->done, (e->dones + 1) * sizeof *e->done);
	e->done[e->dones++] = (struct done){.at_ms = now, .n = n, .leaves = leaves};
}

void sr_ledger_done(struct sr_ledger *l, const struct sr_unit *unit, uint64_t n, uint64_t leaves, bool approved)
{
	struct entry *e;

	if (!n)
		return;
	e = entry_of(l, unit);
	release(l, e);
	if (approved)
		e->dones = 0;
	else
		add_done(e, sr_now_ms(), n, leaves);
	l->dirty = true;
}

void sr_ledger_settle(struct sr_ledger *l, const char *store, enum sr_way way)
{
	int64_t now = sr_now_ms();

	for (size_t i = 0; i < l->n; i++) {
		struct entry *e = &l->at[i];

		if (e->way != way || (store && strcmp(e->store, store)))
			continue;
		if (way == SR_WAY_RECEIVE ? e->seen_ms + STALE_MS < now : !e->judged)
			release(l, e);
		e->judged = false;
	}
	tidy(l, now);
}

void sr_ledger_let_go(struct sr_ledger *l, enum sr_way way)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->at[i].way == way && l->at[i].held)
			release(l, &l->at[i]);
}

size_t sr_ledger_approve(struct sr_ledger *l)
{
	size_t units = 0;

	for (size_t i = 0; i < l->n; i++)
		if (l->at[i].held) {
			l->at[i].approved = l->at[i].n;
			l->at[i].held = l->at[i].empties = false;
			l->at[i].seen_ms = sr_now_ms();
			l->dirty = true;
			units++;
		}
	return units;
}

bool sr_ledger_holds_way(const struct sr_ledger *l, const char *store, enum sr_way way)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->at[i].held && l->at[i].way == way && !strcmp(l->at[i].store, store))
			return true;
	return false;
}

bool sr_ledger_holds(const struct sr_ledger *l, const char *store)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->at[i].held && !strcmp(l->at[i].store, store))
			return true;
	return false;
}

/* --- as JSON -------------------------------------------------------------------------------------------------------------- */

static json_t *paths_json(const struct entry *e)
{
	const char *at = (const char *)e->paths.at, *stop = at + e->paths.len, *end;
	json_t *list = json_array();

	for (; at < stop && (end = memchr(at, '\n', (size_t)(stop - at))); at = end + 1) {
		char *path = sr_format("%s%.*s", e->store, (int)(end - at), at);

		json_array_append_new(list, json_string(path));
		free(path);
	}
	return list;
}

static json_t *entry_json(const struct entry *e)
{
	json_t *o = json_object(), *done = json_array();

	json_object_set_new(o, "store", json_string(e->store));
	json_object_set_new(o, "table", json_string(e->table));
	json_object_set_new(o, "way", json_string(ways[e->way]));
	for (size_t i = 0; i < e->dones; i++)
		json_array_append_new(done, json_pack("[III]", (json_int_t)e->done[i].at_ms, (json_int_t)e->done[i].n, (json_int_t)e->done[i].leaves));
	json_object_set_new(o, "done", done);
	json_object_set_new(o, "approved", json_integer((json_int_t)e->approved));
	if (e->empties)
		json_object_set_new(o, "empties", json_true());
	if (e->held)
		json_object_set_new(o, "paths", paths_json(e));
	if (e->held)
		json_object_set_new(o, "held",
				    json_pack("[IIII]", (json_int_t)e->since_ms, (json_int_t)e->seen_ms, (json_int_t)e->n, (json_int_t)e->leaves));
	return o;
}

enum sr_status sr_ledger_save(struct sr_ledger *l, struct sr_err *err)
{
	json_t *list;
	char *text;
	enum sr_status rc;

	if (!l->dirty)
		return SR_OK;
	list = json_array();
	for (size_t i = 0; i < l->n; i++)
		json_array_append_new(list, entry_json(&l->at[i]));
	text = json_dumps(list, JSON_COMPACT);
	json_decref(list);
	rc = sr_state_put(l->state, META, sr_bytes_of(text), err);
	free(text);
	l->dirty = rc != SR_OK;
	return rc;
}

static bool numbers(const json_t *list, uint64_t *out, size_t n)
{
	bool ok = json_array_size(list) == n;

	for (size_t i = 0; ok && i < n; i++) {
		json_int_t v = json_integer_value(json_array_get(list, i));

		ok = v >= 0;
		out[i] = (uint64_t)v;
	}
	return ok;
}

static bool read_way(const char *word, enum sr_way *out)
{
	for (size_t i = 0; word && i < sizeof ways / sizeof *ways; i++)
		if (!strcmp(word, ways[i])) {
			*out = (enum sr_way)i;
			return true;
		}
	return false;
}

static bool read_entry(struct sr_ledger *l, const json_t *o)
{
	const char *store = json_string_value(json_object_get(o, "store")), *table = json_string_value(json_object_get(o, "table"));
	const json_t *done = json_object_get(o, "done"), *held = json_object_get(o, "held");
	uint64_t v[4];
	enum sr_way way;
	struct entry *e;

	if (!store || !table || !read_way(json_string_value(json_object_get(o, "way")), &way))
		return false;
	e = make(l, store, table, way);
	e->approved = (uint64_t)json_integer_value(json_object_get(o, "approved"));
	e->seen_ms = sr_now_ms();
	for (size_t i = 0; i < json_array_size(done); i++) {
		if (!numbers(json_array_get(done, i), v, 3))
			return false;
		e->done = sr_realloc(e->done, (e->dones + 1) * sizeof *e->done);
		e->done[e->dones++] = (struct done){.at_ms = (int64_t)v[0], .n = v[1], .leaves = v[2]};
	}
	for (size_t i = 0; i < json_array_size(json_object_get(o, "paths")) && i < SR_LIMIT_SAMPLE; i++) {
		const char *path = json_string_value(json_array_get(json_object_get(o, "paths"), i));

		if (path && strlen(path) > strlen(store))
			sr_buf_printf(&e->paths, "%s\n", path + strlen(store));
	}
	e->held = held != NULL;
	if (!held)
		return true;
	e->empties = json_is_true(json_object_get(o, "empties"));
	if (!numbers(held, v, 4))
		return false;
	e->since_ms = (int64_t)v[0];
	e->seen_ms = (int64_t)v[1];
	e->n = v[2];
	e->leaves = v[3];
	return true;
}

enum sr_status sr_ledger_open(struct sr_ledger **out, struct sr_state *state, struct sr_err *err)
{
	struct sr_ledger *l = sr_alloc(sizeof *l);
	struct sr_buf text = {0};
	json_t *list = NULL;
	bool found = false, ok = true;
	enum sr_status rc = sr_state_get(state, META, &text, &found, err);

	l->state = state;
	if (rc == SR_OK && found) {
		list = json_loadb((const char *)text.at, text.len, 0, NULL);
		ok = json_is_array(list);
		for (size_t i = 0; ok && i < json_array_size(list); i++)
			ok = read_entry(l, json_array_get(list, i));
	}
	if (!ok)
		rc = sr_err_set(err, SR_E_DATA, "state.db: meta " META " is malformed");
	json_decref(list);
	sr_buf_free(&text);
	if (rc == SR_OK)
		*out = l;
	else
		sr_ledger_close(l);
	return rc;
}

void sr_ledger_close(struct sr_ledger *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->n; i++)
		forget_entry(&l->at[i]);
	free(l->at);
	free(l);
}

void sr_ledger_report(const struct sr_ledger *l, const char *store, struct sr_buf *out)
{
	json_t *list = json_array();
	char *text;

	for (size_t i = 0; i < l->n; i++) {
		const struct entry *e = &l->at[i];
		json_t *o;

		if (!e->held || strcmp(e->store, store))
			continue;
		o = json_object();
		json_object_set_new(o, "table", *e->table ? json_string(e->table) : json_null());
		json_object_set_new(o, "way", json_string(ways[e->way]));
		json_object_set_new(o, "deletions", json_integer((json_int_t)e->n));
		json_object_set_new(o, "leaves", json_integer((json_int_t)e->leaves));
		json_object_set_new(o, "since_ms", json_integer(e->since_ms));
		json_object_set_new(o, "paths", paths_json(e));
		json_array_append_new(list, o);
	}
	text = json_dumps(list, JSON_COMPACT);
	sr_buf_bytes(out, sr_bytes_of(text));
	free(text);
	json_decref(list);
}
