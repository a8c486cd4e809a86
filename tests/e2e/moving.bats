#!/usr/bin/env bats
# Things that do not hold still: a row that is edited without pause, a root that moves while a slow webserver walks.  Nobody starves, and no value is lost.

# shellcheck disable=SC2034,SC2154 # lib.bash reads them; keys of PID

load lib

# NAME: it has ended well by itself
over() {
	wait "${PID[$1]}"
	unset "PID[$1]"
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
	local key=$1 before
	shift
	for name in A B; do python3 "$HERE/application.py" make "$T/$name"; done
	start_all
	wait_same
	for name; do
		python3 "$HERE/application.py" hot "$T/$name" "$name" "$key" "$T/enough" 3>&- &
		PID[hot-$name]=$!
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
	for name; do over "hot-$name"; done
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

# NAME COLUMN: its application writes it without pause
hot_column() {
	python3 - "$T/$1/users.db" "$2" "$T/enough" >"$T/hot-$1.log" 2>&1 3>&- <<'PY' &
import os, sqlite3, sys, time
path, column, until = sys.argv[1:]
db = sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=60, isolation_level=None)
while not os.path.exists(until):
    if db.execute(f"UPDATE counted SET {column} = {column} + 1 WHERE id = 1").rowcount != 1:
        sys.exit("the row is gone")
    time.sleep(0.002)
PY
	PID[hot-$1]=$!
}

column_moved_on() { # NAME COLUMN BEFORE
	(($(value "$1" "SELECT $2 FROM counted") > $3))
}

@test "two columns of one row, one written without pause on A, which is slow, the other edited on B: both go on, and no write is lost" {
	value A "PRAGMA journal_mode=wal; CREATE TABLE counted(id INTEGER PRIMARY KEY, a INT, b INT); INSERT INTO counted VALUES(1, 0, 0)" >/dev/null
	start_datastore
	start_webserver B
	start_proxy
	tamper slow # so that it is written in every window
	start_webserver A
	DATASTORE_PORT=$REAL_PORT
	wait_same
	hot_column A a
	for k in 1 2 3; do
		value B 'UPDATE counted SET b = b + 1'
		wait_for "what B writes is at A" column_moved_on A b $((k - 1))
		a=$(value B 'SELECT a FROM counted')
		wait_for "what A writes is at B" column_moved_on B a "$a"
	done
	touch "$T/enough"
	over hot-A
	a=$(value A 'SELECT a FROM counted')
	wait_same
	everywhere 'SELECT a, b FROM counted' "$a|3"
	no_conflicts
}

# --- a root that moves while a slow webserver walks -------------------------------------------------------------------------------

# A datastore whose clock is ahead by what $T/ahead says: a root stays readable for 120 s.
start_datastore_ahead() {
	local preload
	cat >"$T/clock.c" <<-'END'
		#define _GNU_SOURCE
		#include <fcntl.h>
		#include <stdlib.h>
		#include <sys/syscall.h>
		#include <time.h>
		#include <unistd.h>

		int clock_gettime(clockid_t clock, struct timespec *t)
		{
			int rc = (int)syscall(SYS_clock_gettime, clock, t); /* no dlsym: a sanitizer asks for the time in malloc */
			int fd = open(getenv("AHEAD"), O_RDONLY | O_CLOEXEC);
			char text[16] = "";

			if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && clock == CLOCK_REALTIME)
				t->tv_sec += atoi(text);
			if (fd >= 0)
				close(fd);
			return rc;
		}
	END
	cc -shared -fPIC -O1 -o "$T/clock.so" "$T/clock.c"
	# A sanitizer's own library has to come first.
	preload="$(ldd "$BIN/sameroot-datastore" | awk '/lib(asan|ubsan|tsan)/ { printf "%s ", $3 }')$T/clock.so"
	AHEAD=$T/ahead LD_PRELOAD=$preload launch datastore "$BIN/sameroot-datastore" -c "$T/datastore.conf"
	DATASTORE_PORT=${URL[datastore]##*:}
	wait_for 'the datastore is ready' ready datastore
}

# A pushes more than 64 commits, one as soon as the other is over.
many_commits() {
	local seq
	seq=$(status_of datastore .seq)
	rm -f "$T/enough"
	python3 "$HERE/application.py" hot "$T/A" A A-hot "$T/enough" 3>&- &
	PID[hot]=$!
	until (($(status_of datastore .seq) > seq + 66)); do
		for ((k = 0; k < 20; k++)); do kill -USR1 "${PID[A]}" && sleep 0.03; done
	done
	touch "$T/enough"
	over hot
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
	for name in A B; do python3 "$HERE/application.py" make "$T/$name"; done
	start_datastore
	start_webserver A
	start_proxy
	tamper slow
	start_webserver B
	DATASTORE_PORT=$REAL_PORT
	wait_same
	python3 "$HERE/application.py" hot "$T/A" A A-hot "$T/enough" 3>&- &
	PID[hot]=$!
	for k in 1 2 3; do
		value A "INSERT INTO kept VALUES('A-own-$k', 'a', NULL)"
		value B "INSERT INTO kept VALUES('B-own-$k', 'b', NULL)"
		wait_for "A's row at B" kept_at B A-own-$k a
		wait_for "B's row at A" kept_at A B-own-$k b
	done
	touch "$T/enough"
	over hot
	wait_same
	no_conflicts
}

# In whichever order the directory gives them: the log before its database, or after it.
copied_whole() { # FIRST: what of it is copied first
	fill A
	start_all
	wait_same
	stop datastore
	value B "UPDATE users SET email = 'only in the log' WHERE uid = 1"
	echo later >"$T/B/resources/later"
	stop B
	[ -s "$T/B/users.db-wal" ]
	sleep 1.5 # a copy is later than what it copies
	mv "$T/B" "$T/gone"
	mkdir "$T/B"
	cp -a "$T/gone/$1" "$T/B"
	sleep 0.1
	cp -an "$T/gone/." "$T/B"
	start_datastore
	rounds B
	[ "$(grep -c 'moved aside\|a copy was put' "$T/B.once")" = 0 ]
	wait_same datastore A
	everywhere 'SELECT email FROM users WHERE uid = 1' 'only in the log'
	[ "$(<"$T/A/resources/later")" = later ]
	no_conflicts
}

@test "a webserver's directory is copied, logs and all: what was committed last and is only in a log comes along, and is sent" {
	copied_whole users.db
}

@test "so it does when a log is copied before its database" {
	copied_whole users.db-wal
}

@test "a database's owner, mode, links and place change, while its log is older: it is the one that was written last" {
	begin
	for change in "chmod 660" "chown 0:0" linked moved; do
		value B "UPDATE users SET email = '$change' WHERE uid = 1; INSERT INTO groups VALUES (70, 'passing')"
		rounds B A
		python3 - "$T/B/users.db" "$change" <<-'END'
			import os, sqlite3, sys
			db = sqlite3.connect(sys.argv[1])
			db.execute("UPDATE users SET email = ? WHERE uid = 1", (sys.argv[2] + " and unsent",))
			db.execute("DELETE FROM groups WHERE gid = 70")
			db.commit()
			os._exit(0) # as if it were killed: its log stays
		END
		[ -s "$T/B/users.db-wal" ]
		sleep 0.2
		case $change in
		linked) ln "$T/B/users.db" "$T/B/another" ;;
		moved)
			mkdir "$T/elsewhere"
			mv "$T"/B/users.db* "$T/elsewhere"
			mv "$T"/elsewhere/* "$T/B"
			;;
		*) $change "$T/B/users.db" ;;
		esac
		rounds B A
		[ "$(grep -c 'a copy was put' "$T/B.once")" = 0 ]
		everywhere 'SELECT email, (SELECT count(*) FROM groups WHERE gid = 70) FROM users WHERE uid = 1' "$change and unsent|0"
	done
	no_conflicts
}
