#!/usr/bin/env bats
# Backups: of one root, while everything goes on; what tar, sqlite3 and sha256sum make of them; what verify finds; what a copy put back by hand does.

# shellcheck disable=SC2154,SC2034 # keys of PID and URL; what teardown looks at

load lib

# NAME [WORD...]: sameroot on that node
on() {
	local name=$1 word=$2
	shift 2
	"$BIN/sameroot" "$word" -c "$T/$name.conf" "$@"
}

# More than sockets and pipes hold on the way, and nothing that could be compressed.
fill_large() {
	local i
	fill "$1"
	mkdir "$T/$1/resources/many"
	for i in {10..49}; do head -c 400000 /dev/urandom >"$T/$1/resources/many/$i"; done
}

# ARCHIVE: extracted into $T/out, and all that it says of itself is so
unpack() {
	rm -rf "$T/out"
	mkdir "$T/out"
	tar -C "$T/out" -xf "$1" 2>"$T/tar.log" || fail "$(cat "$T/tar.log")"
	(cd "$T/out" && sha256sum --quiet --strict -c SHA256SUMS) || return 1
	on datastore verify "$1" --deep >"$T/verified" || fail "$(cat "$T/verified")" || return 1
	grep -q 'every member is what the manifest says, and SQLite takes every page of its databases for sound' "$T/verified" || return 1
	local db
	for db in "$T"/out/{users,webstore}.db; do
		[ ! -e "$db-wal" ] || fail "$db needs a log"
		[[ $(sqlite3 "$db" 'PRAGMA integrity_check') == ok ]] || return 1
	done
}

manifest() { # FILTER
	jq -er "$1" "$T/out/manifest.json"
}

# SNAPSHOT: what was unpacked is what that snapshot says
unpacked_is() {
	snapshot out
	diff -a "$1" "$T/out.snapshot" || fail "what was unpacked is not what was there"
}

# A reader that stops after the first bytes, until $T/go is there.
slow_reader() {
	{ head -c 4096 && touch "$T/begun" && while [[ ! -e $T/go ]]; do sleep 0.05; done && cat; } <"$T/pipe" >"$1" 3>&-
}

@test "of a datastore at work: the pinned root, whatever is written, replaced and deleted meanwhile" {
	fill_large A
	mkdir "$T/A/resources/odd"
	echo odd >"$T/A/resources/odd/"$'\\ \n\r\xff'
	touch -d '2001-02-03 04:05:06.789' "$T/A/resources/hosts.csv"
	sql "$T/A/users.db" "CREATE VIRTUAL TABLE texts USING fts5(name, content='users', content_rowid='uid'); INSERT INTO texts(texts) VALUES('rebuild');
		CREATE TRIGGER watch AFTER UPDATE ON users BEGIN SELECT 1; END"
	start_all
	wait_same
	root=$(root_of datastore)
	snapshot datastore
	cp "$T/datastore.snapshot" "$T/before"

	mkfifo "$T/pipe"
	slow_reader "$T/b.tar" &
	reader=$!
	on datastore backup - >"$T/pipe" 2>"$T/backup.log" 3>&- &
	backup=$!
	wait_for 'the first bytes' test -e "$T/begun"
	# what has not been read yet is replaced and deleted, on both webservers
	for i in {40..44}; do echo "other $i" >"$T/A/resources/many/$i"; done
	rm "$T"/B/resources/many/{45..49}
	mv "$T/A/resources/odd" "$T/A/resources/strange"
	sql "$T/A/users.db" "UPDATE users SET email = 'later'"
	sql "$T/B/webstore.db" "DELETE FROM history; INSERT INTO preferences VALUES(7, 'later', 1)"
	wait_same
	[[ $(root_of datastore) != "$root" ]]
	[[ $(sql "$T/datastore/users.db" "SELECT count(*) FROM users WHERE email = 'later'") == 3 ]]
	touch "$T/go"
	wait "$backup" || fail "$(cat "$T/backup.log")"
	wait "$reader"

	unpack "$T/b.tar"
	unpacked_is "$T/before"
	[[ $(manifest .root) == "$root" && $(manifest .role) == datastore && $(manifest .missing_count) == 0 ]]
	[[ $(sqlite3 "$T/out/users.db" "SELECT rowid FROM texts WHERE texts MATCH 'carol'") == 3 ]]
	[[ $(stat -c %.3Y "$T/out/resources/hosts.csv") == 981173106.789 ]]
	[[ -d $T/out/resources/empty ]]
	# one more, of now
	on datastore backup "$T/now.tar.zst"
	[[ $(stat -c %a "$T/now.tar.zst") == 600 && ! -e $T/now.tar.zst.part ]]
	unpack "$T/now.tar.zst"
	snapshot datastore
	unpacked_is "$T/datastore.snapshot"
	[[ $(manifest .root) == $(root_of datastore) ]]
	[[ -z $(ls -A "$T/datastore/state/backup") ]]
}

@test "of a webserver whose application writes: each database of one moment, the root of what is in it" {
	fill_large A
	sql "$T/A/users.db" "PRAGMA journal_mode=delete" >"$T/mode"
	start_all
	wait_same
	mkfifo "$T/pipe"
	slow_reader "$T/b.tar" &
	reader=$!
	on A backup - >"$T/pipe" 2>"$T/backup.log" 3>&- &
	backup=$!
	wait_for 'the first bytes' test -e "$T/begun"
	sql "$T/A/users.db" "UPDATE users SET email = 'later'" # nobody keeps it waiting
	sql "$T/A/webstore.db" "DELETE FROM history"
	echo 'as it is when it is read' >"$T/A/resources/many/49"
	rm "$T/A/resources/many/48"
	touch "$T/go"
	wait "$backup" || fail "$(cat "$T/backup.log")"
	wait "$reader"
	unpack "$T/b.tar"
	[[ $(sqlite3 "$T/out/users.db" "SELECT count(*) FROM users WHERE email = 'later'") == 0 ]]
	[[ $(sqlite3 "$T/out/webstore.db" "SELECT count(*) FROM history") == 2 ]]
	[[ $(<"$T/out/resources/many/49") == 'as it is when it is read' && ! -e $T/out/resources/many/48 ]]
	manifest '.left_out[] | select(.path == "resources/many/48") | .why | contains("removed")'
	[[ $(manifest '.role, .instance') == "webserver"$'\n'"$(status_of datastore .instance)" ]]
	wait_same

	# without changes, and without a daemon: its root is the cluster's
	on A backup "$T/b.tar.zst" --json >"$T/summary"
	[[ $(jq -r .root "$T/summary") == $(root_of datastore) && $(jq -r .size "$T/summary") == $(stat -c %s "$T/b.tar.zst") ]]
	root=$(root_of datastore)
	stop A
	stop datastore
	for node in A datastore; do
		on $node backup "$T/$node.tar.zst"
		unpack "$T/$node.tar.zst"
		[[ $(manifest .root) == "$root" ]]
		snapshot $node
		unpacked_is "$T/$node.snapshot"
	done
}

# FILE POSITION: one bit there
flip() {
	python3 - "$1" "$2" <<-'END'
		import sys
		with open(sys.argv[1], "r+b") as f:
		    f.seek(int(sys.argv[2]))
		    byte = f.read(1)[0]
		    f.seek(int(sys.argv[2]))
		    f.write(bytes([byte ^ 1 << int(sys.argv[2]) % 8]))
	END
}

@test "a backup takes no directory's, pipe's or device's place: refused before anything is written" {
	fill A
	start_datastore
	rounds A
	mkdir "$T/dir"
	mkfifo "$T/pipe"
	ln -s /dev/null "$T/device"
	for place in dir pipe device; do
		run on datastore backup "$T/$place"
		[[ $status -eq 64 && $output == *"$T/$place: is "* ]] || fail "$place: status $status: $output"
		[ ! -e "$T/$place.part" ]
	done
	[[ -d $T/dir && -p $T/pipe && -L $T/device ]]
}

@test "a backup is not put into a store, which would send it everywhere; a limit of files' size leaves nothing of it" {
	fill A
	start_datastore
	rounds A
	ln -s "$T/datastore/resources/img" "$T/pictures"
	for place in "$T/datastore/resources/b.tar" "$T/pictures/b.tar"; do
		run on datastore backup "$place"
		[[ $status -eq 64 && $output == *"$place: lies in the store resources"* ]] || fail "$place: status $status: $output"
	done
	[ ! -e "$T/datastore/resources/b.tar.part" ]
	run bash -c 'ulimit -f 64; "$@"' - "$BIN/sameroot" backup "$T/b.tar" -c "$T/datastore.conf"
	[[ $status -eq 74 && $output == *'File too large'* ]] || fail "status $status: $output"
	[[ ! -e $T/b.tar && ! -e $T/b.tar.part ]]
}

@test "verify finds one flipped bit, what was cut off, added or removed; a full disk leaves no FILE" {
	fill A
	start_datastore
	rounds A
	on datastore backup "$T/b.tar"
	size=$(stat -c %s "$T/b.tar")
	for at in 0 $((size / 7)) $((size / 3)) $((size / 2)) $((size * 4 / 5)) $((size - 700)) $((size - 1)); do
		cp "$T/b.tar" "$T/bad.tar"
		flip "$T/bad.tar" "$at"
		run on datastore verify "$T/bad.tar"
		[ "$status" -eq 65 ] || fail "byte $at: status $status: $output"
	done
	at=$(grep -abo 'a table' "$T/b.tar" | head -n 1)
	cp "$T/b.tar" "$T/bad.tar"
	flip "$T/bad.tar" "${at%%:*}"
	run on datastore verify "$T/bad.tar"
	[[ $status -eq 65 && $output == *'resources/hosts.csv: its content is not what the manifest says'* ]] || fail "$output"
	on datastore verify --json "$T/bad.tar" 2>/dev/null | jq -e '.ok == false and .faults[0].path == "resources/hosts.csv"'
	head -c $((size - 2000)) "$T/b.tar" >"$T/bad.tar"
	run on datastore verify - <"$T/bad.tar"
	[[ $status -eq 65 && $output == *truncated* ]] || fail "$output"
	# by plain tar, as somebody might
	cp "$T/b.tar" "$T/bad.tar"
	tar --delete -f "$T/bad.tar" resources/img/logo
	run on datastore verify "$T/bad.tar"
	[[ $status -eq 65 ]]
	cp "$T/b.tar" "$T/bad.tar"
	(cd "$T" && tar -rf bad.tar control-auth)
	run on datastore verify "$T/bad.tar"
	[[ $status -eq 65 ]]
	run on datastore verify "$T/none.tar"
	[ "$status" -eq 66 ]
	run on datastore verify "$T/control-auth"
	[[ $status -eq 65 && $output == *'not a backup'* ]] || fail "$output"
	on datastore verify --json "$T/b.tar" | jq -e '.ok and .missing_count == 0'

	mkdir "$T/full"
	mount -t tmpfs -o size=100k none "$T/full" || skip 'no mount'
	MOUNTED=$T/full
	run on datastore backup "$T/full/b.tar"
	[[ $status -eq 74 && $output == *'No space left on device'* ]] || fail "status $status: $output"
	[[ -z $(ls -A "$T/full") ]]
}

@test "a backup put over a node's stores by hand unites: nothing newer is lost, nothing is taken for deleted" {
	begin
	start_webserver A B
	wait_same
	on datastore backup "$T/old.tar"
	sql "$T/A/users.db" "INSERT INTO users VALUES(9, 'Newer', 'n@example.org', 0); UPDATE users SET email = 'newer' WHERE uid = 1"
	sql "$T/A/webstore.db" "INSERT INTO history VALUES(x'0009', 1, 'newer')"
	echo 'newer' >"$T/A/resources/hosts.csv"
	echo 'newer' >"$T/A/resources/newer"
	wait_same
	snapshot datastore
	cp "$T/datastore.snapshot" "$T/before"

	# a webserver
	stop A
	tar -C "$T/A" --exclude=manifest.json --exclude=SHA256SUMS -xf "$T/old.tar"
	[[ $(sqlite3 "file:$T/A/users.db?immutable=1" 'SELECT count(*) FROM users') == 3 ]]
	start_webserver A
	wait_same
	cmp "$T/before" "$T/datastore.snapshot"

	# the datastore
	stop datastore
	tar -C "$T/datastore" --exclude=manifest.json --exclude=SHA256SUMS -xf "$T/old.tar"
	start_datastore
	wait_same
	cmp "$T/before" "$T/datastore.snapshot"
	grep -q 'ALARM: store users.db' "$T/datastore.log"
	check_databases
}

# NAME: a backup lacks its webstore.db, says so, and exits with 1
lacks_the_web_store() {
	run on "$1" backup "$T/$1.tar"
	[[ $status -eq 1 && $output == *'MISSING: webstore.db: lost: nothing is there'* ]] || fail "$1: status $status: $output"
	on "$1" verify "$T/$1.tar" --json | jq -e '.missing_count == 1 and .left_out[0].path == "webstore.db"'
}

@test "a store that is lost is missing in a backup, of either role, whether the daemon runs or not" {
	fill A
	start_datastore
	start_webserver A
	wait_same datastore A
	stop A
	stop datastore
	on A backup "$T/whole.tar"
	rm "$T"/{datastore,A}/webstore.db*
	lacks_the_web_store datastore
	lacks_the_web_store A
	start_datastore
	start_webserver A
	lacks_the_web_store datastore
	lacks_the_web_store A
}
