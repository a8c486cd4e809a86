#!/usr/bin/env bats
# What changes is told by the kernel: with an interval of an hour it is pushed all the same, and a round in which nothing changed touches no store.

# shellcheck disable=SC2034,SC2154 # lib.bash reads them; keys of PID
# shellcheck disable=SC2030,SC2031 # each test has an INTERVAL of its own

load lib

# NAME: how often all of its stores were scanned
full_scans() {
	status_of "$1" '[.stores[].watch.full_scans] | tostring'
}

watched() {
	status_of "$1" '[.stores[].watch.watched] | all and length == 3' >/dev/null
}

# NAME FILES: as many files does it have
has_files() {
	[ "$(find "$T/$1/resources" -path '*/.sameroot' -prune -o -type f -print | wc -l)" -eq "$2" ]
}

at_datastore() { # SQL ANSWER
	[ "$(value datastore "$1")" = "$2" ]
}

# In step, and no round or turn to come for an hour.
begin_watched() {
	fill A
	start_datastore
	start_webserver A
	wait_for 'A is in step' same datastore A
	wait_for 'A watches' watched A
	wait_for 'the datastore watches' watched datastore
	sync_now A
	before=$(full_scans A) before_datastore=$(full_scans datastore)
	files=$(find "$T/A/resources" -path '*/.sameroot' -prune -o -type f -print | wc -l)
}

no_full_scan() {
	[ "$(full_scans A)" = "$before" ] || fail "A: $before, $(full_scans A)"
	[ "$(full_scans datastore)" = "$before_datastore" ] || fail "datastore: $before_datastore, $(full_scans datastore)"
}

setup() {
	export INTERVAL=3600
	T=$BATS_TEST_TMPDIR
	write_config datastore
	write_config A
	write_config B
}

WAIT=240 # for 20,000 files where others have the machine as well

# 20,000 small files in 400 directories.
many_files() {
	python3 - "$1" <<-'END'
		import os, sys
		for i in range(20):
		    for j in range(20):
		        path = os.path.join(sys.argv[1], f"d{i}", f"e{j}")
		        os.makedirs(path)
		        for k in range(50):
		            with open(os.path.join(path, f"f{k}"), "w") as f:
		                f.write(f"{i} {j} {k}\n")
	END
}

@test "a row and a file are pushed without the interval" {
	begin_watched
	sql "$T/A/users.db" "UPDATE users SET email = 'wal' WHERE uid = 1"
	wait_for 'the row' at_datastore 'SELECT email FROM users WHERE uid = 1' wal
	sql "$T/A/users.db" "PRAGMA wal_checkpoint(TRUNCATE)" >/dev/null
	sql "$T/A/users.db" "UPDATE users SET email = 'after a checkpoint' WHERE uid = 1"
	wait_for 'the row' at_datastore 'SELECT email FROM users WHERE uid = 1' 'after a checkpoint'
	mkdir "$T/A/resources/made"
	echo content >"$T/A/resources/made/file"
	wait_for 'the file' cmp -s "$T/A/resources/made/file" "$T/datastore/resources/made/file"
	echo other >"$T/A/resources/made/.file.new"
	mv "$T/A/resources/made/.file.new" "$T/A/resources/made/file"
	wait_for 'the other file' cmp -s "$T/A/resources/made/file" "$T/datastore/resources/made/file"
	rm -r "$T/A/resources/made"
	wait_for 'it is gone' [ ! -e "$T/datastore/resources/made" ]
	no_full_scan
	wait_same datastore A
}

@test "a row in a database without a write-ahead log" {
	fill A
	for name in users webstore; do sql "$T/A/$name.db" 'PRAGMA journal_mode=DELETE' >/dev/null; done
	start_datastore
	start_webserver A
	wait_for 'A is in step' same datastore A
	sql "$T/A/users.db" "UPDATE users SET email = 'journal' WHERE uid = 1"
	wait_for 'the row' at_datastore 'SELECT email FROM users WHERE uid = 1' journal
	sql "$T/A/users.db" "PRAGMA journal_mode=PERSIST; UPDATE users SET email = 'persist' WHERE uid = 1" >/dev/null
	wait_for 'the row' at_datastore 'SELECT email FROM users WHERE uid = 1' persist
	wait_same datastore A
}

@test "direct edits of the datastore are committed without the interval; a few deletions as they were" {
	begin_watched
	seq=$(status_of datastore .seq)
	echo direct >"$T/datastore/resources/direct"
	committed() { [ "$(status_of datastore .seq)" -gt "$seq" ]; }
	wait_for 'the file is committed' committed
	seq=$(status_of datastore .seq)
	sql "$T/datastore/users.db" "UPDATE users SET email = 'direct' WHERE uid = 2"
	wait_for 'the row is committed' committed
	seq=$(status_of datastore .seq)
	rm "$T/datastore/resources/direct"
	wait_for 'the deletion is committed' committed
	sync_now A
	wait_same datastore A
	[ "$(full_scans datastore)" = "$before_datastore" ]
}

@test "20,000 files that are made by cp -r all arrive, and without a full scan" {
	begin_watched
	many_files "$T/from"
	cp -r "$T/from" "$T/A/resources/copy"
	wait_for 'all files' has_files datastore $((files + 20000))
	no_full_scan
	wait_same datastore A
}

@test "20,000 files that come and change by git checkout all arrive, and without a full scan" {
	command -v git >/dev/null || skip 'there is no git'
	git init -q -b one "$T/repository"
	git -C "$T/repository" config gc.auto 0 # or it packs while it is cloned
	many_files "$T/repository"
	(
		cd "$T/repository"
		git add . >/dev/null
		git -c user.name=n -c user.email=e commit -qm one
		git checkout -q -b two
		git mv d0 moved
		for i in d1/*/*; do echo two >>"$i"; done
		rm -r d2
		echo file >d2
		git add -A >/dev/null
		git -c user.name=n -c user.email=e commit -qm two
	)
	printf '\n[store "resources"]\nExclude=.git\n' >>"$T/datastore.conf"
	begin_watched
	git clone -q -b one "$T/repository" "$T/A/resources/work"
	same_work() { diff -r -x .git "$T/A/resources/work" "$T/datastore/resources/work" >/dev/null 2>&1; }
	wait_for 'all files' same_work
	no_full_scan
	git -C "$T/A/resources/work" checkout -q two
	wait_for 'the other branch' same_work
	no_full_scan
}

turns() {
	admin datastore /metrics | sed -n 's/^sameroot_scans_total{outcome="ok"} //p'
}

more_turns() {
	[ "$(turns)" -gt "$1" ]
}

# Rounds of A and turns of the datastore, so many.
do_nothing() {
	local n
	for ((n = 0; n < $1; n++)); do
		sync_now A
		before=$(turns)
		kill -USR1 "${PID[datastore]}"
		wait_for 'the datastore turns' more_turns "$before"
	done
}

@test "a round in which nothing changed opens and looks at no file of the stores" {
	begin_watched
	sleep 11 # a write of which the kernel told may be of a commit that is still to be seen
	do_nothing 3
	for name in datastore A; do
		strace -f -qq -y -e trace=all -o "$T/$name.strace" -p "${PID[$name]}" 3>&- 2>"$T/$name.strace-says" &
		PID[strace-$name]=$!
		wait_for 'strace is attached' grep -q '^TracerPid:.*[1-9]' "/proc/${PID[$name]}/status" || skip "strace may not attach here: $(cat "$T/$name.strace-says")"
	done
	do_nothing 3
	for name in datastore A; do
		stop strace-$name INT || true
		# One statx of each store's directory tells whether that is still the one that is watched.
		grep -E "$T/$name/(resources|users.db|webstore.db)" "$T/$name.strace" | grep -vE "statx\(AT_FDCWD<[^>]*>, \"$T/$name/resources\"" >"$T/touched" || true
		[ ! -s "$T/touched" ] || fail "$name: $(head -n 20 "$T/touched")"
	done
}

@test "what cannot be watched is scanned, and says why" {
	INTERVAL=1
	write_config datastore
	write_config A
	fill A
	mkdir -p "$T/A/resources/mounted"
	mount -t tmpfs none "$T/A/resources/mounted" 2>/dev/null || skip 'nothing may be mounted here'
	MOUNTED=$T/A/resources/mounted
	start_datastore
	start_webserver A
	wait_for 'it says why' status_of A '.stores[] | select(.name == "resources") | .watch.why | test("mount point")'
	"$BIN/sameroot" -c "$T/A.conf" status >"$T/status" || true
	grep -q 'resources *scanned each interval: there is a mount point in it' "$T/status" || fail "$(cat "$T/status")"
	echo in >"$T/A/resources/mounted/in"
	wait_for 'the file' cmp -s "$T/A/resources/mounted/in" "$T/datastore/resources/mounted/in"
}

@test "a full scan comes at its interval" {
	INTERVAL=1
	write_config datastore
	write_config A Full-Scan-Interval=2
	fill A
	start_datastore
	start_webserver A
	more() { [ "$(status_of A '.stores[] | select(.name == "resources") | .watch.full_scans')" -ge 3 ]; }
	wait_for 'three full scans' more
	"$BIN/sameroot" -c "$T/A.conf" status | grep -q 'resources *watched, '
}
