/* test_exclude.c - which paths a glob leaves out, as sameroot.conf(5) says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/store/exclude.h"

#define YES 1
#define NO  0

/* Components are written with a slash here. */
static bool covers(uint8_t kind, const char *glob, const char *text)
{
	char *copy = strdup(text);
	size_t n = strlen(text);
	bool yes;

	for (size_t i = 0; i < n; i++)
		if (copy[i] == '/')
			copy[i] = 0;
	yes = sr_exclude_covers(kind, &glob, 1, sr_bytes(copy, n));
	free(copy);
	return yes;
}

struct example {
	const char *glob, *path;
	bool excluded;
};

static void check(uint8_t kind, const struct example *e, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (covers(kind, e[i].glob, e[i].path) != e[i].excluded)
			fail_msg("\"%s\" %s \"%s\"", e[i].glob, e[i].excluded ? "does not match" : "matches", e[i].path);
}

static void test_files(void **state)
{
	static const struct example examples[] = {
		/* without a slash: a name, at any depth, and all that is below */
		{"cache", "cache", YES}, {"cache", "a/cache", YES}, {"cache", "a/cache/b/c", YES}, {"cache", "cached", NO}, {"cache", "Cache", NO},
		{"*.tmp", "x.tmp", YES}, {"*.tmp", "a/b/.tmp", YES}, {"*.tmp", "x.tmp/deep", YES}, {"*.tmp", "x.tmpl", NO},
		{"a*b*c", "aXXbYYc", YES}, {"a*b*c", "abcbc", YES}, {"a*b*c", "acb", NO}, {"*", "anything", YES},
		/* a slash at the end changes nothing */
		{"cache/", "cache", YES}, {"cache/", "a/cache/b", YES}, {"cache//", "cache", YES},
		/* with one elsewhere: the whole path */
		{"/cache", "cache", YES}, {"/cache", "cache/x", YES}, {"/cache", "a/cache", NO},
		{"a/cache", "a/cache/x", YES}, {"a/cache", "b/a/cache", NO}, {"/a/cache/", "a/cache", YES},
		{"cache/*", "cache/x", YES}, {"cache/*", "cache/x/y", YES}, {"cache/*", "cache", NO}, {"cache/*", "a/cache/x", NO},
		{"*/tmp", "a/tmp", YES}, {"*/tmp", "a/b/tmp", NO}, {"*/tmp", "tmp", NO}, {"a*z/x", "a/z/x", NO},
		/* any number of components */
		{"**/tmp", "tmp", YES}, {"**/tmp", "a/b/tmp", YES}, {"**/tmp", "a/b/tmpx", NO}, {"a/**/z", "a/z", YES}, {"a/**/z", "a/b/c/z", YES},
		{"a/**/z", "b/a/z", NO}, {"a/**", "a/b", YES}, {"a/**", "a/b/c", YES}, {"a/**", "a", NO}, {"a/**/b/*.c", "a/b/x/b/y.c", YES},
		{"a/**/b/*.c", "a/b/x/y.c", NO}, {"**", "a", YES}, {"a**b", "axb", YES}, {"x/a**b", "x/a/b", NO}, {"**/a/**/b", "q/a/r/s/b", YES},
		{"**/a*c/d", "abx/abc/abd/abc/d", YES},
		/* one character, of UTF-8 or of none */
		{"?", "\xc3\xa4", YES}, {"??", "\xc3\xa4", NO}, {"?", "\xff", YES}, {"\xc3*", "\xc3\xa4", NO}, {"*\xff", "a\xff", YES}, {"a?b", "a/b", NO},
		{"[ab]c", "bc", YES}, {"[ab]c", "cc", NO}, {"[a-f]", "d", YES}, {"[!a-f]", "d", NO}, {"[^a-f]", "g", YES}, {"[]]", "]", YES},
		{"[a-]", "-", YES}, {"[\xc3\xa0-\xc3\xbf]", "\xc3\xa4", YES}, {"x/a[!b]c", "x/a/c", NO}, {"a[b", "a[b", YES}, {"[\\]a]", "]", YES},
		/* as it is written */
		{"\\*", "*", YES}, {"\\*", "x", NO}, {"a\\", "a\\", YES}, {"a%20b", "a%20b", YES}, {".", "a", NO}, {"/", "a", NO}, {"//", "a", NO},
		{".*", ".hidden", YES}, {"*", ".hidden", YES},
	};

	(void)state;
	check(SR_KIND_FILES, examples, sizeof examples / sizeof *examples);
}

static void test_tables(void **state)
{
	static const struct example examples[] = {
		{"sessions", "sessions", YES}, {"sessions", "SESSIONS", YES}, {"Sessions", "sessions/key", YES}, {"sessions", "session", NO},
		{"log_*", "LOG_2020", YES}, {"[s]ess*", "Sessions", YES}, {"[S]ess*", "sessions", YES}, {"[!s]ess*", "Sessions", NO}, {"s?", "SX", YES}, {"*", "any", YES},
		{"*", "sqlite_master", NO}, {"key", "sessions/key", NO}, {"\xc3\x84", "\xc3\xa4", NO}, {"**", "x", YES},
	};
	const char *slash = "a*z/";

	(void)state;
	check(SR_KIND_DATABASE, examples, sizeof examples / sizeof *examples);
	assert_true(sr_exclude_covers(SR_KIND_DATABASE, &slash, 1, sr_bytes_of("a/z/"))); /* nothing separates in a table's name */
}

static void test_lists(void **state)
{
	static const char *const globs[] = {"a", "/b/c"};

	(void)state;
	assert_false(sr_exclude_covers(SR_KIND_FILES, NULL, 0, sr_bytes_of("a")));
	assert_true(sr_exclude_covers(SR_KIND_FILES, globs, 2, sr_bytes("x\0a\0y", 5)));
	assert_false(sr_exclude_matches(SR_KIND_FILES, globs, 2, sr_bytes("x\0a\0y", 5)));
	assert_true(sr_exclude_matches(SR_KIND_FILES, globs, 2, sr_bytes("b\0c", 3)));
	assert_false(sr_exclude_covers(SR_KIND_FILES, globs, 2, sr_bytes("b", 1)));
}

/* Many stars do not take for ever. */
static void test_quick(void **state)
{
	char text[4001], glob[] = "**/*a*a*a*a*a*a*a*a*a*a*a*/**/*a*a*a*a*a*a*a*b";

	(void)state;
	memset(text, 'a', 4000);
	for (size_t i = 50; i < 4000; i += 50)
		text[i] = '/';
	text[4000] = 0;
	assert_false(covers(SR_KIND_FILES, glob, text));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_quick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
