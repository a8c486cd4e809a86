/* test_network.c - addresses and networks, and the peers that are looked for in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/network.h"

static void what_is_none(void **state)
{
	static const char *const none[] = {
		"",           "localhost",     "10.0.0",      "10.0.0.0/33", "10.0.0.0/",      "10.0.0.0/x", "10.0.0.0/8x", "10.0.0.0/-1",
		"10.0.0.1/8", "10.0.0.0/008x", "10.0.0.0/ 8", "::/129",      "2001:db8::1/32", "[::1]",      "::1%lo",      "1.2.3.4:80"};
	struct sr_network n;

	(void)state;
	for (size_t i = 0; i < sizeof none / sizeof *none; i++)
		if (sr_network_parse(none[i], &n))
			fail_msg("%s was taken", none[i]);
}

static bool has(const char *network, const char *peer)
{
	struct sr_network n, p;

	assert_true(sr_network_parse(network, &n));
	if (!sr_network_parse_peer(sr_bytes_of(peer), &p))
		fail_msg("%s is no address", peer);
	return sr_network_has(&n, &p);
}

static void who_is_in_it(void **state)
{
	(void)state;
	assert_true(has("192.0.2.7", "192.0.2.7"));
	assert_true(has("192.0.2.7", "::ffff:192.0.2.7"));
	assert_true(has("::ffff:192.0.2.7", "192.0.2.7"));
	assert_false(has("192.0.2.7", "192.0.2.6"));
	assert_true(has("10.0.0.0/8", "10.255.0.1"));
	assert_false(has("10.0.0.0/8", "11.0.0.1"));
	assert_true(has("192.0.2.4/30", "192.0.2.7"));
	assert_false(has("192.0.2.4/30", "192.0.2.8"));
	assert_true(has("0.0.0.0/0", "203.0.113.9"));
	assert_false(has("0.0.0.0/0", "2001:db8::1"));
	assert_true(has("2001:db8::/33", "2001:db8:7fff::1"));
	assert_false(has("2001:db8::/33", "2001:db8:8000::1"));
	assert_true(has("::/0", "192.0.2.1"));
	assert_true(has("fe80::/10", "fe80::1%eth0"));
	assert_true(has("::1", "[::1]:4711"));
	assert_true(has("192.0.2.7", "192.0.2.7:4711"));
}

static void peers(void **state)
{
	static const char *const none[] = {"",
					   "unknown",
					   "_hidden",
					   "[::1",
					   "192.0.2.300",
					   "192.0.2.7, 192.0.2.8",
					   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
	char text[SR_NETWORK_TEXT];
	struct sr_network p;

	(void)state;
	for (size_t i = 0; i < sizeof none / sizeof *none; i++)
		if (sr_network_parse_peer(sr_bytes_of(none[i]), &p))
			fail_msg("%s was taken", none[i]);
	assert_false(sr_network_parse_peer(sr_bytes("::1\0x", 5), &p));
	assert_true(sr_network_parse_peer(sr_bytes_of("::FFFF:192.0.2.7"), &p));
	sr_network_text(&p, text);
	assert_string_equal(text, "192.0.2.7");
	assert_false(sr_network_is_loopback(&p));
	assert_true(sr_network_parse_peer(sr_bytes_of("2001:0DB8::0001"), &p));
	sr_network_text(&p, text);
	assert_string_equal(text, "2001:db8::1");
	assert_true(sr_network_parse_peer(sr_bytes_of("::ffff:127.0.0.2"), &p) && sr_network_is_loopback(&p));
	assert_true(sr_network_parse_peer(sr_bytes_of("::1"), &p) && sr_network_is_loopback(&p));
	assert_true(sr_network_parse_peer(sr_bytes_of("::2"), &p) && !sr_network_is_loopback(&p));
}

static void the_machine_itself(void **state)
{
	static const char *const here[] = {"localhost", "LocalHost:80", "127.0.0.1", "127.9.9.9:8080", "::1", "[::1]:443", "::ffff:127.0.0.1"};
	static const char *const elsewhere[] = {"127.evil.example", "127.evil.example:80", "localhost.example", "localhosts:80", "192.0.2.7", "[2001:db8::1]:80", "web1", ""};

	(void)state;
	for (size_t i = 0; i < sizeof here / sizeof *here; i++)
		if (!sr_network_is_here(here[i]))
			fail_msg("not here: %s", here[i]);
	for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
		if (sr_network_is_here(elsewhere[i]))
			fail_msg("here: %s", elsewhere[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_none), cmocka_unit_test(who_is_in_it), cmocka_unit_test(peers),
					   cmocka_unit_test(the_machine_itself)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
