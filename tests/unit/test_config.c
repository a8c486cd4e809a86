/* test_config.c - the configuration: what is taken, what is refused and with which words, and that what is printed is taken again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/config.h"

#define SECRET "0123456789abcdef0123456789abcdef"

static char dir[] = "/tmp/sameroot-config-XXXXXX";

static enum sr_status parse_bytes(struct sr_config **out, const void *text, size_t len, struct sr_err *err)
{
	FILE *in = fmemopen((void *)text, len, "r");
	enum sr_status status;

	assert_non_null(in);
	status = sr_config_parse(out, in, "t.conf", err);
	fclose(in);
	return status;
}

/* A text that must be taken.  Freed by sr_config_free. */
static struct sr_config *taken(const char *text)
{
	struct sr_config *config = NULL;
	struct sr_err err = {0};

	if (parse_bytes(&config, text, strlen(text), &err) != SR_OK)
		fail_msg("refused: %s\n%s", err.text, text);
	return config;
}

static void assert_refused(const char *text, const char *want)
{
	struct sr_config *config = NULL;
	struct sr_err err = {0};
	enum sr_status status = parse_bytes(&config, text, strlen(text), &err);

	if (status != SR_E_CONFIG || !strstr(err.text, want))
		fail_msg("of\n%s\nwant: %s\ngot: %s", text, want, status == SR_OK ? "(taken)" : err.text);
	assert_int_equal(err.code, SR_E_CONFIG);
	assert_null(config);
}

/* ---- what is taken ---- */

static void nothing_means_the_defaults(void **state)
{
	struct sr_config *c = taken("");

	(void)state;
	assert_null(c->datastore.host);
	assert_null(c->external.host);
	assert_int_equal(c->update_interval, 10);
	assert_null(c->datastore_listen_address);
	assert_int_equal(c->datastore_port, 9405);
	assert_null(c->sync_listen_address);
	assert_int_equal(c->sync_port, 9406);
	assert_null(c->control_auth);
	assert_string_equal(c->control_auth_file, "/var/lib/sameroot/control-auth");
	assert_false(c->datastore_insecure_disable_tls);
	assert_false(c->datastore_insecure_skip_tls_verify);
	assert_false(c->insecure_disable_https);
	assert_null(c->certificate_file);
	assert_null(c->key_file);
	assert_null(c->datastore_key_pin);
	assert_string_equal(c->state_directory, "/var/lib/sameroot/state");
	assert_string_equal(c->datastore_state_directory, "/var/lib/sameroot/datastore-state");
	assert_null(c->results_directory);
	assert_int_equal(c->resource_max_size, 536870912);
	assert_int_equal(c->max_delete_percent, 10);
	assert_int_equal(c->max_delete_count, 100);
	assert_int_equal(c->wal_limit, 67108864);
	assert_int_equal(c->full_scan_interval, 3600);
	assert_int_equal(c->verify_interval, 7);
	assert_false(c->change_capture);
	assert_int_equal(c->conflict_max_bytes, 1073741824);
	assert_int_equal(c->trash_days, 7);
	assert_int_equal(c->trash_max_bytes, 10737418240);
	assert_int_equal(c->log_level, SR_LOG_INFO);
	assert_false(c->log_json);
	sr_config_free(c);
}

static void the_fixed_stores_come_first(void **state)
{
	static const char *const want[][3] = {
		{"users.db", "/var/lib/sameroot/users.db", "/var/lib/sameroot/datastore-users.db"},
		{"webstore.db", "/var/lib/sameroot/webstore.db", "/var/lib/sameroot/datastore-webstore.db"},
		{"resources", "/var/lib/sameroot/resources/webserver", "/var/lib/sameroot/resources/datastore"},
	};
	struct sr_config *c = taken("[store \"a\"]\nKind=files\nPath=/a\n");

	(void)state;
	assert_int_equal(c->store_count, 4);
	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(c->stores[i].name, want[i][0]);
		assert_string_equal(c->stores[i].path, want[i][1]);
		assert_string_equal(c->stores[i].datastore_path, want[i][2]);
		assert_int_equal(c->stores[i].kind, i == SR_STORE_RESOURCES ? SR_CONFIG_FILES : SR_CONFIG_SQLITE);
		assert_int_equal(sr_config_limit(&c->stores[i].max_delete_count, NULL), 100);
		assert_int_equal(sr_config_limit(&c->stores[i].max_delete_percent, "any"), 10);
	}
	assert_ptr_equal(sr_config_store(c, "a"), &c->stores[3]);
	assert_null(sr_config_store(c, "b"));
	sr_config_free(c);
}

/* As the reference prints them: no section, tabs, comments, an empty value. */
static void the_printed_lines_are_taken_as_they_stand(void **state)
{
	struct sr_config *c = taken("Datastore-Listen-Address=\t# listen only on\n"
				    "Datastore-Port=9555\t\t\t\t\t# listen on port 9555 instead of 9405\n"
				    "Datastore=10.0.0.5\n"
				    "External-Addr=10.0.0.6:443\n");

	(void)state;
	assert_null(c->datastore_listen_address);
	assert_int_equal(c->datastore_port, 9555);
	assert_string_equal(c->datastore.host, "10.0.0.5");
	assert_int_equal(c->datastore.port, 9405);
	assert_string_equal(c->external.host, "10.0.0.6");
	assert_int_equal(c->external.port, 443);
	assert_string_equal(c->external.text, "10.0.0.6:443");
	sr_config_free(c);
}

static void case_ends_of_lines_indents_and_marks_do_not_matter(void **state)
{
	struct sr_config *c = taken("\xef\xbb\xbf[GLOBAL]\t# all\r\n"
				    "; a comment\r\n"
				    "   # another\r\n"
				    "\r\n"
				    "dataSTORE-port = 1 ; one\r\n"
				    "\tLOG-LEVEL\t=\tWarning\r\n"
				    "[Store \"x\"] ; mine\r\n"
				    "kind=SQLite\r\npath=/x\r\n"
				    "[global]\r\nsync-port=2"); /* no newline at the end */

	(void)state;
	assert_int_equal(c->datastore_port, 1);
	assert_int_equal(c->log_level, SR_LOG_WARN);
	assert_int_equal(c->sync_port, 2);
	assert_int_equal(c->stores[3].kind, SR_CONFIG_SQLITE);
	assert_int_equal(c->stores[3].line, 7);
	sr_config_free(c);
}

static void values_are_cut_and_unquoted(void **state)
{
	static const char *const cases[][2] = {
		{"/plain", "/plain"},
		{"  /blanks  ", "/blanks"},
		{"/with space", "/with space"},
		{"/with#hash;semicolon", "/with#hash;semicolon"},
		{"/cut #here", "/cut"},
		{"/cut\t; here", "/cut"},
		{"\"/a # b\"", "/a # b"},
		{"\"/a\" # b", "/a"},
		{"\"/a\\\"b\\\\c\"", "/a\"b\\c"},
		{"/back\\slash", "/back\\slash"},
		{"/equal=sign", "/equal=sign"},
		{"/slashes//", "/slashes"},
		{"/not\xffutf8", "/not\xffutf8"},
		{"/[x]", "/[x]"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *text = sr_format("Results-Directory=%s\n", cases[i][0]);
		struct sr_config *c = taken(text);

		assert_string_equal(c->results_directory, cases[i][1]);
		sr_config_free(c);
		free(text);
	}
}

/* inih alone cuts both at 200 bytes and reads the rest as a line of its own. */
static void long_lines_are_one_line(void **state)
{
	struct sr_buf text = {0};
	struct sr_config *c;

	(void)state;
	sr_buf_printf(&text, "#%*s\nResults-Directory=/%0*d\n#%*s", 198, "Sync-Port=1", 5000, 7, 199, "Sync-Port=1");
	c = taken(sr_buf_text(&text));
	assert_int_equal(strlen(c->results_directory), 5001);
	assert_int_equal(c->sync_port, 9406);
	sr_config_free(c);
	sr_buf_free(&text);
}

static void addresses(void **state)
{
	static const struct {
		const char *text, *host;
		int port;
	} cases[] = {
		{"ds.example.org", "ds.example.org", 9405},
		{"ds-1:80", "ds-1", 80},
		{"[::1]", "::1", 9405},
		{"[fe80::1%eth0]:65535", "fe80::1%eth0", 65535},
		{"\"10.0.0.1:1\"", "10.0.0.1", 1},
	};
	static const char *const bad[] = {"", "::1", "[::1", "[::1]x", "[x]:1", "[::1%/]:1", "h:", "h:0", "h:65536", "h:1x", "h: 1", "a b", ":9405",
		"http://h", "h/x", "h:1:2", "\"h\\\"\""};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *text = sr_format("Datastore=%s\nExternal-Addr=w", cases[i].text);
		struct sr_config *c = taken(text);

		assert_string_equal(c->datastore.host, cases[i].host);
		assert_int_equal(c->datastore.port, cases[i].port);
		assert_int_equal(c->external.port, 0);
		assert_string_equal(c->external.text, "w");
		sr_config_free(c);
		free(text);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		char *text = sr_format("External-Addr=w\nDatastore=%s\n", bad[i]);

		assert_refused(text, "t.conf:2: Datastore: ");
		free(text);
	}
	assert_refused("Datastore=::1", "brackets");
}

static void listen_addresses(void **state)
{
	static const char *const good[][2] = {{"127.0.0.1", "127.0.0.1"}, {"::1", "::1"}, {"[::1]", "::1"}, {"localhost", "localhost"}};
	static const char *const bad[] = {"127.0.0.1:80", "*", "[]", "[::1]:1", "a b"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		char *text = sr_format("Sync-Listen-Address=%s\n", good[i][0]);
		struct sr_config *c = taken(text);

		assert_string_equal(c->sync_listen_address, good[i][1]);
		sr_config_free(c);
		free(text);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		char *text = sr_format("Sync-Listen-Address=%s\n", bad[i]);

		assert_refused(text, "t.conf:1: Sync-Listen-Address: must be an address");
		free(text);
	}
}

static void words(void **state)
{
	static const char *const yes[] = {"true", "TRUE", "yes", "on", "1", "\"true\""}, *const nay[] = {"false", "no", "Off", "0"};

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		char *text = sr_format("Insecure-Disable-HTTPS=%s", yes[i]);
		struct sr_config *c = taken(text);

		assert_true(c->insecure_disable_https);
		sr_config_free(c);
		free(text);
	}
	for (size_t i = 0; i < 4; i++) {
		char *text = sr_format("Datastore-Insecure-Disable-TLS=%s", nay[i]);
		struct sr_config *c = taken(text);

		assert_false(c->datastore_insecure_disable_tls);
		sr_config_free(c);
		free(text);
	}
}

static void proxies_that_are_trusted(void **state)
{
	struct sr_config *c = taken("Trusted-Proxies=127.0.0.1, ::1\t10.0.0.0/8\nTrusted-Proxies=2001:db8::/32\n");
	static const char *const expected[] = {"127.0.0.1", "::1", "10.0.0.0/8", "2001:db8::/32"};

	(void)state;
	assert_int_equal(c->trusted_proxies.count, 4);
	for (size_t i = 0; i < 4; i++)
		assert_string_equal(c->trusted_proxies.at[i], expected[i]);
	sr_config_free(c);
}

static void stores_of_ones_own(void **state)
{
	struct sr_config *c = taken("Max-Delete-Count=7\n"
				    "[store \"app.db\"]\nKind=sqlite\nPath=/app/a.db\nDatastore-Path=/ds/a.db\nOwner=root\nGroup=33\n"
				    "Exclude=sessions\nExclude=\"#cache\"\nMax-Delete-Count=history:100000\nMax-Delete-Percent=50\n"
				    "[store \"users.db\"]\nExclude=log\nMax-Delete-Count=3\nMax-Delete-Count=a:b:9\n"
				    "[store \"app.db\"]\nMax-Delete-Percent=log:100\n");
	const struct sr_config_store *app = sr_config_store(c, "app.db"), *users = &c->stores[SR_STORE_USERS];

	(void)state;
	assert_int_equal(app->kind, SR_CONFIG_SQLITE);
	assert_string_equal(app->path, "/app/a.db");
	assert_string_equal(app->datastore_path, "/ds/a.db");
	assert_string_equal(app->owner, "root");
	assert_string_equal(app->group, "33");
	assert_int_equal(app->exclude.count, 2);
	assert_string_equal(app->exclude.at[0], "sessions");
	assert_string_equal(app->exclude.at[1], "#cache");
	assert_int_equal(app->line, 2);
	assert_int_equal(sr_config_limit(&app->max_delete_count, "History"), 100000);
	assert_int_equal(sr_config_limit(&app->max_delete_count, "other"), 7); /* [global]'s */
	assert_int_equal(sr_config_limit(&app->max_delete_percent, "other"), 50);
	assert_int_equal(sr_config_limit(&app->max_delete_percent, "log"), 100);
	assert_int_equal(users->exclude.count, 1);
	assert_int_equal(sr_config_limit(&users->max_delete_count, NULL), 3);
	assert_int_equal(sr_config_limit(&users->max_delete_count, "a:b"), 9);
	assert_int_equal(sr_config_limit(&users->max_delete_percent, NULL), 10);
	sr_config_free(c);
}

static void a_fixed_store_has_one_path(void **state)
{
	struct sr_config *c = taken("[store \"users.db\"]\nKind=sqlite\nPath=/x/u.db\n[global]\nUser-DB-Path=/x/u.db\n");

	(void)state;
	assert_string_equal(c->stores[SR_STORE_USERS].path, "/x/u.db");
	sr_config_free(c);
	c = taken("[store \"users.db\"]\nDatastore-Path=/x/d.db\n");
	assert_string_equal(c->stores[SR_STORE_USERS].datastore_path, "/x/d.db");
	sr_config_free(c);
	assert_refused("User-DB-Path=/x/u.db\n[store \"users.db\"]\nPath=/y/u.db\n", "t.conf:3: Path contradicts User-DB-Path on line 1");
	assert_refused("[store \"users.db\"]\nPath=/y/u.db\n[global]\nUser-DB-Path=/x/u.db\n", "t.conf:4: User-DB-Path contradicts Path on line 2");
	assert_refused("[store \"users.db\"]\nKind=files\n", "t.conf:2: Kind: this store is sqlite");
}

/* ---- what is refused ---- */

static void what_is_refused(void **state)
{
	static const char *const cases[][2] = {
		{"\nnonsense\n", "t.conf:2: neither a [section] nor Key=value"},
		{"# Sync-Port=1\n=5\n", "t.conf:2: unknown key"},
		{"Sync-Prot=1\n", "t.conf:1: unknown key Sync-Prot"},
		{"Sync Port=1\n", "t.conf:1: unknown key Sync Port"},
		{"Kind=files\n", "t.conf:1: unknown key Kind in [global]"},
		{"Sync-Port: 5\n", "t.conf:1: neither"},
		{"Sync-Port # = 5\n", "t.conf:1: neither"},
		{"[store \"a\"]\nSync-Port=1\n", "t.conf:2: unknown key Sync-Port in [store]"},
		{"[globl]\n", "t.conf:1: unknown section"},
		{"[global\n", "t.conf:1: unknown section"},
		{"[global] Sync-Port=1\n", "t.conf:1: unknown section"},
		{"[]\n", "t.conf:1: unknown section"},
		{"[store]\n", "t.conf:1: a store's section is written"},
		{"[store a]\n", "t.conf:1: a store's section is written"},
		{"[store \"a]\n", "t.conf:1: a store's section is written"},
		{"[store \"a\"] b\n", "t.conf:1: a store's section is written"},
		{"[store \"\"]\n", "t.conf:1: a store's name"},
		{"[store \".a\"]\n", "t.conf:1: a store's name"},
		{"[store \"a/b\"]\n", "t.conf:1: a store's name"},
		{"[store \"Users.DB\"]\n", "t.conf:1: store \"Users.DB\" differs from \"users.db\" in case only"},
		{"[store \"a\"]\nPath=/a\n", "t.conf:1: store \"a\" needs Kind"},
		{"[store \"a\"]\nKind=files\n", "t.conf:1: store \"a\" needs Path"},
		{"[store \"a\"]\nKind=file\n", "t.conf:2: Kind: must be sqlite or files"},
		{"Trusted-Proxies=\n", "t.conf:1: Trusted-Proxies: must not be empty"},
		{"Trusted-Proxies=::1, proxy.example\n", "t.conf:1: Trusted-Proxies: must be addresses or networks (192.0.2.7, 10.0.0.0/8, 2001:db8::/32), and proxy.example is none"},
		{"[store \"a\"]\nExclude=\n", "t.conf:2: Exclude: must not be empty"},
		{"[store \"a\"]\nOwner=\"\"\n", "t.conf:2: Owner: must not be empty"},
		{"[store \"a\"]\n\nOwner=no such user\n", "t.conf:3: Owner: there is no user called no such user"},
		{"[store \"a\"]\nGroup=nosuchgroup\n", "t.conf:2: Group: there is no group called nosuchgroup"},
		{"[store \"a\"]\nOwner=4294967295\n", "t.conf:2: Owner: there is no user called 4294967295"},
		{"[store \"a\"]\nKind=files\nKind=files\n", "t.conf:3: Kind is given twice, first on line 2"},
		{"[store \"a\"]\nMax-Delete-Count=1\nMax-Delete-Count=1\n", "t.conf:3: Max-Delete-Count: given twice"},
		{"[store \"a\"]\nMax-Delete-Count=t:1\nMax-Delete-Count=T:2\n", "t.conf:3: Max-Delete-Count: given twice for this table"},
		{"[store \"a\"]\nMax-Delete-Count=:1\n", "t.conf:2: Max-Delete-Count: there is no table's name"},
		{"[store \"a\"]\nMax-Delete-Percent=t:101\n", "t.conf:2: Max-Delete-Percent: must be a number from 0 to 100"},
		{"Max-Delete-Count=t:1\n", "t.conf:1: Max-Delete-Count: must be a number"},
		{"Sync-Port=1\nsync-port=1\n", "t.conf:2: Sync-Port is given twice, first on line 1"},
		{"Sync-Port=65536\n", "t.conf:1: Sync-Port: must be a number from 0 to 65535"},
		{"Sync-Port=\n", "t.conf:1: Sync-Port: must be a number"},
		{"Sync-Port=-1\n", "t.conf:1: Sync-Port: must be a number"},
		{"Sync-Port=+1\n", "t.conf:1: Sync-Port: must be a number"},
		{"Sync-Port=0x1\n", "t.conf:1: Sync-Port: must be a number"},
		{"Sync-Port=1 2\n", "t.conf:1: Sync-Port: must be a number"},
		{"Sync-Port=\" 1\"\n", "t.conf:1: Sync-Port: must be a number"},
		{"Datastore-Update-Interval=0\n", "t.conf:1: Datastore-Update-Interval: must be a number from 1 to 3600"},
		{"Datastore-Update-Interval=3601\n", "t.conf:1: Datastore-Update-Interval: must be a number from 1 to 3600"},
		{"Datastore-Update-Interval=10s\n", "t.conf:1: Datastore-Update-Interval: must be a number"},
		{"Shutdown-Timeout=0\n", "t.conf:1: Shutdown-Timeout: must be a number from 1 to 86400"},
		{"Shutdown-Timeout=3\n", "t.conf:1: Lb-Recognition-Period (3 seconds) leaves nothing of Shutdown-Timeout (3 seconds)"},
		{"\nLb-Recognition-Period=31\n", "t.conf:2: Lb-Recognition-Period (31 seconds) leaves nothing of Shutdown-Timeout (30 seconds)"},
		{"Shutdown-Hook=\n", "t.conf:1: Shutdown-Hook: must not be empty"},
		{"Trash-Days=36501\n", "t.conf:1: Trash-Days: "},
		{"Trash-Max-Bytes=1G\n", "t.conf:1: Trash-Max-Bytes: must be a number"},
		{"Wal-Limit=18446744073709551616\n", "t.conf:1: Wal-Limit: must be a number"},
		{"Wal-Limit=99999999999999999999999\n", "t.conf:1: Wal-Limit: must be a number"},
		{"Client-Timeout=0\n", "t.conf:1: Client-Timeout: must be a number from 1 to 3600"},
		{"Max-Leaves=999\n", "t.conf:1: Max-Leaves: must be a number from 1000 to "},
		{"Max-Push-Bytes=1M\n", "t.conf:1: Max-Push-Bytes: must be a number"},
		{"Max-Webservers=0\n", "t.conf:1: Max-Webservers: must be a number from 1 to 1000000"},
		{"Max-Connections=15\n", "t.conf:1: Max-Connections: must be a number from 16 to 16384"},
		{"Conflict-Max-Bytes=1G\n", "t.conf:1: Conflict-Max-Bytes: must be a number"},
		{"Insecure-Disable-HTTPS=maybe\n", "t.conf:1: Insecure-Disable-HTTPS: must be true or false"},
		{"Insecure-Disable-HTTPS=\n", "t.conf:1: Insecure-Disable-HTTPS: must be true or false"},
		{"Log-Level=loud\n", "t.conf:1: Log-Level: must be debug, info, warn or error"},
		{"Log-Format=xml\n", "t.conf:1: Log-Format: must be text or json"},
		{"Change-Capture=log\n", "t.conf:1: Change-Capture: must be scan or triggers"},
		{"State-Directory=\n", "t.conf:1: State-Directory: must be a path, it is empty"},
		{"State-Directory=var\n", "t.conf:1: State-Directory: must be an absolute path"},
		{"State-Directory=\"/var\n", "t.conf:1: the quote is not closed"},
		{"State-Directory=\"/var\" x\n", "t.conf:1: there is more after the closing quote"},
		{"State-Directory=\"/v\\n\"\n", "t.conf:1: in quotes a backslash"},
		{"State-Directory=\"/v\\", "t.conf:1: in quotes a backslash"},
		{"Datastore=a\n", "t.conf:1: Datastore needs External-Addr"},
		{"Key-File=/k\n", "t.conf:1: Key-File needs Certificate-File"},
		{"\nCertificate-File=/k\n", "t.conf:2: Certificate-File needs Key-File"},
		{"Client-Key-File=/k\n", "t.conf:1: Client-Key-File needs Client-Certificate-File"},
		{"Client-Certificate-File=/k\n", "t.conf:1: Client-Certificate-File needs Client-Key-File"},
		{"Insecure-Disable-HTTPS=1\nDatastore-Insecure-Disable-TLS=1\nClient-CA-File=/ca\n", "t.conf:3: Client-CA-File is for TLS"},
		{"Control-Auth=0123456789abcdef0123456789abcde\n", "t.conf:1: Control-Auth: must have at least 32"},
		{"Control-Auth=\n", "t.conf:1: Control-Auth: must have at least 32"},
		{"Control-Auth=" SECRET "\nControl-Auth=" SECRET "2\nControl-Auth=" SECRET "3\n", "t.conf:3: Control-Auth: given more than twice"},
		{"Control-Auth=\"0123456789abcdef 0123456789abcdef\"\n", "t.conf:1: Control-Auth: must be printable"},
		{"Datastore-Key-Pin=sha256//abc=\n", "t.conf:1: Datastore-Key-Pin: must be sha256//"},
		{"Datastore-Key-Pin=/etc/pin\n", "t.conf:1: Datastore-Key-Pin: must be sha256//"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_refused(cases[i][0], cases[i][1]);
}

static void a_key_too_long_for_inih_is_an_unknown_key(void **state)
{
	char text[402];

	(void)state;
	memset(text, 'K', 400);
	strcpy(text + 400, "=");
	assert_refused(text, "t.conf:1: unknown key KKKK");
}

/* Base64 ends with what looks like the end of a key. */
static void a_secret_out_of_its_place_is_not_told(void **state)
{
	static const char *const secrets[] = {"c2VjcmV0IHRva2VuIG9mIGEgY2x1c3Rlcg==", "aaabbbccceeeffffggggghhhhiiiiijjjjkkkk="};
	static const char *const before[] = {"", "Control-Auth: ", "Control-Auth ", "Control-Auth-", "[store \"a\"]\n"};

	(void)state;
	for (size_t s = 0; s < 2; s++)
		for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
			char *text = sr_format("%s%s\n", before[i], secrets[s]);
			FILE *in = fmemopen(text, strlen(text), "r");
			struct sr_config *c = NULL;
			struct sr_err err;

			assert_int_equal(sr_config_parse(&c, in, "t.conf", &err), SR_E_CONFIG);
			assert_non_null(strstr(err.text, "unknown key "));
			for (size_t k = 0; secrets[s][k + 20]; k++) {
				char part[21];

				snprintf(part, sizeof part, "%s", secrets[s] + k);
				if (strstr(err.text, part))
					fail_msg("%s", err.text);
			}
			fclose(in);
			free(text);
		}
}

static void a_nul_byte_is_refused(void **state)
{
	static const char text[] = "Sync-Port=1\n# a\0b\n";
	struct sr_config *c = NULL;
	struct sr_err err;

	(void)state;
	assert_int_equal(parse_bytes(&c, text, sizeof(text) - 1, &err), SR_E_CONFIG);
	assert_string_equal(err.text, "t.conf:2: a NUL byte: this is no text file");
}

static void paths_do_not_meet(void **state)
{
	static const char *const bad[][2] = {
		{"User-DB-Path=/a/u\nDatastore-User-DB-Path=/a/u\n", "t.conf:2: Datastore-User-DB-Path /a/u is the same as User-DB-Path /a/u (line 1)"},
		{"User-DB-Path=/a//b/../u\nWeb-Store-Path=/a/./u/\n", "t.conf:2: Web-Store-Path /a/./u is the same as"},
		{"User-DB-Path=/var/lib/sameroot/webstore.db\n", "t.conf:1: User-DB-Path /var/lib/sameroot/webstore.db is the same as Web-Store-Path "
								 "/var/lib/sameroot/webstore.db (its default)"},
		{"Webserver-Resource-Store=/r\nDatastore-Resource-Store=/r/d\n", "t.conf:2: Datastore-Resource-Store /r/d lies inside Webserver-Resource-Store /r (line 1)"},
		{"Webserver-Resource-Store=/r/d\nDatastore-Resource-Store=/r\n", "t.conf:2: Datastore-Resource-Store /r contains Webserver-Resource-Store /r/d (line 1)"},
		{"Webserver-Resource-Store=/r\n[store \"x\"]\nKind=files\nPath=/r/x\n", "t.conf:4: Path /r/x of store \"x\" lies inside Webserver-Resource-Store /r (line 1)"},
		{"[store \"x\"]\nKind=files\nPath=/x\nDatastore-Path=/x\n", "t.conf:4: Datastore-Path /x of store \"x\" is the same as Path /x of store \"x\" (line 3)"},
		{"Webserver-Resource-Store=/r\nState-Directory=/r\n", "t.conf:2: State-Directory /r is the same as Webserver-Resource-Store /r (line 1)"},
		{"Webserver-Resource-Store=/r\nDatastore-State-Directory=/r/s\n", "t.conf:2: Datastore-State-Directory /r/s lies inside"},
		{"State-Directory=/s\nDatastore-State-Directory=/s\n", "t.conf:2: Datastore-State-Directory /s is the same as State-Directory /s (line 1)"},
		{"Webserver-Resource-Store=/r\nResults-Directory=/r/s\n", "t.conf:2: Results-Directory /r/s lies inside"},
		{"Webserver-Resource-Store=/r\nControl-Auth-File=/r/s\n", "t.conf:2: Control-Auth-File /r/s lies inside"},
		{"Webserver-Resource-Store=/\n", "t.conf:1: Webserver-Resource-Store / contains"},
		{"Webserver-Resource-Store=/..\n", "t.conf:1: Webserver-Resource-Store /.. contains"},
	};
	static const char *const good[] = {
		"User-DB-Path=/a/u\nDatastore-User-DB-Path=/a/u2\n", /* a prefix of the text is not a parent */
		"State-Directory=/data\nUser-DB-Path=/data/users.db\n",
		"State-Directory=/data\nDatastore-State-Directory=/data/ds\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_refused(bad[i][0], bad[i][1]);
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		sr_config_free(taken(good[i]));
}

static void links_are_followed(void **state)
{
	char *link = sr_format("%s/link", dir), *text;

	(void)state;
	assert_int_equal(symlink(dir, link), 0);
	text = sr_format("Webserver-Resource-Store=%s/r\nDatastore-Resource-Store=%s/r/not/yet\n", dir, link);
	assert_refused(text, "lies inside Webserver-Resource-Store");
	unlink(link);
	free(link);
	free(text);
}

/* ---- files ---- */

static void write_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void files_are_read(void **state)
{
	char *path = sr_format("%s/c.conf", dir), *want;
	struct sr_config *c = NULL;
	struct sr_err err;

	(void)state;
	write_file(path, "Sync-Port=7\n", 0644);
	assert_int_equal(sr_config_load(&c, path, &err), SR_OK);
	assert_int_equal(c->sync_port, 7);
	assert_string_equal(c->file, path);
	sr_config_free(c);

	c = NULL;
	write_file(path, "Sync-Port=x\n", 0644);
	want = sr_format("%s:1: Sync-Port", path);
	assert_int_equal(sr_config_load(&c, path, &err), SR_E_CONFIG);
	assert_non_null(strstr(err.text, want));
	free(want);
	unlink(path);
	assert_int_equal(sr_config_load(&c, path, &err), SR_E_CONFIG);
	assert_non_null(strstr(err.text, "No such file"));
	assert_int_equal(sr_config_load(&c, dir, &err), SR_E_CONFIG);
	assert_non_null(strstr(err.text, "directory"));
	assert_null(c);
	free(path);
}

/* Write `text` with `mode` as the Control-Auth-File and ask for the secret. */
static enum sr_status secret_of(const char *text, mode_t mode, char **secret, struct sr_err *err)
{
	char *path = sr_format("%s/auth", dir), *conf = sr_format("Control-Auth-File=%s/auth\n", dir);
	struct sr_config *c = taken(conf);
	enum sr_status status;

	if (text)
		write_file(path, text, mode);
	status = sr_config_secret(c, secret, err);
	unlink(path);
	sr_config_free(c);
	free(conf);
	free(path);
	return status;
}

static void the_secret_is_guarded(void **state)
{
	struct sr_config *c = taken("Control-Auth=" SECRET "\n");
	char *secret = NULL;
	struct sr_err err;

	(void)state;
	assert_int_equal(sr_config_secret(c, &secret, &err), SR_OK);
	assert_string_equal(secret, SECRET);
	free(secret);
	sr_config_free(c);

	assert_int_equal(secret_of(SECRET "\n", 0600, &secret, &err), SR_OK);
	assert_string_equal(secret, SECRET);
	free(secret);
	assert_int_equal(secret_of(SECRET, 0400, &secret, &err), SR_OK);
	free(secret);

	secret = NULL;
	assert_int_equal(secret_of(NULL, 0, &secret, &err), SR_E_NOINPUT);
	assert_int_equal(secret_of(SECRET, 0640, &secret, &err), SR_E_CONFIG);
	assert_non_null(strstr(err.text, "chmod 600"));
	assert_int_equal(secret_of(SECRET, 0604, &secret, &err), SR_E_CONFIG);
	assert_int_equal(secret_of(SECRET "\n\n", 0600, &secret, &err), SR_E_CONFIG);
	assert_int_equal(secret_of("\n" SECRET "\n", 0600, &secret, &err), SR_E_CONFIG);
	assert_int_equal(secret_of(SECRET "\n" SECRET "\r\n", 0600, &secret, &err), SR_E_CONFIG);
	assert_non_null(strstr(err.text, "printable"));
	assert_int_equal(secret_of(SECRET "\n" SECRET "2\n" SECRET "3\n", 0600, &secret, &err), SR_E_CONFIG);
	assert_non_null(strstr(err.text, "more than two"));
	assert_int_equal(secret_of("0123456789abcdef0123456789abcde\n", 0600, &secret, &err), SR_E_CONFIG);
	assert_non_null(strstr(err.text, "32 characters"));
	assert_int_equal(secret_of("", 0600, &secret, &err), SR_E_CONFIG);
	assert_null(secret);
}

/* The first is sent, each is accepted; by lines of the file, or of the configuration. */
static void there_may_be_two_secrets(void **state)
{
	struct sr_config *c = taken("Control-Auth=" SECRET "-new\nControl-Auth=" SECRET "\n");
	struct sr_secrets both = {0};
	char *secret;
	struct sr_err err;

	(void)state;
	assert_int_equal(sr_config_secrets(c, &both, &err), SR_OK);
	assert_int_equal(sr_secrets_find(&both, sr_bytes_of(SECRET "-new")), 0);
	assert_int_equal(sr_secrets_find(&both, sr_bytes_of(SECRET)), 1);
	assert_int_equal(sr_secrets_find(&both, sr_bytes_of("")), -1);
	assert_int_equal(sr_secrets_find(&both, sr_bytes_of(SECRET "-new\n" SECRET)), -1);
	sr_secrets_free(&both);
	assert_int_equal(sr_secrets_find(&both, sr_bytes_of("")), -1);
	assert_int_equal(sr_config_secret(c, &secret, &err), SR_OK);
	assert_string_equal(secret, SECRET "-new");
	free(secret);
	sr_config_free(c);
	assert_int_equal(secret_of(SECRET "-new\n" SECRET, 0600, &secret, &err), SR_OK);
	assert_string_equal(secret, SECRET "-new");
	free(secret);
}

/* ---- printing ---- */

static void what_is_printed_is_taken_again(void **state)
{
	static const char *const cases[] = {
		"",
		"Datastore=[::1]:1\nExternal-Addr=w\nResults-Directory=\"/a \\\"#b\\\\ \"\nLog-Format=json\nChange-Capture=Triggers\nInsecure-Disable-HTTPS=on\n"
		"Datastore-Key-Pin=sha256//0123456789012345678901234567890123456789abc=\nTrusted-Proxies=10.0.0.0/8 ::1\n"
		"[store \"x\"]\nKind=files\nPath=/x y\nExclude=*.tmp\nExclude=\" ;\"\nMax-Delete-Count=a b:5\nOwner=65533\n"
		"[store \"users.db\"]\nPath=/other\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct sr_buf first = {0}, second = {0};
		struct sr_config *c = taken(cases[i]), *again;

		sr_config_print(c, &first, false);
		again = taken(sr_buf_text(&first));
		sr_config_print(again, &second, false);
		assert_string_equal(sr_buf_text(&first), sr_buf_text(&second));
		assert_int_equal(again->store_count, c->store_count);
		sr_config_free(c);
		sr_config_free(again);
		sr_buf_free(&first);
		sr_buf_free(&second);
	}
}

static void assert_printed(const struct sr_config *c, bool json, const char *want, const char *never)
{
	struct sr_buf out = {0};

	sr_config_print(c, &out, json);
	if (!strstr(sr_buf_text(&out), want))
		fail_msg("want %s in\n%s", want, sr_buf_text(&out));
	assert_null(strstr(sr_buf_text(&out), never));
	assert_true(sr_utf8_valid(sr_buf_view(&out)) || !json);
	sr_buf_free(&out);
}

static void printing_masks_and_escapes(void **state)
{
	struct sr_config *c = taken("Control-Auth=" SECRET "\nResults-Directory=\"/a\\\"\xff\t\"\n"
				    "[store \"users.db\"]\nExclude=a\nExclude=b\nMax-Delete-Count=t:1\n");

	(void)state;
	assert_printed(c, false, "Control-Auth=********\n", "0123456789");
	assert_printed(c, false, "Exclude=a\nExclude=b\n", "0123456789");
	assert_printed(c, false, "Max-Delete-Count=100\nMax-Delete-Count=t:1\n", "0123456789");
	assert_printed(c, true, "\"Control-Auth\":[\"********\"]", "0123456789");
	assert_printed(c, true, "\"Results-Directory\":\"/a\\\"\\\\xff\\u0009\"", "\t");
	assert_printed(c, true, "\"Datastore\":null,", ",,");
	assert_printed(c, true, "\"Sync-Port\":9406,", ",}");
	assert_printed(c, true, "{\"name\":\"users.db\",\"Kind\":\"sqlite\"", "{,");
	assert_printed(c, true, "\"Exclude\":[\"a\",\"b\"],\"Max-Delete-Percent\":[\"10\"],\"Max-Delete-Count\":[\"100\",\"t:1\"]}", "[,");
	sr_config_free(c);
}

/* Each key stands in the manual as `.It Key` in the list of its section, and the manual has no others. */
static void every_key_stands_in_the_manual(void **state)
{
	const char *path = getenv("SAMEROOT_SOURCE");
	char *name = sr_format("%s/man/sameroot.conf.5", path ? path : "."), line[512];
	FILE *in = fopen(name, "re");
	size_t count, items = 0;
	const struct sr_config_key *keys = sr_config_keys(&count);
	struct sr_buf text = {0};

	(void)state;
	if (!in)
		fail_msg("no %s: run this from the top of the source, or set SAMEROOT_SOURCE", name);
	while (fgets(line, sizeof(line), in)) {
		sr_buf_printf(&text, "%s", line);
		items += strncmp(line, ".It Ic ", 7) == 0;
	}
	fclose(in);
	for (size_t i = 0; i < count; i++) {
		char *item = sr_format("\n.It Ic %s", keys[i].name), *at = sr_buf_text(&text);
		bool found = false;

		assert_non_null(keys[i].help);
		while ((at = strstr(at, item)) && !found) {
			at += strlen(item);
			found = *at == '\n' || *at == ' ';
		}
		if (!found)
			fail_msg("%s does not stand in %s", keys[i].name, name);
		free(item);
	}
	assert_int_equal(items, count);
	sr_buf_free(&text);
	free(name);
}

static void a_source_is_nothing_that_is_configured(void **state)
{
	static const struct {
		const char *store, *path, *text; /* text NULL: it may be */
	} cases[] = {
		{"users.db", "/elsewhere/users.db", NULL},
		{"resources", "/s/else", NULL},
		{"resources", "/s", "/s contains Datastore-State-Directory, /s/state"},
		{"resources", "/", "/ contains "},
		{"resources", "/s/state", "/s/state is Datastore-State-Directory, /s/state"},
		{"resources", "/s/../s//state/archive/", "lies inside Datastore-State-Directory, /s/state"},
		{"resources", "/s/res", "/s/res is the datastore's store resources, /s/res"},
		{"resources", "/s/res/img", "/s/res/img lies inside the datastore's store resources, /s/res"},
		{"resources", "/s/res.before-restore-20260102T030405Z", NULL},
		{"resources", "/s/res.before-restore-20260102T030405Z/img", NULL},
		{"resources", "/secret", "/secret contains Control-Auth-File, /secret/auth"},
		{"resources", "/w", "/w contains "},
		{"resources", "/w/res", NULL}, /* the webserver's beside it */
		{"resources", "/w/res/img", "lies inside the webserver's store resources, /w/res"},
		{"users.db", "/s/state/users.db.before-restore-20260102T030405Z", NULL},
		{"users.db", "/s/state/users.db.before-restore-x/state.db", "lies inside Datastore-State-Directory"},
		{"webstore.db", "/s/state/users.db.before-restore-20260102T030405Z", "lies inside Datastore-State-Directory"},
		{"users.db", "/s/state/state.db", "lies inside Datastore-State-Directory"},
		{"users.db", "/w/webstore.db", "/w/webstore.db is the webserver's store webstore.db, /w/webstore.db"},
		{"more", "/m/more", NULL},
		{"more", "/m", "/m contains the datastore's store more, /m/ds"},
	};
	struct sr_config *c = taken("Control-Auth-File=/secret/auth\nDatastore-State-Directory=/s/state\nState-Directory=/w/state\n"
				    "Datastore-User-DB-Path=/s/state/users.db\nUser-DB-Path=/w/users.db\nWeb-Store-Path=/w/webstore.db\n"
				    "Datastore-Resource-Store=/s/res\nWebserver-Resource-Store=/w/res\n"
				    "[store \"more\"]\nKind=files\nDatastore-Path=/m/ds\n");
	struct sr_err err;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		enum sr_status status = sr_config_check_source(c, cases[i].store, cases[i].path, &err);

		if (status != (cases[i].text ? SR_E_USAGE : SR_OK) || (cases[i].text && !strstr(err.text, cases[i].text)))
			fail_msg("%s from %s: %d, %s", cases[i].store, cases[i].path, status, status ? err.text : "");
	}
	sr_config_free(c);
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_means_the_defaults),
		cmocka_unit_test(the_fixed_stores_come_first),
		cmocka_unit_test(the_printed_lines_are_taken_as_they_stand),
		cmocka_unit_test(case_ends_of_lines_indents_and_marks_do_not_matter),
		cmocka_unit_test(values_are_cut_and_unquoted),
		cmocka_unit_test(long_lines_are_one_line),
		cmocka_unit_test(addresses),
		cmocka_unit_test(listen_addresses),
		cmocka_unit_test(words),
		cmocka_unit_test(proxies_that_are_trusted),
		cmocka_unit_test(stores_of_ones_own),
		cmocka_unit_test(a_fixed_store_has_one_path),
		cmocka_unit_test(what_is_refused),
		cmocka_unit_test(a_key_too_long_for_inih_is_an_unknown_key),
		cmocka_unit_test(a_secret_out_of_its_place_is_not_told),
		cmocka_unit_test(a_nul_byte_is_refused),
		cmocka_unit_test(paths_do_not_meet),
		cmocka_unit_test(links_are_followed),
		cmocka_unit_test(a_source_is_nothing_that_is_configured),
		cmocka_unit_test(files_are_read),
		cmocka_unit_test(the_secret_is_guarded),
		cmocka_unit_test(there_may_be_two_secrets),
		cmocka_unit_test(what_is_printed_is_taken_again),
		cmocka_unit_test(printing_masks_and_escapes),
		cmocka_unit_test(every_key_stands_in_the_manual),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
