/* sqlite_create.c - the schema text of a database, and what is made of such a text in another one.
 *
 * Text comes from outside: each CREATE runs alone, under an authorizer that lets through what that one CREATE needs in main.  Tables come
 * first, then indexes, views, virtual tables (one may index a view), and triggers last.
 *
 * A virtual table makes its shadow tables itself, when it is made; the text does not have them. */
#include "lib/store/sqlite_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* --- schema text ------------------------------------------------------------------------------------------------ */

static void add_item(struct sr_buf *out, const char *type, const char *name, const char *table, const char *text)
{
	sr_buf_string(out, sr_bytes_of(type));
	sr_buf_string(out, sr_bytes_of(name));
	sr_buf_string(out, sr_bytes_of(table));
	sr_buf_string(out, sr_bytes_of(text));
}

/* What a database file carries in its header, where it is not the default. */
static enum sr_status add_header(struct sr_sql *sql, struct sr_buf *out, struct sr_err *err)
{
	static const struct {
		const char *name, *plain, *ask;
	} pragmas[] = {
		{"encoding", "UTF-8", "SELECT encoding FROM pragma_encoding"},
		{"user_version", "0", "SELECT user_version FROM pragma_user_version"},
		{"application_id", "0", "SELECT application_id FROM pragma_application_id"},
	};

	for (size_t i = 0; i < sizeof pragmas / sizeof *pragmas; i++) {
		sqlite3_stmt *stmt = NULL;
		int rc = sr_sql_prepare(sql, pragmas[i].ask, NULL, &stmt);

		if (rc == SQLITE_OK)
			rc = sqlite3_step(stmt);
		if (rc == SQLITE_ROW && strcmp(sr_sql_text_at(stmt, 0), pragmas[i].plain))
			add_item(out, "pragma", pragmas[i].name, "", sr_sql_text_at(stmt, 0));
		sqlite3_finalize(stmt);
		if (rc != SQLITE_ROW)
			return sr_sql_fail(err, sql, rc, "%s", pragmas[i].name);
	}
	return SR_OK;
}

/* Does the item of sqlite_master on which `stmt` stands (type, name, tbl_name, sql) travel? */
static bool travels(struct sr_sql *sql, sqlite3_stmt *stmt)
{
	const struct sr_sql_table *t = sr_sql_table(sql, sr_bytes_of(sr_sql_text_at(stmt, 2)));
	struct sr_sql_index x;

	if (sr_sql_internal_name(sr_sql_text_at(stmt, 1)) || sr_sql_internal_name(sr_sql_text_at(stmt, 2)))
		return false;
	return !t || !t->hidden || sr_sql_index(sr_bytes_of(sr_sql_text_at(stmt, 3)), &x);
}

enum sr_status sr_sql_schema_text(struct sr_sql *sql, struct sr_buf *out, struct sr_err *err)
{
	sqlite3_stmt *stmt = NULL;
	enum sr_status st = add_header(sql, out, err);
	int rc;

	if (st != SR_OK)
		return st;
	rc = sr_sql_prepare(sql, "SELECT type, name, tbl_name, sql FROM main.sqlite_master WHERE sql IS NOT NULL ORDER BY rowid", NULL,
			    &stmt);
	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		rc = sqlite3_step(stmt);
		if (rc == SQLITE_ROW && travels(sql, stmt))
			add_item(out, sr_sql_text_at(stmt, 0), sr_sql_text_at(stmt, 1), sr_sql_text_at(stmt, 2),
				 sr_sql_text_at(stmt, 3));
	}
	sqlite3_finalize(stmt);
	return rc == SQLITE_DONE ? SR_OK : sr_sql_fail(err, sql, rc, "schema");
}

/* --- one item ------------------------------------------------------------------------------------------------------- */

enum type { TABLE, INDEX, VIEW, VIRTUAL, TRIGGER, TYPES }; /* in the order in which they are made */

struct item {
	struct sr_bytes type, name, table, text;
	struct sr_sql_index x; /* VIRTUAL */
	bool virtual;
};

static bool is(struct sr_bytes b, const char *text)
{
	return sr_bytes_eq(b, sr_bytes_of(text));
}

static bool starts(struct sr_bytes b, const char *text)
{
	return b.len >= strlen(text) && !memcmp(b.at, text, strlen(text));
}

static bool next_item(struct sr_reader *r, struct item *out)
{
	if (r->bad || sr_read_done(r))
		return false;
	out->type = sr_read_string(r);
	out->name = sr_read_string(r);
	out->table = sr_read_string(r);
	out->text = sr_read_string(r);
	out->virtual = is(out->type, "table") && starts(out->text, "CREATE VIRTUAL ");
	return !r->bad;
}

static bool is_of(const struct item *it, enum type type)
{
	static const char *const names[] = {
		[TABLE] = "table", [INDEX] = "index", [VIEW] = "view", [VIRTUAL] = "table", [TRIGGER] = "trigger"};

	return is(it->type, names[type]) && it->virtual == (type == VIRTUAL);
}

static bool internal_item(const struct item *it)
{
	char *name = sr_text(it->name), *table = sr_text(it->table);
	bool yes = sr_sql_internal_name(name) || sr_sql_internal_name(table);

	free(name);
	free(table);
	return yes;
}

/* An index of its own, or one that UNIQUE and PRIMARY KEY bring with their table. */
static bool fits_index(const struct item *it, const char *name)
{
	return is(it->type, "index") ? is(it->name, name) : is(it->type, "table") && !strncmp(name, "sqlite_autoindex_", 17);
}

/* Is it a virtual table's own table, by its name? */
static bool shadow(const struct item *it, const char *name)
{
	return it->virtual && strlen(name) > it->name.len + 1 && !memcmp(name, it->name.at, it->name.len) && name[it->name.len] == '_';
}

/* What making a virtual table needs besides. */
static int authorize_virtual(const struct item *it, int action, const char *a, const char *b)
{
	switch (action) {
	case SQLITE_CREATE_VTABLE:
		return is(it->name, a) && !sqlite3_stricmp(b, it->x.module) ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_CREATE_TABLE:
	case SQLITE_INSERT:
	case SQLITE_UPDATE:
	case SQLITE_DELETE:
		return shadow(it, a) ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_CREATE_INDEX:
		return shadow(it, b) && fits_index(it, a) ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_SELECT:
	case SQLITE_READ: /* the columns of what it indexes */
		return SQLITE_OK;
	case SQLITE_PRAGMA:
		return !b && (!strcmp(a, "data_version") || !strcmp(a, "page_size")) ? SQLITE_OK : SQLITE_DENY;
	default:
		return SQLITE_DENY;
	}
}

/* May this one CREATE do that?  Whatever is not named here is not needed for a CREATE in main. */
static int authorize(void *ctx, int action, const char *a, const char *b, const char *db, const char *via)
{
	const struct item *it = ctx;

	(void)via;
	if (db && strcmp(db, "main"))
		return SQLITE_DENY;
	if (it->virtual && authorize_virtual(it, action, a, b) == SQLITE_OK)
		return SQLITE_OK;
	switch (action) {
	case SQLITE_CREATE_TABLE: /* sqlite_sequence comes with the first AUTOINCREMENT */
		return is(it->type, "table") && !it->virtual && (is(it->name, a) || !strcmp(a, "sqlite_sequence")) ? SQLITE_OK
														 : SQLITE_DENY;
	case SQLITE_CREATE_INDEX:
		return is(it->table, b) && fits_index(it, a) ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_CREATE_VIEW:
		return is(it->type, "view") && is(it->name, a) ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_CREATE_TRIGGER:
		return is(it->type, "trigger") && is(it->name, a) && is(it->table, b) ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_REINDEX:
		return SQLITE_OK;
	case SQLITE_INSERT:
	case SQLITE_UPDATE:
		return !strcmp(a, "sqlite_master") ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_READ: /* the columns in an index, CHECK or generated column of the table itself */
		return !strcmp(a, "sqlite_master") || is(it->table, a) ? SQLITE_OK : SQLITE_DENY;
	case SQLITE_FUNCTION: /* in DEFAULT, CHECK, generated columns and indexes; those with side effects have no place there */
		return !sqlite3_stricmp(b, "load_extension") || !sqlite3_stricmp(b, "fts3_tokenizer") ? SQLITE_DENY : SQLITE_OK;
	default:
		return SQLITE_DENY;
	}
}

/* Nothing behind the statement but what separates statements. */
static bool blank(const char *tail)
{
	while (*tail == ';' || isspace((unsigned char)*tail))
		tail++;
	return !*tail;
}

static enum sr_status create_one(struct sr_sql *sql, struct item *it, struct sr_err *err)
{
	char *text = sr_text(it->text), *name = sr_text(it->name);
	const char *tail = "";
	sqlite3_stmt *stmt = NULL;
	enum sr_status st = SR_OK;
	int rc;

	sqlite3_set_authorizer(sql->db, authorize, it);
	if (!starts(it->text, "CREATE ") || memchr(it->text.at, 0, it->text.len)) {
		st = sr_err_set(err, SR_E_DATA, "schema of %s: not a CREATE", name);
		goto out;
	}
	rc = sqlite3_prepare_v2(sql->db, text, -1, &stmt, &tail);
	if (rc == SQLITE_OK && !blank(tail)) {
		st = sr_err_set(err, SR_E_DATA, "schema of %s: more than one statement", name);
		goto out;
	}
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_AUTH)
		st = sr_err_set(err, SR_E_DATA, "schema of %s: it does more than to create it", name);
	else if (rc != SQLITE_DONE)
		st = sr_sql_fail(err, sql, rc, "schema of %s", name);
out:
	sqlite3_finalize(stmt);
	sqlite3_set_authorizer(sql->db, NULL, NULL);
	free(text);
	free(name);
	return st;
}

/* --- what may be left out -------------------------------------------------------------------------------------------- */

/* The type of what has that name ('table', ...), or NULL.  OWNED BY CALLER (free). */
static char *type_of(struct sr_sql *sql, const char *name)
{
	sqlite3_stmt *stmt = NULL;
	char *type = NULL;

	if (sr_sql_prepare(sql, "SELECT type FROM main.sqlite_master WHERE name = ?1 COLLATE NOCASE", name, &stmt) == SQLITE_OK &&
	    sqlite3_step(stmt) == SQLITE_ROW)
		type = sr_strdup(sr_sql_text_at(stmt, 0));
	sqlite3_finalize(stmt);
	return type;
}

static bool exists(struct sr_sql *sql, const char *name)
{
	char *type = type_of(sql, name);
	bool yes = type;

	free(type);
	return yes;
}

/* Would it take a table for its own that is there already, or is ours?  FTS4 makes one of its shadow tables IF NOT EXISTS. */
static bool shadow_taken(struct sr_sql *sql, const char *name)
{
	static const char *const suffixes[] = {"data",	   "idx",    "content", "docsize", "config", "segments",
					       "segdir", "stat",   "node",    "rowid",   "parent"};
	bool yes = false;

	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes && !yes; i++) {
		char *shadow_name = sr_format("%s_%s", name, suffixes[i]);

		yes = exists(sql, shadow_name) || sr_sql_internal_name(shadow_name);
		free(shadow_name);
	}
	return yes;
}

/* Index the rows that are there already.  Not done: it is as it would be where the application had made it anew. */
static void rebuild(struct sr_sql *sql, const struct item *it, const char *name)
{
	char *content = sr_sql_index_option(&it->x, "content");
	struct sr_buf text = {0};

	if (content && *content && !strncmp(it->x.module, "fts", 3)) {
		sr_buf_printf(&text, "INSERT INTO main.");
		sr_sql_add_name(&text, name);
		sr_buf_byte(&text, '(');
		sr_sql_add_name(&text, name);
		sr_buf_printf(&text, ") VALUES('rebuild')");
		sqlite3_exec(sql->db, sr_buf_text(&text), NULL, NULL, NULL);
	}
	sr_buf_free(&text);
	free(content);
}

/* Create it if it can be.  *made: it was. */
static enum sr_status create_leniently(struct sr_sql *sql, struct item *it, bool *made, struct sr_err *err)
{
	char *name = sr_text(it->name);
	enum sr_status st;

	*made = false;
	if (it->virtual && (!sr_sql_index(it->text, &it->x) || shadow_taken(sql, name))) {
		free(name);
		return SR_OK;
	}
	st = sr_sql_exec(sql, "SAVEPOINT sameroot_create", err);
	if (st == SR_OK) {
		*made = create_one(sql, it, NULL) == SR_OK;
		if (*made && it->virtual)
			rebuild(sql, it, name);
		st = sr_sql_exec(sql, *made ? "RELEASE sameroot_create" : "ROLLBACK TO sameroot_create; RELEASE sameroot_create", err);
	}
	free(name);
	return st;
}

/* --- everything ------------------------------------------------------------------------------------------------------- */

/* Does the trigger name a virtual table that was left out (strings)?  It would stop the application's own writes. */
static bool names_lost(const struct item *it, const struct sr_buf *lost)
{
	struct sr_reader r = sr_reader(sr_buf_view(lost));
	bool yes = false;

	while (!yes && !sr_read_done(&r)) {
		char *name = sr_text(sr_read_string(&r));

		yes = sr_sql_text_names(it->text, name);
		free(name);
	}
	return yes;
}

/* Items of one type; see sr_sql_schema_create. */
static enum sr_status create_type(struct sr_sql *sql, enum type type, struct sr_bytes text, sr_sql_wanted_fn *wanted, void *ctx,
				  struct sr_buf *lost, struct sr_err *err)
{
	struct sr_reader r = sr_reader(text);
	enum sr_status st = SR_OK;
	struct item it;

	while (st == SR_OK && next_item(&r, &it)) {
		bool made = true;

		if (!is_of(&it, type) || internal_item(&it) || (wanted && !wanted(ctx, it.table)))
			continue;
		if (type == VIRTUAL)
			st = create_leniently(sql, &it, &made, err);
		else if (type != TRIGGER || !names_lost(&it, lost))
			st = create_one(sql, &it, err);
		if (!made)
			sr_buf_string(lost, it.name);
	}
	return st;
}

static bool number(struct sr_bytes b, char out[32])
{
	size_t i = 0;

	if (b.len == 0 || b.len > 11)
		return false;
	for (; i < b.len; i++) {
		if (!isdigit(b.at[i]) && !(i == 0 && b.at[i] == '-'))
			return false;
		out[i] = (char)b.at[i];
	}
	out[i] = 0;
	return true;
}

static enum sr_status take_header(struct sr_sql *sql, struct sr_bytes text, struct sr_err *err)
{
	struct sr_reader r = sr_reader(text);
	enum sr_status st = SR_OK;
	struct item it;
	char value[32];

	while (st == SR_OK && next_item(&r, &it)) {
		const char *name = is(it.name, "user_version") ? "user_version" : is(it.name, "application_id") ? "application_id" : NULL;
		char *pragma;

		if (!is(it.type, "pragma") || !name || !number(it.text, value))
			continue;
		pragma = sr_format("PRAGMA main.%s=%s", name, value);
		st = sr_sql_exec(sql, pragma, err);
		free(pragma);
	}
	return st;
}

enum sr_status sr_sql_schema_encoding(struct sr_sql *sql, struct sr_bytes text, struct sr_err *err)
{
	struct sr_reader r = sr_reader(text);
	struct item it;

	while (next_item(&r, &it)) {
		if (!is(it.type, "pragma") || !is(it.name, "encoding"))
			continue;
		if (is(it.text, "UTF-16le"))
			return sr_sql_exec(sql, "PRAGMA encoding='UTF-16le'", err);
		if (is(it.text, "UTF-16be"))
			return sr_sql_exec(sql, "PRAGMA encoding='UTF-16be'", err);
	}
	return SR_OK;
}

static enum sr_status whole(struct sr_bytes text, struct sr_err *err)
{
	struct sr_reader r = sr_reader(text);
	struct item it;

	while (next_item(&r, &it))
		;
	return r.bad ? sr_err_set(err, SR_E_DATA, "schema text is cut short") : SR_OK;
}

enum sr_status sr_sql_schema_create(struct sr_sql *sql, struct sr_bytes text, sr_sql_wanted_fn *wanted, void *ctx, struct sr_err *err)
{
	struct sr_buf lost = {0};
	enum sr_status st = whole(text, err);

	for (enum type type = TABLE; st == SR_OK && type < TYPES; type++)
		if (!wanted || type == TABLE)
			st = create_type(sql, type, text, wanted, ctx, &lost, err);
	sr_buf_free(&lost);
	return st == SR_OK && !wanted ? take_header(sql, text, err) : st;
}

/* --- what is missing --------------------------------------------------------------------------------------------------- */

/* Does it belong to something here that is kept equal?  A trigger may be on a view. */
static bool has_its_table(struct sr_sql *sql, const struct item *it, enum type type)
{
	const struct sr_sql_table *t = sr_sql_table(sql, it->table);
	char *name, *on;
	bool yes;

	if (type == VIEW || type == VIRTUAL || (t && t->synced))
		return true;
	if (t || type != TRIGGER)
		return false;
	name = sr_text(it->table);
	on = type_of(sql, name);
	yes = on && !strcmp(on, "view");
	free(on);
	free(name);
	return yes;
}

static enum sr_status complete_type(struct sr_sql *sql, enum type type, struct sr_bytes text, sr_sql_wanted_fn *unique, void *ctx,
				    struct sr_buf *lost, struct sr_err *err)
{
	struct sr_reader r = sr_reader(text);
	enum sr_status st = SR_OK;
	struct item it;

	while (st == SR_OK && next_item(&r, &it)) {
		char *name = sr_text(it.name);
		bool made = true;

		if (is_of(&it, type) && !internal_item(&it) && !exists(sql, name) && has_its_table(sql, &it, type) &&
		    !(type == TRIGGER && names_lost(&it, lost)) &&
		    !(type == INDEX && sr_sql_is_unique_index(it.text) && !unique(ctx, it.table)))
			st = create_leniently(sql, &it, &made, err);
		if (!made && type == VIRTUAL)
			sr_buf_string(lost, it.name);
		free(name);
	}
	return st;
}

enum sr_status sr_sql_schema_complete(struct sr_sql *sql, struct sr_bytes text, sr_sql_wanted_fn *unique, void *ctx, struct sr_err *err)
{
	struct sr_buf lost = {0};
	enum sr_status st = whole(text, err);

	for (enum type type = INDEX; st == SR_OK && type < TYPES; type++)
		st = complete_type(sql, type, text, unique, ctx, &lost, err);
	sr_buf_free(&lost);
	return st;
}
