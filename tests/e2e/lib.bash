# lib.bash - a datastore and webservers A, B, ... of a test's own: to start, stop and compare the real programs.
#
# Everything lies below $T: $T/NAME/{users.db,webstore.db,resources,state} with NAME datastore, A or B, $T/NAME.conf, $T/NAME.log.
# Ports are free ones that the daemons announce.  Nothing waits for a time: wait_for polls for a state, WAIT seconds at most.
# Only processes that were started here are ever signalled.

BIN=${BIN:-$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)/build/bin}
HERE=$(cd "${BASH_SOURCE[0]%/*}" && pwd)
WAIT=${WAIT:-60}
export PYTHONDONTWRITEBYTECODE=1 # our helpers leave nothing beside themselves
declare -gA PID=() URL=() # -g: bats loads this file within a function

# --- the life of a test -------------------------------------------------------------------------------------------------

setup() {
	T=$BATS_TEST_TMPDIR
	write_config datastore
	write_config A
	write_config B
}

teardown() {
	[[ -z ${MOUNTED:-} ]] || umount -l "$MOUNTED"
	local name
	for name in "${!PID[@]}"; do
		kill -KILL "${PID[$name]}" 2>/dev/null || true
		wait "${PID[$name]}" 2>/dev/null || true
	done 2>/dev/null
	[[ -n ${BATS_TEST_COMPLETED:-} ]] || show_logs
	! grep -A 60 -E 'runtime error:|(ERROR|WARNING): (Address|Leak|Thread)Sanitizer' "$T"/*.log
}

show_logs() {
	local log
	for log in "$T"/*.log; do
		[[ -s $log ]] || continue
		echo "--- ${log##*/}"
		tail -n 40 "$log"
	done
}

fail() {
	echo "$*" >&2
	return 1
}

# WHAT COMMAND...: until COMMAND succeeds
wait_for() {
	local what=$1 end=$((SECONDS + WAIT))
	shift
	until "$@"; do
		((SECONDS < end)) || fail "waited $WAIT s in vain: $what" || return 1
		sleep 0.1
	done
}

# --- configurations -----------------------------------------------------------------------------------------------------

# NAME [LINE...]: $T/NAME.conf; LINEs are added to [global], or may begin a section
write_config() {
	local name=$1 prefix="" state=State-Directory resources=Webserver-Resource-Store
	shift
	[[ $name != datastore ]] || prefix=Datastore- state=Datastore-State-Directory resources=Datastore-Resource-Store
	mkdir -p "$T/$name"
	{
		echo '[global]'
		echo "${prefix}User-DB-Path=$T/$name/users.db"
		echo "${prefix}Web-Store-Path=$T/$name/webstore.db"
		echo "$resources=$T/$name/resources"
		echo "$state=$T/$name/state"
		echo "Control-Auth-File=$T/control-auth"
		echo "Datastore-Insecure-Disable-TLS=${TLS_OFF:-true}"
		echo "Insecure-Disable-HTTPS=${TLS_OFF:-true}"
		echo "Datastore-Update-Interval=${INTERVAL:-1}"
		echo "Lb-Recognition-Period=${RECOGNITION:-0}"
		echo "Shutdown-Timeout=${SHUTDOWN:-3}"
		if [[ $name == datastore ]]; then
			echo 'Datastore-Listen-Address=127.0.0.1'
			echo "Datastore-Port=${DATASTORE_PORT:-0}"
		else
			echo "Datastore=127.0.0.1:${DATASTORE_PORT:-1}"
			echo "External-Addr=127.0.0.1:80$(($(printf %d "'$name") % 90 + 10))"
			echo 'Sync-Listen-Address=127.0.0.1'
			echo 'Sync-Port=0'
			[[ -z ${CAPTURE:-} ]] || echo "Change-Capture=$CAPTURE"
		fi
		[[ $# -eq 0 ]] || printf '%s\n' "$@"
	} >"$T/$name.conf"
}

# NAME FROM TO: change what a line says
edit_config() {
	grep -q "^$2" "$T/$1.conf" || fail "no line $2 in $1.conf" || return 1
	sed -i "s|^$2.*|$3|" "$T/$1.conf"
}

# For tests that delete more at once than the deletion limit lets through; before a daemon starts
unlimited_deletions() {
	sed -i 's/^\[global\]$/&\nMax-Delete-Percent=100/' "$T"/*.conf
}

free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# --- daemons ------------------------------------------------------------------------------------------------------------

alive() { # it may end between the looks; and a zombie's threads, as long as there are any, hold its locks
	local stat
	stat=$(cat "/proc/$1/stat" 2>/dev/null) && [[ $stat != *') Z '* || $(find "/proc/$1/task" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l) -gt 1 ]]
}

announced() {
	tail -c +"$(($2 + 1))" "$T/$1.log" | grep -q 'listening on ' || ! alive "${PID[$1]}"
}

# NAME COMMAND...: in the background, until it says where it listens
launch() {
	local name=$1 size address
	shift
	touch "$T/$name.log"
	size=$(stat -c %s "$T/$name.log")
	"$@" </dev/null >>"$T/$name.log" 2>&1 3>&- &
	PID[$name]=$!
	wait_for "$name listens" announced "$name" "$size"
	alive "${PID[$name]}" || fail "$name ended at once: $(tail -n 3 "$T/$name.log")" || return 1
	address=$(tail -c +"$((size + 1))" "$T/$name.log" | sed -n 's/.*listening on //p' | head -n 1)
	URL[$name]=http://$address
}

# Its port stays what it was at the first start.
start_datastore() {
	launch datastore "$BIN/sameroot-datastore" -c "$T/datastore.conf"
	DATASTORE_PORT=${URL[datastore]##*:}
	edit_config datastore Datastore-Port= "Datastore-Port=$DATASTORE_PORT"
	wait_for 'the datastore is ready' ready datastore
}

start_webserver() {
	local name
	for name; do
		[[ -z ${DATASTORE_PORT:-} ]] || edit_config "$name" Datastore= "Datastore=127.0.0.1:$DATASTORE_PORT"
		launch "$name" "$BIN/sameroot-sync" -c "$T/$name.conf"
	done
}

start_all() {
	start_datastore
	start_webserver A B
}

gone() {
	! alive "$1"
}

# NAME [SIGNAL]: ended, with status 0 unless it was killed
stop() {
	local name=$1 signal=${2:-TERM} pid=${PID[$1]} status=0
	[[ $signal != KILL ]] || disown "$pid" # or bash says "Killed"
	kill "-$signal" "$pid"
	wait_for "$name ends" gone "$pid"
	wait "$pid" 2>/dev/null || status=$?
	unset "PID[$name]"
	[[ $signal == KILL || $status -eq 0 ]] || fail "$name ended with status $status"
}

# NAME: exactly one round without a daemon; its exit status, what it says on stderr in $T/NAME.once
once() {
	local status=0
	[[ -z ${DATASTORE_PORT:-} ]] || edit_config "$1" Datastore= "Datastore=127.0.0.1:$DATASTORE_PORT"
	"$BIN/sameroot-sync" --once -c "$T/$1.conf" >"$T/$1.once" 2>&1 3>&- || status=$?
	cat "$T/$1.once" >>"$T/$1.log"
	return "$status"
}

# NAME...: a round of each, one after the other; each must find nothing held, paused or failed
rounds() {
	local name
	for name; do
		once "$name" || fail "a round of $name: status $?: $(<"$T/$name.once")" || return 1
	done
}

# --- a datastore that lies ------------------------------------------------------------------------------------------------

# From now on webservers reach the datastore through proxy.py, which does what `tamper` says.
start_proxy() {
	touch "$T/tamper"
	REAL_PORT=$DATASTORE_PORT
	launch proxy python3 "$HERE/proxy.py" "$REAL_PORT" "$T/tamper" "$T"
	DATASTORE_PORT=${URL[proxy]##*:}
}

tamper() { # MODE [TIMES]; see proxy.py
	echo "$*" >"$T/tamper.new"
	mv "$T/tamper.new" "$T/tamper"
}

# A is filled, B reaches the datastore over the proxy, and all have the same
start_behind_proxy() {
	fill A
	start_datastore
	start_webserver A
	start_proxy
	start_webserver B
	wait_same
}

rounds_without_proxy() {
	tamper pass
	DATASTORE_PORT=$REAL_PORT rounds "$@"
}

# --- asking them ------------------------------------------------------------------------------------------------------------

# NAME PATH [OPTION...]: with the shared secret, or as an admin
api() {
	local name=$1 path=$2
	shift 2
	curl -sS --max-time 30 -H "Authorization: Bearer $(<"$T/control-auth")" "$@" "${URL[$name]}$path"
}

admin() {
	local name=$1 path=$2
	shift 2
	curl -sS --max-time 30 -H "Authorization: Bearer $(<"$T/$name/state/admin-token")" "$@" "${URL[$name]}$path"
}

ready() {
	curl -fsS --max-time 5 -o /dev/null "${URL[$1]}/readyz" 2>/dev/null
}

root_of() {
	api "$1" /api/tree | jq -er .root
}

status_of() {
	admin "$1" /api/admin/status | jq -er "$2"
}

# NAME: a round now, which begins after this call and has ended when it returns
sync_now() {
	local name=$1 before
	before=$(status_of "$name" .rounds) || before=0
	kill -USR1 "${PID[$name]}"
	wait_for "$name does a round" rounds_over "$name" "$((before + 1))"
}

rounds_over() {
	local now
	now=$(status_of "$1" .rounds 2>/dev/null) && ((now >= $2))
}

# --- contents -------------------------------------------------------------------------------------------------------------------

# DATABASE SQL: as the application does it
sql() {
	sqlite3 -cmd '.timeout 20000' "$1" "$2"
}

# Every row of every ordinary table but ours, sorted; values as quote() shows them.
dump_db() {
	local statements
	[[ -s $1 ]] || return 0
	statements=$(sqlite3 -readonly -cmd '.timeout 20000' "$1" "
		SELECT 'SELECT ' || quote(t.name) || group_concat(' || char(32) || quote(\"' || replace(c.name, '\"', '\"\"') || '\")', '')
			|| ' FROM \"' || replace(t.name, '\"', '\"\"') || '\";'
		FROM pragma_table_list AS t JOIN pragma_table_xinfo(t.name) AS c
		WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite\_%' ESCAPE '\' AND t.name NOT LIKE '\_sameroot\_%' ESCAPE '\'
			AND instr(' ${EXCEPT:-} ', ' ' || t.name || ' ') = 0
		GROUP BY t.name") || return
	sqlite3 -readonly -cmd '.timeout 20000' "$1" "$statements" | LC_ALL=C sort
}

# Tables, indexes, views and triggers.
dump_schema() {
	[[ -s $1 ]] || return 0
	sqlite3 -readonly -cmd '.timeout 20000' "$1" "SELECT type, name, tbl_name, sql FROM sqlite_master
		WHERE name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name NOT LIKE '\_sameroot\_%' ESCAPE '\' AND tbl_name NOT LIKE '\_sameroot\_%' ESCAPE '\'
		ORDER BY type, name"
}

# Names, kinds, modes and content of a tree.
tree_sum() {
	[[ -d $1 ]] || return 0
	(
		cd "$1" || exit
		find . -mindepth 1 -path ./.sameroot -prune -o -printf '%y %m %p\0' | LC_ALL=C sort -z
		find . -mindepth 1 -path ./.sameroot -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum -z --
	) | tr '\0' '\n'
}

# NAME: all of it, into $T/NAME.snapshot
snapshot() {
	{
		echo "users.db:" && dump_db "$T/$1/users.db"
		echo "webstore.db:" && dump_db "$T/$1/webstore.db"
		echo "resources:" && tree_sum "$T/$1/resources"
	} >"$T/$1.snapshot" 2>"$T/$1.snapshot.errors"
}

# NAME...: all the same?
same_content() {
	local first=$1 name
	for name; do
		snapshot "$name" || return 1
		cmp -s "$T/$first.snapshot" "$T/$name.snapshot" || return 1
	done
}

same_roots() {
	local first name root
	first=$(root_of "$1" 2>/dev/null) || return 1
	for name; do
		root=$(root_of "$name" 2>/dev/null) && [[ $root == "$first" ]] || return 1
	done
}

same() {
	same_content "$@" && same_roots "$@"
}

# [NAME...]: until all have the same content and the same roots
wait_same() {
	local name
	[[ $# -gt 0 ]] || set -- datastore A B
	wait_for "the same content and roots: $*" same "$@" || {
		for name in "${@:2}"; do
			diff -a "$T/$1.snapshot" "$T/$name.snapshot" | cut -c 1-160 | head -n 20
			cat "$T/$name.snapshot.errors"
		done
		for name; do echo "$name: $(root_of "$name"); $(status_of "$name" '.trouble // .why // "no trouble"')"; done
		return 1
	}
}

# [NAME...]: for rounds without daemons
assert_same() {
	local name
	[[ $# -gt 0 ]] || set -- datastore A B
	same_content "$@" || {
		for name in "${@:2}"; do
			snapshot "$name"
			diff -a "$T/$1.snapshot" "$T/$name.snapshot" | head -n 20
		done
		fail "the content differs: $*"
	}
}

# What SQLite itself thinks of every database.
check_databases() {
	local db
	for db in "$T"/{datastore,A,B}/{users,webstore}.db; do
		[[ -s $db ]] || continue
		[[ $(sql "$db" 'PRAGMA integrity_check') == ok ]] || fail "$db: integrity_check" || return 1
		[[ -z $(sql "$db" 'PRAGMA foreign_key_check') ]] || fail "$db: foreign_key_check" || return 1
	done
}

# NAME [FILTER]: the conflict archive's descriptions, as a JSON array, oldest first
conflicts() {
	local files
	files=$(find "$T/$1/state/archive" -name '*.json' 2>/dev/null | LC_ALL=C sort)
	# shellcheck disable=SC2086
	if [[ -n $files ]]; then jq -es "${2:-.}" $files; else jq -en "[] | ${2:-.}"; fi
}

# NAME ID: the file that holds an archived version
archived() {
	echo "$T/$1/state/archive/$2.data"
}

# --- what most tests do -----------------------------------------------------------------------------------------------------

# The sample data, on all three, and no daemon but the datastore's.
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

value() { # NAME SQL: of its users.db
	sql "$T/$1/users.db" "$2"
}

everywhere() { # SQL ANSWER: that of users.db on all three
	local name answer
	for name in datastore A B; do
		answer=$(value "$name" "$1")
		[[ $answer == "$2" ]] || fail "$name: $answer" || return 1
	done
}

no_conflicts() {
	[ "$(conflicts A length)$(conflicts B length)$(conflicts datastore length)" = 000 ] || fail "$(conflicts A) $(conflicts B) $(conflicts datastore)"
}

# --- sample data ------------------------------------------------------------------------------------------------------------------

USERS_SCHEMA="
	CREATE TABLE groups(gid INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
	CREATE TABLE users(uid INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE COLLATE NOCASE, email TEXT, admin INT DEFAULT 0);
	CREATE TABLE members(
		uid INTEGER NOT NULL REFERENCES users(uid) ON DELETE CASCADE,
		gid INTEGER NOT NULL REFERENCES groups(gid) ON DELETE CASCADE,
		since TEXT, PRIMARY KEY(gid, uid)) WITHOUT ROWID;
	CREATE INDEX users_by_email ON users(email);
	CREATE VIEW admins AS SELECT name FROM users WHERE admin;"
WEBSTORE_SCHEMA="
	CREATE TABLE dashboards(id TEXT PRIMARY KEY, owner INT, title TEXT, body BLOB, updated REAL);
	CREATE TABLE preferences(owner INT, name TEXT COLLATE NOCASE, value, PRIMARY KEY(owner, name));
	CREATE TABLE history(id BLOB PRIMARY KEY, owner INT, query TEXT);"

# NAME [JOURNAL_MODE]: both databases with a few rows, and some files
fill() {
	local d=$T/$1
	sql "$d/users.db" "PRAGMA journal_mode=${2:-wal}; $USERS_SCHEMA
		INSERT INTO groups VALUES(1, 'staff'), (2, 'guests');
		INSERT INTO users VALUES(1, 'Ada', 'ada@example.org', 1), (2, 'Bert', NULL, 0), (3, 'Carol', 'c@example.org', 0);
		INSERT INTO members VALUES(1, 1, '2020'), (2, 2, '2021'), (3, 1, '2022');" >/dev/null
	sql "$d/webstore.db" "PRAGMA journal_mode=${2:-wal}; $WEBSTORE_SCHEMA
		INSERT INTO dashboards VALUES('d-1', 1, 'Load', x'00ff00', 1.5), ('d-2', 2, 'Disks', zeroblob(3), -0.25);
		INSERT INTO preferences VALUES(1, 'theme', 'dark'), (1, 'rows', 9223372036854775807), (2, 'theme', NULL);
		INSERT INTO history VALUES(x'0001', 1, 'tag=syslog'), (x'0002', 2, 'näher');" >/dev/null
	mkdir -p "$d/resources/img" "$d/resources/empty"
	echo 'a table' >"$d/resources/hosts.csv"
	head -c 200000 /dev/zero | tr '\0' x >"$d/resources/img/logo"
	chmod 640 "$d/resources/hosts.csv"
}
