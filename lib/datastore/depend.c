/* depend.c - rows that depend on refused rows by a foreign key, when a push is committed without the latter.
 *
 * Coarse, by table, from the text of CREATE TABLE: no row is put into a table that refers (over any number of steps) to one with a refused
 * row, and none is deleted from a table that such a one refers to; rows without a key go with all others of their table.  Too much is left
 * out rather than too little; the webserver sends it again. */
#include "lib/datastore/internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct table {
	struct sr_bytes name; /* BORROWED from the schema text */
	struct sr_bytes sql;
	bool refused; /* has a refused row */
	bool no_put;  /* refers to one that has */
	bool no_take; /* is referred to by one that has */
};

struct tables {
	struct table *at;
	size_t n;
};

static bool same_name(struct sr_bytes a, struct sr_bytes b)
{
	return a.len == b.len && strncasecmp((const char *)a.at, (const char *)b.at, a.len) == 0;
}

static struct table *find(struct tables *t, struct sr_bytes name)
{
	for (size_t i = 0; i < t->n; i++)
		if (same_name(t->at[i].name, name))
			return &t->at[i];
	return NULL;
}

static void parse(struct tables *t, struct sr_bytes schema)
{
	struct sr_reader in = sr_reader(schema);

	while (sr_read_left(&in) && !in.bad) {
		struct sr_bytes type = sr_read_string(&in), name = sr_read_string(&in);
		struct sr_bytes table = sr_read_string(&in), sql = sr_read_string(&in);

		(void)table;
		if (in.bad || !sr_bytes_eq(type, sr_bytes_of("table")))
			continue;
		t->at = sr_realloc(t->at, (t->n + 1) * sizeof(*t->at));
		t->at[t->n++] = (struct table){.name = name, .sql = sql};
	}
}

/* --- REFERENCES name ---------------------------------------------------------------------------------------------- */

static bool word_byte(uint8_t c)
{
	return isalnum(c) || c == '_' || c == '$' || c >= 0x80;
}

/* The name after REFERENCES at *at, without its quotes (a doubled quote inside ends it: then the name matches no table, or too many match).
 */
static struct sr_bytes name_after(struct sr_bytes sql, size_t at)
{
	uint8_t quote;
	size_t from;

	while (at < sql.len && isspace(sql.at[at]))
		at++;
	quote = at < sql.len && strchr("\"'`[", sql.at[at]) && sql.at[at] ? sql.at[at] : 0;
	from = quote ? ++at : at;
	if (quote)
		while (at < sql.len && sql.at[at] != (quote == '[' ? ']' : quote))
			at++;
	else
		while (at < sql.len && word_byte(sql.at[at]))
			at++;
	return sr_bytes(sql.at + from, at - from);
}

static bool refers_to(const struct table *from, struct sr_bytes name)
{
	static const char word[] = "REFERENCES";
	const size_t len = sizeof(word) - 1;

	for (size_t i = 0; i + len < from->sql.len; i++)
		if (strncasecmp((const char *)from->sql.at + i, word, len) == 0 && (i == 0 || !word_byte(from->sql.at[i - 1])) &&
		    same_name(name_after(from->sql, i + len), name))
			return true;
	return false;
}

static void spread(struct tables *t)
{
	for (bool more = true; more;) {
		more = false;
		for (size_t a = 0; a < t->n; a++)
			for (size_t b = 0; b < t->n; b++) {
				struct table *child = &t->at[a], *parent = &t->at[b];

				if (!(parent->refused || parent->no_put || child->refused || child->no_take) ||
				    !refers_to(child, parent->name))
					continue;
				if ((parent->refused || parent->no_put) && !child->no_put)
					more = child->no_put = true;
				if ((child->refused || child->no_take) && !parent->no_take)
					more = parent->no_take = true;
			}
	}
}

/* --- applied to the part ------------------------------------------------------------------------------------------ */

static struct sr_bytes table_of(const struct sr_leaf *leaf)
{
	const uint8_t *nul = memchr(leaf->path.at, 0, leaf->path.len);

	return sr_bytes(leaf->path.at, nul ? (size_t)(nul - leaf->path.at) : leaf->path.len);
}

static enum sr_status mark_refused(struct sr_ds_part *part, struct tables *t, bool *any, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t k = 0; k < sr_leaves_count(part->leaves) && rc == SR_OK; k++) {
		struct sr_leaf leaf;
		struct table *table;

		if (part->fate[k] != SR_FATE_REFUSED)
			continue;
		rc = sr_leaves_at(part->leaves, k, &leaf, err);
		if (rc != SR_OK)
			break;
		table = find(t, table_of(&leaf));
		if (table)
			*any = table->refused = true;
	}
	return rc;
}

/* A row without a key that was updated is one less of these and one more of those: not one without the other. */
static bool stands_with(const struct table *table, const struct sr_leaf *leaf)
{
	return table->refused && sr_path_is_bag(leaf->path);
}

static enum sr_status refuse_depending(struct sr_ds_part *part, struct tables *t, struct sr_err *err)
{
	enum sr_status rc = SR_OK;

	for (size_t k = 0; k < sr_leaves_count(part->leaves) && rc == SR_OK; k++) {
		struct sr_leaf leaf;
		const struct table *table;

		if (part->fate[k] != SR_FATE_GO)
			continue;
		rc = sr_leaves_at(part->leaves, k, &leaf, err);
		if (rc != SR_OK)
			break;
		table = find(t, table_of(&leaf));
		if (table && (stands_with(table, &leaf) ||
			      (leaf.to.kind == SR_KIND_NONE ? table->no_take : leaf.to.kind == SR_KIND_ROW && table->no_put))) {
			part->fate[k] = SR_FATE_REFUSED;
			part->why[k] = SR_REFUSED_DEPENDS;
		}
	}
	return rc;
}

enum sr_status sr_ds_decide_depending(struct sr_ds_push *p, size_t i, struct sr_err *err)
{
	struct sr_ds_part *part = &p->parts[i];
	struct sr_content content = {.fd = -1};
	struct sr_view *view = NULL;
	struct tables t = {0};
	bool any = false;
	enum sr_status rc;

	if (!part->leaves || p->d->r->stores[i].mode != SR_MODE_READY)
		return SR_OK;
	rc = sr_view_open(&view, p->d->r->stores[i].store, SR_VIEW_EXTRA, err);
	if (rc == SR_OK)
		rc = sr_view_read(view, sr_bytes_of(SR_SCHEMA_PATH), &content, err);
	if (rc == SR_OK) {
		parse(&t, content.record);
		rc = mark_refused(part, &t, &any, err);
	}
	if (rc == SR_OK && any) {
		spread(&t);
		rc = refuse_depending(part, &t, err);
	}
	sr_view_close(view);
	free(t.at);
	return rc;
}
