#!/usr/bin/env bats
# Small things that operators stumble over: what a daemon and `sameroot` say of a damaged page, of a path that is none, of a bad backup; and pipes.

# shellcheck disable=SC2034,SC2154 # lib.bash and bats set and read them

load lib

# STATUS NAME WORD...: sameroot on that node; what it prints, standard error and all, in one line in $output
on() {
	local want=$1 name=$2 status=0
	shift 2
	output=$("$BIN/sameroot" "$@" -c "$T/$name.conf" 2>&1) || status=$?
	[ "$status" -eq "$want" ] || fail "sameroot $*: status $status: $output" || return 1
	output=$(tr -s ' \n' ' ' <<<"$output")
}

has() {
	[[ $output =~ $1 ]] || fail "no $1 in: $output"
}

# The application's rows, more than a page of them
fill_more() {
	fill A
	value A "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
		INSERT INTO users SELECT i, 'user ' || i, printf('%.60c', 'x'), 0 FROM n"
}

# FILE: the page in the middle of the table of users is none any more; header and schema are as they were
spoil_page() {
	local page
	sql "$1" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
	page=$(sql "$1" "SELECT pageno FROM dbstat WHERE name = 'users' AND pagetype = 'leaf' LIMIT 1 OFFSET 5")
	dd if=/dev/urandom of="$1" bs=4096 count=1 seek=$((page - 1)) conv=notrunc status=none
	sql "$1" 'PRAGMA user_version = 1' # a commit: what nobody commits to is not read again
}

@test "a page of a webserver's database is overwritten: paused as corrupt, with the command; nothing of it is a deletion" {
	fill_more
	start_datastore
	rounds A B
	spoil_page "$T/A/users.db"
	echo goes on >"$T/A/resources/goes-on"
	start_webserver A
	sync_now A
	on 1 A status
	has 'users.db sqlite paused .*users.db .*corrupt: .*malformed'
	has "sameroot-restore webserver --from-datastore --store users.db"
	stop A
	rounds B
	[ "$(value B 'SELECT count(*) FROM users')" -eq 904 ]
	[ "$(value datastore 'SELECT count(*) FROM users')" -eq 904 ]
	[ -s "$T/B/resources/goes-on" ]
	"$BIN/sameroot-restore" webserver -c "$T/A.conf" --from-datastore --store users.db --yes
	rounds A B
	assert_same
	no_conflicts
}

@test "a page of the datastore's database is overwritten: paused as corrupt, with the command; nothing of it is a deletion" {
	fill_more
	start_datastore
	rounds A B
	spoil_page "$T/datastore/users.db"
	wait_for 'the scan meets it' paused_as_corrupt
	has "sameroot-restore datastore --from https://WEBSERVER:9406 --store users.db"
	has 'users.db sqlite paused '
	value A "UPDATE users SET email = 'kept' WHERE uid = 1"
	round A B
	[ "$(value A 'SELECT count(*) FROM users')" -eq 904 ]
	[ "$(value B 'SELECT count(*) FROM users')" -eq 904 ]
}

paused_as_corrupt() {
	on 1 datastore status >/dev/null && [[ $output =~ 'users.db '.*'corrupt: '.*malformed ]]
}

@test "restore and log of what is no store, no path: 66, and it says what is wrong" {
	begin
	on 66 datastore restore NOPE --at @1
	on 66 datastore log NOPE
	on 66 datastore restore resources/NOPE --at @1 --yes
	has 'no such path in store resources'
	on 66 datastore restore users.db/NOPE --at @1 --dry-run
	on 66 datastore restore users.db/NOPE/1 --at @1 --dry-run
	on 66 datastore restore users.db/users/NOPE --at @1 --dry-run
	# there, and never changed since
	on 0 datastore restore users.db/users/1 --at "@$(status_of datastore .seq)" --dry-run
	on 0 datastore restore resources/img --at "@$(status_of datastore .seq)" --dry-run
}

@test "verify names each fault of a backup once" {
	local at
	begin
	on 0 datastore backup "$T/b.tar"
	at=$(grep -abo 'a table' "$T/b.tar" | head -n 1)
	printf x | dd of="$T/b.tar" bs=1 seek="${at%%:*}" conv=notrunc status=none
	on 65 datastore verify "$T/b.tar"
	[ "$(grep -o 'hosts.csv' <<<"$output" | wc -l)" -eq 1 ] || fail "$output"
	has 'b.tar: it is not sound: 1 fault'
	on 65 datastore verify "$T/control-auth"
	[ "$(grep -o 'not a backup' <<<"$output" | wc -l)" -eq 1 ] || fail "$output"
}

# WORD...: its reader has gone before it prints; it ends by SIGPIPE, silently
into_nothing() {
	python3 -c '
import os, subprocess, sys
reads, writes = os.pipe()
os.close(reads)
p = subprocess.run(sys.argv[1:], stdout=writes, stderr=subprocess.PIPE)
sys.exit(0 if not p.stderr and p.returncode == -13 else f"status {p.returncode}: {p.stderr}")' "$BIN/sameroot" "$@" -c "$T/datastore.conf"
}

@test "what prints into a pipe whose reader has gone ends silently, as other tools do" {
	begin
	into_nothing ls
	into_nothing log
	into_nothing conflicts list --all
	into_nothing status
	bash -c '"$1" ls -c "$2" >/dev/full 2>"$3"' - "$BIN/sameroot" "$T/datastore.conf" "$T/said" || [ $? -eq 74 ]
	grep -q 'write to the standard output: No space left' "$T/said"
}

@test "what cannot be printed is an error of every program" {
	local program option
	for program in "$BIN"/sameroot*; do
		for option in --help --version; do
			bash -c '"$1" "$2" >/dev/full 2>"$3"; exit $((! ($? == 74)))' - "$program" "$option" "$T/said"
			grep -q 'write to the standard output: No space left' "$T/said"
		done
	done
	bash -c '"$1" --check-config -c "$2" >/dev/full 2>"$3"; exit $((! ($? == 74)))' - "$BIN/sameroot-datastore" "$T/datastore.conf" "$T/said"
}

hollow_directories_wait() { # NAME: who is to hold them
	local n
	fill A
	for n in {1..40}; do echo "$n" >"$T/A/resources/img/$n"; done
	mkdir -p "$T/A/resources/hollow/in"
	start_datastore
	rounds A B
	rm -r "$T"/A/resources/{img,hollow,empty}
	echo new >"$T/A/resources/new"
	round A
	[ -d "$T/datastore/resources/hollow/in" ]
	[ -d "$T/datastore/resources/empty" ]
	[ -s "$T/datastore/resources/img/40" ]
	[ -s "$T/datastore/resources/new" ]
	rounds B
	[ -d "$T/B/resources/hollow/in" ]
	[ -d "$T/B/resources/empty" ]
	on 0 "$1" adopt --deletions --yes
	rounds A B
	[ ! -e "$T/datastore/resources/hollow" ]
	[ ! -e "$T/B/resources/empty" ]
	assert_same
}

@test "where a webserver holds a store's deletions, those of its empty directories wait, too; released, they go with the rest" {
	hollow_directories_wait A
}

@test "where the datastore holds them, which a webserver does not, likewise" {
	write_config A Max-Delete-Percent=100
	hollow_directories_wait datastore
}

# As sameroot-recovery(7) says of deletions in a union.
@test "a deletion that had reached the datastore stays one after sameroot-restore; one that was made while it was away comes back" {
	unlimited_deletions
	begin
	value A 'DELETE FROM members WHERE uid = 2; DELETE FROM users WHERE uid = 2'
	rm "$T/A/resources/hosts.csv"
	rounds A # B is away
	stop datastore
	rm "$T"/datastore/users.db*
	rm -r "$T/datastore/resources"
	value A 'DELETE FROM members WHERE uid = 3; DELETE FROM users WHERE uid = 3'
	rm "$T/A/resources/img/logo"
	start_webserver A
	run "$BIN/sameroot-restore" datastore -c "$T/datastore.conf" --from "${URL[A]}" --store users.db --store resources --yes
	[ "$status" -eq 0 ]
	stop A
	start_datastore
	round A B
	round A B
	assert_same
	everywhere 'SELECT group_concat(uid) FROM (SELECT uid FROM users ORDER BY uid)' 1,3
	[ ! -e "$T/A/resources/hosts.csv" ]
	[ -s "$T/A/resources/img/logo" ]
}

@test "a node that cannot be reached: the cause first, and its address once" {
	begin
	stop datastore
	run "$BIN/sameroot-restore" datastore -c "$T/datastore.conf" --from "http://127.0.0.1:$(free_port)" --yes
	[ "$status" -eq 75 ]
	[[ $output == 'sameroot-restore: Connection refused: cannot connect to http://127.0.0.1:'* ]] || fail "$output"
	[ "$(grep -o '127.0.0.1' <<<"$output" | wc -l)" -eq 1 ] || fail "$output"
}

@test "two webservers of one host are told apart by their ports: in status, log and conflicts" {
	local name
	begin
	for name in A B; do
		start_webserver "$name"
		sync_now "$name"
		stop "$name"
	done
	on 0 datastore status
	has '127.0.0.1:8075 .*127.0.0.1:8076 '
	on 0 datastore log
	has ' 127.0.0.1:8075 '
	on 0 datastore status --json
	jq -e '[.webservers[].name] | sort == ["127.0.0.1:8075", "127.0.0.1:8076"]' <<<"$output"
	api datastore /api/conflicts | jq -e '[.[].name] | contains(["127.0.0.1:8075", "127.0.0.1:8076"])'
}

held_since() { # NAME: ms
	"$BIN/sameroot" status -c "$T/$1.conf" --json 2>/dev/null | jq -e 'select((.trouble // "") | test("history")) | .trouble_since_ms' 2>/dev/null
}

@test "a round that is held is so since the history was a foreign one, not since the datastore could not be reached" {
	fill A
	start_all
	wait_same
	stop datastore
	wait_for 'A misses it' grep -q 'Connection refused' "$T/A.log"
	rm -rf "$T"/datastore/state "$T"/datastore/*.db* "$T/datastore/resources"
	before=$(date +%s%3N)
	start_datastore
	wait_for 'A is held' held_since A
	(($(held_since A) >= before)) || fail "since $(held_since A), before $before"
}
