#!/usr/bin/env bats
# What was changed comes with the answer to a check-in, in one request; and where it does not lead to the root that was told, the webserver walks.

# shellcheck disable=SC2034,SC2154 # lib.bash reads them; keys of PID and URL

load lib

INTERVAL=3600

# N requests wait at the datastore.
waiting() {
	[ "$(admin datastore /metrics | sed -n 's/^sameroot_http_waiting_requests //p')" = "$1" ]
}

# How often ROUTE was asked for at the datastore.
asked() {
	admin datastore /metrics | awk -v route="route=\"$1\"" 'index($0, "sameroot_http_requests_total{" route) { n += $2 } END { print n + 0 }'
}

fetched() {
	echo "$(asked /api/tree/nodes) $(asked /api/bundle)"
}

# What was changed within 2 s of a scan is looked at once more: whoever changes that again pushes a moment later.
all_wait() {
	wait_for 'both wait' waiting 2
}

@test "rows and files come with the answer: nothing is walked, and nothing fetched" {
	fill A
	start_all
	wait_same
	all_wait
	before=$(fetched)
	sql "$T/A/users.db" "UPDATE users SET email = 'one' WHERE uid = 1"
	wait_same
	echo new >"$T/A/resources/new"
	wait_same
	mkdir "$T/A/resources/dir"
	: >"$T/A/resources/dir/empty"
	wait_same
	rm -r "$T/A/resources/dir" "$T/A/resources/new"
	wait_same
	sql "$T/A/users.db" "DELETE FROM users WHERE uid = 1; INSERT INTO users SELECT 70 + uid, 'n' || uid, NULL, 0 FROM users"
	wait_same
	for i in {1..30}; do echo "$i" >"$T/B/resources/f$i"; done
	wait_same
	echo "nodes and bundles: $before before, $(fetched) after"
	[ "$(fetched)" = "$before" ]
	no_conflicts
}

@test "what is too much, or too large, is walked and fetched as ever" {
	fill A
	start_all
	wait_same
	all_wait
	before=$(fetched)
	sql "$T/A/users.db" "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT INTO users SELECT i, 'u' || i, NULL, 0 FROM n"
	wait_same
	[ "$(fetched)" != "$before" ]
	before=$(asked /api/bundle)
	head -c 20000 /dev/urandom >"$T/A/resources/large"
	wait_same
	[ "$(asked /api/bundle)" -eq $((before + 1)) ]
}

@test "a history that is not known any more is walked; what follows comes with the answer again" {
	fill A
	start_all
	wait_same
	all_wait
	stop datastore KILL
	start_datastore
	all_wait
	before=$(asked /api/tree/nodes)
	stop B
	echo meanwhile >"$T/A/resources/new"
	wait_same datastore A
	stop datastore
	start_datastore
	start_webserver B
	wait_same
	[ "$(asked /api/tree/nodes)" -gt 0 ]
	all_wait
	before=$(fetched)
	echo after >"$T/A/resources/new"
	wait_same
	[ "$(fetched)" = "$before" ]
}

@test "a datastore that was restored, and adopted, tells nothing of another epoch" {
	fill A
	start_all
	wait_same
	all_wait
	stop datastore
	cp -a "$T/datastore" "$T/backup"
	start_datastore
	all_wait
	echo later >"$T/A/resources/later"
	wait_same
	stop datastore
	rm -r "$T/datastore" && mv "$T/backup" "$T/datastore"
	start_datastore
	"$BIN/sameroot" -c "$T/datastore.conf" --yes adopt --union
	wait_same
	[ "$(<"$T/datastore/resources/later")" = later ]
	all_wait
	before=$(fetched)
	echo latest >"$T/B/resources/later"
	wait_same
	[ "$(fetched)" = "$before" ]
}

@test "two webservers that edit at the same moment lose nothing" {
	fill A
	start_all
	wait_same
	all_wait
	for i in {1..12}; do
		sql "$T/A/users.db" "UPDATE users SET email = 'a$i' WHERE uid = 1" &
		one=$!
		sql "$T/B/users.db" "UPDATE users SET name = 'b$i' WHERE uid = 1; UPDATE users SET email = 'b$i' WHERE uid = 2" &
		other=$!
		echo "a$i" >"$T/A/resources/a"
		echo "b$i" >"$T/B/resources/b"
		wait $one $other
	done
	wait_same
	everywhere "SELECT email FROM users WHERE uid = 1" a12
	everywhere "SELECT name FROM users WHERE uid = 1" b12
	everywhere "SELECT email FROM users WHERE uid = 2" b12
	[ "$(<"$T/A/resources/b")" = b12 ] && [ "$(<"$T/B/resources/a")" = a12 ]
	no_conflicts
	echo mine >"$T/A/resources/both" &
	one=$!
	echo ours >"$T/B/resources/both"
	wait $one
	wait_same # the other one is in an archive, unless one saw the other's
	check_databases
}

@test "exclusions, and a store that is paused, are what they were" {
	printf '[store "resources"]\nExclude=cache/\n' >>"$T/datastore.conf"
	fill A
	start_all
	wait_same
	mkdir "$T/A/resources/cache" "$T/B/resources/cache"
	echo a >"$T/A/resources/cache/f"
	echo b >"$T/B/resources/cache/f"
	echo c >"$T/A/resources/c"
	wait_for 'it is there' [ -f "$T/B/resources/c" ]
	[ "$(<"$T/B/resources/cache/f")" = b ] && [ ! -e "$T/datastore/resources/cache" ]
	rm -r "$T"/?/resources/cache
	mv "$T/B/resources" "$T/away"
	sync_now B || true
	sql "$T/A/users.db" "UPDATE users SET email = 'goes on' WHERE uid = 1"
	echo waits >"$T/A/resources/c"
	wait_for 'the row is there' eval '[ "$(value B "SELECT email FROM users WHERE uid = 1")" = "goes on" ]'
	[ ! -e "$T/B/resources/c" ]
	mv "$T/away" "$T/B/resources"
	sync_now B
	wait_same
	[ "$(<"$T/B/resources/c")" = waits ]
}

@test "what leads to another root is not taken: it is walked" {
	start_behind_proxy
	all_wait
	tamper changes-pass
	echo 0 >"$T/A/resources/new"
	wait_same
	all_wait
	for mode in changes-flip changes-old; do
		tamper $mode
		echo "$mode" >"$T/A/resources/new"
		wait_same
		sql "$T/A/users.db" "UPDATE users SET email = '$mode' WHERE uid = 2"
		wait_same
	done
	before=$(asked /api/tree/nodes)
	[ "$before" -gt 0 ]
	! grep -iE 'warn|error' "$T/B.log" || fail 'it is nothing to tell'
}
