/* The drop-in of a daemon's unit: whose configuration has one, and what it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/admin/conf.h"
#include "lib/admin/unit.h"

/* Of [global] and what follows; the lines that are no comment. */
static char *text_of(const char *conf, bool datastore)
{
	struct sr_config *config = NULL;
	struct sr_buf out = {0}, lines = {0};
	struct sr_err err = {0};

	if (sr_conf_parse(&config, sr_bytes_of(conf), "conf", &err) != SR_OK)
		fail_msg("%s", err.text);
	sr_unit_text(&out, config, datastore);
	for (char *line = strtok(sr_buf_text(&out), "\n"); line; line = strtok(NULL, "\n"))
		if (line[0] != '#')
			sr_buf_printf(&lines, "%s\n", line);
	sr_buf_free(&out);
	sr_config_free(config);
	return sr_buf_text(&lines);
}

static void expect(const char *conf, bool datastore, const char *text)
{
	char *is = text_of(conf, datastore);

	assert_string_equal(is, text);
	free(is);
}

static void test_text(void **state)
{
	(void)state;
	/* all in its place: nothing is needed */
	expect("[global]\n", true, "");
	expect("User-DB-Path=/srv/users.db\n", true, "");
	expect("Datastore-User-DB-Path=/srv/users.db\n", false, "");
	expect("User-DB-Path=/var/lib/sameroot/app/../x/users.db\n", false, "");
	/* a database's directory, and a directory itself; one inside another is said once, whichever came first */
	expect("User-DB-Path=/srv/app/users.db\nWebserver-Resource-Store=/srv/files\n", false,
	       "[Service]\nReadWritePaths=\"-/srv/app\"\nReadWritePaths=\"-/srv/files\"\n");
	expect("User-DB-Path=/srv/app/db/users.db\nWeb-Store-Path=/srv/app/w.db\nWebserver-Resource-Store=/srv/app/res\n", false,
	       "[Service]\nReadWritePaths=\"-/srv/app\"\n");
	expect("User-DB-Path=/users.db\nWeb-Store-Path=/srv/w.db\n", false, "[Service]\nReadWritePaths=\"-/\"\n");
}

static void test_other_paths(void **state)
{
	(void)state;
	expect("[store \"shop.db\"]\nKind=sqlite\nPath=/srv/shop/shop.db\nDatastore-Path=/data/shop.db\n", true,
	       "[Service]\nReadWritePaths=\"-/data\"\n");
	expect("Datastore-State-Directory=/data/state\nControl-Auth-File=/data/secret/control-auth\n", true,
	       "[Service]\nReadWritePaths=\"-/data/state\"\nReadWritePaths=\"-/data/secret\"\n");
	expect("State-Directory=/data/state\nControl-Auth-File=/data/secret/control-auth\n", false,
	       "[Service]\nReadWritePaths=\"-/data/state\"\n"); /* a webserver's daemon only reads its secret */
}

static void test_quoting_and_homes(void **state)
{
	(void)state;
	expect("User-DB-Path=\"/srv/my \\\"app\\\" 100%/users.db\"\n", false, "[Service]\nReadWritePaths=\"-/srv/my \\\"app\\\" 100%%\"\n");
	expect("User-DB-Path=/home/app/users.db\n", false, "[Service]\nReadWritePaths=\"-/home/app\"\nProtectHome=read-only\n");
	expect("User-DB-Path=/var/tmp/app/users.db\n", false, "[Service]\nReadWritePaths=\"-/var/tmp/app\"\nPrivateTmp=no\n");
}

static void test_path(void **state)
{
	char dir[] = "/tmp/test_unit.XXXXXX";
	char *conf, *etc, *units, *path, *expected;

	(void)state;
	assert_non_null(mkdtemp(dir));
	conf = sr_format("%s/etc/sameroot/sameroot.conf", dir);
	etc = sr_format("%s/etc", dir);
	assert_int_equal(mkdir(etc, 0755), 0);
	assert_null(sr_unit_path(conf, true)); /* no systemd */
	units = sr_format("mkdir -p %s/etc/systemd/system", dir);
	assert_int_equal(system(units), 0);
	path = sr_unit_path(conf, true);
	expected = sr_format("%s/etc/systemd/system/sameroot-datastore.service.d/stores.conf", dir);
	assert_string_equal(path, expected);
	free(path);
	free(expected);
	free(conf);
	/* another configuration is no unit's */
	conf = sr_format("%s/etc/sameroot.conf", dir);
	assert_null(sr_unit_path(conf, false));
	assert_null(sr_unit_path("etc/sameroot/sameroot.conf", false));
	assert_null(sr_unit_path("x", false));
	free(conf);
	free(etc);
	free(units);
	units = sr_format("rm -r %s", dir);
	assert_int_equal(system(units), 0);
	free(units);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_other_paths),
		cmocka_unit_test(test_quoting_and_homes),
		cmocka_unit_test(test_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
