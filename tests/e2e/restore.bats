#!/usr/bin/env bats
# sameroot-restore: a datastore from webservers and files, a webserver from the datastore; afterwards everyone goes on, and nothing is lost.

# shellcheck disable=SC2154,SC2034 # keys of URL; what teardown looks at

load lib

restore() { # ARG...: what it says in $output
	run "$BIN/sameroot-restore" "$@"
	echo "sameroot-restore $*: status $status"
	echo "$output"
}

datastore_from() { # URL-OPTION...: of the datastore, with --yes
	restore datastore -c "$T/datastore.conf" --yes "$@"
	[ "$status" -eq 0 ]
}

lose_stores() {
	rm -rf "$T"/datastore/users.db* "$T"/datastore/webstore.db* "$T/datastore/resources"
}

losers() { # NAME: the paths in its conflict archive
	conflicts "$1" 'map(.path) | unique | join(" ")' | tr -d '"'
}

nothing_left() { # no half-built store, no plan
	[ -z "$(find "$T/datastore" "$T/A" "$T/B" -maxdepth 1 -name '*.restoring*')" ] || fail "left: $(ls "$T"/datastore "$T"/A "$T"/B)"
	[ ! -e "$T/datastore/state/restore/plan" ]
}

aside() { # NAME STORE: what was put aside, the newest
	find "$T/$1" -maxdepth 1 -name "$2.before-restore-*Z*" ! -name '*-wal' ! -name '*-shm' | LC_ALL=C sort | tail -n 1
}

# What B's tree says of users.db, at B: it sees a change though no round goes through
sees() { # NAME ROOT
	[[ $(root_of "$1") != "$2" ]]
}

@test "a datastore without stores, from one webserver; its history goes on, and edits made meanwhile stand" {
	fill A
	start_all
	wait_same
	sql "$T/A/users.db" "DELETE FROM members WHERE uid = 1"
	rm "$T/A/resources/hosts.csv"
	sync_now A
	wait_same
	before=$(status_of datastore .instance)
	seq=$(status_of datastore .seq)
	stop datastore
	lose_stores
	old=$(root_of A)
	sql "$T/A/users.db" "UPDATE users SET email = 'while it was away' WHERE uid = 2"
	echo new >"$T/A/resources/made meanwhile"
	rm "$T/B/resources/img/$(ls "$T/B/resources/img" | head -n 1)" # an unsent deletion gives way: nothing is deleted in a union
	echo 'b' >"$T/B/resources/b's own"
	wait_for 'A sees its own changes without a datastore' sees A "$old"
	restore datastore -c "$T/datastore.conf" --from "${URL[A]}"
	[ "$status" -eq 64 ] # nobody to ask
	[[ $output == *--yes* ]]
	restore datastore -c "$T/datastore.conf" --from "${URL[A]}" --dry-run
	[ "$status" -eq 0 ]
	[[ $output == *'only there'* ]]
	[ ! -e "$T/datastore/users.db" ]
	[ ! -e "$T/datastore/resources" ]
	nothing_left
	datastore_from --from "${URL[A]}"
	nothing_left
	sql "$T/A/users.db" "INSERT INTO users(uid, name) VALUES(77, 'after')"
	start_datastore
	[ "$(status_of datastore .instance)" = "$before" ]
	[ "$(status_of datastore .epoch)" -gt 2 ]
	[ "$(status_of datastore .seq)" -ge "$seq" ]
	wait_same
	everywhere "SELECT email FROM users WHERE uid = 2" 'while it was away'
	everywhere "SELECT name FROM users WHERE uid = 77" after
	everywhere "SELECT count(*) FROM members WHERE uid = 1" 0 # deleted before: stays so
	[ ! -e "$T/B/resources/hosts.csv" ]
	[ "$(cat "$T/B/resources/made meanwhile" "$T/datastore/resources/b's own")" = "$(printf 'new\nb')" ]
	diff -r "$T/A/resources/img" "$T/B/resources/img"
	check_databases
	# what B never changed gave way to what A changed, and is kept; nothing that is equal is a conflict
	[ "$(conflicts A length)$(conflicts datastore length)" = 00 ]
	[ "$(losers B)" = users.db/users/2 ]
}

# NAME: it has taken part at the datastore's epoch
at_epoch_of_datastore() {
	[ "$(status_of "$1" .datastore.epoch)" -eq "$(status_of datastore .epoch)" ]
}

lose_datastore() {
	sleep 1.1 # the epoch of what goes on from a copy is made of the time, in seconds: two in one second would be the same
	stop datastore
	rm -rf "$T/datastore"
	mkdir "$T/datastore"
}

@test "from what is of before an epoch that the webservers know: they unite by themselves, for the new epoch is above that, too" {
	fill A
	start_all
	wait_same
	"$BIN/sameroot" backup "$T/old.tar.zst" -c "$T/datastore.conf"
	mkdir "$T/copy"
	value B 'PRAGMA wal_checkpoint(TRUNCATE)'
	stop B
	cp "$T/B/users.db" "$T/copy"
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	[ "$(status_of datastore .epoch)" -eq 2 ]
	value A "UPDATE users SET email = 'since' WHERE uid = 1; INSERT INTO users VALUES(10, 'Since', NULL, 0)"
	wait_same datastore A
	wait_for 'A is at epoch 2' at_epoch_of_datastore A
	# a backup
	lose_datastore
	datastore_from --from-backup "$T/old.tar.zst"
	start_datastore
	wait_same datastore A
	[ "$(value datastore 'SELECT group_concat(name || coalesce(email, 0)) FROM users WHERE uid IN (1, 10)')" = Adasince,Since0 ]
	# a webserver that was away
	lose_datastore
	start_webserver B
	datastore_from --from "${URL[B]}"
	start_datastore
	wait_same
	everywhere 'SELECT group_concat(name || coalesce(email, 0)) FROM users WHERE uid IN (1, 10)' Adasince,Since0
	# an old copy by cp
	value A "UPDATE users SET email = 'at last' WHERE uid = 1"
	wait_same
	lose_datastore
	cp "$T/copy/users.db" "$T/datastore/"
	start_datastore
	wait_same
	everywhere 'SELECT group_concat(name || coalesce(email, 0)) FROM users WHERE uid IN (1, 10)' 'Adaat last,Since0'
	for name in A B; do "$BIN/sameroot" status -c "$T/$name.conf"; done
	check_databases
}

@test "a datastore that lost everything, from one webserver: its instance, key and secret go on, nobody has a conflict" {
	fill A
	start_all
	wait_same
	instance=$(status_of datastore .instance)
	stop datastore
	rm -rf "$T/datastore"
	mkdir "$T/datastore"
	datastore_from --from "${URL[B]}"
	[[ $output == *"$instance"* ]]
	start_datastore
	wait_same
	[ "$(status_of datastore .instance)" = "$instance" ]
	[ "$(status_of datastore .epoch)" -gt 2 ]
	no_conflicts
	check_databases
	# and once more, over a datastore that was founded anew meanwhile: its own history gives way, too
	stop datastore
	rm -rf "$T/datastore"
	mkdir "$T/datastore"
	start_datastore
	[ "$(status_of datastore .instance)" != "$instance" ]
	sync_now A
	[[ $(status_of A .trouble) == *held* ]]
	stop datastore
	datastore_from --from "${URL[A]}"
	[ -e "$(aside datastore users.db)" ]
	[ -n "$(find "$T/datastore/state" -name 'state.db.before-restore-*Z')" ]
	start_datastore
	wait_same
	[ "$(status_of datastore .instance)" = "$instance" ]
	no_conflicts
}

@test "of two webservers each entry is the newer one's; what gave way is kept, what one lacks comes from the other" {
	fill A
	start_all
	wait_same
	stop B # stays behind
	sql "$T/A/users.db" "UPDATE users SET email = 'newer' WHERE uid = 1; INSERT INTO users(uid, name) VALUES(50, 'only A')"
	echo newer >"$T/A/resources/hosts.csv"
	sync_now A
	wait_same datastore A
	sql "$T/B/users.db" "UPDATE users SET email = 'b edited' WHERE uid = 2; INSERT INTO users(uid, name) VALUES(60, 'only B')"
	echo 'only B' >"$T/B/resources/only B"
	stop datastore
	start_webserver B
	rm -rf "$T/datastore"
	mkdir "$T/datastore"
	wait_for 'B knows its tree' root_of B
	sed 's/^\[global\]$/&\nConflict-Max-Bytes=100/' "$T/datastore.conf" >"$T/little-room.conf"
	restore datastore -c "$T/little-room.conf" --yes --from "${URL[B]}" --from "${URL[A]}"
	[ "$status" -eq 74 ]
	[[ $output == *'more than all of Conflict-Max-Bytes, 100'* ]]
	[ ! -e "$T/datastore/users.db" ]
	datastore_from --from "${URL[B]}" --from "${URL[A]}"
	[[ $output == *'conflict archive'* ]]
	[ "$(sql "$T/datastore/users.db" "SELECT email FROM users WHERE uid = 1")" = newer ]
	[ "$(cat "$T/datastore/resources/hosts.csv")" = newer ]
	[ "$(sql "$T/datastore/users.db" "SELECT group_concat(name) FROM (SELECT name FROM users WHERE uid IN (50, 60) ORDER BY uid)")" = 'only A,only B' ]
	[ "$(losers datastore)" = 'resources/hosts.csv users.db/users/1 users.db/users/2' ]
	id=$(conflicts datastore '.[] | select(.path == "resources/hosts.csv").id' | tr -d '"')
	[ "$(sha256sum <"$(archived datastore "$id")")" = "$(sha256sum <"$T/B/resources/hosts.csv")" ]
	start_datastore
	wait_same
	everywhere "SELECT email FROM users WHERE uid = 1" newer
	everywhere "SELECT email FROM users WHERE uid = 2" 'b edited' # an edit that was never sent is none that is old
	[ "$(cat "$T/A/resources/only B")" = 'only B' ]
	check_databases
}

@test "of equal rows a source gives no more than Max-Leaves" {
	fill A
	sql "$T/A/webstore.db" "CREATE TABLE log(what TEXT)"
	sql "$T/A/webstore.db" "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1001) INSERT INTO log SELECT 'equal' FROM n"
	start_datastore
	start_webserver A
	wait_same datastore A
	stop datastore
	lose_stores
	sed 's/^\[global\]$/&\nMax-Leaves=1000/' "$T/datastore.conf" >"$T/few.conf"
	restore datastore -c "$T/few.conf" --yes --from "${URL[A]}"
	[ "$status" -ne 0 ]
	[[ $output == *'equal rows: more than Max-Leaves, 1000 rows'* ]]
	[ ! -e "$T/datastore/webstore.db" ]
	datastore_from --from "${URL[A]}"
	[ "$(sql "$T/datastore/webstore.db" "SELECT count(*) FROM log")" -eq 1001 ]
}

@test "from files: a live webserver's own, one store of several; damaged ones are refused" {
	fill A
	start_all
	wait_same
	sql "$T/A/users.db" "UPDATE users SET email = 'in the log' WHERE uid = 1" # in the -wal, perhaps
	stop datastore
	cp "$T/A/users.db" "$T/damaged.db"
	printf 'garbage garbage garbage' | dd of="$T/damaged.db" bs=1 seek=4096 conv=notrunc status=none
	lose_stores
	restore datastore -c "$T/datastore.conf" --yes --from-files --users-db "$T/damaged.db" --store users.db
	[ "$status" -eq 65 ]
	[ ! -e "$T/datastore/users.db" ]
	restore datastore -c "$T/datastore.conf" --yes --from-files --resources "$T/nowhere" --store resources
	[ "$status" -eq 66 ]
	datastore_from --from-files --users-db "$T/A/users.db" --store users.db
	[ -e "$T/datastore/users.db" ]
	[ ! -e "$T/datastore/resources" ]
	datastore_from --from-files --webstore-db "$T/B/webstore.db" --resources "$T/B/resources" --store webstore.db --store resources
	start_datastore
	wait_same
	everywhere "SELECT email FROM users WHERE uid = 1" 'in the log'
	for name in datastore A B; do # only what differed may have been one; a file's marker may be older than its content
		[[ $(losers $name) =~ ^(users.db/users/1)?$ ]] || fail "$name: $(losers $name)"
	done
	check_databases
}

@test "from files: what no file is named for was not asked for, and stays as it is; a name that no store has is refused" {
	fill A
	start_all
	wait_same
	stop datastore
	restore datastore -c "$T/datastore.conf" --yes --from-files --users-db "$T/A/users.db" --file "nobodys=$T/A/users.db"
	[[ $status -eq 64 && $output == *'nobodys='*'knows no such store'* ]] || fail "status $status: $output"
	rm "$T"/datastore/users.db*
	datastore_from --from-files --users-db "$T/A/users.db"
	[[ $output == *'store webstore.db: no file was named for it: it stays as it is'* ]] || fail "$output"
	[[ -f $T/datastore/users.db && -z $(aside datastore webstore.db) && -z $(aside datastore resources) ]]
	start_datastore
	wait_same
}

@test "a datastore that is to be made on a machine that is a webserver and was never one is remarked" {
	fill A
	start_all
	wait_same
	cat "$T/A.conf" >"$T/C.conf"
	printf '%s\n' "Datastore-User-DB-Path=$T/C/users.db" "Datastore-Web-Store-Path=$T/C/webstore.db" "Datastore-Resource-Store=$T/C/resources" \
		"Datastore-State-Directory=$T/C/state" >>"$T/C.conf"
	restore datastore -c "$T/C.conf" --from "${URL[B]}" --dry-run
	[[ $status -eq 0 && $output == *"MIND: nothing of a datastore is on this machine"*"$T/C/state"* ]] || fail "status $status: $output"
	stop datastore
	restore datastore -c "$T/datastore.conf" --from "${URL[B]}" --dry-run
	[[ $status -eq 0 && $output != *MIND* ]] || fail "status $status: $output"
}

@test "a webserver that lost its stores, from the datastore; --store, --path and what it says" {
	fill A
	start_all
	wait_same
	stop A
	echo 'not sent' >"$T/A/resources/not sent"
	restore webserver -c "$T/B.conf" --from-datastore --yes
	[ "$status" -eq 75 ] # its daemon runs
	[[ $output == *'stop sameroot-sync first'* ]]
	rm "$T/B/state/lock"
	restore webserver -c "$T/B.conf" --from-datastore --yes
	[ "$status" -eq 75 ] # which does not go by a file that can be removed
	[ -z "$(aside B users.db)" ]
	rm "$T"/A/users.db*
	printf 'this is no database at all, but rubbish' >"$T/A/webstore.db"
	restore webserver -c "$T/A.conf" --from-datastore --yes --json
	[ "$status" -eq 0 ]
	[ "$(cat "$(aside A webstore.db)")" = 'this is no database at all, but rubbish' ]
	[ -e "$(aside A resources)/not sent" ]
	start_webserver A
	wait_same
	no_conflicts
	# only one store, the others stay as they are
	stop A
	echo 'here to stay' >"$T/A/resources/stays"
	restore webserver -c "$T/A.conf" --from-datastore --yes --store webstore.db
	[ "$status" -eq 0 ]
	[ -e "$T/A/resources/stays" ]
	# a part: what is missing comes back, what differs is replaced and kept, what is only here stays
	rm -r "$T/A/resources/img"
	mkdir "$T/A/resources/img"
	echo mine >"$T/A/resources/img/mine"
	sql "$T/A/users.db" "UPDATE users SET email = 'broken' WHERE uid = 1; UPDATE groups SET name = 'stays changed' WHERE gid = 1"
	restore webserver -c "$T/A.conf" --from-datastore --path resources/img --dry-run
	[ "$status" -eq 0 ]
	[ "$(ls "$T/A/resources/img")" = mine ]
	restore webserver -c "$T/A.conf" --from-datastore --path resources/img --yes
	[ "$status" -eq 0 ]
	restore webserver -c "$T/A.conf" --from-datastore --path users.db/users --yes
	[ "$status" -eq 0 ]
	[ "$(sql "$T/A/users.db" "SELECT count(*) FROM users WHERE email = 'broken'")" -eq 0 ]
	[ "$(losers A)" = users.db/users/1 ]
	# a directory that stands for a file, and holds something, stays; the others come
	cp -r "$T/A/resources/img" "$T/img"
	rm "$T/A/resources/img/logo" "$T/A/resources/hosts.csv"
	mkdir "$T/A/resources/img/logo"
	echo mine >"$T/A/resources/img/logo/mine"
	restore webserver -c "$T/A.conf" --from-datastore --path resources --yes
	[ "$status" -eq 75 ]
	[[ $output == *'1 of 2 were put in place, but'*'resources/img/logo'* ]]
	[ "$(cat "$T/A/resources/hosts.csv" "$T/A/resources/img/logo/mine")" = "$(printf 'a table\nmine')" ]
	rm -r "$T/A/resources/img/logo"
	cp -p "$T/img/logo" "$T/A/resources/img/logo"
	start_webserver A
	wait_same
	everywhere "SELECT name FROM groups WHERE gid = 1" 'stays changed'
	[ "$(cat "$T/datastore/resources/img/mine" "$T/B/resources/stays")" = "$(printf 'mine\nhere to stay')" ]
	check_databases
}

@test "what a source cannot give is named and counted, and never taken for a deletion" {
	fill A
	start_all
	wait_same
	ln -s nowhere "$T/A/resources/link"
	sync_now A
	mv "$T/A/webstore.db" "$T/away.db"
	rm -f "$T"/A/webstore.db-*
	stop datastore
	wait_for 'A sees that its store is gone' paused_there
	rows=$(dump_db "$T/datastore/webstore.db")
	restore datastore -c "$T/datastore.conf" --from "${URL[A]}" --yes
	[ "$status" -eq 1 ]
	[[ $output == *'store webstore.db is left as it is'*paused* ]]
	[[ $output == *'1 paths at the source'* ]]
	[ "$(dump_db "$T/datastore/webstore.db")" = "$rows" ]
	rm -f "$T/A/resources/link"
	mv "$T/away.db" "$T/A/webstore.db"
	start_datastore
	wait_same
	no_conflicts
	# another cluster's webserver has another secret; one that is not there is said to be so
	stop datastore
	stop B
	restore datastore -c "$T/datastore.conf" --from "${URL[B]}" --yes
	[ "$status" -eq 75 ]
	(umask 077; head -c 32 /dev/urandom | base64 -w 0 >"$T/other-secret")
	sed "s|^Control-Auth-File=.*|Control-Auth-File=$T/other-secret|" "$T/datastore.conf" >"$T/other.conf"
	restore datastore -c "$T/other.conf" --from "${URL[A]}" --yes
	[ "$status" -eq 77 ]
}

paused_there() {
	[[ $(api A /api/tree | jq -r '.stores[] | select(.name == "webstore.db").paused') == *lost* ]]
}

# SYSCALL N ARG...: killed at the Nth such call
killed_at() {
	local call=$1 n=$2 status=0
	shift 2
	ASAN_OPTIONS=detect_leaks=0 strace -f -qq -o "$T/strace" -e trace="$call" -e "inject=$call:signal=KILL:when=$n" "$BIN/sameroot-restore" "$@" >/dev/null 2>&1 || status=$?
	[ "$status" -eq 137 ] || [ "$status" -eq 9 ] || fail "it was not killed at $call $n but ended with $status"
}

@test "killed at any rename, and at a sync: the old state is whole or the new one is, and run again it completes" {
	command -v strace >/dev/null || skip 'no strace'
	fill A
	start_all
	wait_same
	mkdir "$T/A/resources/more"
	for i in {1..40}; do echo "$i" >"$T/A/resources/more/$i"; done
	sync_now A
	wait_same
	stop datastore
	old=$(tree_sum "$T/datastore/resources")
	for at in 'fsync 3' 'fdatasync 9' 'renameat2 5' 'renameat2 30'; do
		# shellcheck disable=SC2086
		killed_at $at datastore -c "$T/datastore.conf" --from "${URL[A]}" --yes || continue
		[ "$(tree_sum "$T/datastore/resources")" = "$old" ] || fail "the old state is not whole after $at"
		[ ! -e "$T/datastore/state/restore/plan" ]
	done
	# the last renames are those that put things in place: from the count of a whole run back
	ASAN_OPTIONS=detect_leaks=0 strace -f -qq -o "$T/strace" -e trace=renameat2 "$BIN/sameroot-restore" datastore -c "$T/datastore.conf" --from "${URL[A]}" --yes
	last=$(grep -c before-restore "$T/strace")
	[ "$last" -ge 3 ]
	for n in 1 2 4; do
		all=$(ASAN_OPTIONS=detect_leaks=0 strace -f -qq -e trace=renameat2 "$BIN/sameroot-restore" datastore -c "$T/datastore.conf" --from "${URL[A]}" --yes 2>&1 >/dev/null | grep -c renameat2)
		killed_at renameat2 $((all - n)) datastore -c "$T/datastore.conf" --from "${URL[A]}" --yes
		[ -e "$T/datastore/state/restore/plan" ]
		if ((n == 2)); then # the daemon ends it by itself
			start_datastore
			wait_same
			stop datastore
		else
			datastore_from --from "${URL[A]}"
			[[ $output == *'it is in place now'* ]]
		fi
		nothing_left
	done
	start_datastore
	wait_same
	no_conflicts
	check_databases
}

@test "what was fetched is not fetched again" {
	fill A
	start_all
	mkdir "$T/A/resources/big"
	for i in 1 2 3; do head -c 9000000 /dev/urandom >"$T/A/resources/big/$i"; done
	sync_now A
	wait_same
	stop datastore
	lose_stores
	ASAN_OPTIONS=detect_leaks=0 strace -f -qq -o "$T/strace" -e trace=renameat2 -e inject=renameat2:signal=KILL:when=9 \
		"$BIN/sameroot-restore" datastore -c "$T/datastore.conf" --from "${URL[A]}" --yes || true
	[ -d "$T/datastore/resources.restoring" ]
	[ ! -e "$T/datastore/resources" ]
	have=$(find "$T/datastore/resources.restoring" -size +8000k | wc -l)
	[ "$have" -ge 1 ]
	ASAN_OPTIONS=detect_leaks=0 strace -f -qq -o "$T/strace" -e trace=sendto,sendmsg,write -s 400 "$BIN/sameroot-restore" datastore -c "$T/datastore.conf" --from "${URL[A]}" --yes
	asked=$(grep -c 'GET /api/blob' "$T/strace")
	((asked <= 3 - have)) || fail "$asked large files were fetched, though $have were there"
	start_datastore
	wait_same
}

@test "a full disk: it stops, and the old state is as it was; with room it goes on" {
	mkdir "$T/small"
	mount -t tmpfs -o size=6m none "$T/small" 2>/dev/null || skip 'no mount here'
	MOUNTED=$T/small
	fill A
	sed -i "s|^Datastore-Resource-Store=.*|Datastore-Resource-Store=$T/small/resources|" "$T/datastore.conf"
	start_datastore
	start_webserver A
	for i in 1 2 3 4; do head -c 900000 /dev/urandom >"$T/A/resources/$i"; done
	sync_now A
	wait_for 'equal roots' same_roots datastore A
	stop datastore
	old=$(tree_sum "$T/small/resources")
	rows=$(dump_db "$T/datastore/users.db")
	restore datastore -c "$T/datastore.conf" --from "${URL[A]}" --yes
	[ "$status" -eq 74 ]
	[[ $output == *'the disk is full, and all is as it was'* ]]
	[[ $output == *"$T/small/resources.restoring"* ]]
	[ "$(tree_sum "$T/small/resources")" = "$old" ]
	[ "$(dump_db "$T/datastore/users.db")" = "$rows" ]
	[ ! -e "$T/datastore/state/restore/plan" ]
	[ -z "$(find "$T/datastore" "$T/small" -maxdepth 2 -name '*.before-restore-*')" ]
	mount -o remount,size=40m "$T/small"
	datastore_from --from "${URL[A]}"
	nothing_left
	[ ! -e "$T/small/resources.restoring" ]
	start_datastore
	wait_for 'equal roots' same_roots datastore A
	no_conflicts
}

@test "from a backup, older than the webservers: what they have since stands, and a part of it comes back alone" {
	fill A
	sql "$T/A/users.db" "CREATE TABLE log(what); INSERT INTO log VALUES('less'), ('less'), ('more')"
	start_all
	wait_same
	"$BIN/sameroot" backup -c "$T/datastore.conf" --datastore "$T/backup.tar.zst"
	sql "$T/A/users.db" "UPDATE users SET email = 'after the backup' WHERE uid = 1"
	echo 'after the backup' >"$T/A/resources/hosts.csv"
	echo 'made after it' >"$T/A/resources/new"
	sync_now A
	wait_same
	instance=$(status_of datastore .instance)
	stop datastore
	rm -rf "$T/datastore"
	mkdir "$T/datastore"
	cp "$T/backup.tar.zst" "$T/damaged.tar.zst"
	printf x | dd of="$T/damaged.tar.zst" bs=1 seek=3000 conv=notrunc status=none
	restore datastore -c "$T/datastore.conf" --yes --from-backup "$T/damaged.tar.zst"
	[ "$status" -eq 65 ]
	[ ! -e "$T/datastore/users.db" ]
	restore datastore -c "$T/datastore.conf" --dry-run --from-backup "$T/backup.tar.zst"
	[ "$status" -eq 0 ]
	[ ! -e "$T/datastore/users.db" ]
	datastore_from --from-backup "$T/backup.tar.zst"
	[ -z "$(find "$T/datastore/state/restore" -mindepth 1)" ]
	start_datastore
	[ "$(status_of datastore .instance)" = "$instance" ]
	wait_same
	everywhere "SELECT email FROM users WHERE uid = 1" 'after the backup'
	[ "$(cat "$T/B/resources/hosts.csv" "$T/datastore/resources/new")" = "$(printf 'after the backup\nmade after it')" ]
	check_databases
	# a table as it was; of equal rows without a key, the greater number
	sql "$T/A/users.db" "DELETE FROM log WHERE rowid = 1; INSERT INTO log VALUES('more'), ('more'), ('new')"
	sync_now A
	wait_same
	stop datastore
	datastore_from --from-backup "$T/backup.tar.zst" --path users.db/log
	[[ $output == *'1 are replaced'*' 1 are only here'* ]]
	datastore_from --from-backup "$T/backup.tar.zst" --path users.db/users
	start_datastore
	wait_same
	[ "$(sql "$T/B/users.db" "SELECT count(*) FROM users WHERE email = 'after the backup'")" -eq 0 ]
	everywhere "SELECT group_concat(what || n) FROM (SELECT what, count(*) AS n FROM log GROUP BY what ORDER BY what)" less2,more3,new1
	[ "$(cat "$T/B/resources/hosts.csv")" = 'after the backup' ]
}

@test "--path leaves out a row that cannot be put back, names it and what is in its way, and brings the others back" {
	local code="INSERT INTO codes SELECT i, 'code ' || i, 'as it was' FROM n"
	fill A
	sql "$T/A/users.db" "CREATE TABLE codes(id INTEGER PRIMARY KEY, code TEXT UNIQUE, text TEXT); CREATE TABLE uses(id INTEGER PRIMARY KEY, code INTEGER REFERENCES codes(id));
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) $code; INSERT INTO uses VALUES(1, 3)"
	start_all
	wait_same
	"$BIN/sameroot" backup -c "$T/datastore.conf" --datastore "$T/backup.tar.zst"
	sql "$T/A/users.db" "UPDATE codes SET text = 'later'; UPDATE codes SET code = 'other' WHERE id = 1; DELETE FROM codes WHERE id = 2; INSERT INTO codes VALUES(20, 'code 1', 'took it');
		DELETE FROM uses; DELETE FROM codes WHERE id = 3"
	sync_now A
	wait_same
	sync_now A
	stop datastore
	# of uses, 1 refers to none without codes; of codes, 1 cannot have its code
	restore datastore -c "$T/datastore.conf" --yes --from-backup "$T/backup.tar.zst" --path users.db/uses
	[ "$status" -eq 1 ]
	[[ $output == *'users.db/uses/1 '*'refers to'*'users.db/codes/3'* ]]
	restore datastore -c "$T/datastore.conf" --yes --from-backup "$T/backup.tar.zst" --path users.db/codes
	[ "$status" -eq 1 ]
	[[ $output == *'users.db/codes/1 '*UNIQUE*'users.db/codes/20'* ]]
	[[ $output == *'1 could not be put in place'* ]]
	[ "$(value datastore "SELECT group_concat(id || code) FROM (SELECT * FROM codes WHERE text = 'as it was' ORDER BY id)")" = \
		'2code 2,3code 3,4code 4,5code 5,6code 6,7code 7,8code 8,9code 9' ]
	[ "$(value datastore "SELECT group_concat(id || code || text) FROM (SELECT * FROM codes WHERE text <> 'as it was' ORDER BY id)")" = '1otherlater,20code 1took it' ]
	restore datastore -c "$T/datastore.conf" --yes --json --from-backup "$T/backup.tar.zst" --path users.db/codes
	[ "$status" -eq 1 ]
	sed -n '/^{/,$p' <<<"$output" | jq -e '.left_out == 1 and .stores[0].left_out == 1'
	restore datastore -c "$T/datastore.conf" --yes --from-backup "$T/backup.tar.zst" --path users.db/uses
	[ "$status" -eq 0 ]
	start_datastore
	wait_same
	[ "$(value B 'SELECT count(*) FROM uses')$(value B "SELECT count(*) FROM codes WHERE text = 'as it was'")" = 18 ]
	check_databases
}

owned_by() { # UID NAME: all of it
	[ -z "$(find "$T/$2" ! -uid "$1")" ] || fail "not of $1: $(find "$T/$2" ! -uid "$1" -exec ls -lnd {} +)"
}

@test "run by root where the daemon is another user: all that it leaves is that user's, and the application's stay the application's" {
	[ "$(id -u)" -eq 0 ] || skip 'not root'
	begin
	"$BIN/sameroot" backup -c "$T/datastore.conf" "$T/backup.tar"
	chown -R 65534:65534 "$T/A"
	restore webserver -c "$T/A.conf" --from-datastore --yes
	[ "$status" -eq 0 ]
	owned_by 65534 A
	"$BIN/sameroot" adopt --mirror --yes -c "$T/A.conf"
	"$BIN/sameroot" join --new-uuid --yes -c "$T/A.conf"
	"$BIN/sameroot" verify -c "$T/A.conf"
	owned_by 65534 A
	# what is the daemon's within a store is the daemon's
	chown -R 65533:65533 "$T/A/resources"
	restore webserver -c "$T/A.conf" --from-datastore --yes
	[ "$status" -eq 0 ]
	[ "$(stat -c %u "$T/A/resources" "$T/A/resources/img" "$T/A/resources/.sameroot" "$T/A/state/state.db" | tr '\n' ' ')" = '65533 65533 65534 65534 ' ]
	# with the state directory lost, too: as of the directory that it lies in
	stop datastore
	rm -rf "$T/datastore"
	mkdir "$T/datastore"
	chown 65534:65534 "$T/datastore"
	datastore_from --from-backup "$T/backup.tar"
	owned_by 65534 datastore
}

@test "what was being built and is damaged is built anew; what is there and no run has left is not touched" {
	begin
	"$BIN/sameroot" backup -c "$T/datastore.conf" "$T/backup.tar"
	stop datastore
	mkdir "$T/else"
	echo keep >"$T/else/keep"
	ln -s "$T/else" "$T/datastore/resources.restoring"
	restore datastore -c "$T/datastore.conf" --yes --from-backup "$T/backup.tar"
	[[ $status -eq 64 && $output == *"$T/datastore/resources.restoring, where it would be built, is no directory: move it away"* ]]
	[ "$(cat "$T/else/keep")" = keep ]
	rm "$T/datastore/resources.restoring"
	echo 'no database' >"$T/datastore/users.db.restoring"
	cp "$T/datastore/webstore.db" "$T/datastore/webstore.db.restoring"
	dd if=/dev/urandom of="$T/datastore/webstore.db.restoring" bs=4096 seek=2 count=3 conv=notrunc status=none
	datastore_from --from-backup "$T/backup.tar"
	nothing_left
	start_datastore
	rounds A B
	assert_same
	check_databases
}

@test "a store that is a symbolic link is put aside and built anew where the link leads to, also when nothing is there" {
	begin
	"$BIN/sameroot" backup -c "$T/datastore.conf" "$T/backup.tar"
	stop datastore
	mkdir "$T/disk"
	mv "$T/datastore/resources" "$T/disk/files"
	chmod 2775 "$T/disk/files"
	ln -s "$T/disk/files" "$T/datastore/resources"
	rm -f "$T"/datastore/users.db*
	ln -s ../disk/users.db "$T/datastore/users.db"
	datastore_from --from-backup "$T/backup.tar"
	[[ -L $T/datastore/resources && -L $T/datastore/users.db && -d $T/disk/files && -f $T/disk/users.db ]]
	[ -d "$(find "$T/disk" -name 'files.before-restore-*')" ]
	[ "$(stat -c %a "$T/disk/files")" = 2775 ]
	nothing_left
	start_datastore
	rounds A B
	assert_same
}

@test "what is empty at the source, and not here, is refused unless it is insisted on" {
	begin
	stop datastore
	mv "$T/datastore" "$T/lost"
	mkdir "$T/datastore"
	start_datastore
	restore webserver -c "$T/A.conf" --from-datastore --dry-run
	[ "$status" -eq 1 ]
	restore webserver -c "$T/A.conf" --from-datastore --yes
	[ "$status" -eq 1 ]
	[[ $output == *'refused: store users.db is empty at the datastore, and not here'*'sameroot adopt --union'*'--even-empty'* ]]
	assert_same A B
	[ -z "$(find "$T/A" -name '*.before-restore-*')" ]
	restore webserver -c "$T/A.conf" --from-datastore --yes --even-empty --store resources
	[ "$status" -eq 0 ]
	[ "$(cat "$T"/A/resources.before-restore-*/hosts.csv)" = 'a table' ]
	[ ! -e "$T/A/resources/hosts.csv" ]
	# and so a datastore
	stop datastore
	rm -r "$T/datastore"
	cp -a "$T/lost" "$T/datastore"
	start_webserver A
	restore datastore -c "$T/datastore.conf" --yes --from "${URL[A]}" --store resources
	[ "$status" -eq 1 ]
	[[ $output == *'refused: store resources is empty at'* ]]
	[ "$(cat "$T/datastore/resources/hosts.csv")" = 'a table' ]
}

# NAME DATABASE: an application has it open, and does nothing, until it is stopped
open_it() {
	python3 -c 'import sqlite3, sys, time
c = sqlite3.connect(sys.argv[1]); c.execute("SELECT count(*) FROM sqlite_master").fetchall(); open(sys.argv[2], "w")
time.sleep(600)' "$2" "$T/$1.opened" >/dev/null 2>&1 3>&- &
	PID[$1]=$!
	wait_for 'it is open' test -e "$T/$1.opened"
}

close_it() {
	kill "${PID[$1]}"
	wait "${PID[$1]}" || true
	unset "PID[$1]"
}

@test "a database that an application has open, with or without a log, is not taken away from under it" {
	begin
	sql "$T/A/webstore.db" 'PRAGMA journal_mode=delete' >/dev/null
	for db in users webstore; do
		value A "UPDATE users SET email = 'here' WHERE uid = 1"
		open_it "with-$db" "$T/A/$db.db"
		restore webserver -c "$T/A.conf" --from-datastore --dry-run
		[ "$status" -eq 0 ]
		[[ $output == *"store $db.db: process ${PID[with-$db]} (python3) has $T/A/$db.db open"* ]]
		restore webserver -c "$T/A.conf" --from-datastore --yes
		[ "$status" -eq 75 ]
		[[ $output == *"store $db.db: process ${PID[with-$db]} (python3) has $T/A/$db.db open"*'stop it first'* ]]
		[ "$(value A 'SELECT email FROM users WHERE uid = 1')" = here ]
		close_it "with-$db"
	done
	restore webserver -c "$T/A.conf" --from-datastore --yes
	[ "$status" -eq 0 ]
	assert_same datastore A
}
