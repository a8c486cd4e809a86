/* tally.c - see tally.h. */
#include "lib/replica/tally.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool is_leaf(const struct sr_version *v)
{
	return v->kind == SR_KIND_FILE || v->kind == SR_KIND_ROW;
}

/* Paths come in order: a table's rows one after the other. */
static size_t unit_of(struct sr_tally *t, uint8_t store_kind, struct sr_bytes path)
{
	const uint8_t *nul = store_kind == SR_KIND_DATABASE ? memchr(path.at, 0, path.len) : path.at;
	struct sr_bytes table = sr_bytes(path.at, nul ? (size_t)(nul - path.at) : path.len);
	struct sr_tally_unit *last = t->units_n ? &t->units[t->units_n - 1] : NULL;

	if (last && sr_bytes_eq(sr_bytes(last->table, last->table_len), table))
		return t->units_n - 1;
	t->units = sr_realloc(t->units, (t->units_n + 1) * sizeof *t->units);
	t->units[t->units_n] = (struct sr_tally_unit){.table = sr_text(table), .table_len = table.len};
	return t->units_n++;
}

static void sample(struct sr_tally_unit *u, uint8_t store_kind, struct sr_bytes path)
{
	if (u->sampled++ >= SR_LIMIT_SAMPLE)
		return;
	sr_leaf_path_text(&u->sample, "", store_kind, path);
	sr_buf_byte(&u->sample, '\n');
}

void sr_tally_add(struct sr_tally *t, size_t index, uint8_t store_kind, struct sr_bytes path, const struct sr_version *from,
		  const struct sr_version *to)
{
	t->store_kind = store_kind;
	if (is_leaf(from) && !is_leaf(to)) {
		if (t->n == t->cap) {
			t->cap = t->cap ? 2 * t->cap : 16;
			t->deleted = sr_realloc(t->deleted, t->cap * sizeof *t->deleted);
		}
		t->deleted[t->n++] = (struct sr_deleted){.index = index, .unit = unit_of(t, store_kind, path), .content = from->hash};
		sample(&t->units[t->deleted[t->n - 1].unit], store_kind, path);
	} else if (store_kind == SR_KIND_DATABASE && is_leaf(to) && !is_leaf(from)) {
		size_t unit = unit_of(t, store_kind, path); /* may move the units */

		t->units[unit].made++;
	} else if (store_kind == SR_KIND_FILES && is_leaf(to) && !is_leaf(from)) {
		if (t->creations == t->created_cap) {
			t->created_cap = t->created_cap ? 2 * t->created_cap : 16;
			t->created = sr_realloc(t->created, t->created_cap * sizeof *t->created);
		}
		t->created[t->creations++] = to->hash;
	}
}

static void find_net(struct sr_tally *t)
{
	struct sr_hash *contents = sr_alloc(t->n * sizeof *contents);
	bool *net = sr_alloc(t->n * sizeof *net);

	for (size_t k = 0; k < t->n; k++)
		contents[k] = t->deleted[k].content;
	(void)sr_limit_net(contents, t->n, t->created, t->creations, net);
	for (size_t k = 0; k < t->n; k++) {
		t->deleted[k].net = net[k];
		t->units[t->deleted[k].unit].net += net[k];
	}
	for (size_t i = 0; i < t->units_n; i++)
		t->units[i].net -= t->units[i].made < t->units[i].net ? t->units[i].made : t->units[i].net;
	free(contents);
	free(net);
}

static uint64_t leaves_of(const struct sr_nodes *nodes, const struct sr_hash *map, const struct sr_tally_unit *u)
{
	uint64_t leaves = 0, bytes;
	struct sr_entry table;

	if (!u->table_len)
		return sr_map_counts(nodes, map, &leaves, &bytes) == SR_OK ? leaves : 0;
	return sr_map_get(nodes, map, sr_bytes(u->table, u->table_len), &table) == SR_OK ? table.leaves : 0;
}

static struct sr_unit unit(const struct sr_tally_unit *u, const char *store, enum sr_way way)
{
	return (struct sr_unit){.store = store, .table = sr_bytes(u->table, u->table_len), .way = way};
}

struct others {
	size_t left; /* of those that are deleted */
};

static enum sr_status look_for_others(void *ctx, struct sr_bytes path, const struct sr_version *from, const struct sr_version *to)
{
	struct others *o = ctx;

	(void)path, (void)to;
	if (!is_leaf(from))
		return SR_OK;
	return o->left-- ? SR_OK : SR_E_LIMIT; /* enough */
}

static bool has_others(const struct sr_tally *t, const struct sr_nodes *nodes, const struct sr_hash *map, size_t than)
{
	static const struct sr_hash nothing;
	struct others o = {.left = than};
	struct sr_err ignored;

	return sr_store_diff(nodes, t->store_kind, map, &nothing, look_for_others, &o, &ignored) != SR_OK;
}

/* Nothing is left of a store but empty directories, and nothing comes: that is asked about, however small it is.  What others change just then is
 * none of the pusher's: it leaves nothing of what it knew. */
static bool empties(const struct sr_tally *t, const struct sr_nodes *nodes, const struct sr_hash *map, const struct sr_hash *left)
{
	bool made = t->creations > 0;

	for (size_t i = 0; i < t->units_n; i++)
		made |= t->units[i].made > 0;
	return !made && t->n >= SR_LIMIT_WHOLE && (!has_others(t, nodes, map, t->n) || (left && !has_others(t, nodes, left, 0)));
}

void sr_tally_judge(struct sr_tally *t, struct sr_ledger *l, const char *store, const struct sr_config_store *limits, enum sr_way way,
		    const struct sr_nodes *nodes, const struct sr_hash *map, const struct sr_hash *left, bool elsewhere)
{
	enum sr_limit_reason reason = elsewhere ? SR_LIMIT_ELSEWHERE : SR_LIMIT_COUNTED;

	if (sr_limit_judges(limits) && empties(t, nodes, map, left))
		reason = SR_LIMIT_EMPTIES;
	find_net(t);
	for (size_t i = 0; i < t->units_n; i++) {
		struct sr_tally_unit *u = &t->units[i];
		struct sr_unit named = unit(u, store, way);

		u->leaves = leaves_of(nodes, map, u);
		u->verdict = u->approved ? SR_LIMIT_APPROVED : sr_ledger_judge(l, &named, limits, u->net, u->leaves, reason);
		if (u->verdict == SR_LIMIT_HELD)
			sr_ledger_sample(l, &named, sr_buf_view(&u->sample));
		t->held |= u->verdict == SR_LIMIT_HELD;
	}
}

void sr_tally_done(const struct sr_tally *t, struct sr_ledger *l, const char *store, enum sr_way way)
{
	for (size_t i = 0; i < t->units_n; i++) {
		struct sr_unit named = unit(&t->units[i], store, way);

		if (t->units[i].verdict != SR_LIMIT_HELD)
			sr_ledger_done(l, &named, t->units[i].net, t->units[i].leaves, t->units[i].verdict == SR_LIMIT_APPROVED);
	}
}

void sr_tally_text(const struct sr_tally *t, struct sr_buf *out)
{
	for (size_t i = 0; i < t->units_n; i++) {
		const struct sr_tally_unit *u = &t->units[i];

		if (u->verdict != SR_LIMIT_HELD)
			continue;
		sr_buf_printf(out, "%" PRIu64 " of %" PRIu64 " %s", u->net, u->leaves, u->table_len ? "rows of table " : "files");
		sr_percent(out, sr_bytes(u->table, u->table_len), NULL);
		return;
	}
}

void sr_tally_free(struct sr_tally *t)
{
	for (size_t i = 0; i < t->units_n; i++) {
		free(t->units[i].table);
		sr_buf_free(&t->units[i].sample);
	}
	free(t->units);
	free(t->deleted);
	free(t->created);
	*t = (struct sr_tally){0};
}
