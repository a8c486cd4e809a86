/* sqlite_definition.c - what a table is beyond its fingerprint: NOT NULL, DEFAULT, CHECK, UNIQUE, foreign keys, unique indexes.
 *
 * Read off the schema text: the parts of its CREATE TABLE and its CREATE UNIQUE INDEXes, each token by token, without blanks, comments and quotes of
 * names, in one case of letters.  In byte order, for a column that ALTER TABLE added stands behind the others.  Two that say the same in other
 * words are two. */
#include "lib/store/sqlite_internal.h"

#include <stdlib.h>
#include <string.h>

struct parts {
	struct sr_buf *at;
	size_t n;
};

static struct sr_buf *add_part(struct parts *p)
{
	p->at = sr_realloc(p->at, (p->n + 1) * sizeof *p->at);
	p->at[p->n] = (struct sr_buf){0};
	return &p->at[p->n++];
}

static int by_bytes(const void *a, const void *b)
{
	return sr_bytes_cmp(sr_buf_view(a), sr_buf_view(b));
}

static void add_upper(struct sr_buf *out, struct sr_bytes b)
{
	for (size_t i = 0; i < b.len; i++)
		sr_buf_byte(out, (uint8_t)(b.at[i] >= 'a' && b.at[i] <= 'z' ? b.at[i] - 'a' + 'A' : b.at[i]));
}

/* A string stays as it is. */
static void add_token(struct sr_buf *out, const struct sr_sql_token *t)
{
	char *name;

	if (t->kind == 'q' && t->text.at[0] == '\'') {
		sr_buf_bytes(out, t->text);
	} else {
		name = sr_sql_token_name(t);
		add_upper(out, sr_bytes_of(name));
		free(name);
	}
	sr_buf_byte(out, ' ');
}

static void add_tokens(struct sr_buf *out, struct sr_bytes text)
{
	for (struct sr_sql_token t = sr_sql_token(&text); t.kind; t = sr_sql_token(&text))
		add_token(out, &t);
}

static void add_columns(struct parts *p, struct sr_bytes text)
{
	struct sr_sql_token t = {.kind = ' '};
	struct sr_bytes part;

	while (t.kind && t.kind != '(')
		t = sr_sql_token(&text);
	while (sr_sql_part(&text, ',', &part))
		add_tokens(add_part(p), part);
}

bool sr_sql_is_unique_index(struct sr_bytes text)
{
	struct sr_sql_token create = sr_sql_token(&text), unique = sr_sql_token(&text);

	return sr_sql_token_is(&create, "CREATE") && sr_sql_token_is(&unique, "UNIQUE");
}

bool sr_sql_definition(struct sr_bytes text, struct sr_bytes table, const struct sr_tree_key *key, struct sr_hash *out)
{
	struct sr_reader in = sr_reader(text);
	struct parts p = {0};
	struct sr_buf all = {0};
	bool found = false;

	while (!in.bad && !sr_read_done(&in)) {
		struct sr_bytes type = sr_read_string(&in), name = sr_read_string(&in), of = sr_read_string(&in), sql = sr_read_string(&in);

		if (in.bad || !sr_bytes_eq(of, table))
			continue;
		if (sr_bytes_eq(type, sr_bytes_of("table")) && sr_bytes_eq(name, table)) {
			found = true;
			add_columns(&p, sql);
		} else if (sr_sql_is_unique_index(sql)) {
			add_tokens(add_part(&p), sql);
		}
	}
	if (p.n)
		qsort(p.at, p.n, sizeof *p.at, by_bytes);
	for (size_t k = 0; k < p.n; k++) {
		sr_buf_string(&all, sr_buf_view(&p.at[k]));
		sr_buf_free(&p.at[k]);
	}
	sr_hash_of(out, key, sr_buf_view(&all));
	sr_buf_free(&all);
	free(p.at);
	return found;
}

bool sr_sql_is_defined_so(struct sr_sql *sql, const struct sr_store *st, struct sr_bytes text, struct sr_bytes table)
{
	struct sr_buf own = {0};
	struct sr_hash is, should_be;
	bool same = sr_sql_schema_text(sql, &own, NULL) == SR_OK && sr_sql_definition(sr_buf_view(&own), table, st->key, &is) &&
		    sr_sql_definition(text, table, st->key, &should_be) && sr_hash_eq(&is, &should_be);

	sr_buf_free(&own);
	return same;
}

void sr_schema_definitions(struct sr_bytes text, const struct sr_tree_key *key, struct sr_buf *out)
{
	struct sr_reader in = sr_reader(text);

	while (!in.bad && !sr_read_done(&in)) {
		struct sr_bytes type = sr_read_string(&in), name = sr_read_string(&in), of = sr_read_string(&in);
		struct sr_hash h;

		(void)sr_read_string(&in);
		if (in.bad || !sr_bytes_eq(type, sr_bytes_of("table")) || !sr_bytes_eq(name, of) || !sr_sql_definition(text, name, key, &h))
			continue;
		sr_buf_string(out, name);
		sr_buf_add(out, h.b, sizeof h.b);
	}
}

bool sr_schema_definition(struct sr_bytes definitions, struct sr_bytes table, struct sr_hash *out)
{
	struct sr_reader in = sr_reader(definitions);

	while (!in.bad && !sr_read_done(&in)) {
		struct sr_bytes name = sr_read_string(&in), hash = sr_read_bytes(&in, SR_HASH_LEN);

		if (in.bad || !sr_bytes_eq(name, table))
			continue;
		memcpy(out->b, hash.at, SR_HASH_LEN);
		return true;
	}
	return false;
}
