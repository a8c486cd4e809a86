/* target.c - see target.h. */
#include "http/target.h"

#include <stdlib.h>
#include <string.h>

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decode from..end to *to, which moves on; a NUL is put behind.  False: malformed, or a NUL inside. */
static bool decode(const char *from, const char *end, bool form, char **to, struct sr_bytes *out)
{
	char *start = *to, *w = start;

	for (; from < end; from++) {
		char c = *from;

		if (c == '%') {
			int high = end - from > 2 ? hex_value(from[1]) : -1;
			int low = high >= 0 ? hex_value(from[2]) : -1;

			if (low < 0)
				return false;
			c = (char)(high << 4 | low);
			from += 2;
		} else if (c == '+' && form) {
			c = ' ';
		}
		if (!c)
			return false;
		*w++ = c;
	}
	*w++ = 0;
	*to = w;
	*out = sr_bytes(start, (size_t)(w - start) - 1);
	return true;
}

/* Is any component of a decoded segment (it may hold '/') a step within the tree of names? */
static bool has_dots(struct sr_bytes segment)
{
	const char *at = (const char *)segment.at;

	for (;;) {
		size_t n = strcspn(at, "/");

		if ((n == 1 && at[0] == '.') || (n == 2 && at[0] == '.' && at[1] == '.'))
			return true;
		if (!at[n])
			return false;
		at += n + 1;
	}
}

static size_t count(const char *from, const char *end, char c)
{
	size_t n = 0;

	for (; from < end; from++)
		n += *from == c;
	return n;
}

static bool parse_path(struct sr_target *t, const char *path, const char *end, char **to)
{
	t->segments = sr_alloc(count(path, end, '/') * sizeof(*t->segments));
	if (end - path == 1)
		return true; /* "/" has no segments */
	for (const char *at = path; at < end;) {
		const char *stop = memchr(at + 1, '/', (size_t)(end - at - 1));

		stop = stop ? stop : end;
		if (!decode(at + 1, stop, false, to, &t->segments[t->n]) || has_dots(t->segments[t->n]))
			return false;
		t->n++;
		at = stop;
	}
	return true;
}

static bool parse_query(struct sr_target *t, const char *query, char **to)
{
	const char *end = query + strlen(query);

	t->params = sr_alloc((count(query, end, '&') + 1) * sizeof(*t->params));
	for (const char *at = query; at < end;) {
		struct sr_param *p = &t->params[t->params_n];
		size_t n = strcspn(at, "&"), name = strcspn(at, "=&");

		if (!decode(at, at + name, true, to, &p->name) ||
		    !decode(at + (name < n ? name + 1 : n), at + n, true, to, &p->value))
			return false;
		t->params_n++;
		at += at[n] ? n + 1 : n;
	}
	return true;
}

static bool plain(const char *raw)
{
	for (; *raw; raw++)
		if (*raw < 0x21 || *raw > 0x7e || *raw == '#') /* char is signed or not: both refuse 0x80 and up */
			return false;
	return true;
}

enum sr_status sr_target_parse(struct sr_target *out, const char *raw, struct sr_err *err)
{
	struct sr_target t = { 0 };
	size_t path = strcspn(raw, "?"), len = strlen(raw);
	char *to;

	if (raw[0] != '/' || !plain(raw))
		return sr_err_set(err, SR_E_DATA, "malformed request target");
	/* Decoding never lengthens; every piece takes the place of its separator with its NUL, parameters two. */
	to = t.text = sr_alloc(2 * len + 4);
	if (!parse_path(&t, raw, raw + path, &to) || (raw[path] && !parse_query(&t, raw + path + 1, &to))) {
		sr_target_free(&t);
		return sr_err_set(err, SR_E_DATA, "malformed request target");
	}
	*out = t;
	return SR_OK;
}

void sr_target_free(struct sr_target *t)
{
	free(t->text);
	free(t->segments);
	free(t->params);
	*t = (struct sr_target){ 0 };
}

bool sr_target_query(const struct sr_target *t, const char *name, struct sr_bytes *out)
{
	for (size_t i = 0; i < t->params_n; i++) {
		if (sr_bytes_eq(t->params[i].name, sr_bytes_of(name))) {
			*out = t->params[i].value;
			return true;
		}
	}
	return false;
}

bool sr_target_match(const struct sr_target *t, const char *pattern, struct sr_bytes *args, size_t *n)
{
	size_t i = 0, found = 0;

	if (pattern[1]) { /* "/" has no segments */
		for (const char *at = pattern; *at; i++) {
			size_t len = strcspn(++at, "/");
			bool any = len == 2 && !memcmp(at, "{}", 2);

			if (len == 1 && *at == '*') {
				for (; i < t->n; i++)
					args[found++] = t->segments[i];
				*n = found;
				return true;
			}
			if (i == t->n || (any ? !t->segments[i].len : !sr_bytes_eq(t->segments[i], sr_bytes(at, len))))
				return false;
			if (any)
				args[found++] = t->segments[i];
			at += len;
		}
	}
	*n = found;
	return i == t->n;
}

bool sr_method_match(const char *methods, const char *method)
{
	if (!strcmp(method, "HEAD"))
		method = "GET";
	for (const char *at = methods;; at++) {
		size_t n = strcspn(at, "|");

		if (n == strlen(method) && !memcmp(at, method, n))
			return true;
		at += n;
		if (!*at)
			return false;
	}
}
