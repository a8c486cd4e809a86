#!/usr/bin/env bats
# A row that rots in a database, without a commit: once a look at everything has found it, it is neither pushed nor handed out, whatever else is committed
# there, and it comes back from another node.
load lib

setup_file() {
	export ROW=webstore.db/history/%00%FF
}

on() {
	local name=$1 command=$2
	shift 2
	"$BIN/sameroot" "$command" -c "$T/$name.conf" "$@"
}

in_the_file() { # DATABASE TEXT
	[[ $(sql "$1" 'PRAGMA wal_checkpoint(TRUNCATE)') == 0* ]] && grep -qa "$2" "$1"
}

# NAME DATABASE TEXT BYTE...: these bytes in place of its first, on the disk.  Its daemon runs; nobody commits.
rot() {
	local name=$1 db=$T/$1/$2 at
	wait_for "$3 to be in $db" in_the_file "$db" "$3"
	on "$name" verify >/dev/null # it looks at it once more, for the log was emptied
	touch -r "$db" "$T/times"
	for at in $(grep -abo "$3" "$db" | cut -d: -f1 | ${ONLY:-cat}); do
		printf '%b' "$4" | dd of="$db" bs=1 seek="$at" conv=notrunc status=none
	done
	touch -r "$T/times" "$db"
}

history_of() {
	sql "$T/$1/webstore.db" "SELECT query FROM history WHERE id = x'00ff'"
}

# All have the row, and A's has rotted: "xearch", where it was "search".
begin_with_rot_at() {
	fill A
	start_datastore
	start_webserver A
	sql "$T/A/webstore.db" "INSERT INTO history VALUES(x'00ff', 7, 'search for rot')"
	wait_same datastore A
	rot "$1" webstore.db 'search for rot' x
	[[ $(history_of "$1") == 'xearch for rot' ]] || fail "$(history_of "$1")"
	run on "$1" verify
	[[ $status -eq 1 && $output == *"$ROW: it is not what the tree says"* ]] || fail "status $status: $output"
}

repairs() { # NAME FROM
	local root
	root=$(root_of datastore)
	run on "$1" verify --repair --yes
	[[ $status -eq 0 && $output == *"$ROW: repaired, from $2"* ]] || fail "status $status: $output" || return 1
	[[ $(history_of "$1") == 'search for rot' ]] || fail "$(history_of "$1")" || return 1
	sync_now A
	[[ $(root_of datastore) == "$root" && $(root_of A) == "$root" ]] || return 1
	on "$1" verify || return 1
	[[ $(on "$1" conflicts list --json | jq -r '.. | objects | select(.reason? == "restored-over") | .path') == "$ROW" ]] || fail "$(on "$1" conflicts list --json)"
}

@test "rot at a webserver is not pushed after another commit, nor after a start, and comes back from the datastore" {
	begin_with_rot_at A
	sql "$T/A/webstore.db" "INSERT INTO history VALUES(x'00fe', 7, 'another')"
	sync_now A
	sync_now A
	[[ $(sql "$T/datastore/webstore.db" "SELECT query FROM history WHERE id = x'00fe'") == another ]]
	[[ $(history_of datastore) == 'search for rot' && $(history_of A) == 'xearch for rot' ]]
	[[ $(root_of A) == "$(root_of datastore)" ]]
	stop A
	start_webserver A
	sync_now A
	[[ $(history_of datastore) == 'search for rot' && $(history_of A) == 'xearch for rot' ]]
	on A verify --json | jq -e --arg row "$ROW" '.wrong | map(.path) == [$row]' || fail 'A forgot'
	repairs A 'the datastore'
	# and what the application makes of it, were it the same, is an edit
	sql "$T/A/webstore.db" "UPDATE history SET query = 'xearch for rot' WHERE id = x'00ff'"
	wait_same datastore A
	[[ $(history_of datastore) == 'xearch for rot' ]]
}

@test "what comes from elsewhere ends rot: were the same written again by the application, it is an edit" {
	local query
	begin_with_rot_at A
	start_webserver B
	sync_now B
	for query in edited 'search for rot'; do
		sql "$T/B/webstore.db" "UPDATE history SET query = '$query' WHERE id = x'00ff'"
		wait_same
		[[ $(history_of A) == "$query" ]]
	done
	sql "$T/A/webstore.db" "UPDATE history SET query = 'xearch for rot' WHERE id = x'00ff'"
	wait_same
	[[ $(history_of B) == 'xearch for rot' ]]
}

@test "rot at the datastore is handed to nobody, comes back from a webserver, and gives way to what another writes" {
	begin_with_rot_at datastore
	start_webserver B
	wait_for 'B to have the rest' test -e "$T/B/resources/img/logo"
	sync_now B
	[[ -z $(history_of B) ]] || fail "$(history_of B)"
	sql "$T/A/webstore.db" "INSERT INTO preferences VALUES(7, 'other', 'in another page')"
	sync_now A
	[[ $(history_of A) == 'search for rot' ]]
	repairs datastore "$(sed -n 's/^External-Addr=//p' "$T/A.conf")"
	wait_same datastore A B

	rot datastore webstore.db 'search for rot' y
	run on datastore verify
	[ "$status" -eq 1 ]
	sql "$T/B/webstore.db" "UPDATE history SET query = 'edited' WHERE id = x'00ff'"
	wait_same datastore A B
	[[ $(history_of datastore) == edited ]]
}

@test "rot in a key: the row that is not there any more comes back, and the one that nobody made goes" {
	fill A
	start_datastore
	start_webserver A
	sql "$T/A/webstore.db" "INSERT INTO dashboards VALUES('rotten-key', 1, 'of the key', NULL, NULL)"
	wait_same datastore A
	rot A webstore.db rotten-key z
	run on A verify
	[[ $status -eq 1 && $output == *'webstore.db/dashboards/rotten-key: '* && $output == *'webstore.db/dashboards/zotten-key: '* ]] || fail "status $status: $output"
	sql "$T/A/webstore.db" "INSERT INTO history VALUES(x'00fe', 7, 'another')"
	sync_now A
	sync_now A
	[[ $(sql "$T/datastore/webstore.db" "SELECT group_concat(id) FROM dashboards WHERE title = 'of the key'") == rotten-key ]]
	run on A verify --repair --yes
	[ "$status" -eq 0 ] || fail "status $status: $output"
	wait_same datastore A
	[[ $(sql "$T/A/webstore.db" "SELECT group_concat(id) FROM dashboards WHERE title = 'of the key'") == rotten-key ]]
	check_databases
}

@test "rot in a column that has an index, which says otherwise than the row" {
	fill A delete
	start_datastore
	start_webserver A
	sql "$T/A/users.db" "INSERT INTO users VALUES(9, 'Rita', 'rita@example.org', 0)"
	wait_same datastore A
	ONLY='head -n 1' rot A users.db rita@example.org q
	run on A verify
	[[ $status -eq 1 && $output == *'users.db/users/9: '* ]] || skip 'it was the index that rotted'
	sql "$T/A/users.db" "UPDATE users SET admin = 1 WHERE uid = 3"
	sync_now A
	[[ $(value datastore 'SELECT email FROM users WHERE uid = 9') == rita@example.org ]]
	run on A verify --repair --yes
	[[ $status -eq 0 && $output == *'users.db/users/9: repaired'* ]] || fail "status $status: $output"
	wait_same datastore A
	[[ $(value A 'SELECT email FROM users WHERE uid = 9') == rita@example.org ]]
	check_databases
}

@test "rot in a table without a key: what another takes away there is taken from what there was, and no more" {
	local node
	fill A
	start_datastore
	start_webserver A B
	sync_now B
	sql "$T/B/webstore.db" 'CREATE TABLE bag(a, b)'
	sql "$T/A/webstore.db" "CREATE TABLE bag(a, b); INSERT INTO bag VALUES('in a bag', 1), ('in a bag', 1), ('in a bag', 1)"
	wait_same
	for node in A datastore; do
		rot "$node" webstore.db 'in a bag' x
		run on "$node" verify
		[[ $status -eq 1 && $output == *'webstore.db/bag/'* ]] || fail "status $status: $output"
		sql "$T/B/webstore.db" 'DELETE FROM bag WHERE rowid = (SELECT max(rowid) FROM bag)'
		sync_now B
		sync_now A
		same_roots datastore A B
		run on "$node" verify --repair --yes
		[ "$status" -eq 0 ] || fail "status $status: $output"
		wait_same
	done
	[[ $(sql "$T/A/webstore.db" 'SELECT count(*) FROM bag') -eq 1 ]]
	check_databases
}

@test "rot stays known when its table gets a column, and gives way to the row as the others have it" {
	begin_with_rot_at A
	start_webserver B
	sync_now B
	for name in A B; do
		sql "$T/$name/webstore.db" "ALTER TABLE history ADD COLUMN more TEXT DEFAULT 'm'"
		sync_now "$name"
	done
	wait_same
	[[ $(history_of datastore) == 'search for rot' ]] || fail "$(history_of datastore)"
}

@test "rot stays known while its table is excluded" {
	begin_with_rot_at A
	stop A
	write_config A '[store "webstore.db"]' 'Exclude=history'
	start_webserver A
	sql "$T/A/webstore.db" "INSERT INTO preferences VALUES(7, 'theme', 'dark')"
	sync_now A
	stop A
	write_config A
	start_webserver A
	sync_now A
	sync_now A
	[[ $(history_of datastore) == 'search for rot' ]] || fail "$(history_of datastore)"
	repairs A 'the datastore'
}

@test "rot in a key at the datastore keeps nobody from writing to the row, though it has a UNIQUE value of it" {
	fill A
	start_datastore
	start_webserver A
	sql "$T/A/webstore.db" "CREATE TABLE k(id TEXT PRIMARY KEY, name TEXT UNIQUE, v); INSERT INTO k VALUES('first-key', 'its name', 1), ('second-key', '', 1)"
	wait_same datastore A
	rot datastore webstore.db first-key e
	run on datastore verify
	[[ $status -eq 1 && $output == *k/eirst-key:* && $output == *k/first-key:* ]] || fail "status $status: $output"
	sql "$T/A/webstore.db" "UPDATE k SET v = 2 WHERE id = 'first-key'"
	wait_same datastore A
	[[ $(conflicts datastore 'map(.path)') == *k/eirst-key* ]] || fail "$(conflicts datastore)"
	check_databases

	rot datastore webstore.db first-key g
	run on datastore verify --repair --yes
	[[ $status -eq 0 && $output == *k/first-key:\ repaired* && $output == *k/girst-key:\ repaired* ]] || fail "status $status: $output"
	wait_same datastore A
	check_databases
}

@test "a page that rotted is named, in one line, and no row of it is taken for deleted" {
	local at
	fill A
	sql "$T/A/webstore.db" "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
		INSERT INTO dashboards SELECT 'many-' || i, 1, 'number ' || i || ' of them', NULL, NULL FROM n"
	start_datastore
	start_webserver A
	wait_same datastore A
	wait_for 'it to be in the file' in_the_file "$T/A/webstore.db" 'number 200 of them'
	on A verify
	at=$(grep -abo 'number 200 of them' "$T/A/webstore.db" | cut -d: -f1)
	dd if=/dev/zero of="$T/A/webstore.db" bs=4096 count=1 seek=$((at / 4096)) conv=notrunc status=none
	run on A verify
	[[ $status -eq 1 && ${#lines[@]} -eq 2 && $output == *'its pages, for sound: '*Page* ]] || fail "status $status: $output"
	sql "$T/A/webstore.db" "INSERT INTO history VALUES(x'00fe', 7, 'another')"
	sync_now A
	[[ $(sql "$T/datastore/webstore.db" 'SELECT count(*) FROM dashboards') -eq 302 ]]
	on A status | grep -q 'put a good copy in its place' || fail "$(on A status)"
}

@test "rot in an index, by which a row is not found that is there" {
	fill A
	start_datastore
	start_webserver A
	sql "$T/A/webstore.db" "INSERT INTO dashboards VALUES('indexed-key', 1, 'old', NULL, NULL)"
	wait_same datastore A
	ONLY='tail -n 1' rot datastore webstore.db indexed-key j
	run on datastore verify
	[[ $status -eq 1 && $output == 'webstore.db: SQLite does not take its indexes'*'missing from index'* ]] || fail "status $status: $output"
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'new' WHERE id = 'indexed-key'"
	sync_now A
	on datastore status | grep -q 'makes indexes anew' || fail "$(on datastore status)"
	run on datastore verify --repair --yes
	[[ $status -eq 0 && $output == *'webstore.db: repaired, from its rows'* ]] || fail "status $status: $output"
	wait_same datastore A
	[[ $(sql "$T/datastore/webstore.db" "SELECT title FROM dashboards WHERE id = 'indexed-key'") == new ]]
	check_databases
}

@test "other exclusions while a repair waits for another node: they hold when it is over, and the datastore goes on" {
	local repair
	begin_with_rot_at datastore
	kill -STOP "${PID[A]}"
	admin datastore /api/admin/repair -d "{\"path\":\"$ROW\"}" >"$T/repair" 3>&- &
	repair=$!
	sleep 1 # it asks A
	printf '%s\n' '[store "resources"]' 'Exclude=*.tmp' >>"$T/datastore.conf"
	kill -HUP "${PID[datastore]}"
	sleep 1
	kill -CONT "${PID[A]}"
	wait_for 'the exclusions to hold' grep -q 'resources: 1 exclusions hold from now on' "$T/datastore.log"
	wait "$repair"
	jq -e .rotten "$T/repair" || fail "$(cat "$T/repair")"
	[[ $(history_of datastore) == 'search for rot' ]]
	wait_same datastore A
}
