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
#   UNIQUE values swapped                triggers.bats   "values of a UNIQUE column are swapped, and rotated among many"

# shellcheck disable=SC2034 # lib.bash reads them

load lib

# --- helpers ------------------------------------------------------------------------------------------------------------

begin() {
	fill A
	start_datastore
	rounds A B
	assert_same
}

# NAME...: a round of each, whatever it says
round() {
	local name
	for name; do once "$name" || true; done
}

value() { # NAME SQL: of users.db
	sql "$T/$1/users.db" "$2"
}

everywhere() { # SQL ANSWER: of users.db
	local name answer
	for name in datastore A B; do
		answer=$(value "$name" "$1")
		[[ $answer == "$2" ]] || fail "$name: $answer" || return 1
	done
}

no_conflicts() {
	[ "$(conflicts A length)$(conflicts B length)$(conflicts datastore length)" = 000 ] || fail "$(conflicts A) $(conflicts B) $(conflicts datastore)"
}

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
		strace -f -qq -o /dev/null -e trace=$calls -e inject=$calls:signal=KILL:when=$n \
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

# --- a row that is edited without pause -----------------------------------------------------------------------------------------

kept_at() { # NAME KEY [VALUE]: there, and that
	local found
	found=$(value "$1" "SELECT value FROM kept WHERE key = '$2'")
	[[ -n $found && $found == "${3:-$found}" ]]
}

moved_on() { # NAME KEY BEFORE
	[[ $(value "$1" "SELECT value FROM kept WHERE key = '$2'") != "$3" ]]
}

# KEY NAME...: these edit that row without pause, and all go on with others
hot_row() {
	local key=$1 hot=() before pid
	shift
	for name in A B; do python3 "$HERE/application.py" make "$T/$name"; done
	start_all
	wait_same
	for name; do
		python3 "$HERE/application.py" hot "$T/$name" "$name" "$key" "$T/enough" 3>&- &
		hot+=($!)
	done
	for k in 1 2; do
		python3 "$HERE/application.py" change "$T/A" A $k 20
		value A "INSERT INTO kept VALUES('A-own-$k', 'a', NULL)"
		value B "INSERT INTO kept VALUES('B-own-$k', 'b', NULL)"
		before=$(value datastore "SELECT value FROM kept WHERE key = '$key'")
		wait_for "A's row at B" kept_at B A-own-$k a
		wait_for "B's row at A" kept_at A B-own-$k b
		wait_for "the row itself at the datastore" moved_on datastore "$key" "$before"
	done
	touch "$T/enough"
	for pid in "${hot[@]}"; do wait "$pid"; done
	wait_same
	check_databases
	python3 "$HERE/application.py" judge "$T" datastore A B
}

@test "a row edited without pause on B, while A changes others: nobody starves, and no value is lost" {
	hot_row B-hot B
	no_conflicts
}

@test "a row edited without pause on both: nobody starves, and no value is lost" {
	hot_row shared-hot A B
	[ "$(conflicts A length)" -gt 0 ] || [ "$(conflicts B length)" -gt 0 ]
}

# --- a root that moves while a slow webserver walks -------------------------------------------------------------------------------

# A datastore whose clock is ahead by what $T/ahead says: a root stays readable for 120 s.
start_datastore_ahead() {
	local preload
	cat >"$T/clock.c" <<-'END'
		#define _GNU_SOURCE
		#include <dlfcn.h>
		#include <fcntl.h>
		#include <stdlib.h>
		#include <time.h>
		#include <unistd.h>

		int clock_gettime(clockid_t clock, struct timespec *t)
		{
			int rc = ((int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime"))(clock, t);
			int fd = open(getenv("AHEAD"), O_RDONLY | O_CLOEXEC);
			char text[16] = "";

			if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && clock == CLOCK_REALTIME)
				t->tv_sec += atoi(text);
			if (fd >= 0)
				close(fd);
			return rc;
		}
	END
	cc -shared -fPIC -O1 -o "$T/clock.so" "$T/clock.c" -ldl
	# A sanitizer's own library has to come first.
	preload="$(ldd "$BIN/sameroot-datastore" | awk '/lib(asan|ubsan|tsan)/ { printf "%s ", $3 }')$T/clock.so"
	AHEAD=$T/ahead LD_PRELOAD=$preload launch datastore "$BIN/sameroot-datastore" -c "$T/datastore.conf"
	DATASTORE_PORT=${URL[datastore]##*:}
	wait_for 'the datastore is ready' ready datastore
}

# A pushes more than 64 commits, one as soon as the other is over.
many_commits() {
	local hot seq
	seq=$(status_of datastore .seq)
	rm -f "$T/enough"
	python3 "$HERE/application.py" hot "$T/A" A A-hot "$T/enough" 3>&- &
	hot=$!
	until (($(status_of datastore .seq) > seq + 66)); do
		for ((k = 0; k < 20; k++)); do kill -USR1 "${PID[A]}" && sleep 0.03; done
	done
	touch "$T/enough"
	wait $hot
}

@test "a root that is gone while a webserver walks, and while it fetches what it planned: it goes on with the next one, in the same round" {
	local pid mode
	for name in A B; do python3 "$HERE/application.py" make "$T/$name"; done
	start_datastore_ahead
	rounds A B A B
	echo first >"$T/A/resources/first"
	value A "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) INSERT INTO kept SELECT 'row ' || i, 'first', NULL FROM n"
	start_webserver A
	start_proxy
	for mode in nodes-wait bundle-wait; do
		value A "UPDATE kept SET value = 'before' WHERE key IN ('row 7', 'row 9')"
		wait_same datastore A
		value B "INSERT INTO kept VALUES('B-$mode', 'b', NULL)"
		echo 'of B' >"$T/B/resources/of-B-$mode"
		rm -f "$T/go"
		tamper $mode 1
		once B &
		pid=$!
		wait_for 'B hangs' grep -q "^tamper $mode" "$T/proxy.log"
		value A "UPDATE kept SET value = '$mode' WHERE key IN ('row 7', 'row 500'); DELETE FROM kept WHERE key = 'row 8'"
		many_commits
		echo $(($(cat "$T/ahead" 2>/dev/null) + 130)) >"$T/ahead"
		echo "$mode" >"$T/A/resources/last"
		rm -f "$T/A/resources/first"
		wait_same datastore A
		touch "$T/go"
		wait "$pid" || fail "B's round: $(<"$T/B.once")"
		[ $mode = bundle-wait ] || grep -A 1 "^tamper $mode" "$T/proxy.log" | grep -qx 'answer 410'
		[ "$(cat "$T/B/resources/last")" = $mode ]
		kept_at datastore "B-$mode" b
		[ "$(value B "SELECT group_concat(DISTINCT value) FROM kept WHERE key IN ('row 7', 'row 500')")" = "$mode" ]
	done
	[ ! -e "$T/B/resources/first" ]
	rounds_without_proxy B
	wait_same datastore A
	same_content datastore B
	no_conflicts
}

@test "a slow webserver is not starved by one that pushes without pause" {
	local hot
	for name in A B; do python3 "$HERE/application.py" make "$T/$name"; done
	start_datastore
	start_webserver A
	start_proxy
	tamper slow
	start_webserver B
	DATASTORE_PORT=$REAL_PORT
	wait_same
	python3 "$HERE/application.py" hot "$T/A" A A-hot "$T/enough" 3>&- &
	hot=$!
	for k in 1 2 3; do
		value A "INSERT INTO kept VALUES('A-own-$k', 'a', NULL)"
		value B "INSERT INTO kept VALUES('B-own-$k', 'b', NULL)"
		wait_for "A's row at B" kept_at B A-own-$k a
		wait_for "B's row at A" kept_at A B-own-$k b
	done
	touch "$T/enough"
	wait $hot
	wait_same
	no_conflicts
}

# --- values -------------------------------------------------------------------------------------------------------------------------

@test "values at the edge: zeros and infinities, text that is no UTF-8, text and blob of the same bytes, empty ones and none" {
	fill A
	sql "$T/A/webstore.db" "CREATE TABLE v(k PRIMARY KEY, x, r REAL, n NUMERIC) WITHOUT ROWID;
		INSERT INTO v(k, x) VALUES('a', 'a'), (x'61', x'61'), (1, 1), ('1', '1'), (x'31', 1.5), ('', ''), (x'', x''), ('none', NULL),
			(CAST(x'ff00fe' AS TEXT), CAST(x'c328' AS TEXT)), ('z', char(0)), (-9223372036854775808, 9223372036854775807), (0.5, 4.9e-324);
		INSERT INTO v(k, x, r, n) VALUES('zero', -0.0, -0.0, -0.0), ('inf', 9e999, -9e999, 9e999), ('nan', 9e999 - 9e999, NULL, '12'), ('big', 1e308, 1, 1e19);"
	start_datastore
	rounds A B
	assert_same
	values_same
	sql "$T/B/webstore.db" "UPDATE v SET x = CASE WHEN typeof(x) = 'text' THEN CAST(x AS BLOB) WHEN typeof(x) = 'blob' THEN CAST(x AS TEXT)
			WHEN typeof(x) = 'integer' THEN CAST(x AS REAL) ELSE x END;
		UPDATE v SET x = -9e999 WHERE k = 'inf'; UPDATE v SET x = 0.0 WHERE k = 'zero'; DELETE FROM v WHERE k = 'a'"
	sql "$T/A/webstore.db" "INSERT INTO v(k, x) VALUES(CAST(x'61ff' AS TEXT), zeroblob(3)), (x'61ff', char(0, 0, 0))"
	rounds B A B
	assert_same
	values_same
	[ "$(sql "$T/A/webstore.db" "SELECT count(*), sum(typeof(k) = 'blob') FROM v")" = '17|4' ]
	[ "$(sql "$T/A/webstore.db" "SELECT typeof(x), hex(x) FROM v WHERE k = CAST(x'ff00fe' AS TEXT)")" = 'blob|C328' ]
	sql "$T/A/webstore.db" "DELETE FROM v WHERE typeof(k) = 'blob'" # of each pair of equal bytes only this one
	rounds A B
	assert_same
	[ "$(sql "$T/B/webstore.db" "SELECT count(*) FROM v WHERE k = CAST(x'61ff' AS TEXT) OR k = '1'")" = 2 ]
	no_conflicts
}

values_same() {
	local name answer first=
	for name in A datastore B; do
		answer=$(sql "$T/$name/webstore.db" "SELECT typeof(k), hex(k), typeof(x), hex(x), quote(x), typeof(r), r, typeof(n), n FROM v ORDER BY 1, 2")
		[[ -n $answer && ${first:=$answer} == "$answer" ]] || fail "$name: $answer; A: $first" || return 1
	done
}

# --- rows without a name -------------------------------------------------------------------------------------------------------------

bag() {
	fill A
	value A "CREATE TABLE log(day INT, what TEXT); INSERT INTO log VALUES(1, 'x'), (1, 'x'), (2, 'y')"
	start_datastore
	rounds A B
	assert_same
	everywhere 'SELECT group_concat(day || what) FROM (SELECT * FROM log ORDER BY 1, 2)' 1x,1x,2y
}

logged() { # ANSWER, after both came round
	rounds A B A
	assert_same
	check_databases
	everywhere 'SELECT group_concat(day || what) FROM (SELECT * FROM log ORDER BY 1, 2)' "$1"
}

delete_one() { # NAME WHERE
	value "$1" "DELETE FROM log WHERE rowid = (SELECT rowid FROM log WHERE $2 LIMIT 1)"
}

@test "two equal rows without a key: one is deleted here, one added there" {
	bag
	delete_one A "day = 1"
	value B "INSERT INTO log VALUES(1, 'x')"
	logged 1x,1x,2y
	delete_one B "day = 1"
	logged 1x,2y
}

@test "two equal rows without a key: both sides add one, both sides delete one" {
	bag
	value A "INSERT INTO log VALUES(1, 'x'), (3, 'z')"
	value B "INSERT INTO log VALUES(1, 'x'), (3, 'z')"
	logged 1x,1x,1x,1x,2y,3z,3z
	delete_one A "day = 1"
	delete_one B "day = 1"
	delete_one A "day = 3"
	logged 1x,1x,2y,3z
	no_conflicts
}

@test "two equal rows without a key: one is updated here, the other there" {
	bag
	value A "UPDATE log SET what = 'of A' WHERE rowid = (SELECT min(rowid) FROM log WHERE day = 1)"
	value B "UPDATE log SET what = 'of B' WHERE rowid = (SELECT max(rowid) FROM log WHERE day = 1)"
	logged '1of A,1of B,2y'
	value A "UPDATE log SET what = 'all' WHERE day = 1"
	logged 1all,1all,2y
	no_conflicts
}

@test "rows without a key: the answer to a push of some is lost, and the same are added again" {
	bag
	start_proxy
	value A "INSERT INTO log VALUES(1, 'x')"
	tamper push-lost 1
	once A && false
	value A "INSERT INTO log VALUES(1, 'x')"
	value B "INSERT INTO log VALUES(1, 'x')"
	logged 1x,1x,1x,1x,1x,2y
}

# --- merges ----------------------------------------------------------------------------------------------------------------------------

# A changes the title of d-1, B its owner, at the same time; A's came first.
two_columns() {
	begin
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'of A' WHERE id = 'd-1'"
	sql "$T/B/webstore.db" "UPDATE dashboards SET owner = 77 WHERE id = 'd-1'"
	rounds A
}

merged() {
	assert_same
	[ "$(sql "$T/B/webstore.db" "SELECT title, owner, hex(body), updated FROM dashboards WHERE id = 'd-1'")" = 'of A|77|00FF00|1.5' ]
	no_conflicts
}

@test "two columns of a row, one edited on each side, are merged" {
	two_columns
	rounds B A
	merged
}

@test "... and the datastore goes away between the pull and the push of it" {
	two_columns
	start_proxy
	tamper push-never
	once B && false
	sql "$T/B/webstore.db" "UPDATE dashboards SET updated = 1.5 WHERE id = 'd-1'" # nothing new
	stop datastore
	DATASTORE_PORT=$REAL_PORT
	once B && false
	start_datastore
	rounds B A
	merged
}

@test "... and the webserver is killed between the pull and the push of it" {
	two_columns
	start_proxy
	tamper push-wait 1
	once B &
	pid=$!
	wait_for 'the push' grep -q '^tamper push-wait' "$T/proxy.log"
	kill -KILL "$(pgrep -f -- "^$BIN/sameroot-sync --once -c $T/B.conf")"
	wait $pid || true
	DATASTORE_PORT=$REAL_PORT rounds B A
	merged
	touch "$T/go" # it arrives now, and is refused
	wait_for 'it is answered' grep -q '^answer' "$T/proxy.log"
	DATASTORE_PORT=$REAL_PORT rounds B A
	merged
}

@test "... and in the meantime it is edited again on A, in the column that B's merge took from it" {
	two_columns
	start_proxy
	tamper push-never 1
	once B && false
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'of A again' WHERE id = 'd-1'"
	DATASTORE_PORT=$REAL_PORT rounds A B A
	assert_same
	[ "$(sql "$T/A/webstore.db" "SELECT title, owner FROM dashboards WHERE id = 'd-1'")" = 'of A again|77' ]
	no_conflicts
}

@test "a merge that the database's own CHECK forbids is a conflict, and rounds go on" {
	fill A
	value A 'CREATE TABLE ranges(id INTEGER PRIMARY KEY, lo INT, hi INT, note TEXT, CHECK(lo <= hi)); INSERT INTO ranges VALUES(1, 10, 20, NULL), (2, 1, 2, NULL)'
	start_datastore
	rounds A B
	value A 'UPDATE ranges SET lo = 18 WHERE id = 1; UPDATE ranges SET lo = 0 WHERE id = 2'
	value B 'UPDATE ranges SET hi = 12 WHERE id = 1; UPDATE ranges SET hi = 9 WHERE id = 2'
	value B "UPDATE users SET email = 'goes on' WHERE uid = 2"
	rounds A
	round B
	rounds B A
	assert_same
	everywhere 'SELECT lo, hi FROM ranges WHERE id = 1' '18|20'
	everywhere 'SELECT email FROM users WHERE uid = 2' 'goes on'
	[ "$(conflicts A length)" = 0 ]
	conflicts B '.[] | [.path, .columns.lo, .columns.hi]' >"$T/losers"
	jq -ce . "$T/losers" | grep -qxF '["users.db/ranges/1",10,12]'
	# what came with it may be given up with it, but not be lost
	jq -ce . "$T/losers" | grep -qxF '["users.db/ranges/2",1,9]' || everywhere 'SELECT lo, hi FROM ranges WHERE id = 2' '0|9'
}

# --- schemas that grow apart --------------------------------------------------------------------------------------------------------------

# NAME WORD: status of its daemon exits 1 and says WORD
status_says() {
	local status=0
	"$BIN/sameroot" status -c "$T/$1.conf" >"$T/said" 2>&1 || status=$?
	[[ $status -eq 1 ]] && grep -q "$2" "$T/said"
}

# NAME TABLE: its daemon says that the table is left alone
says_paused() {
	start_webserver "$1"
	sync_now "$1"
	status_says "$1" "$2" || fail "status of $1: $(<"$T/said")" || return 1
	stop "$1"
}

columns() { # NAME TABLE
	value "$1" "SELECT group_concat(name || ' ' || type || coalesce(' ' || dflt_value, '')) FROM pragma_table_info('$2')"
}

grow() { # NAME: what an upgrade of the application does
	value "$1" "ALTER TABLE users ADD COLUMN phone TEXT; ALTER TABLE groups ADD COLUMN level INT DEFAULT 7; ALTER TABLE groups ADD COLUMN label TEXT NOT NULL DEFAULT 'none'"
}

@test "columns are added on A: they spread to the datastore, B waits for its own upgrade, and nothing is lost" {
	begin
	grow A
	value A "UPDATE users SET phone = '555' WHERE uid = 1; INSERT INTO users(uid, name, phone) VALUES(5, 'Emil', '556');
		UPDATE groups SET level = 9 WHERE gid = 1; UPDATE groups SET level = 7 WHERE gid = 2"
	rounds A
	[ "$(columns datastore users)" = "$(columns A users)" ]
	[ "$(columns datastore groups)" = "$(columns A groups)" ]
	[ "$(value datastore 'SELECT phone FROM users WHERE uid = 5')" = 556 ]
	value B "UPDATE users SET email = 'of B' WHERE uid = 2; INSERT INTO users VALUES(6, 'Frida', 'of B', 0); DELETE FROM members WHERE uid = 2"
	round B
	says_paused B users
	value A "UPDATE users SET email = 'of A' WHERE uid = 3; UPDATE members SET since = 'A' WHERE uid = 3"
	rounds A
	round B A # other tables go on, both ways
	[ "$(value B 'SELECT since FROM members WHERE uid = 3')" = A ]
	[ "$(value datastore 'SELECT count(*) FROM members WHERE uid = 2')" = 0 ]
	[ "$(value B 'SELECT email FROM users WHERE uid = 3')" = c@example.org ]
	[ "$(value B 'SELECT email FROM users WHERE uid = 2')" = 'of B' ]
	[ "$(value datastore 'SELECT count(*) FROM users WHERE uid = 6')" = 0 ]
	grow B
	rounds B A
	assert_same
	check_databases
	no_conflicts
	everywhere "SELECT group_concat(uid || coalesce(email, '-') || coalesce(phone, '-')) FROM (SELECT * FROM users ORDER BY uid)" \
		'1ada@example.org555,2of B-,3of A-,5-556,6of B-'
	everywhere 'SELECT group_concat(gid || level || label) FROM (SELECT * FROM groups ORDER BY gid)' 19none,27none
	value B "UPDATE groups SET label = 'of B' WHERE gid = 2; INSERT INTO groups(gid, name) VALUES(3, 'new')"
	rounds B A
	assert_same
	everywhere 'SELECT level || label FROM groups WHERE gid = 3' 7none
	no_conflicts
}

@test "both upgrade before they meet again, and a third comes with nothing" {
	begin
	write_config C
	grow A
	grow B
	value A "UPDATE users SET phone = '555' WHERE uid = 1"
	value B "UPDATE groups SET label = 'of B' WHERE gid = 2"
	rounds A B A C
	assert_same datastore A B C
	[ "$(columns C groups)" = "$(columns A groups)" ]
	no_conflicts
}

@test "a table is added on A: it spreads to the datastore, B waits for its own" {
	begin
	value A "CREATE TABLE notes(id INTEGER PRIMARY KEY, uid INT REFERENCES users(uid), text TEXT); INSERT INTO notes VALUES(1, 1, 'of A')"
	rounds A
	[ "$(value datastore 'SELECT text FROM notes')" = 'of A' ]
	value A "UPDATE users SET email = 'of A' WHERE uid = 2"
	rounds A
	round B
	[ "$(value B 'SELECT email FROM users WHERE uid = 2')" = 'of A' ]
	says_paused B notes
	value B "CREATE TABLE notes(id INTEGER PRIMARY KEY, uid INT REFERENCES users(uid), text TEXT); INSERT INTO notes VALUES(2, 2, 'of B')"
	rounds B A
	assert_same
	everywhere 'SELECT group_concat(text) FROM (SELECT text FROM notes ORDER BY id)' 'of A,of B'
	no_conflicts
}

@test "a table is dropped on A: it is dropped nowhere else, and A says so" {
	begin
	value A 'DROP TABLE members'
	value A "UPDATE users SET email = 'of A' WHERE uid = 2"
	round A B A
	for name in datastore B; do
		[ "$(value $name 'SELECT count(*) FROM members')" = 3 ]
		[ "$(value $name 'SELECT email FROM users WHERE uid = 2')" = 'of A' ]
	done
	says_paused A members
	value B "UPDATE members SET since = 'of B' WHERE uid = 1"
	round B A
	[ "$(value datastore 'SELECT since FROM members WHERE uid = 1')" = 'of B' ]
	value A "CREATE TABLE members(uid INTEGER NOT NULL REFERENCES users(uid) ON DELETE CASCADE, gid INTEGER NOT NULL REFERENCES groups(gid) ON DELETE CASCADE,
		since TEXT, PRIMARY KEY(gid, uid)) WITHOUT ROWID"
	round A B A # it is there again, and empty: its rows are deleted, but for what was edited since
	rounds A B
	assert_same
	check_databases
	everywhere 'SELECT since FROM members WHERE uid = 1' 'of B'
}

rebuild() { # NAME TYPE-OF-EMAIL
	value "$1" "BEGIN; CREATE TABLE new_users(uid INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, email $2, admin INT DEFAULT 0);
		INSERT INTO new_users SELECT * FROM users ORDER BY name DESC; DROP TABLE users; ALTER TABLE new_users RENAME TO users;
		CREATE INDEX users_by_email ON users(email); COMMIT"
}

@test "a table is rebuilt on A: with the same shape it goes on, with another type it waits, says so and loses nothing" {
	begin
	value A 'DROP VIEW admins'
	rebuild A TEXT
	value A "UPDATE users SET email = 'of A' WHERE uid = 2"
	value B "UPDATE users SET email = 'of B' WHERE uid = 3"
	rounds A B A
	assert_same
	everywhere 'SELECT group_concat(email) FROM (SELECT email FROM users WHERE uid > 1 ORDER BY uid)' 'of A,of B'
	rebuild A NUMERIC
	value A "UPDATE users SET email = '0123' WHERE uid = 2; UPDATE groups SET name = 'of A' WHERE gid = 2"
	value B "UPDATE users SET email = '0123' WHERE uid = 1"
	round A B A
	[ "$(value A 'SELECT typeof(email) FROM users WHERE uid = 2')" = integer ]
	for name in datastore B; do
		[ "$(value $name 'SELECT group_concat(email) FROM (SELECT email FROM users ORDER BY uid)')" = '0123,of A,of B' ]
		[ "$(value $name 'SELECT name FROM groups WHERE gid = 2')" = 'of A' ]
	done
	says_paused A users
	rebuild A TEXT
	round A B
	rounds A B
	assert_same
	everywhere 'SELECT group_concat(email) FROM (SELECT email FROM users WHERE uid <> 2 ORDER BY uid)' '0123,of B'
	check_databases
}
