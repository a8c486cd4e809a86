/* test_lb.c - the balancer without HAProxy: its configuration, the list of webservers, hostile names in it, and HAProxy's configuration for it. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/lb/conf.h"
#include "lib/lb/haproxy_config.h"
#include "lib/lb/pause.h"
#include "lib/lb/resolver.h"
#include "lib/lb/webservers.h"

#define SECRET "0123456789abcdef0123456789abcdef"
#define ENOUGH "Datastore=ds.example.org\nControl-Secret=" SECRET "\n"
#define UUID_A "11111111-1111-4111-8111-111111111111"
#define UUID_B "22222222-2222-4222-8222-222222222222"

/* --- the configuration -------------------------------------------------------------------------------------------------------------- */

static enum sr_status parse(struct sr_lb_conf **out, const char *text, struct sr_err *err)
{
	FILE *in = fmemopen((void *)text, strlen(text), "r");
	enum sr_status rc;

	assert_non_null(in);
	rc = sr_lb_conf_parse(out, in, "t.conf", err);
	fclose(in);
	return rc;
}

static struct sr_lb_conf *taken(const char *text)
{
	struct sr_lb_conf *conf = NULL;
	struct sr_err err = {0};

	if (parse(&conf, text, &err) != SR_OK)
		fail_msg("refused: %s\n%s", err.text, text);
	return conf;
}

static void assert_refused(const char *text, const char *want)
{
	struct sr_lb_conf *conf = NULL;
	struct sr_err err = {0};
	enum sr_status rc = parse(&conf, text, &err);

	if (rc != SR_E_CONFIG || !strstr(err.text, want))
		fail_msg("of\n%s\nwant: %s\ngot: %s", text, want, rc == SR_OK ? "(taken)" : err.text);
	assert_null(conf);
}

static void two_lines_are_enough(void **state)
{
	struct sr_lb_conf *c = taken(ENOUGH);

	(void)state;
	assert_string_equal(c->datastore.host, "ds.example.org");
	assert_int_equal(c->datastore.port, 9405);
	assert_int_equal(c->web_port, 443);
	assert_null(c->bind_addr);
	assert_int_equal(c->update_interval, 30);
	assert_int_equal(c->session_timeout, 10);
	assert_int_equal(c->webserver_protocol, SR_LB_AUTO);
	assert_true(sr_lb_conf_asks(c));
	sr_lb_conf_free(c);
	c = taken(ENOUGH "Insecure-Disable-HTTPS=true\n");
	assert_int_equal(c->web_port, 80);
	sr_lb_conf_free(c);
}

static void overrides_are_sections_by_either_word(void **state)
{
	struct sr_lb_conf *c = taken("[Global]\nDisable-Datastore=true\n[Overrides \"example1\"]\n\tWebserver=172.19.0.100\n\tInsecure-Disable-HTTPS=true\n"
				     "[override \"two\"]\nWebserver=a:81\nWebserver=[::1]:82\nSync-Port=0\n");

	(void)state;
	assert_false(sr_lb_conf_asks(c));
	assert_int_equal(c->override_count, 2);
	assert_string_equal(c->overrides[0].name, "example1");
	assert_true(c->overrides[0].disable_https);
	assert_int_equal(c->overrides[0].sync_port, 9406);
	assert_int_equal(c->overrides[1].webserver.count, 2);
	assert_int_equal(c->overrides[1].sync_port, 0);
	sr_lb_conf_free(c);
}

static void what_makes_no_sense_is_refused(void **state)
{
	static const char *const cases[][2] = {
		{"", "t.conf: Datastore=host is not given"},
		{"Disable-Datastore=true\n", "t.conf:1: with Disable-Datastore there has to be [Override"},
		{ENOUGH "Certificate-File=/a\n", "t.conf:3: Certificate-File needs Key-File"},
		{ENOUGH "HAProxy-Socket=/a\n", "t.conf:3: HAProxy-Socket needs HAProxy-Config"},
		{ENOUGH "HAProxy-Config=/a\n", "t.conf:3: HAProxy-Config needs HAProxy-Socket"},
		{ENOUGH "Web-Port=0\n", "t.conf:3: Web-Port: must be a number from 1 to 65535"},
		{ENOUGH "Sync-Port=1\n", "t.conf:3: unknown key Sync-Port in [global]"},
		{ENOUGH "Webserver-Protocol=spdy\n", "must be http, https or auto"},
		{"Control-Secret=short\n", "must have at least 32 characters"},
		{ENOUGH "[store \"a\"]\n", "t.conf:3: unknown section: there are [global] and [override \"name\"]"},
		{ENOUGH "[override]\n", "t.conf:3: an override's section is written [override \"name\"]"},
		{ENOUGH "[override \"a b\"]\n", "t.conf:3: an override's name is"},
		{ENOUGH "[override \"a\"]\n", "t.conf:3: override \"a\" needs Webserver=host:port"},
		{ENOUGH "[override \"a\"]\nWebserver=a b\n", "t.conf:4: Webserver: must be host or host:port"},
		{ENOUGH "[override \"a\"]\nWebserver=a:0\n", "t.conf:4: Webserver: must be host or host:port"},
		{ENOUGH "[override \"a\"]\nWebserver=a\nWebserver-Protocol=https\nInsecure-Disable-HTTPS=true\n", "has Webserver-Protocol=https and"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_refused(cases[i][0], cases[i][1]);
}

static void what_is_printed_is_taken_and_has_no_secret(void **state)
{
	struct sr_lb_conf *c = taken(ENOUGH "Bind-Addr=::1\n[override \"a\"]\nWebserver=a:81\nWebserver=b:82\n"), *again;
	struct sr_buf first = {0}, second = {0}, text = {0};
	char *line;

	(void)state;
	sr_lb_conf_print(c, &first, true);
	assert_null(strstr(sr_buf_text(&first), SECRET));
	assert_non_null(strstr(sr_buf_text(&first), "\"Webserver\":[\"a:81\",\"b:82\"]"));
	sr_buf_clear(&first);
	sr_lb_conf_print(c, &first, false);
	assert_null(strstr(sr_buf_text(&first), SECRET));
	line = strstr(sr_buf_text(&first), "Control-Secret=\"****");
	if (!line)
		line = strstr(sr_buf_text(&first), "Control-Secret=****");
	assert_non_null(line);
	sr_buf_add(&text, first.at, (size_t)(line - (char *)first.at));
	sr_buf_printf(&text, "%s", strchr(line, '\n') + 1);
	again = taken(sr_buf_text(&text));
	sr_lb_conf_print(again, &second, false);
	assert_non_null(strstr(sr_buf_text(&second), "Webserver=b:82"));
	sr_buf_free(&text);
	sr_buf_free(&second);
	sr_buf_free(&first);
	sr_lb_conf_free(again);
	sr_lb_conf_free(c);
}

static void every_key_stands_in_the_manual(void **state)
{
	const char *path = getenv("SAMEROOT_SOURCE");
	char *name = sr_format("%s/man/loadbalancer.conf.5", path ? path : "."), line[512];
	FILE *in = fopen(name, "re");
	size_t count, items = 0;
	const struct sr_config_key *keys = sr_lb_conf_keys(&count);
	struct sr_buf text = {0};

	(void)state;
	if (!in)
		fail_msg("no %s: run this from the top of the source, or set SAMEROOT_SOURCE", name);
	while (fgets(line, sizeof line, in)) {
		sr_buf_printf(&text, "%s", line);
		items += strncmp(line, ".It Ic ", 7) == 0;
	}
	fclose(in);
	for (size_t i = 0; i < count; i++) {
		char *item = sr_format("\n.It Ic %s\n", keys[i].name);

		if (!strstr(sr_buf_text(&text), item))
			fail_msg("%s does not stand in %s", keys[i].name, name);
		free(item);
	}
	assert_int_equal(items, count);
	sr_buf_free(&text);
	free(name);
}

/* --- the list --------------------------------------------------------------------------------------------------------------------------- */

struct made {
	struct sr_lb_conf *conf;
	json_t *addresses;
	struct sr_lb_list list;
};

static void resolve(const struct sr_lb_conf *conf, const json_t *registry, json_t *addresses)
{
	struct sr_lb_resolver *r = sr_lb_resolver_new(NULL, NULL);
	json_t *hosts = sr_lb_list_hosts(conf, registry);

	sr_lb_resolver_turn(r, hosts, addresses, 60000);
	json_decref(hosts);
	sr_lb_resolver_free(r);
}

static struct made make(const char *conf, const char *registry)
{
	struct made m = {.conf = taken(conf), .addresses = json_object()};
	json_t *array = registry ? json_loads(registry, 0, NULL) : NULL;
	struct sr_err err;

	assert_true(!registry || array);
	resolve(m.conf, array, m.addresses);
	assert_int_equal(sr_lb_list_make(&m.list, m.conf, array, m.addresses, &err), SR_OK);
	json_decref(array);
	return m;
}

static void unmake(struct made *m)
{
	sr_lb_list_free(&m->list);
	sr_lb_conf_free(m->conf);
	json_decref(m->addresses);
}

#define ENTRY(uuid, name, external, port, pin, seen) \
	"{\"uuid\":\"" uuid "\",\"name\":" name ",\"external_addr\":" external ",\"sync_port\":" port ",\"pin\":" pin ",\"seen\":\"" seen "\"}"
#define PIN "\"sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\""

static void the_registry_becomes_a_list(void **state)
{
	struct made m = make(ENOUGH, "[" ENTRY(UUID_A, "\"10.0.0.1\"", "\"10.0.0.1\"", "9406", PIN, "2026-01-01T00:00:00Z") ","
					 ENTRY(UUID_B, "\"b\"", "\"[2001:db8::1]:8443\"", "1234", "null", "2026-01-01T00:00:00Z") "]"), n;

	(void)state;
	assert_int_equal(m.list.n, 2);
	assert_int_equal(m.list.left_n, 0);
	assert_memory_equal(m.list.at[0].id, "10.0.0.1-", 9);
	assert_string_equal(m.list.at[0].address, "10.0.0.1");
	assert_int_equal(m.list.at[0].port, 80);
	assert_false(m.list.at[0].https);
	assert_true(m.list.at[0].sync_tls);
	assert_int_equal(strlen(m.list.at[0].cookie), 16);
	assert_string_equal(m.list.at[1].address, "2001:db8::1");
	assert_int_equal(m.list.at[1].port, 8443);
	assert_true(m.list.at[1].https && m.list.at[1].verify);
	assert_false(m.list.at[1].sync_tls);
	assert_int_equal(m.list.at[1].sync_port, 1234);
	/* The cookie is the UUID's, wherever it is and whatever it is called. */
	n = make(ENOUGH, "[" ENTRY(UUID_A, "\"other\"", "\"10.9.9.9:81\"", "1", "null", "x") "]");
	assert_string_equal(n.list.at[0].cookie, m.list.at[0].cookie);
	unmake(&n);
	unmake(&m);
}

static void what_cannot_be_used_is_left_out_and_named(void **state)
{
	static const char *const hostile[] = {
		"\"web 1:80\"", "\"web1\\n    server evil 6.6.6.6:80\"", "\"web\\\"1:80\"", "\"${HOME}:80\"", "\"web1:80 check disabled\"", "\"web1;x:80\"",
		"\"'web1':80\"", "\"web1:99999\"", "\"web1:-1\"", "\":80\"", "\"[::1\"", "\"::1:80\"", "\"fe80::1%eth0\"", "\"[fe80::1%lo]:80\"", "\"#\"", "\"\"", "null", "7", "\"no-such-host.invalid:80\"",
		"\"/run/haproxy.sock\"", "\"unix@/run/x\"", "\"fd@3\"", "\"abns@x\"", "\"web1:80\\u0001\"", "\"w\\u00e9b:80\"",
	};

	(void)state;
	for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
		char *text = sr_format("[{\"uuid\":\"" UUID_A "\",\"name\":\"x\\n y\",\"external_addr\":%s,\"sync_port\":9406,\"pin\":null},"
				       ENTRY(UUID_B, "\"b\"", "\"10.0.0.2:8080\"", "9406", "null", "x") "]", hostile[i]);
		struct made m = make(ENOUGH, text);

		if (m.list.n != 1 || m.list.left_n != 1 || strpbrk(m.list.left[0], "\n\r\x01"))
			fail_msg("%s: %zu taken, %s", hostile[i], m.list.n, m.list.left_n ? m.list.left[0] : "nothing left out");
		assert_string_equal(m.list.at[0].address, "10.0.0.2");
		unmake(&m);
		free(text);
	}
}

static void other_entries_that_are_left_out(void **state)
{
	struct made m = make(ENOUGH, "[7,{},{\"uuid\":\"nonsense\",\"name\":\"n\",\"external_addr\":\"10.0.0.1:80\",\"sync_port\":1},"
				     ENTRY(UUID_A, "\"never\"", "\"10.0.0.1:80\"", "0", "null", "x") ","
				     ENTRY(UUID_B, "\"big\"", "\"10.0.0.1:80\"", "65536", "null", "x") "]");

	(void)state;
	assert_int_equal(m.list.n, 0);
	assert_int_equal(m.list.left_n, 5);
	assert_string_equal(m.list.left[3], "never: its sync daemon has not told a port yet");
	unmake(&m);
}

/* A registry that is not what it should be must not fill the log. */
static void of_very_many_that_are_left_out_some_are_named(void **state)
{
	struct sr_buf text = {0};
	struct made m;

	(void)state;
	sr_buf_printf(&text, "[" ENTRY(UUID_A, "\"a\"", "\"10.0.0.1:80\"", "1", "null", "x"));
	for (int i = 0; i < 1000; i++)
		sr_buf_printf(&text, ",%d", i);
	sr_buf_printf(&text, "," ENTRY(UUID_B, "\"b\"", "\"10.0.0.2:80\"", "1", "null", "x") "]");
	m = make(ENOUGH, sr_buf_text(&text));
	assert_int_equal(m.list.n, 2);
	assert_in_range(m.list.left_n, 2, 100);
	assert_string_equal(m.list.left[0], "an entry: it has no UUID");
	assert_string_equal(m.list.left[m.list.left_n - 1], "and others");
	unmake(&m);
	sr_buf_free(&text);
}

static void names_become_plain_letters(void **state)
{
	struct made m = make(ENOUGH, "[" ENTRY(UUID_A, "\"a b\\n${X}'\\\"\\\\#/a-very-long-name-that-goes-on-and-on-and-on\"", "\"10.0.0.1:80\"", "1", "null", "x") "]");
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	(void)state;
	assert_int_equal(m.list.n, 1);
	assert_int_equal(strspn(m.list.at[0].id, plain), strlen(m.list.at[0].id));
	assert_memory_equal(m.list.at[0].id, "a_b___X______a-v", 16);
	unmake(&m);
}

#define TWIN(uuid, port, seen, stale) \
	"{\"uuid\":\"" uuid "\",\"name\":\"n\",\"external_addr\":\"10.0.0.1:80\",\"sync_port\":" port ",\"seen\":\"" seen "\",\"stale\":" stale "}"

static unsigned one_of(const char *first, const char *second)
{
	char *text = sr_format("[%s,%s]", first, second);
	struct made m = make(ENOUGH, text);
	unsigned port = m.list.at[0].sync_port;

	assert_int_equal(m.list.n, 1);
	assert_int_equal(m.list.left_n, 1);
	unmake(&m);
	free(text);
	return port;
}

static void of_two_at_one_address_one_counts(void **state)
{
	const char *old = TWIN(UUID_A, "1", "2026-01-01T00:00:00Z", "true"), *older = TWIN(UUID_B, "2", "2025-01-01T00:00:00Z", "true");
	const char *here = TWIN(UUID_A, "3", "2026-02-01T00:00:01Z", "false"), *too = TWIN(UUID_B, "4", "2026-02-01T00:00:02Z", "false");
	const char *later = TWIN(UUID_A, "3", "2026-02-01T00:00:03Z", "false");
	struct made m;

	(void)state;
	assert_int_equal(one_of(old, older), 1);
	assert_int_equal(one_of(older, old), 1);
	assert_int_equal(one_of(old, too), 4);
	assert_int_equal(one_of(here, older), 3);
	/* Both are there: it is the same one whoever was seen last, for each change would be a reload. */
	assert_int_equal(one_of(here, too), one_of(too, here));
	assert_int_equal(one_of(here, too), one_of(later, too));
	m = make(ENOUGH "[override \"o\"]\nWebserver=10.0.0.1:80\nSync-Port=3\n",
		 "[" ENTRY(UUID_A, "\"a\"", "\"10.0.0.1:80\"", "1", "null", "2026-01-01T00:00:00Z") "]");
	assert_int_equal(m.list.n, 1);
	assert_int_equal(m.list.at[0].sync_port, 3);
	unmake(&m);
}

/* What does not resolve now stays where it was; a known address that no DNS is needed for is not asked for. */
static void the_last_known_address_stays(void **state)
{
	struct sr_lb_conf *conf = taken(ENOUGH);
	json_t *registry = json_loads("[" ENTRY(UUID_A, "\"a\"", "\"no-such-host.invalid:80\"", "1", "null", "x") ","
					  ENTRY(UUID_B, "\"b\"", "\"localhost:81\"", "1", "null", "x") "]", 0, NULL);
	json_t *addresses = json_pack("{ssssss}", "no-such-host.invalid", "10.1.2.3", "gone", "10.0.0.9", "evil", "1.2.3.4\n x");
	struct sr_lb_list list;
	struct sr_err err;

	(void)state;
	resolve(conf, registry, addresses);
	assert_int_equal(sr_lb_list_make(&list, conf, registry, addresses, &err), SR_OK);
	assert_int_equal(list.n, 2);
	assert_string_equal(list.at[0].address, "10.1.2.3");
	assert_true(!strcmp(list.at[1].address, "127.0.0.1") || !strcmp(list.at[1].address, "::1"));
	assert_non_null(json_object_get(addresses, "localhost"));
	assert_null(json_object_get(addresses, "gone"));
	sr_lb_list_free(&list);
	json_object_set_new(addresses, "no-such-host.invalid", json_string("1.2.3.4\n    server evil 6.6.6.6:80"));
	resolve(conf, registry, addresses);
	assert_int_equal(sr_lb_list_make(&list, conf, registry, addresses, &err), SR_OK);
	assert_int_equal(list.n, 1);
	sr_lb_list_free(&list);
	json_decref(addresses);
	json_decref(registry);
	sr_lb_conf_free(conf);
}

/* --- HAProxy's configuration -------------------------------------------------------------------------------------------------------------- */

static char *config_of(const struct made *m, const struct sr_lb_haproxy_options *o)
{
	struct sr_buf out = {0};
	char *text;

	sr_lb_haproxy_config(&out, m->conf, &m->list, o);
	text = sr_strdup(sr_buf_text(&out));
	sr_buf_free(&out);
	return text;
}

static void assert_has(const char *text, const char *want)
{
	if (!strstr(text, want))
		fail_msg("no\n%s\nin\n%s", want, text);
}

static void without_a_secret_it_says_what_to_give(void **state)
{
	struct sr_lb_conf *c = taken("Datastore=d\nControl-Secret-File=/nonexistent/secret\n");
	struct sr_err err = {0};
	char *secret;

	(void)state;
	assert_int_equal(sr_lb_conf_secret(c, &secret, &err), SR_E_CONFIG);
	assert_has(err.text, "t.conf: no Control-Secret, and no file /nonexistent/secret: give Control-Secret");
	sr_lb_conf_free(c);
}

static void a_configuration_says_what_the_list_says(void **state)
{
	struct made m = make(ENOUGH "Bind-Addr=::1\nWeb-Port=8443\nSession-Timeout=5\n",
			     "[" ENTRY(UUID_A, "\"a\"", "\"10.0.0.1:8080\"", "9406", PIN, "x") "," ENTRY(UUID_B, "\"b\"", "\"localhost:443\"", "9407", "null", "x") "]");
	const struct sr_lb_haproxy_options o = {.certificate = "/st ate/it's.pem", .state_file = "/s", .user = "haproxy", .group = "haproxy", .global = true};
	char *text = config_of(&m, &o), *line;

	(void)state;
	assert_has(text, "\n    bind [::1]:8443 ssl crt '/st ate/it'\\''s.pem' alpn");
	assert_has(text, "\n    user haproxy\n");
	assert_has(text, " maxidle 300s ");
	assert_has(text, " httponly secure ");
	line = sr_format("    server %s 10.0.0.1:8080 cookie %s track sameroot-health/%s\n", m.list.at[0].id, m.list.at[0].cookie, m.list.at[0].id);
	assert_has(text, line);
	free(line);
	line = sr_format("    server %s 10.0.0.1:9406 check-ssl verify none\n", m.list.at[0].id);
	assert_has(text, line);
	free(line);
	assert_has(text, " ssl verify required ca-file @system-ca verifyhost localhost sni str(localhost) track ");
	assert_has(text, ":9407\n");
	assert_null(strstr(text, SECRET));
	free(text);
	unmake(&m);
}

static void what_the_old_one_knew_is_handed_on(void **state)
{
	struct made m = make(ENOUGH, "[" ENTRY(UUID_A, "\"a\"", "\"10.0.0.1:8080\"", "9406", PIN, "x") "," ENTRY(UUID_B, "\"b\"", "\"10.0.0.2:8080\"", "9406", "null", "x") "]");
	struct sr_buf out = {0};
	char *shown = sr_format("1\n# be_id ...\n4 sameroot-health 1 %s 10.0.0.1 3 0 1 1 99 16 4 2 6 0 0 0 - 9406 - 0 9406 - - 9406\n"
				"4 sameroot-health 2 %s 10.0.0.3 2 0 1 1 99 15 3 2 6 0 0 0 - 9406 - 0 9406 - - 9406\n", m.list.at[0].id, m.list.at[1].id);
	char *want;

	(void)state;
	sr_lb_haproxy_states(&out, &m.list, shown);
	want = sr_format(" sameroot-health 1 %s 10.0.0.1 3 0 1 1 0 16 4 2 6 0 0 0 - 9406 - 0 9406 - - 0\n", m.list.at[0].id); /* drained */
	assert_has(sr_buf_text(&out), want);
	free(want);
	want = sr_format(" sameroot-health 2 %s 10.0.0.2 0 0 1 1 0 6 2 0 6 0 0 0 - 9406 - 0 9406 - - 0\n", m.list.at[1].id); /* elsewhere: down at first */
	assert_has(sr_buf_text(&out), want);
	free(want);
	free(shown);
	sr_buf_free(&out);
	unmake(&m);
}

/* That it runs is seen again at every turn. */
static void the_pause_grows_and_is_short_again_after_a_minute(void **state)
{
	static const int64_t grown[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000};
	struct sr_lb_pause p = {0};
	int64_t now = 5000;

	(void)state;
	for (size_t i = 0; i < sizeof grown / sizeof *grown; i++) {
		sr_lb_pause_failed(&p, now);
		assert_int_equal(p.ms, grown[i]);
		assert_int_equal(p.not_before, now + grown[i]);
		now = p.not_before;
		sr_lb_pause_good(&p, now);
		now += 10000;
	}
	for (int i = 0; i < 3; i++)
		sr_lb_pause_good(&p, now += 30000);
	sr_lb_pause_failed(&p, now);
	assert_int_equal(p.ms, 1000);
	sr_lb_pause_failed(&p, now + 90000); /* it was never good since */
	assert_int_equal(p.ms, 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_lines_are_enough),
		cmocka_unit_test(overrides_are_sections_by_either_word),
		cmocka_unit_test(what_makes_no_sense_is_refused),
		cmocka_unit_test(what_is_printed_is_taken_and_has_no_secret),
		cmocka_unit_test(every_key_stands_in_the_manual),
		cmocka_unit_test(the_registry_becomes_a_list),
		cmocka_unit_test(what_cannot_be_used_is_left_out_and_named),
		cmocka_unit_test(other_entries_that_are_left_out),
		cmocka_unit_test(the_pause_grows_and_is_short_again_after_a_minute),
		cmocka_unit_test(of_very_many_that_are_left_out_some_are_named),
		cmocka_unit_test(names_become_plain_letters),
		cmocka_unit_test(of_two_at_one_address_one_counts),
		cmocka_unit_test(the_last_known_address_stays),
		cmocka_unit_test(without_a_secret_it_says_what_to_give),
		cmocka_unit_test(a_configuration_says_what_the_list_says),
		cmocka_unit_test(what_the_old_one_knew_is_handed_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
