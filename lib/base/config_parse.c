/* config_parse.c - reading the configuration file, and the checks that need more than one line of it.
 *
 * inih splits a stream into sections and keys, but by itself it keeps quotes and inline comments, joins indented lines to the one before
 * and cuts long ones, which turns the tail of a long comment into configuration.  So we are its reader: we cut each line to its bones
 * ourselves and hand over `[global]`, `[store]` or `Key=1`; the value, the line's number and the store's name wait in struct parse. */
#include <assert.h>
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "lib/base/config.h"
#include "lib/base/config_value.h"
#include "lib/base/location.h"

#define LINE_MOST (1u << 20) /* bytes; a configuration has no such lines, /dev/zero has */
#define STORES_MOST 256
#define KEYS_MOST 64

struct store_lines {
	int key[KEYS_MOST]; /* the line on which each key of the table was given; 0: it was not */
};

struct parse {
	struct sr_config *config;
	FILE *in;
	struct sr_buf line; /* the current one */
	int line_number;
	char *value; /* in `line`, unquoted */
	int store;   /* the section's, or SR_KEY_GLOBAL */
	int global[KEYS_MOST];
	struct store_lines *stores; /* as many as config->store_count */
	struct sr_err *err;
	enum sr_status status; /* the first fault ends the reading */
};

static void fault(struct parse *p, int line, const char *fmt, ...) SR_PRINTF(3, 4);
static void fault(struct parse *p, int line, const char *fmt, ...)
{
	char *what;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&what, fmt, ap) < 0)
		abort();
	va_end(ap);
	if (line)
		p->status = sr_err_set(p->err, SR_E_CONFIG, "%s:%d: %s", p->config->file, line, what);
	else
		p->status = sr_err_set(p->err, SR_E_CONFIG, "%s: %s", p->config->file, what);
	free(what);
}

/* ---- one line ---- */

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static char *skip_blanks(char *s)
{
	while (blank(*s))
		s++;
	return s;
}

static bool nothing_more(const char *s)
{
	while (blank(*s))
		s++;
	return *s == '\0' || *s == '#' || *s == ';';
}

/* The next line into p->line, NUL-terminated, without its end.  false: the end, or a fault. */
static bool next_line(struct parse *p)
{
	int c;

	sr_buf_clear(&p->line);
	p->line_number++;
	while ((c = getc_unlocked(p->in)) != EOF && c != '\n') {
		if (c == '\0' || p->line.len == LINE_MOST) {
			fault(p, p->line_number, c ? "a line of more than 1 MiB" : "a NUL byte: this is no text file");
			return false;
		}
		sr_buf_byte(&p->line, (uint8_t)c);
	}
	if (ferror(p->in)) {
		p->status = sr_err_sys(p->err, SR_E_CONFIG, "%s", p->config->file);
		return false;
	}
	if (p->line_number == 1 && p->line.len >= 3 && memcmp(p->line.at, "\xef\xbb\xbf", 3) == 0)
		memset(p->line.at, ' ', 3); /* a byte order mark */
	sr_buf_text(&p->line);
	return c != EOF || p->line.len > 0;
}

/* "...": unquote in place.  s is at the opening quote. */
static char *quoted_value(struct parse *p, char *s)
{
	char *value = s, *to = s;

	for (s++; *s && *s != '"'; s++) {
		if (*s == '\\') {
			s++;
			if (*s != '"' && *s != '\\') {
				fault(p, p->line_number, "in quotes a backslash goes before a quote or a backslash only");
				return NULL;
			}
		}
		*to++ = *s;
	}
	if (*s != '"') {
		fault(p, p->line_number, "the quote is not closed");
		return NULL;
	}
	if (!nothing_more(s + 1)) {
		fault(p, p->line_number, "there is more after the closing quote");
		return NULL;
	}
	*to = '\0';
	return value;
}

/* Up to a comment; blanks around it do not count. */
static char *bare_value(char *s)
{
	char *value = s;

	for (; *s; s++)
		if ((*s == '#' || *s == ';') && (s == value || blank(s[-1])))
			break;
	while (s > value && blank(s[-1]))
		s--;
	*s = '\0';
	return value;
}

/* `Key = value`: leaves the value in p->value and returns the key. */
static char *key_line(struct parse *p, char *s)
{
	char *equals = s + strcspn(s, "=#;\""), *end = equals;

	if (*equals != '=') {
		fault(p, p->line_number, "neither a [section] nor Key=value");
		return NULL;
	}
	while (end > s && blank(end[-1]))
		end--;
	*end = '\0';
	for (char *c = s; c < end; c++)
		if (!(*c >= 'a' && *c <= 'z') && !(*c >= 'A' && *c <= 'Z') && *c != '-') {
			fault(p, p->line_number, "unknown key %s", s);
			return NULL;
		}
	equals = skip_blanks(equals + 1);
	p->value = *equals == '"' ? quoted_value(p, equals) : bare_value(equals);
	return p->value ? s : NULL;
}

/* ---- sections ---- */

static bool store_name_valid(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t len = strlen(name);

	return len > 0 && len <= SR_STORE_NAME_MOST && name[0] != '.' && strspn(name, allowed) == len;
}

static void open_store(struct parse *p, const char *name)
{
	struct sr_config *config = p->config;

	if (!store_name_valid(name)) {
		fault(p, p->line_number, "a store's name is 1 to %d of A-Z a-z 0-9 . _ - and does not start with a dot", SR_STORE_NAME_MOST);
		return;
	}
	for (p->store = 0; (size_t)p->store < config->store_count; p->store++) {
		const struct sr_config_store *s = &config->stores[p->store];

		if (strcmp(s->name, name) == 0)
			break;
		if (strcasecmp(s->name, name) == 0) {
			fault(p, p->line_number, "store \"%s\" differs from \"%s\" in case only", name, s->name);
			return;
		}
	}
	if ((size_t)p->store == config->store_count) {
		size_t n = config->store_count + 1;

		if (n > STORES_MOST) {
			fault(p, p->line_number, "more than %d stores", STORES_MOST);
			return;
		}
		config->store_count = n;
		config->stores = sr_realloc(config->stores, n * sizeof(*config->stores));
		config->stores[n - 1] = (struct sr_config_store){.name = sr_strdup(name)};
		p->stores = sr_realloc(p->stores, n * sizeof(*p->stores));
		memset(&p->stores[n - 1], 0, sizeof(*p->stores));
	}
	if (!config->stores[p->store].line)
		config->stores[p->store].line = p->line_number;
}

/* `[global]` or `[store "name"]`, as inih is to see it; NULL: a fault. */
static const char *section_line(struct parse *p, char *s)
{
	char *word = skip_blanks(s + 1), *rest = word + strcspn(word, " \t]\""), *name;
	size_t len = (size_t)(rest - word);

	rest = skip_blanks(rest);
	if (len == 6 && strncasecmp(word, "global", 6) == 0 && *rest == ']' && nothing_more(rest + 1)) {
		p->store = SR_KEY_GLOBAL;
		return "global";
	}
	if (len != 5 || strncasecmp(word, "store", 5) != 0) {
		fault(p, p->line_number, "unknown section: there are [global] and [store \"name\"]");
		return NULL;
	}
	name = rest + 1;
	rest = *rest == '"' ? strchr(name, '"') : NULL;
	if (!rest || *skip_blanks(rest + 1) != ']' || !nothing_more(skip_blanks(rest + 1) + 1)) {
		fault(p, p->line_number, "a store's section is written [store \"name\"]");
		return NULL;
	}
	*rest = '\0';
	open_store(p, name);
	return p->status == SR_OK ? "store" : NULL;
}

/* ---- between inih and us ---- */

/* ini_reader: the next line that says something, cut to what inih needs of it. */
static char *reader(char *to, int room, void *stream)
{
	struct parse *p = stream;
	const char *text = NULL;
	int n = 0;

	while (p->status == SR_OK && !text && next_line(p)) {
		char *s = skip_blanks((char *)p->line.at);

		if (*s == '\0' || *s == '#' || *s == ';')
			continue;
		text = *s == '[' ? section_line(p, s) : key_line(p, s);
		if (text)
			n = snprintf(to, (size_t)room, *s == '[' ? "[%s]\n" : "%s=1\n", text);
	}
	if (n >= room) {
		fault(p, p->line_number, "unknown key %.40s...", text);
		text = NULL;
	}
	return text ? to : NULL;
}

static const struct sr_config_key *find_key(const char *name, bool in_store, size_t *index)
{
	size_t count;
	const struct sr_config_key *keys = sr_config_keys(&count);

	for (*index = 0; *index < count; ++*index)
		if ((keys[*index].store == SR_KEY_STORE) == in_store && strcasecmp(keys[*index].name, name) == 0)
			return &keys[*index];
	return NULL;
}

static int *line_of(struct parse *p, size_t index, int store)
{
	return store == SR_KEY_GLOBAL ? &p->global[index] : &p->stores[store].key[index];
}

/* User-DB-Path and the Path of [store "users.db"] are one thing: the line on which the other of the two was given, or 0. */
static int twin_line(struct parse *p, const struct sr_config_key *key, const char **name)
{
	size_t count;
	const struct sr_config_key *keys = sr_config_keys(&count);
	bool in_store = key->store == SR_KEY_STORE;
	int store = in_store ? p->store : key->store;

	if (key->type != SR_VALUE_PATH || store < 0 || store >= SR_STORES_FIXED)
		return 0;
	for (size_t i = 0; i < count; i++)
		if (keys[i].type == SR_VALUE_PATH && keys[i].offset == key->offset && keys[i].store == (in_store ? store : SR_KEY_STORE)) {
			*name = keys[i].name;
			return *line_of(p, i, in_store ? SR_KEY_GLOBAL : store);
		}
	return 0;
}

/* ini_handler.  0 ends nothing with Debian's inih, so the reader stops by itself once there is a fault. */
static int handler(void *user, const char *section, const char *name, const char *ignored)
{
	struct parse *p = user;
	bool in_store = strcmp(section, "store") == 0;
	int twin, *given, store;
	const char *twin_name = "";
	const struct sr_config_key *key;
	struct sr_buf why = {0};
	char *before = NULL;
	void *at;
	size_t index;

	(void)ignored;
	if (!name || p->status != SR_OK)
		return 0;
	key = find_key(name, in_store, &index);
	if (!key) {
		fault(p, p->line_number, "unknown key %s in [%s]", name, in_store ? "store" : "global");
		return 0;
	}
	given = line_of(p, index, in_store ? p->store : SR_KEY_GLOBAL);
	if (*given && !sr_value_repeats(key)) {
		fault(p, p->line_number, "%s is given twice, first on line %d", key->name, *given);
		return 0;
	}
	store = in_store ? p->store : key->store;
	at = sr_value_at(key, store >= 0 ? (void *)&p->config->stores[store] : p->config);
	twin = twin_line(p, key, &twin_name);
	if (twin)
		before = sr_strdup(*(char **)at);
	if (!sr_value_set(key, at, p->value, &why))
		fault(p, p->line_number, "%s: %s", key->name, sr_buf_text(&why));
	else if (twin && strcmp(before, *(char **)at) != 0)
		fault(p, p->line_number, "%s contradicts %s on line %d", key->name, twin_name, twin);
	*given = p->line_number;
	free(before);
	sr_buf_free(&why);
	return p->status == SR_OK;
}

/* ---- checks over the whole ---- */

static int given_line(struct parse *p, const char *name)
{
	size_t index;

	return find_key(name, false, &index) ? p->global[index] : 0;
}

static void check_pairs(struct parse *p)
{
	const struct sr_config *config = p->config;

	if (config->datastore.host && !config->external.host)
		fault(p, given_line(p, "Datastore"), "Datastore needs External-Addr too, the address that others reach this webserver at");
	else if (config->certificate_file && !config->key_file)
		fault(p, given_line(p, "Certificate-File"), "Certificate-File needs Key-File too");
	else if (config->key_file && !config->certificate_file)
		fault(p, given_line(p, "Key-File"), "Key-File needs Certificate-File too");
}

static void check_store(struct parse *p, struct sr_config_store *store)
{
	if (store->kind == SR_CONFIG_NO_KIND)
		fault(p, store->line, "store \"%s\" needs Kind=sqlite or Kind=files", store->name);
	else if (!store->path && !store->datastore_path)
		fault(p, store->line, "store \"%s\" needs Path, Datastore-Path or both", store->name);
	if (!store->max_delete_percent.own)
		store->max_delete_percent.value = p->config->max_delete_percent;
	if (!store->max_delete_count.own)
		store->max_delete_count.value = p->config->max_delete_count;
}

/* ---- no path inside another ---- */

enum role {
	ROLE_STORE, /* nothing of ours may lie in it, nor it in another */
	ROLE_STATE, /* each daemon its own */
	ROLE_APART, /* may lie anywhere but in a store, where it would be synchronised */
};

struct place {
	enum role role;
	const char *key, *store; /* store NULL: a key of [global] */
	const char *path;
	struct sr_location at;
	int line;
};

static bool lies_in(const struct place *inner, const struct place *outer)
{
	return sr_location_in(&inner->at, &outer->at);
}

static bool collide(const struct place *a, const struct place *b)
{
	if (a->role == ROLE_STORE && b->role == ROLE_STORE)
		return lies_in(a, b) || lies_in(b, a);
	if (a->role == ROLE_STORE || b->role == ROLE_STORE)
		return a->role == ROLE_STORE ? lies_in(b, a) : lies_in(a, b);
	return a->role == ROLE_STATE && b->role == ROLE_STATE && lies_in(a, b) && lies_in(b, a);
}

static void add_place(struct place *places, size_t *count, struct place place)
{
	if (!place.path)
		return;
	place.at = sr_location(place.path);
	places[(*count)++] = place;
}

static void name_place(struct sr_buf *out, const struct place *place, bool with_line)
{
	sr_buf_printf(out, "%s %s", place->key, place->path);
	if (place->store)
		sr_buf_printf(out, " of store \"%s\"", place->store);
	if (with_line && place->line)
		sr_buf_printf(out, " (line %d)", place->line);
	else if (with_line)
		sr_buf_printf(out, " (its default)");
}

static void places_fault(struct parse *p, const struct place *a, const struct place *b)
{
	struct sr_buf text = {0};

	if (a->line < b->line) { /* the later line is the offending one */
		const struct place *other = a;

		a = b;
		b = other;
	}
	name_place(&text, a, false);
	sr_buf_printf(&text, lies_in(a, b) && lies_in(b, a) ? " is the same as " : lies_in(a, b) ? " lies inside " : " contains ");
	name_place(&text, b, true);
	fault(p, a->line, "%s", sr_buf_text(&text));
	sr_buf_free(&text);
}

/* The line of a fixed store's path is that of its [global] key or of its section, whichever was given. */
static struct place store_place(struct parse *p, size_t store, bool datastore)
{
	static const char *const global[SR_STORES_FIXED][2] = {
		{"User-DB-Path", "Datastore-User-DB-Path"},
		{"Web-Store-Path", "Datastore-Web-Store-Path"},
		{"Webserver-Resource-Store", "Datastore-Resource-Store"},
	};
	const struct sr_config_store *s = &p->config->stores[store];
	struct place place = {.role = ROLE_STORE, .key = datastore ? "Datastore-Path" : "Path", .store = s->name};
	size_t index;

	place.path = datastore ? s->datastore_path : s->path;
	if (find_key(place.key, true, &index))
		place.line = p->stores[store].key[index];
	if (!place.line && store < SR_STORES_FIXED) {
		place.key = global[store][datastore];
		place.store = NULL;
		place.line = given_line(p, place.key);
	}
	return place;
}

static void check_places(struct parse *p)
{
	const struct sr_config *c = p->config;
	const struct place apart[] = {
		{.role = ROLE_STATE, .key = "State-Directory", .path = c->state_directory},
		{.role = ROLE_STATE, .key = "Datastore-State-Directory", .path = c->datastore_state_directory},
		{.role = ROLE_APART, .key = "Results-Directory", .path = c->results_directory},
		{.role = ROLE_APART, .key = "Control-Auth-File", .path = c->control_auth_file},
		{.role = ROLE_APART, .key = "Key-File", .path = c->key_file},
	};
	const size_t n_apart = sizeof(apart) / sizeof(*apart);
	struct place *places = sr_alloc((2 * c->store_count + n_apart) * sizeof(*places));
	size_t count = 0;

	for (size_t i = 0; i < c->store_count; i++) {
		add_place(places, &count, store_place(p, i, false));
		add_place(places, &count, store_place(p, i, true));
	}
	for (size_t i = 0; i < n_apart; i++) {
		struct place place = apart[i];

		place.line = given_line(p, place.key);
		add_place(places, &count, place);
	}
	for (size_t i = 0; i < count && p->status == SR_OK; i++)
		for (size_t j = i + 1; j < count && p->status == SR_OK; j++)
			if (collide(&places[i], &places[j]))
				places_fault(p, &places[i], &places[j]);
	for (size_t i = 0; i < count; i++)
		sr_location_free(&places[i].at);
	free(places);
}

/* ---- the whole ---- */

enum sr_status sr_config_parse(struct sr_config **out, FILE *in, const char *name, struct sr_err *err)
{
	size_t keys;
	struct parse p = {.in = in, .store = SR_KEY_GLOBAL, .err = err, .config = sr_config_defaults(name)};

	sr_config_keys(&keys);
	assert(keys <= KEYS_MOST);
	p.stores = sr_alloc(p.config->store_count * sizeof(*p.stores));
	if (in && ini_parse_stream(reader, &p, handler, &p) != 0 && p.status == SR_OK)
		p.status = sr_err_set(err, SR_E_INTERNAL, "%s: the INI parser gave up", name);
	if (p.status == SR_OK)
		check_pairs(&p);
	for (size_t i = 0; i < p.config->store_count && p.status == SR_OK; i++)
		check_store(&p, &p.config->stores[i]);
	if (p.status == SR_OK)
		check_places(&p);
	if (p.status == SR_OK)
		*out = p.config;
	else
		sr_config_free(p.config);
	if (p.line.at)
		explicit_bzero(p.line.at, p.line.cap); /* Control-Auth may have been in it */
	sr_buf_free(&p.line);
	free(p.stores);
	return p.status;
}

enum sr_status sr_config_load(struct sr_config **out, const char *path, struct sr_err *err)
{
	const char *name = path ? path : SR_CONFIG_DEFAULT_FILE;
	FILE *in = fopen(name, "re");
	enum sr_status status;
	struct stat st;

	if (!in && (path || errno != ENOENT))
		return sr_err_sys(err, SR_E_CONFIG, "%s", name);
	if (in && fstat(fileno(in), &st) == 0 && S_ISDIR(st.st_mode)) {
		fclose(in);
		return sr_err_set(err, SR_E_CONFIG, "%s: it is a directory", name);
	}
	status = sr_config_parse(out, in, name, err);
	if (in)
		fclose(in);
	return status;
}
