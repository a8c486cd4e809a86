/* The join line, and the configuration file that `init` and `join` write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/admin/conf.h"
#include "lib/admin/line.h"
#include "lib/state/secret.h"

#define SECRET "0123456789abcdef0123456789abcdef"
#define PIN    "sha256//abc+efghijklmnop/rstuvwxyzABCDEFGHIJKLMNOPE="

static char *printed(const char *address, const char *secret, const char *pin, bool plain)
{
	struct sr_line line = {.address = (char *)(uintptr_t)address, .secret = (char *)(uintptr_t)secret, .plain = plain};
	struct sr_buf out = {0};
	char *text;

	strcpy(line.pin, pin);
	sr_line_print(&out, &line);
	text = sr_text(sr_buf_view(&out));
	sr_buf_free(&out);
	return text;
}

static void round_trip(const char *address, const char *secret, const char *pin, bool plain)
{
	char *text = printed(address, secret, pin, plain);
	struct sr_line line = {0};
	struct sr_err err;

	assert_int_equal(sr_line_parse(text, &line, &err), SR_OK);
	assert_string_equal(line.address, address);
	assert_string_equal(line.secret, secret);
	assert_string_equal(line.pin, pin);
	assert_int_equal(line.plain, plain);
	sr_line_free(&line);
	free(text);
}

static void line_holds_what_was_put_in(void **state)
{
	(void)state;
	round_trip("datastore.example.org:9405", SECRET, PIN, false);
	round_trip("[2001:db8::1]:9405", SECRET "x", "", false);
	round_trip("127.0.0.1:1", SECRET "..#/ü'\"", "", true);
}

static void line_is_one_safe_word(void **state)
{
	char *text = printed("h:1", SECRET, PIN, false);

	(void)state;
	assert_string_equal(text, "sameroot://h:1/#1.MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY.abc-efghijklmnop_rstuvwxyzABCDEFGHIJKLMNOPE.d2d16402");
	free(text);
	text = printed("h:1", SECRET, "", true);
	assert_non_null(strstr(text, ".plain."));
	free(text);
}

static void line_is_found_among_words(void **state)
{
	char *bare = printed("h:1", SECRET, PIN, false), *text = sr_format("  sameroot join '%s' --yes\r\n", bare);
	struct sr_line line = {0};
	struct sr_err err;

	(void)state;
	assert_int_equal(sr_line_parse(text, &line, &err), SR_OK);
	assert_string_equal(line.address, "h:1");
	sr_line_free(&line);
	free(text);
	free(bare);
}

static void refuse(const char *text, const char *why)
{
	struct sr_line line = {.address = (char *)1};
	struct sr_err err;

	assert_int_equal(sr_line_parse(text, &line, &err), SR_E_DATA);
	assert_ptr_equal(line.address, (char *)1);
	assert_non_null(strstr(err.text, why));
	assert_null(strstr(err.text, "MDEyMzQ1"));
}

static void line_that_was_changed_is_refused(void **state)
{
	char *good = printed("h:1", SECRET, PIN, false), *bad = sr_strdup(good);

	(void)state;
	for (size_t i = sizeof SR_LINE_SCHEME - 1; good[i]; i++) {
		bad[i] = good[i] == 'A' ? 'B' : 'A';
		refuse(bad, "changed or cut");
		bad[i] = good[i];
	}
	for (size_t n = strlen(good); --n >= sizeof SR_LINE_SCHEME;) {
		bad[n] = '\0';
		refuse(bad, "changed or cut");
	}
	refuse("", "does not begin with");
	refuse("https://h:1/", "does not begin with");
	free(bad);
	free(good);
}

/* Their check holds: made for these tests. */
static void line_of_another_make_is_refused(void **state)
{
	(void)state;
	refuse("sameroot://h:1/#2.a.b.55b41798", "another version");
	refuse("sameroot://h:1/#1.!.tls.0a665ba5", "makes no sense");
	refuse("sameroot://h:1/#1.MDEy.short.53514398", "makes no sense");
	refuse("sameroot://h:1/.06f669ee", "cut short");
}

static void base64url_is_strict(void **state)
{
	struct sr_buf b = {0};

	(void)state;
	for (size_t n = 0; n < 8; n++) {
		struct sr_buf back = {0};

		sr_buf_clear(&b);
		sr_base64url(&b, sr_bytes("\xff\x00\xfe\x7f\x80\x01\xee", n));
		assert_true(sr_unbase64url(&back, sr_buf_view(&b)));
		assert_true(sr_bytes_eq(sr_buf_view(&back), sr_bytes("\xff\x00\xfe\x7f\x80\x01\xee", n)));
		sr_buf_free(&back);
	}
	for (const char *const *bad = (const char *const[]){"A", "AAAAA", "AB", "AA=", "A+AA", "A AA", NULL}; *bad; bad++) {
		sr_buf_clear(&b);
		assert_false(sr_unbase64url(&b, sr_bytes_of(*bad)));
	}
	sr_buf_free(&b);
}

/* --- the configuration file ------------------------------------------------------------------------------------------------------ */

static void lines_of_keys_are_found(void **state)
{
	static const char text[] = "\xef\xbb\xbf" "datastore = a\r\n#External-Addr=x\n[store \"users.db\"]\nPath=/p\n [Global] # c\nSYNC-PORT=0\nPath-x=1";

	(void)state;
	assert_int_equal(sr_conf_line(sr_bytes_of(text), "Datastore"), 1);
	assert_int_equal(sr_conf_line(sr_bytes_of(text), "External-Addr"), 0);
	assert_int_equal(sr_conf_line(sr_bytes_of(text), "Path"), 0);
	assert_int_equal(sr_conf_line(sr_bytes_of(text), "Sync-Port"), 6);
	assert_int_equal(sr_conf_line(sr_bytes_of(text), "Sync"), 0);
	assert_int_equal(sr_conf_line(sr_bytes(NULL, 0), "Sync"), 0);
}

static void added(const char *before, const char *after)
{
	struct sr_buf text = {0};

	sr_buf_printf(&text, "%s", before);
	sr_conf_add(&text, "new", "Log-Level", "warn");
	sr_conf_add(&text, NULL, "Sync-Port", "1");
	assert_string_equal(sr_buf_text(&text), after);
	sr_buf_free(&text);
}

static void keys_are_added_at_the_end(void **state)
{
	(void)state;
	added("", "# new\n[global]\nLog-Level=warn\nSync-Port=1\n");
	added("# mine", "# mine\n\n# new\n[global]\nLog-Level=warn\nSync-Port=1\n");
	added("[global]\nSync-Listen-Address=::\n", "[global]\nSync-Listen-Address=::\n\n# new\n[global]\nLog-Level=warn\nSync-Port=1\n");
	added("[store \"x\"]\nKind=files\n", "[store \"x\"]\nKind=files\n\n# new\n[global]\nLog-Level=warn\nSync-Port=1\n");
}

static void new_ones_are_the_defaults(void **state)
{
	struct sr_config *config = NULL, *defaults = NULL;
	struct sr_err err;

	(void)state;
	assert_int_equal(sr_config_parse(&defaults, NULL, "f", &err), SR_OK);
	for (int datastore = 0; datastore < 2; datastore++) {
		struct sr_buf text = {0}, is = {0}, should = {0};

		sr_conf_new(&text, datastore);
		assert_non_null(strstr(sr_buf_text(&text), datastore ? "\n#Datastore-Port=9405\n" : "\n#Sync-Port=9406\n"));
		assert_int_equal(sr_conf_parse(&config, sr_buf_view(&text), "f", &err), SR_OK);
		sr_config_print(config, &is, false);
		sr_config_print(defaults, &should, false);
		assert_string_equal(sr_buf_text(&is), sr_buf_text(&should));
		sr_config_free(config);
		sr_buf_free(&text);
		sr_buf_free(&is);
		sr_buf_free(&should);
	}
	sr_config_free(defaults);
}

static void addresses_are_taken_apart(void **state)
{
	char *host = NULL;
	unsigned port = 7;
	struct sr_err err;

	(void)state;
	assert_int_equal(sr_conf_address("[::1]:80", &host, &port, &err), SR_OK);
	assert_string_equal(host, "::1");
	assert_int_equal(port, 80);
	free(host);
	assert_int_equal(sr_conf_address("web1", &host, &port, &err), SR_OK);
	assert_int_equal(port, 0);
	free(host);
	for (const char *const *bad = (const char *const[]){"", "a b", "a:0", "a\nLog-Level=debug", "a #c", "::1", NULL}; *bad; bad++)
		assert_int_equal(sr_conf_address(*bad, &host, &port, &err), SR_E_USAGE);
}

static void files_keep_mode_and_link(void **state)
{
	char dir[] = "/tmp/sameroot-line-XXXXXX", *file, *link, *deep;
	struct sr_buf back = {0};
	struct sr_err err;
	struct stat st;
	bool found;

	(void)state;
	assert_non_null(mkdtemp(dir));
	file = sr_format("%s/a.conf", dir);
	link = sr_format("%s/l.conf", dir);
	deep = sr_format("%s/x/y/secret", dir);
	assert_int_equal(sr_conf_read(file, &back, &found, &err), SR_OK);
	assert_false(found);
	assert_int_equal(sr_conf_write(file, sr_bytes_of("one"), &err), SR_OK);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
	assert_int_equal(chmod(file, 0640), 0);
	assert_int_equal(symlink(file, link), 0);
	assert_int_equal(sr_conf_write(link, sr_bytes_of("two"), &err), SR_OK);
	assert_int_equal(lstat(link, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(sr_conf_read(file, &back, &found, &err), SR_OK);
	assert_true(found && sr_bytes_eq(sr_buf_view(&back), sr_bytes_of("two")));
	assert_int_equal(sr_secret_put(deep, SECRET, &err), SR_OK);
	assert_int_equal(sr_secret_put(deep, SECRET "x", &err), SR_E_CHANGED);
	assert_int_equal(stat(deep, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(st.st_size, sizeof SECRET); /* with a newline */
	sr_buf_free(&back);
	free(file);
	free(link);
	free(deep);
	file = sr_format("rm -r %s", dir);
	assert_int_equal(system(file), 0);
	free(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(line_holds_what_was_put_in),
		cmocka_unit_test(line_is_one_safe_word),
		cmocka_unit_test(line_is_found_among_words),
		cmocka_unit_test(line_that_was_changed_is_refused),
		cmocka_unit_test(line_of_another_make_is_refused),
		cmocka_unit_test(base64url_is_strict),
		cmocka_unit_test(lines_of_keys_are_found),
		cmocka_unit_test(keys_are_added_at_the_end),
		cmocka_unit_test(new_ones_are_the_defaults),
		cmocka_unit_test(addresses_are_taken_apart),
		cmocka_unit_test(files_keep_mode_and_link),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
