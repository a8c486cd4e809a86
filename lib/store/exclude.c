/* exclude.c - see exclude.h. */
#include "lib/store/exclude.h"

#include <string.h>

#define END       UINT32_MAX
#define NO_UTF8   0x110000u /* and the byte: no character has such a number */
#define SEPARATOR 0u        /* between components; in a glob it is written as a slash */

/* --- characters ----------------------------------------------------------------------------------------------------- */

struct text {
	const uint8_t *at, *end;
};

static unsigned length_of(uint8_t lead)
{
	return lead < 0x80 ? 1 : lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3 : lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
}

static uint32_t next(struct text *t)
{
	static const uint8_t bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	unsigned n;
	uint32_t c;

	if (t->at == t->end)
		return END;
	n = length_of(*t->at);
	if (!n || (size_t)(t->end - t->at) < n)
		return NO_UTF8 + *t->at++;
	c = *t->at & bits[n];
	for (unsigned i = 1; i < n; i++) {
		if ((t->at[i] & 0xc0) != 0x80)
			return NO_UTF8 + *t->at++;
		c = c << 6 | (t->at[i] & 0x3f);
	}
	t->at += n;
	return c;
}

static uint32_t lower(uint32_t c)
{
	return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

/* --- one glob --------------------------------------------------------------------------------------------------------- */

struct match {
	bool path;      /* of components: else a table's name, in which nothing separates and letters are folded */
	struct text glob;
	const uint8_t *first; /* of the glob */
};

/* `[...]` behind its bracket, with c in it or not.  *closed false: there is no end to it, and the bracket means itself. */
static bool in_class(const struct match *m, struct text *glob, uint32_t c, bool *closed)
{
	struct text g = *glob;
	bool other = g.at < g.end && (*g.at == '!' || *g.at == '^'), found = false;

	g.at += other;
	*closed = false;
	for (bool begin = true; g.at < g.end && (begin || *g.at != ']'); begin = false) {
		uint32_t low = next(&g), high;

		if (low == '\\' && g.at < g.end)
			low = next(&g);
		high = low;
		if (g.end - g.at >= 2 && g.at[0] == '-' && g.at[1] != ']') {
			g.at++;
			high = next(&g);
			if (high == '\\' && g.at < g.end)
				high = next(&g);
		}
		found |= c >= low && c <= high;
		found |= !m->path && ((lower(c) >= low && lower(c) <= high) || (c >= 'a' && c <= 'z' && c - 'a' + 'A' >= low && c - 'a' + 'A' <= high));
	}
	if (g.at == g.end)
		return false;
	*closed = true;
	glob->at = g.at + 1;
	return found != other && !(m->path && c == SEPARATOR);
}

/* One character of the glob, no star, against one of the text. */
static bool one(const struct match *m, struct text *glob, uint32_t c)
{
	uint32_t g = next(glob);
	bool closed, in;

	if (c == END)
		return false;
	if (g == '?')
		return !m->path || c != SEPARATOR;
	if (g == '[') {
		in = in_class(m, glob, c, &closed);
		if (closed)
			return in;
	}
	if (g == '\\' && glob->at < glob->end)
		g = next(glob);
	else if (g == '/' && m->path)
		g = SEPARATOR;
	return m->path ? g == c : lower(g) == lower(c);
}

/* `**` as a whole component: its length with the slash behind it; 0: it is none. */
static size_t deep(const struct match *m, const struct text *g)
{
	size_t left = (size_t)(g->end - g->at);

	if (!m->path || left < 2 || g->at[0] != '*' || g->at[1] != '*' || (g->at > m->first && g->at[-1] != '/'))
		return 0;
	return left == 2 ? 2 : g->at[2] == '/' ? 3 : 0;
}

/* A star that fails is tried again with one character more, `**` with one component more; of each the last one only, for what an earlier one
 * may take besides is no better for what follows. */
static bool matches(struct match *m, struct text t)
{
	struct text g = m->glob, star = {0}, star_at = {0}, deep_glob = {0}, deep_at = {0};

	for (;;) {
		struct text was = t;
		size_t n = deep(m, &g);

		if (n == 2)
			return t.at < t.end;
		if (n) {
			g.at += n;
			deep_glob = g;
			deep_at = t;
			star.at = NULL;
			continue;
		}
		if (g.at < g.end && *g.at == '*') {
			g.at++;
			star = g;
			star_at = t;
			continue;
		}
		if (g.at == g.end ? t.at == t.end : one(m, &g, next(&t))) {
			if (was.at == was.end)
				return true;
			continue;
		}
		if (star.at && star_at.at < star_at.end && !(m->path && *star_at.at == 0)) {
			(void)next(&star_at);
			g = star;
			t = star_at;
			continue;
		}
		if (!deep_glob.at)
			return false;
		star.at = NULL;
		deep_at.at = memchr(deep_at.at, 0, (size_t)(deep_at.end - deep_at.at));
		if (!deep_at.at++)
			return false;
		g = deep_glob;
		t = deep_at;
	}
}

static struct sr_bytes last_component(struct sr_bytes path)
{
	const uint8_t *nul = path.len ? memrchr(path.at, 0, path.len) : NULL;
	size_t from = nul ? (size_t)(nul - path.at) + 1 : 0;

	return sr_bytes(path.at + from, path.len - from);
}

static bool file_glob(const char *glob, struct sr_bytes path)
{
	size_t n = strlen(glob);
	bool whole = glob[0] == '/';
	struct match m = {.path = true};

	while (n && glob[n - 1] == '/')
		n--;
	if (whole && n) {
		glob++;
		n--;
	}
	if (!n)
		return false;
	if (!whole && !memchr(glob, '/', n))
		path = last_component(path);
	m.glob = (struct text){(const uint8_t *)glob, (const uint8_t *)glob + n};
	m.first = m.glob.at;
	return matches(&m, (struct text){path.at, path.at + path.len});
}

static bool table_glob(const char *glob, struct sr_bytes table)
{
	struct match m = {.glob = {(const uint8_t *)glob, (const uint8_t *)glob + strlen(glob)}};

	m.first = m.glob.at;
	return matches(&m, (struct text){table.at, table.at + table.len});
}

/* --- all of them ------------------------------------------------------------------------------------------------------- */

bool sr_exclude_matches(uint8_t store_kind, const char *const *globs, size_t n, struct sr_bytes path)
{
	const uint8_t *nul;

	if (!n || !path.len)
		return false;
	if (store_kind == SR_KIND_DATABASE) {
		nul = memchr(path.at, 0, path.len);
		path.len = nul ? (size_t)(nul - path.at) : path.len;
		if (sr_bytes_eq(path, sr_bytes_of(SR_SCHEMA_PATH)))
			return false;
	}
	for (size_t i = 0; i < n; i++)
		if (store_kind == SR_KIND_DATABASE ? table_glob(globs[i], path) : file_glob(globs[i], path))
			return true;
	return false;
}

bool sr_exclude_covers(uint8_t store_kind, const char *const *globs, size_t n, struct sr_bytes path)
{
	if (!n || store_kind == SR_KIND_DATABASE)
		return sr_exclude_matches(store_kind, globs, n, path);
	for (size_t len = 1; len <= path.len; len++)
		if ((len == path.len || path.at[len] == 0) && sr_exclude_matches(store_kind, globs, n, sr_bytes(path.at, len)))
			return true;
	return false;
}
