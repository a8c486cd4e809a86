/* config_ini.c - see config_ini.h.
 *
 * inih splits a stream into sections and keys, but by itself it keeps quotes and inline comments, joins indented lines to the one before
 * and cuts long ones, which turns the tail of a long comment into configuration.  So we are its reader: we cut each line to its bones
 * ourselves and hand over `[global]`, `[named]` or `Key=1`; the value, the line's number and the section's wait in struct sr_ini. */
#include "lib/base/config_ini.h"

#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#define WORD_MOST 16 /* letters: of the words of which keys are made ... */
#define NAME_MOST 40 /* ... and of keys */
#define LINE_MOST (1u << 20) /* bytes; a configuration has no such lines, /dev/zero has */

void sr_ini_fault(struct sr_ini *p, int line, const char *fmt, ...)
{
	char *what;
	va_list ap;

	if (p->status != SR_OK)
		return;
	va_start(ap, fmt);
	if (vasprintf(&what, fmt, ap) < 0)
		abort();
	va_end(ap);
	if (line)
		p->status = sr_err_set(p->err, SR_E_CONFIG, "%s:%d: %s", p->file, line, what);
	else
		p->status = sr_err_set(p->err, SR_E_CONFIG, "%s: %s", p->file, what);
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
static bool next_line(struct sr_ini *p)
{
	int c;

	sr_buf_clear(&p->line);
	p->line_number++;
	while ((c = getc_unlocked(p->in)) != EOF && c != '\n') {
		if (c == '\0' || p->line.len == LINE_MOST) {
			sr_ini_fault(p, p->line_number, c ? "a line of more than 1 MiB" : "a NUL byte: this is no text file");
			return false;
		}
		sr_buf_byte(&p->line, (uint8_t)c);
	}
	if (ferror(p->in)) {
		p->status = sr_err_sys(p->err, SR_E_CONFIG, "%s", p->file);
		return false;
	}
	if (p->line_number == 1 && p->line.len >= 3 && memcmp(p->line.at, "\xef\xbb\xbf", 3) == 0)
		memset(p->line.at, ' ', 3); /* a byte order mark */
	sr_buf_text(&p->line);
	return c != EOF || p->line.len > 0;
}

/* "...": unquote in place.  s is at the opening quote. */
static char *quoted_value(struct sr_ini *p, char *s)
{
	char *value = s, *to = s;

	for (s++; *s && *s != '"'; s++) {
		if (*s == '\\') {
			s++;
			if (*s != '"' && *s != '\\') {
				sr_ini_fault(p, p->line_number, "in quotes a backslash goes before a quote or a backslash only");
				return NULL;
			}
		}
		*to++ = *s;
	}
	if (*s != '"') {
		sr_ini_fault(p, p->line_number, "the quote is not closed");
		return NULL;
	}
	if (!nothing_more(s + 1)) {
		sr_ini_fault(p, p->line_number, "there is more after the closing quote");
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

static bool letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* What is no key may be a value out of its place, a secret too (`Control-Auth: abc=`): as much of it is told as looks like words. */
static void unknown_key(struct sr_ini *p, const char *name, const char *section)
{
	int n = 0, word = 0;

	while ((letter(name[n]) || name[n] == '-' || name[n] == ' ') && word < WORD_MOST && n < NAME_MOST) {
		word = letter(name[n]) ? word + 1 : 0;
		n++;
	}
	sr_ini_fault(p, p->line_number, "unknown key %.*s%s%s%s%s", n, name, name[n] ? "..." : "", section ? " in [" : "", section ? section : "",
		     section ? "]" : "");
}

/* `Key = value`: leaves the value in p->value and returns the key. */
static char *key_line(struct sr_ini *p, char *s)
{
	char *equals = s + strcspn(s, "=#;\""), *end = equals;

	if (*equals != '=') {
		sr_ini_fault(p, p->line_number, "neither a [section] nor Key=value");
		return NULL;
	}
	while (end > s && blank(end[-1]))
		end--;
	*end = '\0';
	for (char *c = s; c < end; c++)
		if (!letter(*c) && *c != '-') {
			unknown_key(p, s, NULL);
			return NULL;
		}
	equals = skip_blanks(equals + 1);
	p->value = *equals == '"' ? quoted_value(p, equals) : bare_value(equals);
	return p->value ? s : NULL;
}

/* ---- sections ---- */

/* The lines of a section's keys; a new section has none. */
static int *lines_of(struct sr_ini *p, size_t section)
{
	if (section >= p->sections) {
		p->given = sr_realloc(p->given, (section + 1) * p->count * sizeof(*p->given));
		memset(p->given + p->sections * p->count, 0, (section + 1 - p->sections) * p->count * sizeof(*p->given));
		p->sections = section + 1;
	}
	return p->given + section * p->count;
}

static const char *word_of(const struct sr_ini *p, const char *word, size_t len)
{
	for (const char *const *w = p->words; *w; w++)
		if (strlen(*w) == len && strncasecmp(*w, word, len) == 0)
			return *w;
	return NULL;
}

static bool is_global(const char *word, size_t len)
{
	return len == 6 && strncasecmp(word, "global", 6) == 0;
}

/* `[global]` or `[word "name"]`, as inih is to see it; NULL: a fault. */
static const char *section_line(struct sr_ini *p, char *s)
{
	char *word = skip_blanks(s + 1), *rest = word + strcspn(word, " \t]\""), *name;
	size_t len = (size_t)(rest - word);
	const char *known = word_of(p, word, len);

	rest = skip_blanks(rest);
	if (is_global(word, len) && *rest == ']' && nothing_more(rest + 1)) {
		p->section = 0;
		return "global";
	}
	if (!known) {
		sr_ini_fault(p, p->line_number, "unknown section: there are [global] and [%s \"name\"]", p->words[0]);
		return NULL;
	}
	name = rest + 1;
	rest = *rest == '"' ? strchr(name, '"') : NULL;
	if (!rest || *skip_blanks(rest + 1) != ']' || !nothing_more(skip_blanks(rest + 1) + 1)) {
		sr_ini_fault(p, p->line_number, "%s %s's section is written [%s \"name\"]", strchr("aeiou", *known) ? "an" : "a", known,
			     known);
		return NULL;
	}
	*rest = '\0';
	p->section = p->open(p, known, name);
	return p->status == SR_OK ? "named" : NULL;
}

/* ---- between inih and us ---- */

/* ini_reader: the next line that says something, cut to what inih needs of it. */
static char *reader(char *to, int room, void *stream)
{
	struct sr_ini *p = stream;
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
		unknown_key(p, text, NULL);
		text = NULL;
	}
	return text ? to : NULL;
}

/* NULL: there is none in such a section. */
static const struct sr_config_key *find_key(const struct sr_ini *p, const char *name, bool named)
{
	for (const struct sr_config_key *key = p->keys; key < p->keys + p->count; key++)
		if ((key->store == SR_KEY_STORE) == named && strcasecmp(key->name, name) == 0)
			return key;
	return NULL;
}

int sr_ini_line(const struct sr_ini *p, const char *name, size_t section)
{
	const struct sr_config_key *key = find_key(p, name, section > 0);

	return key && section < p->sections ? p->given[section * p->count + (size_t)(key - p->keys)] : 0;
}

void sr_ini_set(struct sr_ini *p, const struct sr_config_key *key, void *at)
{
	struct sr_buf why = {0};

	if (!sr_value_set(key, at, p->value, &why))
		sr_ini_fault(p, p->line_number, "%s: %s", key->name, sr_buf_text(&why));
	sr_buf_free(&why);
}

/* ini_handler.  0 ends nothing with Debian's inih, so the reader stops by itself once there is a fault. */
static int handler(void *user, const char *section, const char *name, const char *ignored)
{
	struct sr_ini *p = user;
	const struct sr_config_key *key;
	int *given;
	void *at;

	(void)section, (void)ignored;
	if (!name || p->status != SR_OK)
		return 0;
	key = find_key(p, name, p->section > 0);
	if (!key) {
		unknown_key(p, name, p->section ? p->words[0] : "global");
		return 0;
	}
	given = lines_of(p, p->section) + (key - p->keys);
	if (*given && !sr_value_repeats(key)) {
		sr_ini_fault(p, p->line_number, "%s is given twice, first on line %d", key->name, *given);
		return 0;
	}
	at = sr_value_at(key, p->owner(p, key, p->section));
	if (p->set)
		p->set(p, key, at);
	else
		sr_ini_set(p, key, at);
	*given = p->line_number;
	return p->status == SR_OK;
}

/* ---- the whole ---- */

enum sr_status sr_ini_read(struct sr_ini *ini, FILE *in)
{
	ini->in = in;
	if (in && ini_parse_stream(reader, ini, handler, ini) != 0)
		sr_ini_fault(ini, 0, "the INI parser gave up");
	return ini->status;
}

void sr_ini_done(struct sr_ini *ini)
{
	if (ini->line.at)
		explicit_bzero(ini->line.at, ini->line.cap);
	sr_buf_free(&ini->line);
	free(ini->given);
	ini->given = NULL;
}

enum sr_status sr_ini_open(FILE **out, const char *path, bool named, struct sr_err *err)
{
	FILE *in = fopen(path, "re");
	struct stat st;

	if (!in && (named || errno != ENOENT))
		return sr_err_sys(err, SR_E_CONFIG, "%s", path);
	if (in && fstat(fileno(in), &st) == 0 && S_ISDIR(st.st_mode)) {
		fclose(in);
		return sr_err_set(err, SR_E_CONFIG, "%s: it is a directory", path);
	}
	*out = in;
	return SR_OK;
}
