/* test_json.c - how much a text of JSON would be in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/json.h"

static void test_fits(void **state)
{
	static const struct {
		const char *text;
		size_t n;
	} cases[] = {
		{"", 1},
		{"1", 1},
		{"[]", 2},
		{"[1,2,3]", 4},
		{"{\"a\":[{},{}],\"b\":null}", 9}, /* a key that is not the first counts as well */
		{"[\",:[{\",\"\\\",,\"]", 3},
		{"[\"\\\\\",1]", 3},
		{"[[[[", 5},
		{"\",,,,", 1}, /* none */
		{"\"\\", 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_true(sr_json_fits(sr_bytes_of(cases[i].text), cases[i].n));
		assert_false(sr_json_fits(sr_bytes_of(cases[i].text), cases[i].n - 1));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_fits)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
