#!/usr/bin/env bats
# Sequences of events that lose data where a sync goes by what it sees and not by what it knows, each with the real programs.  After every one of them: all three
# are the same, and each value that an application was told is committed is current, superseded by the same application, or in the conflict archive.
#
# What belongs here and is elsewhere:
#   a symlink in a file's place          review.bats     "a file that the datastore cannot see is deleted nowhere, ...", "... all that is left cannot be seen ..."
#   a database moved over one with a log operator.bats   "a database without a marker, moved over one with a write-ahead log, deletes nothing"
#   older files put back                 review.bats     "an older copy of the files that was put back after a crash ..." and the three after it
#   an answer lost                       hostile.bats    "a push whose answer was lost is settled, ..."; review.bats "... stays known though its database is locked ..."
#   a UNIQUE clash of two new rows       conflicts.bats  "two new rows that clash in a UNIQUE column"; review.bats "a row that was in the way ..." (all five)
#   a child of a deleted parent          conflicts.bats  "a child inserted here, its parent deleted there: ..." (both orders) and the three after them
#   a row or a root that moves on         moving.bats
#   values, bags, merges, schemas         tables.bats
#   UNIQUE values swapped                triggers.bats   "values of a UNIQUE column are swapped, and rotated among many"

# shellcheck disable=SC2034 # lib.bash reads them

load lib

# --- helpers ------------------------------------------------------------------------------------------------------------

# The datastore has looked at its stores since.
datastore_scanned() {
	sleep 1.5
}

# A copy of a database as a backup makes it: whole, and with the marker that it has at this moment.
backup() { # DATABASE COPY
	sql "$1" "VACUUM INTO '$2'"
}

# --- what cannot be seen ------------------------------------------------------------------------------------------------

# NAME: both files are what they were, there
still_there() {
	[[ $(cat "$T/$1/resources/hosts.csv") == 'a table' && $(stat -c %s "$T/$1/resources/img/logo") == 200000 ]] ||
		fail "$1: $(ls -lR "$T/$1/resources")"
}

# While A cannot see it, other changes go both ways; what is done to it elsewhere waits.
unseen_at_A() {
	value A "UPDATE users SET email = 'meanwhile' WHERE uid = 2"
	echo 'of B' >"$T/B/resources/of-B"
	round A B A
	still_there B
	still_there datastore
	everywhere 'SELECT email FROM users WHERE uid = 2' meanwhile
	[ "$(cat "$T/A/resources/of-B")" = 'of B' ]
}

@test "a file in whose place is a FIFO, and a directory in whose place is a symlink, on a webserver" {
	begin
	mv "$T/A/resources/hosts.csv" "$T/aside"
	mkfifo "$T/A/resources/hosts.csv"
	mv "$T/A/resources/img" "$T/img"
	ln -s "$T/img" "$T/A/resources/img"
	unseen_at_A
	[ -p "$T/A/resources/hosts.csv" ] && [ -L "$T/A/resources/img" ]
	echo edited >"$T/B/resources/hosts.csv"
	round B A
	[ -p "$T/A/resources/hosts.csv" ] && [ "$(cat "$T/aside")" = 'a table' ]
	rm "$T/A/resources/hosts.csv" "$T/A/resources/img"
	mv "$T/aside" "$T/A/resources/hosts.csv"
	mv "$T/img" "$T/A/resources/img"
	rounds A B
	assert_same
	[ "$(cat "$T/A/resources/hosts.csv")" = edited ]
	no_conflicts
}

@test "a file and a directory that a webserver may not read" {
	begin
	local might=("$BIN/sameroot-sync" --once -c "$T/A.conf")
	[[ $(id -u) -ne 0 ]] || might=(setpriv "--bounding-set=-dac_override,-dac_read_search" "${might[@]}")
	chmod 000 "$T/A/resources/hosts.csv"
	chmod 000 "$T/A/resources/img"
	once() { # A's rounds obey the modes
		[[ $1 == A ]] || { "$BIN/sameroot-sync" --once -c "$T/$1.conf" >>"$T/$1.log" 2>&1 3>&- && return || return; }
		"${might[@]}" >>"$T/A.log" 2>&1 3>&-
	}
	unseen_at_A
	echo edited >"$T/B/resources/hosts.csv"
	round B A
	chmod 640 "$T/A/resources/hosts.csv"
	[ "$(cat "$T/A/resources/hosts.csv")" = 'a table' ]
	chmod 755 "$T/A/resources/img"
	round A B A
	assert_same
	[ "$(cat "$T/A/resources/hosts.csv")" = edited ]
	no_conflicts
}

@test "a file and a directory that the datastore may not read" {
	begin
	stop datastore
	chmod 000 "$T/datastore/resources/hosts.csv" "$T/datastore/resources/img"
	local might=("$BIN/sameroot-datastore" -c "$T/datastore.conf")
	[[ $(id -u) -ne 0 ]] || might=(setpriv "--bounding-set=-dac_override,-dac_read_search" "${might[@]}")
	launch datastore "${might[@]}"
	wait_for 'the datastore is ready' ready datastore
	value A "UPDATE users SET email = 'meanwhile' WHERE uid = 2"
	echo 'of A' >"$T/A/resources/of-A"
	round A B A
	still_there A
	still_there B
	everywhere 'SELECT email FROM users WHERE uid = 2' meanwhile
	[ "$(cat "$T/B/resources/of-A")" = 'of A' ]
	chmod 640 "$T/datastore/resources/hosts.csv"
	chmod 755 "$T/datastore/resources/img"
	datastore_scanned
	rounds A B
	assert_same
	no_conflicts
}

@test "a file that outgrows Resource-Max-Size on a webserver, and at the datastore" {
	write_config A Resource-Max-Size=300000
	begin
	head -c 400000 /dev/zero >"$T/A/resources/hosts.csv"
	round A B A
	[ "$(cat "$T/B/resources/hosts.csv")" = 'a table' ]
	[ "$(cat "$T/datastore/resources/hosts.csv")" = 'a table' ]
	[ "$(stat -c %s "$T/A/resources/hosts.csv")" = 400000 ]
	head -c 5 /dev/zero >"$T/A/resources/hosts.csv"
	rounds A B
	assert_same
	stop datastore
	write_config datastore Resource-Max-Size=300000
	start_datastore
	head -c 400000 /dev/zero >"$T/datastore/resources/img/logo"
	datastore_scanned
	echo 'of A' >"$T/A/resources/of-A"
	round A B A
	[ "$(cat "$T/B/resources/of-A")" = 'of A' ]
	for name in A B; do [ "$(stat -c %s "$T/$name/resources/img/logo")" = 200000 ]; done
	rm "$T/datastore/resources/img/logo" # now that is a deletion
	datastore_scanned
	rounds A B
	assert_same
	[ ! -e "$T/A/resources/img/logo" ]
	no_conflicts
}

@test "a directory deleted at the datastore, in which a webserver keeps a symlink and a FIFO" {
	begin
	ln -s ../hosts.csv "$T/B/resources/img/link"
	mkfifo "$T/B/resources/img/fifo"
	round B A
	rm -rf "$T/datastore/resources/img"
	datastore_scanned
	round A B A B
	[ -L "$T/B/resources/img/link" ] && [ -p "$T/B/resources/img/fifo" ]
	[ ! -e "$T/B/resources/img/logo" ] && [ ! -e "$T/A/resources/img" ] && [ ! -e "$T/datastore/resources/img" ]
	echo 'of A' >"$T/A/resources/of-A"
	round A B
	[ "$(cat "$T/B/resources/of-A")" = 'of A' ]
	rm "$T/B/resources/img/link" "$T/B/resources/img/fifo"
	rounds B A B
	assert_same
	no_conflicts
}

# --- copies in a database's place ---------------------------------------------------------------------------------------

# Yesterday's copy of B's database is kept; then a day passes: on both sides rows are edited, made and deleted.
a_day() {
	begin
	value A "INSERT INTO users VALUES(5, 'Emil', 'old', 0), (6, 'Frida', 'old', 0)"
	rounds A B
	cp -a "$T/B/users.db" "$T/yesterday.db"
	backup "$T/B/users.db" "$T/yesterday.backup"
	value A "UPDATE users SET email = 'today' WHERE uid = 5; INSERT INTO users VALUES(7, 'Gerd', 'today', 0);
		DELETE FROM members WHERE uid = 3; DELETE FROM users WHERE uid = 3"
	rounds A B
	value B "UPDATE users SET email = 'today' WHERE uid = 6; INSERT INTO users VALUES(8, 'Hal', 'today', 0); DELETE FROM members WHERE uid = 2"
	rounds B A
	assert_same
}

today_stands() {
	everywhere "SELECT group_concat(uid || email) FROM (SELECT * FROM users WHERE uid > 2 ORDER BY uid)" 5today,6today,7today,8today
	everywhere 'SELECT group_concat(uid) FROM (SELECT uid FROM members ORDER BY uid)' 1
	check_databases
}

@test "an own database restored from yesterday's copy while the daemon is stopped: cp" {
	a_day
	cat "$T/yesterday.backup" >"$T/B/users.db" # the same inode
	rm -f "$T"/B/users.db-{wal,shm}
	round B A
	rounds B A
	today_stands
	assert_same
}

@test "an own database restored from yesterday's copy: cp, and today's log lies beside it" {
	begin
	value A 'CREATE TABLE big(id INTEGER PRIMARY KEY, v TEXT);
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT INTO big SELECT i, hex(zeroblob(30)) FROM n'
	rm -rf "$T/B" && mkdir "$T/B"
	rounds A B
	value B 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
	cp "$T/B/users.db" "$T/yesterday.db"
	value A "UPDATE big SET v = 'today' WHERE id IN (100, 1900); DELETE FROM big WHERE id = 300"
	rounds A B
	value B 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
	value A "UPDATE big SET v = 'later' WHERE id = 1000"
	rounds A B
	[ -s "$T/B/users.db-wal" ]
	sleep 0.2 # no operator is quicker, and a log as old as its file says nothing
	cp "$T/yesterday.db" "$T/B/users.db"
	round B A
	for name in datastore A; do
		[ "$(value $name "SELECT group_concat(id || v) FROM big WHERE v IN ('today', 'later')")" = 100today,1000later,1900today ]
		[ "$(value $name 'SELECT count(*) FROM big')" = 1999 ]
	done
	rounds B A
	assert_same
	check_databases
}

@test "an own database restored from yesterday's copy while the daemon runs: mv" {
	a_day
	start_webserver A B
	wait_same
	mv "$T/yesterday.backup" "$T/B/users.db"
	sync_now B
	wait_same
	today_stands
	value B "UPDATE users SET email = 'after' WHERE uid = 7" # and it goes on
	wait_same
	everywhere 'SELECT email FROM users WHERE uid = 7' after
}

@test "a webserver's file copied over the datastore's, beside which a stale log lies" {
	begin
	value A "INSERT INTO users VALUES(5, 'Emil', 'of A', 0)"
	rounds A B
	value B "UPDATE users SET email = 'of B' WHERE uid = 2"
	rounds B A
	stop datastore KILL
	[ -s "$T/datastore/users.db-wal" ]
	value A "UPDATE users SET email = 'new' WHERE uid = 5; INSERT INTO users VALUES(6, 'Frida', 'new', 0)" # not pushed
	backup "$T/A/users.db" "$T/copy"
	cat "$T/copy" >"$T/datastore/users.db"
	value B "UPDATE users SET email = 'later' WHERE uid = 1"
	start_datastore
	round A B A B
	rounds A B
	assert_same
	check_databases
	everywhere "SELECT group_concat(uid || coalesce(email, '')) FROM (SELECT * FROM users ORDER BY uid)" '1later,2of B,3c@example.org,5new,6Frida' ||
		everywhere "SELECT group_concat(uid || coalesce(email, '')) FROM (SELECT * FROM users ORDER BY uid)" '1later,2of B,3c@example.org,5new,6new'
}

@test "databases replaced by mv while daemons run, and VACUUM on each side" {
	begin
	sql "$T/A/webstore.db" "INSERT INTO dashboards(id, title) VALUES('a', 'x'), ('b', 'x'), ('c', 'x'); DELETE FROM dashboards WHERE id = 'a'"
	rounds A B
	start_webserver A B
	wait_same
	for name in A B datastore; do
		seq=$(status_of datastore .seq)
		sql "$T/$name/webstore.db" VACUUM # other rowids: nothing to tell anyone
		sql "$T/$name/users.db" VACUUM
		sync_now A
		sync_now B
		[ "$(status_of datastore .seq)" = "$seq" ]
		value $name "UPDATE users SET email = 'after VACUUM of $name' WHERE uid = 1"
		backup "$T/$name/webstore.db" "$T/new"
		sql "$T/new" "UPDATE dashboards SET title = 'moved $name' WHERE id = 'd-2'"
		mv "$T/new" "$T/$name/webstore.db"
		[ $name = B ] && other=A || other=B # who opens the new file before the daemon does has the old one's log replayed over it
		wait_for "what was moved to $name" has "$other" "SELECT title FROM dashboards WHERE id = 'd-2'" "moved $name"
		wait_same
		everywhere 'SELECT email FROM users WHERE uid = 1' "after VACUUM of $name"
	done
	check_databases
	no_conflicts
}

has() { # NAME SQL ANSWER: of webstore.db
	[[ $(sql "$T/$1/webstore.db" "$2") == "$3" ]]
}

# --- answers that are lost while the application edits on ---------------------------------------------------------------------

@test "a push whose answer is lost while the application edits on: the pushed rows, and others" {
	begin
	start_proxy
	value A "INSERT INTO users VALUES(5, 'Emil', 'pushed', 0), (6, 'Frida', 'pushed', 0); UPDATE users SET email = 'pushed' WHERE uid IN (1, 2)"
	echo pushed >"$T/A/resources/hosts.csv"
	echo pushed >"$T/A/resources/new"
	tamper push-lost 1
	once A && false
	value datastore "SELECT email FROM users WHERE uid = 2" | grep -qx pushed
	value A "UPDATE users SET email = 'edited on' WHERE uid IN (2, 5); DELETE FROM users WHERE uid = 6; UPDATE users SET email = 'other' WHERE uid = 3"
	echo 'edited on' >"$T/A/resources/hosts.csv"
	rm "$T/A/resources/new"
	DATASTORE_PORT=$REAL_PORT rounds B
	value B "UPDATE users SET email = 'of B' WHERE uid = 1"
	DATASTORE_PORT=$REAL_PORT rounds B
	rounds A B A
	assert_same
	everywhere "SELECT group_concat(uid || email) FROM (SELECT * FROM users ORDER BY uid)" '1of B,2edited on,3other,5edited on'
	[ "$(cat "$T/B/resources/hosts.csv")" = 'edited on' ]
	[ ! -e "$T/B/resources/new" ]
	no_conflicts
}

@test "... and B edits the pushed row before A comes back: A's later edit is archived" {
	begin
	start_proxy
	value A "UPDATE users SET email = 'pushed' WHERE uid = 2"
	tamper push-lost 1
	once A && false
	value A "UPDATE users SET email = 'edited on' WHERE uid = 2"
	DATASTORE_PORT=$REAL_PORT rounds B
	value B "UPDATE users SET email = 'of B' WHERE uid = 2"
	DATASTORE_PORT=$REAL_PORT rounds B
	rounds A B
	assert_same
	everywhere 'SELECT email FROM users WHERE uid = 2' 'of B'
	[ "$(conflicts A '[.[] | [.path, .reason, .columns.email]] | tojson' | jq -r .)" = '[["users.db/users/2","edited-both","edited on"]]' ]
}

# --- an edit that is undone ---------------------------------------------------------------------------------------------------

# A's edits are on their way; then its application takes them back.  Where each of the three is undone, nothing else may be.
edit_all() {
	value A "UPDATE users SET email = 'edit' WHERE uid = 1; INSERT INTO users VALUES(5, 'Emil', 'edit', 0); DELETE FROM members WHERE uid = 3"
	echo edit >"$T/A/resources/hosts.csv"
	rm "$T/A/resources/img/logo"
	echo edit >"$T/A/resources/new"
}

undo_all() { # NAME
	value "$1" "UPDATE users SET email = 'ada@example.org' WHERE uid = 1; DELETE FROM users WHERE uid = 5; INSERT INTO members VALUES(3, 1, '2022')"
	echo 'a table' >"$T/$1/resources/hosts.csv"
	head -c 200000 /dev/zero | tr '\0' x >"$T/$1/resources/img/logo"
	rm "$T/$1/resources/new"
}

stays_undone() {
	local name
	rounds A B A B
	assert_same
	for name in datastore A B; do
		snapshot $name
		diff -a "$T/before" "$T/$name.snapshot" || fail "$name is not as it was" || return 1
	done
	no_conflicts
}

as_before() {
	begin
	snapshot A && cp "$T/A.snapshot" "$T/before"
}

@test "an edit that was pushed is undone, on the side that made it and on the other" {
	as_before
	edit_all
	rounds A
	undo_all A
	stays_undone
	edit_all
	rounds A B
	undo_all B
	stays_undone
}

@test "an edit is undone while the answer to its push is lost" {
	as_before
	start_proxy
	edit_all
	tamper push-lost 1
	once A && false
	undo_all A
	stays_undone
}

# MODE: A's round is stopped in the middle of its push; meanwhile COMMAND... happens
meanwhile() {
	local mode=$1 pid
	shift
	start_proxy
	edit_all
	tamper "$mode" 1
	once A &
	pid=$!
	wait_for 'the push' grep -q "^tamper $mode" "$T/proxy.log"
	"$@" || return
	touch "$T/go"
	wait "$pid" || true
}

@test "an edit is undone while its push is under way" {
	as_before
	meanwhile push-hold undo_all A
	stays_undone
}

@test "an edit is undone while its push has not reached the datastore" {
	as_before
	meanwhile push-wait undo_all A
	stays_undone
}

kill_A_and_undo() { # the only round of A that runs
	local pid
	pid=$(pgrep -f -- "^$BIN/sameroot-sync --once -c $T/A.conf")
	kill -KILL "$pid"
	wait_for 'A is dead' gone "$pid"
	undo_all A
}

@test "an edit is undone after a kill -9 in the middle of its push" {
	as_before
	meanwhile push-hold kill_A_and_undo
	stays_undone
}

@test "an edit is undone after a kill -9 before its push has reached the datastore, which it does later" {
	as_before
	meanwhile push-wait kill_A_and_undo
	wait_for 'the push arrives' pushed_edit
	stays_undone
}

pushed_edit() {
	[[ $(value datastore 'SELECT email FROM users WHERE uid = 1') == edit ]]
}

@test "an edit of the other side is undone here after a kill -9 at any step of the pull that brought it" {
	as_before
	for ((n = 1; n < 100; n++)); do
		edit_all
		rounds A
		calls=fsync,fdatasync,syncfs,renameat2,unlinkat
		status=0
		ASAN_OPTIONS=detect_leaks=0 strace -f -qq -o /dev/null -e trace=$calls -e inject=$calls:signal=KILL:when=$n \
			"$BIN/sameroot-sync" --once -c "$T/B.conf" >>"$T/B.log" 2>&1 3>&- || status=$?
		[ $status -ne 0 ] || break
		kill_undo || fail "a kill at step $n" || return 1
	done
	echo "$n steps" >&3
	[ "$n" -gt 10 ]
}

# What of it has come is undone; what has not is not.
kill_undo() {
	if [[ $(value B 'SELECT email FROM users WHERE uid = 1') == edit ]]; then
		value B "UPDATE users SET email = 'ada@example.org' WHERE uid = 1; DELETE FROM users WHERE uid = 5; INSERT INTO members VALUES(3, 1, '2022')"
	else
		value A "UPDATE users SET email = 'ada@example.org' WHERE uid = 1; DELETE FROM users WHERE uid = 5; INSERT INTO members VALUES(3, 1, '2022')"
	fi
	for file in hosts.csv img/logo new; do kill_undo_file $file; done
	stays_undone
}

kill_undo_file() {
	local side=A
	cmp -s "$T/A/resources/$1" "$T/B/resources/$1" || [[ ! -e $T/A/resources/$1 && ! -e $T/B/resources/$1 ]] && side=B
	case $1 in
	hosts.csv) echo 'a table' >"$T/$side/resources/hosts.csv" ;;
	img/logo) mkdir -p "$T/$side/resources/img" && head -c 200000 /dev/zero | tr '\0' x >"$T/$side/resources/img/logo" ;;
	new) rm "$T/$side/resources/new" ;;
	esac
}

# --- UNIQUE and children ------------------------------------------------------------------------------------------------------

@test "an e-mail taken on B that an edited row of A's claims too, with children on A" {
	fill A
	value A "CREATE TABLE accounts(id INTEGER PRIMARY KEY, email TEXT UNIQUE, name TEXT);
		CREATE TABLE orders(id INTEGER PRIMARY KEY, account INT NOT NULL REFERENCES accounts(id) ON DELETE CASCADE, what TEXT);
		INSERT INTO accounts VALUES(1, 'one@x', 'One'), (2, 'two@x', 'Two'), (3, 'three@x', 'Three'); INSERT INTO orders VALUES(10, 1, 'tea')"
	start_datastore
	rounds A B
	value B "UPDATE accounts SET email = 'new@x' WHERE id = 2; INSERT INTO accounts VALUES(4, 'other@x', 'Four')"
	rounds B
	value A "PRAGMA foreign_keys = ON; UPDATE accounts SET email = 'new@x', name = 'Uno' WHERE id = 1; INSERT INTO orders VALUES(11, 1, 'cake');
		INSERT INTO accounts VALUES(5, 'other@x', 'Five'); INSERT INTO orders VALUES(12, 5, 'milk');
		UPDATE accounts SET name = 'Drei' WHERE id = 3"
	round A B A
	rounds A B
	assert_same
	check_databases
	everywhere 'SELECT group_concat(id || email || name) FROM (SELECT * FROM accounts ORDER BY id)' '1one@xOne,2new@xTwo,3three@xDrei,4other@xFour'
	everywhere 'SELECT group_concat(id || what) FROM (SELECT * FROM orders ORDER BY id)' 10tea,11cake # the child of the row that stays, stays
	[ "$(conflicts A '[.[].path] | sort | join(" ")' | jq -r .)" = 'users.db/accounts/1 users.db/accounts/5 users.db/orders/12' ]
}
