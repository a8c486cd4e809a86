/* sqlite_text.c - the text of CREATE statements, cut into tokens and parts. */
#include "lib/store/sqlite_internal.h"

#include <stdlib.h>
#include <string.h>

/* --- tokens ----------------------------------------------------------------------------------------------------- */

static bool blank(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool word_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$' || c >= 0x80;
}

/* How many bytes of blanks and comments there are at the front.  A comment may be left open by the end. */
static size_t skipped(struct sr_bytes b)
{
	size_t at = 0;

	for (;;) {
		bool line = at + 1 < b.len && b.at[at] == '-' && b.at[at + 1] == '-';
		bool block = at + 1 < b.len && b.at[at] == '/' && b.at[at + 1] == '*';

		if (at < b.len && blank(b.at[at]))
			at++;
		else if (line)
			while (at < b.len && b.at[at] != '\n')
				at++;
		else if (block) {
			at += 2;
			while (at < b.len && !(b.at[at] == '*' && at + 1 < b.len && b.at[at + 1] == '/'))
				at++;
			at = at + 2 < b.len ? at + 2 : b.len;
		} else
			return at;
	}
}

/* The length of the quoted name or string at the front, which ends with `quote`; a doubled one stands for itself (not a bracket). */
static size_t quoted(struct sr_bytes b, uint8_t quote)
{
	size_t at = 1;

	while (at < b.len) {
		if (b.at[at] != quote) {
			at++;
		} else if (quote != ']' && at + 1 < b.len && b.at[at + 1] == quote) {
			at += 2;
		} else {
			return at + 1;
		}
	}
	return b.len;
}

struct sr_sql_token sr_sql_token(struct sr_bytes *rest)
{
	size_t skip = skipped(*rest), len = 0;
	struct sr_sql_token t = {.text = sr_bytes(rest->at + skip, rest->len - skip)};

	if (t.text.len && strchr("'\"`[", t.text.at[0]) && t.text.at[0]) {
		t.kind = 'q';
		len = quoted(t.text, t.text.at[0] == '[' ? ']' : t.text.at[0]);
	} else if (t.text.len && word_byte(t.text.at[0])) {
		t.kind = 'w';
		while (len < t.text.len && word_byte(t.text.at[len]))
			len++;
	} else if (t.text.len) {
		t.kind = (char)t.text.at[0];
		len = 1;
	}
	*rest = sr_bytes(t.text.at + len, t.text.len - len);
	t.text.len = len;
	return t;
}

bool sr_sql_token_is(const struct sr_sql_token *t, const char *word)
{
	return t->kind == 'w' && t->text.len == strlen(word) && !sqlite3_strnicmp((const char *)t->text.at, word, (int)t->text.len);
}

char *sr_sql_token_name(const struct sr_sql_token *t)
{
	char *name = sr_text(t->text), *to = name;
	char quote = t->text.len ? name[0] : 0;

	if (t->kind != 'q' || t->text.len < 2)
		return name;
	name[t->text.len - 1] = 0;
	for (const char *from = name + 1; *from; from++) {
		*to++ = *from;
		if (quote != '[' && *from == quote)
			from++;
	}
	*to = 0;
	return name;
}

bool sr_sql_token_names(const struct sr_sql_token *t, const char *name)
{
	char *own;
	bool same;

	if (t->kind != 'w' && t->kind != 'q')
		return false;
	own = sr_sql_token_name(t);
	same = !sqlite3_stricmp(own, name);
	free(own);
	return same;
}

bool sr_sql_text_names(struct sr_bytes text, const char *name)
{
	for (;;) {
		struct sr_sql_token t = sr_sql_token(&text);

		if (!t.kind)
			return false;
		if (sr_sql_token_names(&t, name))
			return true;
	}
}

bool sr_sql_part(struct sr_bytes *rest, char separator, struct sr_bytes *part)
{
	const uint8_t *start = NULL, *end = NULL;
	size_t depth = 0;

	for (;;) {
		struct sr_sql_token t = sr_sql_token(rest);

		if (!t.kind || (!depth && (t.kind == separator || t.kind == ')'))) {
			bool more = t.kind == separator;

			if (!more)
				*rest = sr_bytes(NULL, 0);
			*part = sr_bytes(start, start ? (size_t)(end - start) : 0);
			return more || start;
		}
		depth += t.kind == '(';
		depth -= t.kind == ')';
		start = start ? start : t.text.at;
		end = t.text.at + t.text.len;
	}
}

/* --- virtual tables ------------------------------------------------------------------------------------------------ */

static char *option(struct sr_bytes parts, const char *name)
{
	struct sr_bytes part;

	while (sr_sql_part(&parts, ',', &part)) {
		struct sr_sql_token key = sr_sql_token(&part), sign = sr_sql_token(&part), value = sr_sql_token(&part);

		if (sr_sql_token_names(&key, name) && sign.kind == '=')
			return sr_sql_token_name(&value);
	}
	return NULL;
}

char *sr_sql_index_option(const struct sr_sql_index *x, const char *name)
{
	return option(x->parts, name);
}

bool sr_sql_index(struct sr_bytes text, struct sr_sql_index *out)
{
	static const char *const words[] = {"CREATE", "VIRTUAL", "TABLE", NULL, "USING"};
	static const char *const modules[] = {"fts3", "fts4", "fts5", "rtree", "rtree_i32"};
	static const char *const callers[] = {"compress", "uncompress"};
	struct sr_sql_token t;
	bool known = false;

	*out = (struct sr_sql_index){0};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		t = sr_sql_token(&text);
		if (words[i] ? !sr_sql_token_is(&t, words[i]) : t.kind != 'w' && t.kind != 'q')
			return false;
	}
	t = sr_sql_token(&text);
	for (size_t i = 0; i < sizeof modules / sizeof *modules && !known; i++) {
		known = sr_sql_token_names(&t, modules[i]);
		out->module = modules[i];
	}
	t = sr_sql_token(&text);
	if (!known || t.kind != '(')
		return false;
	out->parts = text;
	/* FTS4 would call these functions by name, whichever they are, and outside of what SQLite guards in a schema. */
	for (size_t i = 0; i < sizeof callers / sizeof *callers; i++) {
		char *function = option(out->parts, callers[i]);

		if (function)
			known = false;
		free(function);
	}
	return known;
}
