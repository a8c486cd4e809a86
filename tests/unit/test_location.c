/* Does one path lie inside another: lib/base/location.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/bytes.h"
#include "lib/base/location.h"

static bool in(const char *inner, const char *outer)
{
	struct sr_location a = sr_location(inner), b = sr_location(outer);
	bool yes = sr_location_in(&a, &b);

	sr_location_free(&a);
	sr_location_free(&b);
	return yes;
}

static void test_by_the_text(void **state)
{
	(void)state;
	assert_true(in("/a/b", "/a"));
	assert_true(in("/a", "/a"));
	assert_true(in("/a", "/"));
	assert_true(in("//a/./c/../b//", "/a"));
	assert_false(in("/a", "/a/b"));
	assert_false(in("/ab", "/a"));
	assert_false(in("/a/../b", "/a"));
	assert_true(in("/../a", "/a"));
}

static void test_from_here(void **state)
{
	char *here = getcwd(NULL, 0);

	(void)state;
	assert_true(in("a", here));
	assert_true(in("./a/../b/c", "b"));
	assert_false(in("../a", here));
	free(here);
}

static void test_by_links(void **state)
{
	char dir[] = "/tmp/test_location.XXXXXX", *link, *below, *real;

	(void)state;
	assert_non_null(mkdtemp(dir));
	link = sr_format("%s/link", dir);
	below = sr_format("%s/not/there", link);
	real = sr_format("%s/real", dir);
	assert_int_equal(mkdir(real, 0700), 0);
	assert_int_equal(symlink("real", link), 0);
	assert_true(in(below, real));
	assert_true(in(below, link));
	assert_true(in(link, real) && in(real, link));
	assert_int_equal(unlink(link), 0);
	assert_false(in(below, real));
	assert_int_equal(rmdir(real), 0);
	assert_int_equal(rmdir(dir), 0);
	free(link);
	free(below);
	free(real);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_the_text),
		cmocka_unit_test(test_from_here),
		cmocka_unit_test(test_by_links),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
