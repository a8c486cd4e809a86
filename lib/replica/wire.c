/* wire.c - see wire.h.  All JSON of the protocol is made and read here. */
#include "lib/replica/wire.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/version.h"

/* --- small texts ----------------------------------------------------------------------------------------------------- */

static const char *const histories[] = {
	[SR_HISTORY_FIRST] = "first", [SR_HISTORY_KNOWN] = "known", [SR_HISTORY_FORGOTTEN] = "forgotten", [SR_HISTORY_UNION] = "union",
	[SR_HISTORY_AHEAD] = "ahead", [SR_HISTORY_FORK] = "fork",   [SR_HISTORY_FOREIGN] = "foreign",
};
static const char *const verdicts[] = {
	[SR_VERDICT_OK] = "ok",
	[SR_VERDICT_REFUSED] = "refused",
	[SR_VERDICT_CANCELLED] = "cancelled",
	[SR_VERDICT_STALE] = "stale",
};
static const char *const refusals[] = {
	[SR_REFUSED_CHANGED] = "changed", [SR_REFUSED_DELETED] = "deleted", [SR_REFUSED_NEWER] = "newer", [SR_REFUSED_UNIQUE] = "unique",
	[SR_REFUSED_VOID] = "void",       [SR_REFUSED_PAUSED] = "paused",   [SR_REFUSED_KIND] = "kind",   [SR_REFUSED_DEPENDS] = "depends",
	[SR_REFUSED_HELD] = "held",
};
#define COUNT(a) (sizeof(a) / sizeof *(a))

static bool word_index(const char *const *words, size_t n, const char *word, int *out)
{
	for (size_t i = 0; word && i < n; i++)
		if (strcmp(words[i], word) == 0) {
			*out = (int)i;
			return true;
		}
	return false;
}

const char *sr_history_text(enum sr_history h)
{
	return histories[h];
}

const char *sr_refusal_text(enum sr_refusal why)
{
	return refusals[why];
}

/* --- the protocol ------------------------------------------------------------------------------------------------------- */

void sr_protocol_header(struct sr_buf *out, const char *version)
{
	sr_buf_printf(out, SR_HEADER_PROTOCOL ": %d %s", SR_PROTO, version);
}

bool sr_protocol_is_ours(const char *value)
{
	char ours[16];
	size_t len = strcspn(value, " ");

	snprintf(ours, sizeof ours, "%d", SR_PROTO);
	return len == strlen(ours) && memcmp(value, ours, len) == 0;
}

void sr_protocol_text(char out[SR_PROTOCOL_TEXT], const char *value)
{
	int len = (int)strcspn(value, " ");

	if (value[len])
		snprintf(out, SR_PROTOCOL_TEXT, "protocol %.*s (version %.40s)", len < 20 ? len : 20, value, value + len + 1);
	else
		snprintf(out, SR_PROTOCOL_TEXT, "protocol %.*s", len < 20 ? len : 20, value);
	for (char *at = out; *at; at++)
		if (*at < ' ' || *at > '~')
			*at = '?';
}

/* Another one than ours, in an answer. */
static enum sr_status other_protocol(const json_t *o, struct sr_err *err)
{
	const char *version = json_string_value(json_object_get(o, "version"));
	char theirs[SR_PROTOCOL_TEXT], *value;

	if (!json_is_integer(json_object_get(o, "proto")))
		return sr_err_set(err, SR_E_DATA, "answer of /api/tree: it does not say which protocol that is");
	value = sr_format("%lld%s%s", (long long)json_integer_value(json_object_get(o, "proto")), version ? " " : "", version ? version : "");
	sr_protocol_text(theirs, value);
	free(value);
	return sr_err_set(err, SR_E_DATA,
			  "answer of /api/tree: the other side speaks %s, and this program protocol %d (version " SR_VERSION
			  "): upgrade the older of both; it goes on by itself after that",
			  theirs, SR_PROTO);
}

/* --- the check-in header ----------------------------------------------------------------------------------------------- */

static void put_hex(struct sr_buf *out, const uint8_t *b, size_t n)
{
	static const uint8_t none[SR_HASH_LEN];

	if (n <= sizeof none && memcmp(b, none, n) == 0)
		sr_buf_byte(out, '-');
	else
		sr_hex(out, sr_bytes(b, n));
}

void sr_check_in_print(struct sr_buf *out, const struct sr_check_in *c)
{
	put_hex(out, c->node.b, sizeof c->node.b);
	sr_buf_byte(out, ' ');
	put_hex(out, c->known.instance.b, sizeof c->known.instance.b);
	sr_buf_printf(out, " %" PRIu64 " %" PRIu64 " ", c->known.epoch, c->known.seq);
	put_hex(out, c->known.root.b, sizeof c->known.root.b);
	sr_buf_byte(out, ' ');
	put_hex(out, c->push.b, sizeof c->push.b);
	if (sr_uuid_none(&c->token))
		return;
	sr_buf_byte(out, ' ');
	put_hex(out, c->token.b, sizeof c->token.b);
}

static struct sr_bytes next_word(struct sr_bytes *in)
{
	struct sr_bytes word = {in->at, 0};

	while (word.len < in->len && in->at[word.len] != ' ')
		word.len++;
	in->at += word.len;
	in->len -= word.len;
	if (in->len > 1) { /* a space at the very end is left over */
		in->at++;
		in->len--;
	}
	return word;
}

static bool get_hex(struct sr_bytes word, uint8_t *out, size_t n)
{
	if (word.len == 1 && word.at[0] == '-') {
		memset(out, 0, n);
		return true;
	}
	return sr_unhex(out, n, word);
}

/* Below 2^63, as state.db and JSON have them. */
static bool get_number(struct sr_bytes word, uint64_t *out)
{
	uint64_t v = 0;

	if (!word.len)
		return false;
	for (size_t i = 0; i < word.len; i++) {
		uint64_t digit = (uint64_t)word.at[i] - '0';

		if (digit > 9 || v > ((uint64_t)INT64_MAX - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	*out = v;
	return true;
}

enum sr_status sr_check_in_parse(const char *value, struct sr_check_in *out, struct sr_err *err)
{
	struct sr_bytes in = sr_bytes_of(value);
	struct sr_check_in c = {0};

	if (!get_hex(next_word(&in), c.node.b, sizeof c.node.b) ||
	    !get_hex(next_word(&in), c.known.instance.b, sizeof c.known.instance.b) || !get_number(next_word(&in), &c.known.epoch) ||
	    !get_number(next_word(&in), &c.known.seq) || !get_hex(next_word(&in), c.known.root.b, sizeof c.known.root.b) ||
	    !get_hex(next_word(&in), c.push.b, sizeof c.push.b) || (in.len && (!get_hex(next_word(&in), c.token.b, sizeof c.token.b) || sr_uuid_none(&c.token))) || in.len ||
	    sr_uuid_none(&c.node))
		return sr_err_set(err, SR_E_DATA, "header %s: not the words of a check-in", SR_HEADER_CHECK_IN);
	*out = c;
	return SR_OK;
}

/* --- JSON helpers -------------------------------------------------------------------------------------------------------- */

static json_t *json_hash(const struct sr_hash *h)
{
	char text[SR_HASH_TEXT];

	sr_hash_text(text, h);
	return json_string(text);
}

static json_t *json_uuid(const struct sr_uuid *u)
{
	char text[SR_UUID_TEXT];

	if (sr_uuid_none(u))
		return json_null();
	sr_uuid_text(text, u);
	return json_string(text);
}

/* JSON's integers end at 2^63; only a sum that stopped at its own end is larger. */
static json_t *json_count(uint64_t v)
{
	return json_integer(v > (uint64_t)INT64_MAX ? INT64_MAX : (json_int_t)v);
}

/* A text for people: it may quote a path or the system, so any bytes are taken. */
static json_t *json_words(struct sr_bytes text)
{
	struct sr_buf copy = {0};
	bool utf8 = sr_utf8_valid(text);
	json_t *o;

	for (size_t i = 0; i < text.len; i++)
		sr_buf_byte(&copy, text.at[i] == 0 || (!utf8 && text.at[i] >= 0x80) ? '?' : text.at[i]);
	o = json_string(sr_buf_text(&copy));
	sr_buf_free(&copy);
	return o;
}

/* Bytes, so that they come out as they went in; what a glob is made of stays readable. */
static json_t *json_percent(struct sr_bytes bytes)
{
	struct sr_buf text = {0};
	json_t *o;

	sr_percent(&text, bytes, "/*?[]!{}, ");
	o = json_string(sr_buf_text(&text));
	sr_buf_free(&text);
	return o;
}

/* A text that may be absent (*out NULL), but not something else.  *out BORROWS o. */
static bool read_optional(const json_t *o, const char *name, const char **out)
{
	const json_t *v = json_object_get(o, name);

	*out = json_string_value(v);
	return !v || json_is_null(v) || *out;
}

static void print_json(struct sr_buf *out, json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT);

	sr_buf_bytes(out, sr_bytes_of(text));
	free(text);
	json_decref(o);
}

static bool read_hash(const json_t *o, const char *name, struct sr_hash *out)
{
	const char *text = json_string_value(json_object_get(o, name));

	return text && sr_hash_parse(out, sr_bytes_of(text));
}

/* null or absent: none */
static bool read_uuid(const json_t *o, const char *name, struct sr_uuid *out)
{
	const json_t *v = json_object_get(o, name);

	memset(out, 0, sizeof *out);
	if (!v || json_is_null(v))
		return true;
	return json_is_string(v) && sr_uuid_parse(out, json_string_value(v)) == 0;
}

static bool read_u64(const json_t *o, const char *name, uint64_t *out)
{
	const json_t *v = json_object_get(o, name);

	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return false;
	*out = (uint64_t)json_integer_value(v);
	return true;
}

static void add_anchor(json_t *o, const struct sr_anchor *at)
{
	json_object_set_new(o, "instance", json_uuid(&at->instance));
	json_object_set_new(o, "epoch", json_integer((json_int_t)at->epoch));
	json_object_set_new(o, "seq", json_integer((json_int_t)at->seq));
	json_object_set_new(o, "root", json_hash(&at->root));
}

static bool read_anchor(const json_t *o, struct sr_anchor *out)
{
	return read_uuid(o, "instance", &out->instance) && read_u64(o, "epoch", &out->epoch) && read_u64(o, "seq", &out->seq) &&
	       read_hash(o, "root", &out->root) && !sr_hash_none(&out->root); /* not even an empty tree has that root */
}

static json_t *load_object(struct sr_bytes text, const char *what, struct sr_err *err)
{
	json_error_t e;
	json_t *o = json_loadb((const char *)text.at, text.len, JSON_REJECT_DUPLICATES, &e);

	if (!json_is_object(o)) {
		sr_err_set(err, SR_E_DATA, "%s: %s", what, o ? "not an object" : e.text);
		json_decref(o);
		return NULL;
	}
	return o;
}

/* --- GET /api/tree ---------------------------------------------------------------------------------------------------------- */

static json_t *store_json(const struct sr_tree_store *s)
{
	json_t *o = json_object();

	json_object_set_new(o, "name", json_string(s->name));
	json_object_set_new(o, "kind", json_string(s->kind == SR_KIND_DATABASE ? "sqlite" : "files"));
	json_object_set_new(o, "root", json_hash(&s->map));
	json_object_set_new(o, "leaves", json_count(s->leaves));
	json_object_set_new(o, "bytes", json_count(s->bytes));
	json_object_set_new(o, "approved_seq", json_count(s->approved_seq));
	if (s->operator_seq)
		json_object_set_new(o, "operator_seq", json_count(s->operator_seq));
	if (s->epoch || s->seq) {
		json_object_set_new(o, "epoch", json_count(s->epoch));
		json_object_set_new(o, "seq", json_count(s->seq));
	}
	if (s->unknown)
		json_object_set_new(o, "unknown", json_count(s->unknown));
	if (s->paused)
		json_object_set_new(o, "paused", json_words(sr_bytes_of(s->paused)));
	if (s->excludes) {
		json_t *list = json_array();

		for (size_t i = 0; i < s->excludes; i++)
			json_array_append_new(list, json_percent(sr_bytes_of(s->exclude[i])));
		json_object_set_new(o, "exclude", list);
	}
	return o;
}

void sr_tree_info_print(struct sr_buf *out, const struct sr_tree_info *info)
{
	json_t *o = json_object(), *stores = json_array();

	json_object_set_new(o, "proto", json_integer(SR_PROTO));
	json_object_set_new(o, "version", json_string(SR_VERSION));
	add_anchor(o, &info->at);
	json_object_set_new(o, "node", json_uuid(&info->node));
	json_object_set_new(o, "start", json_uuid(&info->start));
	json_object_set_new(o, "push", json_uuid(&info->push));
	json_object_set_new(o, "history", json_string(histories[info->history]));
	json_object_set_new(o, "key_id", json_hash(&info->key_id));
	if (info->max_file)
		json_object_set_new(o, "max_file", json_integer((json_int_t)info->max_file));
	if (info->has_key) {
		struct sr_buf hex = {0};

		sr_hex(&hex, sr_bytes(info->key, sizeof info->key));
		json_object_set_new(o, "key", json_string(sr_buf_text(&hex)));
		sr_buf_free(&hex);
	}
	for (size_t i = 0; i < info->n; i++)
		json_array_append_new(stores, store_json(&info->stores[i]));
	json_object_set_new(o, "stores", stores);
	print_json(out, o);
}

static bool read_exclude(const char *text, char **out)
{
	struct sr_buf raw = {0};
	bool ok = text && sr_unpercent(&raw, sr_bytes_of(text)) && raw.len && !memchr(raw.at, 0, raw.len);

	if (ok)
		*out = sr_text(sr_buf_view(&raw));
	sr_buf_free(&raw);
	return ok;
}

static bool read_excludes(const json_t *list, struct sr_tree_store *out)
{
	if (!list)
		return true;
	if (!json_is_array(list))
		return false;
	out->exclude = sr_alloc((json_array_size(list) + 1) * sizeof *out->exclude);
	for (size_t i = 0; i < json_array_size(list); i++) {
		if (!read_exclude(json_string_value(json_array_get(list, i)), &out->exclude[i]))
			return false;
		out->excludes++;
	}
	return true;
}

static bool read_kind(const char *word, uint8_t *out)
{
	if (!word || (strcmp(word, "sqlite") != 0 && strcmp(word, "files") != 0))
		return false;
	*out = *word == 's' ? SR_KIND_DATABASE : SR_KIND_FILES;
	return true;
}

/* 0 when it is not there. */
static bool read_optional_u64(const json_t *o, const char *name, uint64_t *out)
{
	return !json_object_get(o, name) || read_u64(o, name, out);
}

static bool read_store(const json_t *o, struct sr_tree_store *out)
{
	const char *name = json_string_value(json_object_get(o, "name"));
	const char *paused;

	if (!name || !*name || !read_kind(json_string_value(json_object_get(o, "kind")), &out->kind) || !read_hash(o, "root", &out->map) ||
	    !read_u64(o, "leaves", &out->leaves) || !read_u64(o, "bytes", &out->bytes) || !read_optional(o, "paused", &paused) ||
	    !read_optional_u64(o, "approved_seq", &out->approved_seq) || !read_optional_u64(o, "operator_seq", &out->operator_seq) || !read_optional_u64(o, "epoch", &out->epoch) ||
	    !read_optional_u64(o, "seq", &out->seq) || !read_optional_u64(o, "unknown", &out->unknown))
		return false;
	out->name = sr_strdup(name);
	out->paused = paused ? sr_strdup(paused) : NULL;
	return read_excludes(json_object_get(o, "exclude"), out);
}

static bool is_named_before(const struct sr_tree_info *info, const char *name)
{
	for (size_t i = 0; i + 1 < info->n; i++)
		if (!strcmp(info->stores[i].name, name))
			return true;
	return false;
}

static bool read_stores(const json_t *list, struct sr_tree_info *out)
{
	if (!json_is_array(list))
		return false;
	out->stores = sr_alloc((json_array_size(list) + 1) * sizeof *out->stores);
	for (size_t i = 0; i < json_array_size(list); i++)
		if (!read_store(json_array_get(list, i), &out->stores[out->n++]) || is_named_before(out, out->stores[i].name))
			return false;
	return true;
}

static bool read_key(const json_t *o, struct sr_tree_info *out)
{
	const char *key;

	if (!read_optional(o, "key", &key))
		return false;
	out->has_key = key != NULL;
	return !key || sr_unhex(out->key, sizeof out->key, sr_bytes_of(key));
}

enum sr_status sr_tree_info_parse(struct sr_bytes json, struct sr_tree_info *out, struct sr_err *err)
{
	json_t *o = load_object(json, "answer of /api/tree", err);
	struct sr_tree_info info = {0};
	uint64_t proto;
	int history;
	bool ok;

	if (!o)
		return SR_E_DATA;
	if (!read_u64(o, "proto", &proto) || proto != SR_PROTO) {
		other_protocol(o, err);
		json_decref(o);
		return SR_E_DATA;
	}
	ok = read_anchor(o, &info.at) && read_uuid(o, "node", &info.node) && read_uuid(o, "start", &info.start) &&
	     read_uuid(o, "push", &info.push) && read_hash(o, "key_id", &info.key_id) &&
	     word_index(histories, COUNT(histories), json_string_value(json_object_get(o, "history")), &history) && read_key(o, &info) &&
	     read_stores(json_object_get(o, "stores"), &info) &&
	     read_optional_u64(o, "max_file", &info.max_file);
	json_decref(o);
	if (!ok) {
		sr_tree_info_free(&info);
		return sr_err_set(err, SR_E_DATA, "answer of /api/tree: a field is missing or malformed");
	}
	info.history = (enum sr_history)history;
	*out = info;
	return SR_OK;
}

void sr_tree_info_free(struct sr_tree_info *info)
{
	for (size_t i = 0; i < info->n; i++) {
		struct sr_tree_store *s = &info->stores[i];

		for (size_t k = 0; k < s->excludes; k++)
			free(s->exclude[k]);
		free(s->exclude);
		free(s->name);
		free(s->paused);
	}
	free(info->stores);
	memset(info, 0, sizeof *info);
}

/* --- pushes ------------------------------------------------------------------------------------------------------------------ */

void sr_push_head_print(struct sr_buf *out, const struct sr_push_head *h)
{
	json_t *o = json_object();

	json_object_set_new(o, "id", json_uuid(&h->id));
	json_object_set_new(o, "prev", json_uuid(&h->prev));
	json_object_set_new(o, "webserver", json_uuid(&h->webserver));
	json_object_set_new(o, "start", json_uuid(&h->start));
	json_object_set_new(o, "try", json_integer((json_int_t)h->try));
	add_anchor(o, &h->at);
	print_json(out, o);
}

enum sr_status sr_push_head_parse(const char *json, struct sr_push_head *out, struct sr_err *err)
{
	json_t *o = load_object(sr_bytes_of(json), "head of a push", err);
	struct sr_push_head h = {0};
	uint64_t try = 0;
	bool ok;

	if (!o)
		return SR_E_DATA;
	ok = read_uuid(o, "id", &h.id) && !sr_uuid_none(&h.id) && read_uuid(o, "prev", &h.prev) &&
	     read_uuid(o, "webserver", &h.webserver) && !sr_uuid_none(&h.webserver) && read_uuid(o, "start", &h.start) &&
	     read_u64(o, "try", &try) && try >= 1 && try <= 3 && read_anchor(o, &h.at);
	json_decref(o);
	if (!ok)
		return sr_err_set(err, SR_E_DATA, "head of a push: a field is missing or malformed");
	h.try = (unsigned)try;
	*out = h;
	return SR_OK;
}

void sr_push_answer_refuse(struct sr_push_answer *a, const char *store, struct sr_bytes path, const struct sr_version *current,
			   enum sr_refusal why)
{
	struct sr_refused *f;
	uint8_t *copy = sr_alloc(path.len + 1);

	if ((a->n & (a->n + 1)) == 0) /* full at 0, 1, 3, 7, ... */
		a->refused = sr_realloc(a->refused, (a->n * 2 + 1) * sizeof *a->refused);
	if (path.len)
		memcpy(copy, path.at, path.len);
	f = &a->refused[a->n++];
	*f = (struct sr_refused){.store = sr_strdup(store), .path = sr_bytes(copy, path.len), .current = *current, .why = why};
}

static json_t *refused_json(const struct sr_refused *f)
{
	json_t *o = json_object();

	json_object_set_new(o, "store", json_string(f->store));
	json_object_set_new(o, "path", json_percent(f->path));
	json_object_set_new(o, "why", json_string(refusals[f->why]));
	json_object_set_new(o, "kind", json_integer(f->current.kind));
	json_object_set_new(o, "mode", json_integer(f->current.mode));
	json_object_set_new(o, "bytes", json_integer((json_int_t)f->current.bytes));
	json_object_set_new(o, "hash", json_hash(&f->current.hash));
	return o;
}

void sr_push_answer_print(struct sr_buf *out, const struct sr_push_answer *a)
{
	json_t *o = json_object(), *list = json_array();

	json_object_set_new(o, "verdict", json_string(verdicts[a->verdict]));
	json_object_set_new(o, "id", json_uuid(&a->id));
	json_object_set_new(o, "start", json_uuid(&a->start));
	add_anchor(o, &a->at);
	for (size_t i = 0; i < a->n; i++)
		json_array_append_new(list, refused_json(&a->refused[i]));
	json_object_set_new(o, "refused", list);
	if (a->text.len)
		json_object_set_new(o, "detail", json_words(a->text));
	print_json(out, o);
}

static bool read_refused(const json_t *o, struct sr_push_answer *out)
{
	const char *store = json_string_value(json_object_get(o, "store"));
	const char *path = json_string_value(json_object_get(o, "path"));
	struct sr_version v = {0};
	struct sr_buf raw = {0};
	uint64_t kind, mode;
	int why;
	bool ok;

	ok = store && path && word_index(refusals, COUNT(refusals), json_string_value(json_object_get(o, "why")), &why) &&
	     read_u64(o, "kind", &kind) && kind <= SR_KIND_TABLE && read_u64(o, "mode", &mode) && mode <= 0777 &&
	     read_u64(o, "bytes", &v.bytes) && read_hash(o, "hash", &v.hash) && sr_unpercent(&raw, sr_bytes_of(path)) &&
	     raw.len && raw.len <= SR_PATH_MAX;
	if (ok) {
		v.kind = (uint8_t)kind;
		v.mode = (uint16_t)mode;
		sr_push_answer_refuse(out, store, sr_buf_view(&raw), &v, (enum sr_refusal)why);
	}
	sr_buf_free(&raw);
	return ok;
}

enum sr_status sr_push_answer_parse(struct sr_bytes json, struct sr_push_answer *out, struct sr_err *err)
{
	json_t *o = load_object(json, "answer to a push", err), *list;
	struct sr_push_answer a = {0};
	const char *detail = NULL;
	int verdict;
	bool ok;

	if (!o)
		return SR_E_DATA;
	list = json_object_get(o, "refused");
	ok = word_index(verdicts, COUNT(verdicts), json_string_value(json_object_get(o, "verdict")), &verdict) &&
	     read_uuid(o, "id", &a.id) && read_uuid(o, "start", &a.start) && read_anchor(o, &a.at) && json_is_array(list) &&
	     read_optional(o, "detail", &detail);
	for (size_t i = 0; ok && i < json_array_size(list); i++)
		ok = read_refused(json_array_get(list, i), &a);
	if (ok && detail)
		a.text = sr_bytes(sr_strdup(detail), strlen(detail));
	json_decref(o);
	if (!ok) {
		sr_push_answer_free(&a);
		return sr_err_set(err, SR_E_DATA, "answer to a push: a field is missing or malformed");
	}
	a.verdict = (enum sr_push_verdict)verdict;
	*out = a;
	return SR_OK;
}

void sr_push_answer_free(struct sr_push_answer *a)
{
	for (size_t i = 0; i < a->n; i++) {
		free(a->refused[i].store);
		free((void *)(uintptr_t)a->refused[i].path.at);
	}
	free(a->refused);
	free((void *)(uintptr_t)a->text.at);
	memset(a, 0, sizeof *a);
}

/* --- frames of POST /api/bundle ------------------------------------------------------------------------------------------------ */

void sr_wanted_add(struct sr_buf *out, const char *store, const struct sr_leaf *leaf)
{
	size_t at = out->len, len;

	sr_buf_be32(out, 0);
	sr_buf_string(out, sr_bytes_of(store));
	sr_leaf_encode(out, leaf);
	len = out->len - at - 4;
	for (int i = 0; i < 4; i++)
		out->at[at + (size_t)i] = (uint8_t)(len >> (24 - 8 * i));
}

enum sr_status sr_wanted_next(struct sr_reader *in, char **store, struct sr_leaf *leaf, struct sr_err *err)
{
	uint32_t len = sr_read_be32(in);
	struct sr_reader frame = sr_reader(sr_read_bytes(in, len));
	struct sr_bytes name = sr_read_string(&frame);
	enum sr_status rc;

	if (in->bad || frame.bad || memchr(name.at ? (const void *)name.at : "", 0, name.len))
		return sr_err_set(err, SR_E_DATA, "list of wanted leaves: malformed");
	rc = sr_leaf_decode(sr_read_bytes(&frame, sr_read_left(&frame)), leaf, err);
	if (rc == SR_OK)
		*store = sr_text(name);
	return rc;
}
