/* test_bytes.c - lib/base: bytes, and beside them err, door and log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "lib/base/door.h"
#include "lib/base/err.h"
#include "lib/base/log.h"

static void assert_bytes(struct sr_bytes got, const char *want, size_t len)
{
	assert_int_equal(got.len, len);
	assert_memory_equal(got.at, want, len);
}

static void compares_as_memcmp_the_shorter_first(void **state)
{
	static const struct {
		struct sr_bytes a, b;
		int order;
	} cases[] = {
		{{(const uint8_t *)"a", 1}, {(const uint8_t *)"b", 1}, -1},
		{{(const uint8_t *)"a", 1}, {(const uint8_t *)"ab", 2}, -1},
		{{(const uint8_t *)"a\0b", 3}, {(const uint8_t *)"a\0c", 3}, -1},
		{{(const uint8_t *)"\xff", 1}, {(const uint8_t *)"a", 1}, 1},
		{{NULL, 0}, {(const uint8_t *)"", 0}, 0},
		{{NULL, 0}, {(const uint8_t *)"a", 1}, -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int got = sr_bytes_cmp(cases[i].a, cases[i].b), back = sr_bytes_cmp(cases[i].b, cases[i].a);

		assert_int_equal((got > 0) - (got < 0), cases[i].order);
		assert_int_equal((back > 0) - (back < 0), -cases[i].order);
		assert_int_equal(sr_bytes_eq(cases[i].a, cases[i].b), cases[i].order == 0);
	}
}

static void secrets_are_the_same_or_not(void **state)
{
	(void)state;
	assert_true(sr_bytes_same_secret(sr_bytes_of("secret"), sr_bytes_of("secret")));
	assert_true(sr_bytes_same_secret(sr_bytes_of(""), sr_bytes_of("")));
	assert_false(sr_bytes_same_secret(sr_bytes_of("secret"), sr_bytes_of("secreT")));
	assert_false(sr_bytes_same_secret(sr_bytes_of("secret"), sr_bytes_of("")));
	assert_false(sr_bytes_same_secret(sr_bytes_of(""), sr_bytes_of("secret")));
	assert_false(sr_bytes_same_secret(sr_bytes_of("abab"), sr_bytes_of("ab"))); /* not even when it repeats */
	assert_false(sr_bytes_same_secret(sr_bytes_of("\xff"), sr_bytes_of("")));
}

static void a_buffer_grows_and_is_read_back(void **state)
{
	struct sr_buf b = {0};
	struct sr_reader r;

	(void)state;
	sr_buf_byte(&b, 7);
	sr_buf_be16(&b, 0x0102);
	sr_buf_be32(&b, 0x03040506);
	sr_buf_be64(&b, UINT64_C(0x0708090a0b0c0d0e));
	assert_bytes(sr_buf_view(&b), "\x07\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e", 15);
	sr_buf_string(&b, sr_bytes("a\0b", 3));
	sr_buf_bytes(&b, sr_bytes(NULL, 0));
	for (int i = 0; i < 1000; i++)
		sr_buf_printf(&b, "%04d", i);

	r = sr_reader(sr_buf_view(&b));
	assert_int_equal(sr_read_byte(&r), 7);
	assert_int_equal(sr_read_be16(&r), 0x0102);
	assert_int_equal(sr_read_be32(&r), 0x03040506);
	assert_true(sr_read_be64(&r) == UINT64_C(0x0708090a0b0c0d0e));
	assert_bytes(sr_read_string(&r), "a\0b", 3);
	assert_int_equal(sr_read_left(&r), 4000);
	assert_false(sr_read_done(&r));
	assert_memory_equal(sr_read_bytes(&r, 4000).at + 3996, "0999", 4);
	assert_true(sr_read_done(&r));
	sr_buf_free(&b);
	assert_null(b.at);
}

static void a_text_is_terminated_but_not_longer(void **state)
{
	struct sr_buf b = {0};
	char *copy;

	(void)state;
	assert_string_equal(sr_buf_text(&b), "");
	for (int i = 0; i < 64; i++) /* exactly the first capacity: the NUL needs room of its own */
		sr_buf_byte(&b, 'x');
	assert_int_equal(strlen(sr_buf_text(&b)), 64);
	assert_int_equal(b.len, 64);
	sr_buf_clear(&b);
	assert_string_equal(sr_buf_text(&b), "");
	sr_buf_free(&b);
	copy = sr_format("%s-%d", "a", 5);
	assert_string_equal(copy, "a-5");
	free(copy);
}

static void a_reader_stops_at_the_first_fault(void **state)
{
	struct sr_reader r = sr_reader(sr_bytes("\x01\x02\x03", 3));

	(void)state;
	assert_int_equal(sr_read_be32(&r), 0);
	assert_true(r.bad);
	assert_int_equal(sr_read_byte(&r), 0); /* though there is one */
	assert_int_equal(sr_read_left(&r), 0);
	assert_false(sr_read_done(&r));
	r = sr_reader(sr_bytes("\x05hell", 5));
	assert_int_equal(sr_read_string(&r).len, 0);
	assert_true(r.bad);
	r = sr_reader(sr_bytes("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10)); /* a length of 2^64-1 */
	assert_int_equal(sr_read_string(&r).len, 0);
	assert_true(r.bad);
}

static void varints_have_one_form(void **state)
{
	static const uint64_t values[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, (uint64_t)INT64_MAX, UINT64_MAX};
	static const struct sr_bytes bad[] = {
		{(const uint8_t *)"", 0},
		{(const uint8_t *)"\x80", 1},
		{(const uint8_t *)"\x80\x00", 2},                                      /* 0, too long */
		{(const uint8_t *)"\xff\x80\x00", 3},                                  /* 127, too long */
		{(const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10},     /* over 64 bits */
		{(const uint8_t *)"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x01", 11}, /* eleven bytes */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		struct sr_buf b = {0};
		struct sr_reader r;

		sr_buf_varint(&b, values[i]);
		r = sr_reader(sr_buf_view(&b));
		assert_true(sr_read_varint(&r) == values[i]);
		assert_true(sr_read_done(&r));
		sr_buf_free(&b);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct sr_reader r = sr_reader(bad[i]);

		assert_true(sr_read_varint(&r) == 0);
		assert_true(r.bad);
	}
}

static void hex_there_and_back(void **state)
{
	struct sr_buf b = {0};
	uint8_t out[3] = {9, 9, 9};

	(void)state;
	sr_hex(&b, sr_bytes("\x00\xab\xff", 3));
	assert_string_equal(sr_buf_text(&b), "00abff");
	assert_true(sr_unhex(out, 3, sr_buf_view(&b)));
	assert_memory_equal(out, "\x00\xab\xff", 3);
	assert_true(sr_unhex(out, 3, sr_bytes_of("00ABFF")));
	memset(out, 9, 3);
	assert_false(sr_unhex(out, 3, sr_bytes_of("00abf")));
	assert_false(sr_unhex(out, 3, sr_bytes_of("00abfff")));
	assert_false(sr_unhex(out, 3, sr_bytes_of("00abfg")));
	assert_false(sr_unhex(out, 3, sr_bytes_of("0 abff")));
	assert_memory_equal(out, "\x09\x09\x09", 3); /* nothing is written when it fails */
	sr_buf_free(&b);
}

static void percent_there_and_back(void **state)
{
	struct sr_buf b = {0}, back = {0};

	(void)state;
	sr_percent(&b, sr_bytes("a/b \0%\xff~", 8), "/");
	assert_string_equal(sr_buf_text(&b), "a/b%20%00%25%FF~");
	assert_true(sr_unpercent(&back, sr_buf_view(&b)));
	assert_bytes(sr_buf_view(&back), "a/b \0%\xff~", 8);
	sr_buf_clear(&b);
	sr_percent(&b, sr_bytes_of("a/b"), NULL);
	assert_string_equal(sr_buf_text(&b), "a%2Fb");
	assert_false(sr_unpercent(&back, sr_bytes_of("xyz%2")));
	assert_false(sr_unpercent(&back, sr_bytes_of("xyz%")));
	assert_false(sr_unpercent(&back, sr_bytes_of("xyz%zz")));
	assert_int_equal(back.len, 8);
	sr_buf_free(&b);
	sr_buf_free(&back);
}

static void utf8_is_judged_strictly(void **state)
{
	static const char *const good[] = {"", "abc", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"};
	static const char *const bad[] = {"\x80", "\xc3", "\xc0\xaf", "\xc1\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
		"\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xe2\x28\xa1", "a\xff" "b"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_true(sr_utf8_valid(sr_bytes_of(good[i])));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(sr_utf8_valid(sr_bytes_of(bad[i])));
	assert_true(sr_utf8_valid(sr_bytes("a\0b", 3)));
}

/* ---- err ---- */

static void errors_gather_context(void **state)
{
	struct sr_err err = {0};
	char longer[1000];

	(void)state;
	errno = ENOENT;
	assert_int_equal(sr_err_sys(&err, SR_E_IO, "open %s", "x\ny"), SR_E_IO);
	assert_int_equal(err.sys, ENOENT);
	assert_int_equal(sr_err_context(&err, "push %x", 0x3f2a), SR_E_IO);
	assert_string_equal(err.text, "push 3f2a: open x?y: No such file or directory");
	errno = ENOSPC;
	assert_int_equal(sr_err_sys(&err, SR_E_IO, "fsync"), SR_E_FULL);
	assert_int_equal(sr_err_sys(NULL, SR_E_IO, "fsync"), SR_E_FULL);
	assert_int_equal(sr_err_set(NULL, SR_E_DATA, "x"), SR_E_DATA);

	memset(longer, 'y', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	sr_err_set(&err, SR_E_DATA, "%s", longer);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	sr_err_context(&err, "first");
	assert_int_equal(strncmp(err.text, "first: yyy", 10), 0);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	sr_err_context(&err, "%s", longer);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void every_status_has_a_name_an_exit_and_an_answer(void **state)
{
	(void)state;
	for (int i = SR_OK; i < SR_STATUS_COUNT; i++) {
		assert_non_null(sr_status_name((enum sr_status)i));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(sr_status_name((enum sr_status)i), sr_status_name((enum sr_status)j));
		assert_int_equal(sr_status_exit((enum sr_status)i) == 0, i == SR_OK);
		assert_in_range(sr_status_http((enum sr_status)i), 200, 599);
		assert_int_equal(sr_status_from_http(sr_status_http((enum sr_status)i)) == SR_OK, i == SR_OK);
	}
	assert_int_equal(sr_status_exit(SR_E_HELD), 1);
	assert_int_equal(sr_status_exit(SR_E_CONFIG), 78);
	assert_int_equal(sr_status_from_http(204), SR_OK);
	assert_int_equal(sr_status_from_http(304), SR_OK);
	assert_int_equal(sr_status_from_http(502), SR_E_UNAVAILABLE);
	assert_int_equal(sr_status_from_http(418), SR_E_DATA);
}

/* ---- door ---- */

static int64_t fixed_ms(void *ctx)
{
	return *(int64_t *)ctx;
}

static void counting(void *ctx, void *out, size_t n)
{
	(void)ctx;
	for (size_t i = 0; i < n; i++)
		((uint8_t *)out)[i] = (uint8_t)i;
}

static void the_door_can_be_replaced(void **state)
{
	int64_t now = 1763793000120;
	struct sr_door fake = {fixed_ms, fixed_ms, counting, &now};
	struct sr_uuid u, back;
	char text[SR_UUID_TEXT];

	(void)state;
	sr_door_install(&fake);
	fake.now_ms = NULL; /* it was copied */
	assert_true(sr_now_ms() == now);
	u = sr_uuid_random();
	sr_uuid_text(text, &u);
	assert_string_equal(text, "00010203-0405-4607-8809-0a0b0c0d0e0f");
	assert_int_equal(sr_uuid_parse(&back, text), 0);
	assert_memory_equal(&back, &u, sizeof(u));
	sr_door_install(NULL);
	assert_true(sr_now_ms() != now);
	assert_true(sr_ticks_ms() > 0);
	assert_int_equal(sr_uuid_parse(&back, "00010203-0405-4607-8809-0a0b0c0d0e0"), -1);
	assert_int_equal(sr_uuid_parse(&back, "00010203-0405-4607-8809-0a0b0c0d0e0g"), -1);
	assert_int_equal(sr_uuid_parse(&back, "000102030-405-4607-8809-0a0b0c0d0e0f"), -1);
	assert_false(sr_uuid_none(&u));
	assert_true(sr_uuid_none(&(struct sr_uuid){{0}}));
}

static void chance_stays_below(void **state)
{
	unsigned seen[3] = {0};

	(void)state;
	for (int i = 0; i < 300; i++)
		seen[sr_random_below(3)]++; /* past the end the sanitizer shouts */
	assert_true(seen[0] && seen[1] && seen[2]);
	assert_true(sr_random_below(1) == 0);
}

static void upwards(void *ctx, void *out, size_t n)
{
	uint64_t *next = ctx;

	assert_int_equal(n, sizeof(*next));
	memcpy(out, next, n);
	++*next;
}

/* 2^64 is 1 more than a multiple of 3, so one value of 2^64 has to be thrown away. */
static void chance_favours_nobody(void **state)
{
	uint64_t next = 0;
	struct sr_door fake = {fixed_ms, fixed_ms, upwards, &next};
	uint64_t got;

	(void)state;
	sr_door_install(&fake);
	got = sr_random_below(3);
	sr_door_install(NULL);
	assert_true(got == 1);
	assert_true(next == 2);
}

/* ---- log ---- */

/* What `level` and `text` make of stderr.  OWNED BY CALLER (free). */
static char *logged(bool json, enum sr_log_level least, enum sr_log_level level, const char *text)
{
	int64_t now = 1763793000120;
	struct sr_door fake = {fixed_ms, fixed_ms, counting, &now};
	int pipes[2], kept = dup(STDERR_FILENO);
	char got[1024];
	ssize_t n;

	assert_int_equal(pipe(pipes), 0);
	dup2(pipes[1], STDERR_FILENO);
	close(pipes[1]);
	sr_door_install(&fake);
	sr_log_setup("test", least, json);
	errno = 42;
	sr_log(level, "%s", text);
	assert_int_equal(errno, 42);
	sr_door_install(NULL);
	dup2(kept, STDERR_FILENO);
	close(kept);
	n = read(pipes[0], got, sizeof(got)); /* the last writer is closed: 0 if nothing came */
	close(pipes[0]);
	assert_true(n >= 0);
	return sr_text(sr_bytes(got, (size_t)n));
}

static void assert_logged(bool json, const char *text, const char *want)
{
	char *got = logged(json, SR_LOG_INFO, SR_LOG_WARN, text);

	assert_string_equal(got, want);
	free(got);
}

static void a_log_line_is_one_line(void **state)
{
	char *got;

	(void)state;
	assert_logged(false, "in sync", "2025-11-22T06:30:00.120Z warn test: in sync\n");
	assert_logged(false, "a\nb\x1b\xff" "c\xc3\xa9\"\\", "2025-11-22T06:30:00.120Z warn test: a\\nb\\x1b\\xffc\xc3\xa9\"\\\n");
	assert_logged(true, "a\nb\x1b\xff" "c\xc3\xa9\"\\",
		      "{\"time\":\"2025-11-22T06:30:00.120Z\",\"level\":\"warn\",\"program\":\"test\","
		      "\"message\":\"a\\\\nb\\\\x1b\\\\xffc\xc3\xa9\\\"\\\\\"}\n");
	got = logged(false, SR_LOG_WARN, SR_LOG_INFO, "too quiet");
	assert_string_equal(got, "");
	free(got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compares_as_memcmp_the_shorter_first),
		cmocka_unit_test(secrets_are_the_same_or_not),
		cmocka_unit_test(a_buffer_grows_and_is_read_back),
		cmocka_unit_test(a_text_is_terminated_but_not_longer),
		cmocka_unit_test(a_reader_stops_at_the_first_fault),
		cmocka_unit_test(varints_have_one_form),
		cmocka_unit_test(hex_there_and_back),
		cmocka_unit_test(percent_there_and_back),
		cmocka_unit_test(utf8_is_judged_strictly),
		cmocka_unit_test(errors_gather_context),
		cmocka_unit_test(every_status_has_a_name_an_exit_and_an_answer),
		cmocka_unit_test(the_door_can_be_replaced),
		cmocka_unit_test(chance_stays_below),
		cmocka_unit_test(chance_favours_nobody),
		cmocka_unit_test(a_log_line_is_one_line),
	};

	unsetenv("JOURNAL_STREAM");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
