#!/usr/bin/env bats
# What a fresh pair of eyes broke in disaster recovery: a restore that was cut when it put things in place, and tokens that are none.

# shellcheck disable=SC2154 # keys of URL

load lib

restore() { # NAME ARG...: that node's role and configuration; what it says in $output
	local role=webserver node=$1
	[ "$node" != datastore ] || role=datastore
	shift
	run "$BIN/sameroot-restore" "$role" -c "$T/$node.conf" "$@"
	echo "sameroot-restore $role $*: status $status"
	echo "$output"
}

says() { # WORD...
	local word
	for word; do [[ $output == *"$word"* ]] || fail "no '$word' in: $output" || return 1; done
}

# NAME FILE ARG...: sameroot-restore is killed when it is about to put the new FILE in place; the old one is aside
cut_before() {
	local role=webserver node=$1 file=$2 n status=0
	[ "$node" != datastore ] || role=datastore
	shift 2
	rm -rf "$T/copy"
	cp -a "$T/$node" "$T/copy"
	ASAN_OPTIONS=detect_leaks=0 strace -f -qq -o "$T/strace" -e trace=renameat2 "$BIN/sameroot-restore" "$role" -c "$T/$node.conf" --yes "$@" >/dev/null 2>&1
	n=$(grep -c renameat2 <(sed "/$file.restoring\", .*$file\"/q" "$T/strace"))
	rm -rf "${T:?}/$node"
	mv "$T/copy" "$T/$node"
	ASAN_OPTIONS=detect_leaks=0 strace -f -qq -o "$T/strace" -e trace=renameat2 -e "inject=renameat2:signal=KILL:when=$n" \
		"$BIN/sameroot-restore" "$role" -c "$T/$node.conf" --yes "$@" >/dev/null 2>&1 || status=$?
	[ "$status" -eq 137 ] || [ "$status" -eq 9 ] || fail "it was not killed but ended with $status"
	[ ! -e "$T/$node/$file" ] || fail "$file is there"
	[ -e "$T/$node/$file.restoring" ] && [ -e "$T/$node/state/restore/plan" ]
}

asides() { # NAME FILE: its, without what belongs to them
	find "$T/$1" -maxdepth 1 -name "$2.before-restore-*" ! -name '*-wal' ! -name '*-shm' | LC_ALL=C sort
}

@test "a webserver's restore is cut, and the application makes the store again: the round ends it, and each that was there is kept" {
	command -v strace >/dev/null || skip 'no strace'
	begin
	cut_before A users.db --from-datastore
	sql "$T/A/users.db" "PRAGMA journal_mode = wal; CREATE TABLE boot(x); INSERT INTO boot VALUES('again')" >/dev/null
	run "$BIN/sameroot" status -c "$T/A.conf"
	says 'store users.db:' "$T/A/users.db.restoring is left of a restore" 'the next `sameroot-restore webserver`'
	"$BIN/sameroot" status --json -c "$T/A.conf" >"$T/said" || true
	jq -e --arg path "$T/A/users.db.restoring" '.restoring[0] == {"store": "users.db", "path": $path}' "$T/said"
	once A
	grep -q "sameroot-restore webserver --from-datastore.* was interrupted when all was ready: .*$T/A/users.db" "$T/A.once"
	[ "$(asides A users.db | wc -l)" -eq 2 ]
	[ "$(sql "$(asides A users.db | tail -n 1)" "SELECT x FROM boot")" = again ]
	[ "$(sql "$(asides A users.db | head -n 1)" "SELECT count(*) FROM users")" -ge 1 ]
	rounds A B
	assert_same
	no_conflicts
	# a directory, ended by the same command
	cut_before A resources --from-datastore --store resources
	mkdir "$T/A/resources"
	echo again >"$T/A/resources/again"
	restore A --from-datastore --yes --store resources
	[ "$status" -eq 0 ]
	says 'it is in place now' "$T/A/resources" '--store resources'
	[ "$(cat "$T"/A/resources.before-restore-*-2/again)" = again ]
	[ ! -e "$T/A/resources/again" ]
	rounds A B
	assert_same
	no_conflicts
}

@test "with a restore to be ended, a dry run says so and changes nothing, another one follows it; what is half built is named" {
	command -v strace >/dev/null || skip 'no strace'
	begin
	"$BIN/sameroot" backup -c "$T/datastore.conf" --datastore "$T/backup.tar.zst"
	value A "UPDATE users SET email = 'newer' WHERE uid = 1"
	echo newer >"$T/A/resources/hosts.csv"
	rounds A B
	stop datastore
	cut_before datastore users.db --from-backup "$T/backup.tar.zst" --store users.db
	before=$(cd "$T/datastore" && find . -type f ! -name '*-shm' -exec sha256sum {} + | LC_ALL=C sort)
	restore datastore --from-backup "$T/backup.tar.zst" --store resources --dry-run
	[ "$status" -eq 75 ]
	says 'not in place yet' "$T/datastore/users.db" '--store users.db' 'start sameroot-datastore'
	[ "$(cd "$T/datastore" && find . -type f ! -name '*-shm' -exec sha256sum {} + | LC_ALL=C sort)" = "$before" ]
	# another request: both are done
	mkdir "$T/datastore/webstore.db.restoring"
	restore datastore --from-files --resources "$T/B/resources" --store resources --yes
	[ "$status" -eq 0 ]
	says 'it is in place now' "$T/datastore/users.db" 'store resources: restored' "store webstore.db: $T/datastore/webstore.db.restoring is left"
	[[ $output != *'store resources: '*'is left'* ]]
	rmdir "$T/datastore/webstore.db.restoring"
	[ "$(sql "$T/datastore/users.db" "SELECT count(*) FROM users WHERE email = 'newer'")" -eq 0 ]
	[ "$(asides datastore resources | wc -l)" -eq 1 ]
	[ "$(cat "$T/datastore/resources/hosts.csv")" = newer ]
	start_datastore
	rounds A B A
	assert_same
	everywhere "SELECT email FROM users WHERE uid = 1" newer
}

@test "a token's number that is none heals on both sides, and nobody can make one" {
	begin
	sqlite3 "$T/A/state/state.db" "UPDATE meta SET value = substr(value, 1, 16) || x'8000000000000000' WHERE name = 'token'"
	rounds A A
	[ "$(sqlite3 "$T/A/state/state.db" "SELECT hex(substr(value, 17, 1)) FROM meta WHERE name = 'token'")" = 00 ]
	id=$(status_of datastore '.webservers[] | select(.history != null).uuid' | head -n 1)
	[ -n "$id" ]
	run api datastore "/api/webservers/$id/token" -X PUT -w '%{http_code}' \
		-d '{"old":null,"n":9223372036854775806,"new":"11111111-1111-4111-8111-111111111111","addr":"evil","interval":1}'
	[[ $output == *400 ]]
	stop datastore
	sqlite3 "$T/datastore/state/state.db" "UPDATE token SET n = -9223372036854775808"
	start_datastore
	rounds A B A
	assert_same
}
