#!/usr/bin/env bats
# The datastore is down, comes late, or does not know the secret.

# shellcheck disable=SC2034 # lib.bash reads them

load lib

failed_rounds() {
	status_of "$1" '.trouble != null and .rounds >= '"$2" >/dev/null 2>&1
}

@test "the datastore stops for several intervals while both sides change things: nothing is lost" {
	fill A
	start_all
	wait_same
	stop datastore
	for k in 1 2 3; do
		sql "$T/A/users.db" "INSERT INTO users VALUES(10$k, 'a$k', NULL, 0)"
		sql "$T/B/users.db" "INSERT INTO users VALUES(20$k, 'b$k', NULL, 0); UPDATE users SET email = 'b$k' WHERE uid = 2"
		echo $k >"$T/A/resources/a$k"
		echo $k >"$T/B/resources/b$k"
		for name in A B; do
			rounds=$(status_of $name .rounds)
			wait_for "$name tries" failed_rounds $name $((rounds + 1))
		done
	done
	rm "$T/A/resources/hosts.csv"
	sql "$T/A/users.db" 'DELETE FROM members WHERE uid = 3'
	start_datastore
	wait_same
	[ "$(sql "$T/datastore/users.db" 'SELECT count(*) FROM users')" -eq 9 ]
	[ "$(sql "$T/A/users.db" 'SELECT email FROM users WHERE uid = 2')" = b3 ]
	[ -f "$T/A/resources/b2" ] && [ -f "$T/B/resources/a3" ] && [ ! -e "$T/B/resources/hosts.csv" ]
	[ "$(sql "$T/B/users.db" 'SELECT count(*) FROM members WHERE uid = 3')" -eq 0 ]
	[ "$(conflicts A length)$(conflicts B length)" = 00 ]
	[ "$(grep -c 'Connection refused: cannot connect to .*asked again until it answers' "$T/A.log")" -eq 1 ] # logged once, not at every try
}

@test "a webserver that was started before the datastore" {
	fill A
	printf '%s\n' 0123456789abcdef0123456789abcdef0123456789a >"$T/control-auth"
	chmod 600 "$T/control-auth"
	DATASTORE_PORT=$(free_port)
	start_webserver A B
	wait_for 'A tries' failed_rounds A 2
	run api A /api/tree -o /dev/null -w '%{http_code}'
	[ "$output" = 503 ]
	write_config datastore
	start_datastore
	wait_same
}

@test "--once exits 75 while there is no datastore, and changes nothing" {
	fill A
	start_datastore
	rounds A
	stop datastore
	echo offline >"$T/A/resources/offline"
	snapshot A && cp "$T/A.snapshot" "$T/before"
	run once A
	[ "$status" -eq 75 ]
	grep -q '^sameroot-sync: ' "$T/A.once"
	snapshot A && cmp "$T/A.snapshot" "$T/before"
	start_datastore
	rounds A B
	assert_same
	[ "$(cat "$T/B/resources/offline")" = offline ]
}

@test "--once waits through a 503, and exits 75 when it does not end" {
	fill A
	start_datastore
	start_proxy
	tamper busy 3
	rounds A
	[ "$(grep -c busy "$T/proxy.log")" -eq 3 ]
	tamper busy
	run once A
	[ "$status" -eq 75 ]
	rounds_without_proxy A
}

@test "a datastore's store that went missing is paused, and never read as: all deleted" {
	fill A
	start_all
	wait_same
	stop datastore
	mv "$T/datastore/resources" "$T/kept"
	launch datastore "$BIN/sameroot-datastore" -c "$T/datastore.conf"
	sql "$T/A/users.db" "UPDATE users SET email = 'goes on' WHERE uid = 1"
	sync_now A
	sync_now B
	[ -f "$T/A/resources/hosts.csv" ] && [ -f "$T/B/resources/hosts.csv" ]
	stop datastore
	rm -rf "$T/datastore/resources"
	mv "$T/kept" "$T/datastore/resources"
	start_datastore
	wait_same
	[ "$(sql "$T/B/users.db" 'SELECT email FROM users WHERE uid = 1')" = 'goes on' ]
}

@test "a webserver's store that went missing is paused, and its rows and files are not deleted elsewhere" {
	fill A
	start_datastore
	rounds A B
	mv "$T/B/resources" "$T/kept-resources"
	mkdir "$T/kept" && mv "$T"/B/users.db* "$T/kept" # its write-ahead log belongs to it
	run once B
	[ "$status" -eq 1 ]
	rounds A
	[ -f "$T/A/resources/hosts.csv" ] && [ -f "$T/datastore/resources/hosts.csv" ]
	[ "$(sql "$T/A/users.db" 'SELECT count(*) FROM users')" -eq 3 ]
	rm -rf "$T/B/resources"
	mv "$T/kept-resources" "$T/B/resources"
	rm -f "$T"/B/users.db*
	mv "$T"/kept/* "$T/B"
	rounds B
	assert_same
}

@test "a datastore that was emptied, or rolled back, holds the round: nothing is deleted" {
	fill A
	start_datastore
	rounds A B
	cp -a "$T/datastore" "$T/backup"
	stop datastore
	rm -r "$T/backup" && cp -a "$T/datastore" "$T/backup"
	start_datastore
	echo later >"$T/A/resources/later"
	rounds A B
	stop datastore
	rm -r "$T/datastore" && mv "$T/backup" "$T/datastore" # rolled back
	start_datastore
	run once B
	[ "$status" -eq 1 ]
	grep -q 'held: .*ahead.*adopt --union' "$T/B.once"
	[ -f "$T/B/resources/later" ]
	stop datastore
	rm -r "$T/datastore"
	start_datastore # emptied: another instance
	run once A
	[ "$status" -eq 1 ]
	grep -q 'held: .*adopt --union' "$T/A.once"
	[ -f "$T/A/resources/hosts.csv" ]
	[ "$(sql "$T/A/users.db" 'SELECT count(*) FROM users')" -eq 3 ]
	run once B
	# the operator says what to do
	admin datastore /api/admin/adopt -X POST -d '{"what": "union"}' | jq -e .epoch
	rounds A B A
	assert_same
	[ -f "$T/A/resources/later" ] && [ -f "$T/B/resources/hosts.csv" ]
}

@test "a wrong secret: refused, said clearly, nothing changed; and the right one afterwards" {
	fill A
	start_datastore
	rounds A
	write_config B 'Control-Auth=an-entirely-wrong-secret-of-over-32-characters'
	run once B
	[ "$status" -ne 0 ] && [ "$status" -ne 75 ]
	grep -q secret "$T/B.once"
	[ "$(grep -c 'entirely-wrong' "$T/B.once")" -eq 0 ]
	[ -z "$(tree_sum "$T/B/resources")" ]
	write_config B
	rounds B
	assert_same
}

@test "the datastore is restarted in the middle of everything" {
	fill A
	start_all
	wait_same
	for k in 1 2 3 4; do
		echo $k >"$T/A/resources/r$k"
		sql "$T/B/users.db" "INSERT INTO users VALUES(30$k, 'r$k', NULL, 0)"
		stop datastore
		echo $k >"$T/B/resources/s$k"
		start_datastore
	done
	wait_same
	[ -f "$T/A/resources/s4" ] && [ -f "$T/B/resources/r4" ]
	[ "$(sql "$T/A/users.db" 'SELECT count(*) FROM users WHERE uid > 300')" -eq 4 ]
	[ "$(conflicts A length)$(conflicts B length)" = 00 ]
}

@test "the datastore is restarted while nothing changes: the next change goes through" {
	fill A
	start_all
	wait_same
	sync_now A # its last answer was a 304, and so will be the next one
	stop datastore
	start_datastore
	sync_now A
	echo after >"$T/A/resources/after"
	head -c 20000000 /dev/urandom >"$T/A/resources/large" # so that an early refusal meets a webserver that still sends
	sql "$T/A/users.db" "UPDATE users SET email = 'after' WHERE uid = 1"
	wait_same
	[ "$(cat "$T/B/resources/after")" = after ]
	[ "$(grep -c 'the datastore says' "$T/A.log")" -le 2 ]
}

@test "daemons that are stopped and started keep what they know: nothing is hashed again" {
	fill A
	start_all
	wait_same
	sleep 2.5 # files that were changed within 2 s of a scan are not trusted by it
	sync_now A
	before=$(status_of A '[.stores[] | select(.name == "resources") | .hashed] | add')
	stop A
	start_webserver A
	wait_same
	sync_now A
	echo "hashed before $before"
	[ "$(status_of A '[.stores[] | select(.name == "resources") | .hashed] | add')" -eq 0 ]
}
