#!/usr/bin/env bats
# [store "name"]: any further database or directory tree, on the same code as the fixed three; what is excluded; whose new entries are.

# shellcheck disable=SC2154 # keys of PID

load lib

# NODE STORE KIND [LINE...]: a section in its configuration, with a path below the node's directory
section() {
	local node=$1 name=$2 kind=$3 key=Path
	shift 3
	[[ $node != datastore ]] || key=Datastore-Path
	printf '%s\n' "[store \"$name\"]" "Kind=$kind" "$key=\"$T/$node/$name.here\"" "$@" >>"$T/$node.conf"
}

# NODE STORE LINE: to the section of one of the fixed stores, which has to be the last one of its name
extend() {
	printf '%s\n' "[store \"$2\"]" "$3" >>"$T/$1.conf"
}

restart_datastore() {
	stop datastore
	start_datastore
}

status_word() { # NODE FILTER
	"$BIN/sameroot" status -c "$T/$1.conf" --json 2>/dev/null | jq -er "$2"
}

@test "a further database and a further tree, in paths with spaces, percent signs, UTF-8 and many bytes" {
	long=$(printf 'x%.0s' {1..200})
	for node in datastore A B; do
		key=Path
		[[ $node != datastore ]] || key=Datastore-Path
		printf '%s\n' '[store "Wiki-2.db"]' 'Kind=sqlite' "$key=\"$T/$node/a wiki %41 'n' näher/wiki.db\"" \
			'[store "up.loads"]' 'Kind=files' "$key=$T/$node/$long/$long/up loads" \
			'[store "empty"]' 'Kind=files' "$key=$T/$node/empty" >>"$T/$node.conf"
	done
	fill A
	wiki="a wiki %41 'n' näher/wiki.db" up="$long/$long/up loads"
	mkdir -p "$T/A/${wiki%/*}" "$T/A/$up/a b" "$T/A/empty"
	sql "$T/A/$wiki" "PRAGMA journal_mode=wal; CREATE TABLE \"näher %41\"(\"a b\" TEXT PRIMARY KEY, x); INSERT INTO \"näher %41\" VALUES('ä %20', 1), ('', 2);" >/dev/null
	echo one >"$T/A/$up/a b/100% näher"
	start_datastore
	rounds A B
	assert_same
	for node in datastore B; do
		[ "$(dump_db "$T/$node/$wiki")" = "$(dump_db "$T/A/$wiki")" ]
		[ "$(tree_sum "$T/$node/$up")" = "$(tree_sum "$T/A/$up")" ]
		[ -d "$T/$node/empty" ]
	done
	sql "$T/B/$wiki" "DELETE FROM \"näher %41\" WHERE x = 2; UPDATE \"näher %41\" SET x = 3"
	echo two >"$T/B/$up/a b/100% näher"
	rounds B A
	[ "$(dump_db "$T/A/$wiki")" = "$(dump_db "$T/B/$wiki")" ]
	[ "$(cat "$T/datastore/$up/a b/100% näher")" = two ]
	"$BIN/sameroot" ls -c "$T/A.conf" 'up.loads/a%20b' | grep -q '100%25%20n%C3%A4her'
	status_word datastore '[.stores[].name] | index("Wiki-2.db", "up.loads", "empty")' >/dev/null
}

@test "what becomes excluded is no longer pushed, pulled or deleted; when that is lifted, things go on with the old base" {
	fill A
	mkdir -p "$T/A/resources/img/cache/deep"
	echo v1 | tee "$T/A/resources/img/cache/deep/page" >"$T/A/resources/x.tmp"
	start_datastore
	rounds A B
	assert_same
	cp "$T/datastore.conf" "$T/before.conf"
	extend datastore resources $'Exclude=cache/\nExclude=/*.tmp'
	extend datastore webstore.db Exclude=HISTORY
	restart_datastore

	echo v2 >"$T/A/resources/img/cache/deep/page"
	echo new >"$T/A/resources/img/cache/new"
	rm "$T/A/resources/x.tmp"
	rm -r "$T/B/resources/img/cache"
	sql "$T/A/webstore.db" "INSERT INTO history VALUES(x'0a', 7, 'mine'); UPDATE history SET query = 'edited' WHERE id = x'0001'"
	sql "$T/B/webstore.db" "DELETE FROM history WHERE id = x'0002'"
	echo changed >"$T/A/resources/hosts.csv"
	sql "$T/B/webstore.db" "DELETE FROM dashboards WHERE id = 'd-2'"
	rounds A B A B
	[ "$(cat "$T/B/resources/hosts.csv")" = changed ]
	[ "$(sql "$T/A/webstore.db" 'SELECT count(*) FROM dashboards')" -eq 1 ]
	[ "$(cat "$T/datastore/resources/img/cache/deep/page")" = v1 ]
	[ "$(cat "$T/datastore/resources/x.tmp")" = v1 ]
	[ "$(cat "$T/B/resources/x.tmp")" = v1 ]
	[ "$(cat "$T/A/resources/img/cache/deep/page")" = v2 ]
	[ ! -e "$T/B/resources/img/cache" ]
	[ ! -e "$T/datastore/resources/img/cache/new" ]
	[ "$(sql "$T/datastore/webstore.db" 'SELECT count(*) FROM history')" -eq 2 ]
	[ "$(sql "$T/A/webstore.db" 'SELECT count(*) FROM history')" -eq 3 ]
	[ "$(sql "$T/B/webstore.db" 'SELECT count(*) FROM history')" -eq 1 ]
	run "$BIN/sameroot" diff -c "$T/A.conf"
	echo "$output"
	[ "$status" -eq 0 ]

	cp "$T/before.conf" "$T/datastore.conf"
	edit_config datastore Datastore-Port= "Datastore-Port=$DATASTORE_PORT"
	restart_datastore
	rounds A B A
	assert_same
	[ "$(cat "$T/B/resources/img/cache/deep/page")" = v2 ] # A's edit beats B's deletion: B saw it later
	[ "$(cat "$T/B/resources/img/cache/new")" = new ]
	[ ! -e "$T/B/resources/x.tmp" ]
	[ "$(sql "$T/B/webstore.db" 'SELECT group_concat(query) FROM (SELECT query FROM history ORDER BY id)')" = edited,mine ]
}

@test "a webserver that comes later does not get what is excluded, and may delete the directory around it" {
	fill A
	mkdir "$T/A/resources/docs"
	echo old | tee "$T/A/resources/docs/x.tmp" >"$T/A/resources/docs/page"
	start_datastore
	rounds A
	extend datastore resources 'Exclude=*.tmp'
	extend datastore webstore.db 'Exclude=pref*'
	restart_datastore
	rounds B A
	[ -e "$T/B/resources/docs/page" ]
	[ ! -e "$T/B/resources/docs/x.tmp" ]
	[ "$(sql "$T/B/webstore.db" 'SELECT count(*) FROM preferences')" -eq 0 ] # made, for the application, but not filled
	rm -r "$T/B/resources/docs"
	rounds B A B
	[ ! -e "$T/A/resources/docs/page" ]
	[ ! -e "$T/datastore/resources/docs/page" ]
	[ "$(cat "$T/A/resources/docs/x.tmp")" = old ]
	[ "$(cat "$T/datastore/resources/docs/x.tmp")" = old ]
	rm -r "$T/A/resources/docs" # with what is excluded, and in the tree: it stays there
	rounds A B
	[ "$(cat "$T/datastore/resources/docs/x.tmp")" = old ]
	run "$BIN/sameroot" diff -c "$T/B.conf"
	echo "$output"
	[ "$status" -eq 0 ]
	mkdir "$T/datastore/resources/docs/empty"
	restart_datastore
	run "$BIN/sameroot" diff -c "$T/B.conf"
	[ "$(wc -l <<<"$output")" -eq 3 ] # and a word about the daemon; the directory, and the one in which it is
	[[ $output == *resources/docs/empty* ]]
	rm -r "$T/datastore/resources/docs" # all of it: what is excluded is unknown, and stays in the tree with the way to it
	restart_datastore
	[ "$(api datastore '/api/tree/list?path=resources/docs' | jq -r '.entries[].path')" = resources/docs/x.tmp ]
}

@test "a reload of the datastore reaches running webservers with their next check-in, a webserver's own list adds to it" {
	fill A
	start_all
	wait_same
	cp "$T/datastore.conf" "$T/before.conf"
	root=$(root_of datastore)
	extend datastore resources 'Exclude=*.tmp'
	extend A resources 'Exclude=mine'
	kill -HUP "${PID[datastore]}" "${PID[A]}"
	wait_for 'it is told' eval '[[ $(api datastore /api/tree | jq ".stores[] | select(.exclude)") ]]'
	[ "$(root_of datastore)" = "$root" ]
	echo a >"$T/A/resources/a.tmp"
	echo a >"$T/A/resources/mine"
	echo b >"$T/B/resources/mine"
	echo b >"$T/B/resources/b.tmp"
	echo b >"$T/A/resources/done"
	sync_now B
	sync_now A
	wait_for 'the rest travels' test -e "$T/B/resources/done"
	sync_now B
	sync_now A
	[ "$(cd "$T/datastore/resources" && echo *.tmp mine)" = '*.tmp mine' ]
	[ "$(cat "$T/A/resources/mine" "$T/datastore/resources/mine" "$T/B/resources/mine")" = $'a\nb\nb' ]
	[ ! -e "$T/B/resources/a.tmp" ]
	status_of A '.in_sync' && status_of B '.in_sync'
	status_of A '[.stores[].unknown[] | select(.why == "excluded").path] == ["resources/a.tmp", "resources/mine"]'

	printf '[nonsense\n' >>"$T/datastore.conf"
	kill -HUP "${PID[datastore]}"
	wait_for 'it is refused' grep -q 'new configuration is refused' "$T/datastore.log"
	cp "$T/before.conf" "$T/datastore.conf"
	edit_config A Exclude= '# none'
	kill -HUP "${PID[datastore]}" "${PID[A]}"
	wait_same
	[ "$(cat "$T/B/resources/a.tmp" "$T/A/resources/b.tmp" "$T/A/resources/mine")" = $'a\nb\nb' ]
	[ "$(conflicts A length)" -eq 1 ] # its own version of `mine`
}

@test "Owner and Group: new files, directories and databases; what is replaced keeps its own" {
	[[ $EUID -eq 0 ]] || skip 'it takes root to give files away'
	fill A
	for node in datastore B; do
		extend $node resources $'Owner=65533\nGroup=65532'
		extend $node users.db $'Owner=65533\nGroup=65532'
		edit_config $node "$([[ $node == B ]] || echo Datastore-)User-DB-Path" "$([[ $node == B ]] || echo Datastore-)User-DB-Path=$T/$node/made/here/users.db"
	done
	start_datastore
	rounds A B
	for node in datastore B; do
		for path in resources/hosts.csv resources/img resources/img/logo resources/empty made/here/users.db made made/here; do
			[ "$(stat -c %u:%g "$T/$node/$path")" = 65533:65532 ] || fail "$node/$path: $(stat -c %u:%g "$T/$node/$path")"
		done
		[ "$(stat -c %u:%g "$T/$node/webstore.db")" = 0:0 ]
	done
	python3 - "$T/B/made/here/users.db" <<-'END' # -wal and -shm go to the same, whoever writes first
		import os, sqlite3, sys
		db = sqlite3.connect(sys.argv[1])
		db.execute("UPDATE users SET email = 'x' WHERE uid = 2")
		db.commit()
		for end in ("-wal", "-shm"):
		    found = os.stat(sys.argv[1] + end)
		    assert (found.st_uid, found.st_gid) == (65533, 65532), (end, found)
	END
	chown 1234:4321 "$T/B/resources/hosts.csv"
	chown 1234 "$T/datastore/resources/img"
	echo changed >"$T/A/resources/hosts.csv"
	chmod 700 "$T/A/resources/img"
	mkdir "$T/A/resources/more"
	rounds A B
	[ "$(cat "$T/B/resources/hosts.csv")" = changed ]
	[ "$(stat -c %u:%g "$T/B/resources/hosts.csv")" = 1234:4321 ]
	[ "$(stat -c %a:%u:%g "$T/datastore/resources/img")" = 700:1234:65532 ]
	[ "$(stat -c %u:%g "$T/B/resources/more")" = 65533:65532 ]
}

@test "a store on one side only, or of another kind there: said so, and nothing else is disturbed" {
	section datastore ours files
	section datastore aside files
	section A mine sqlite
	section B ours sqlite
	printf '%s\n' '[store "aside"]' 'Kind=files' "Datastore-Path=$T/nowhere" >>"$T/A.conf" # known, and not held
	printf '%s\n' '[store "aside"]' 'Kind=files' "Datastore-Path=$T/nowhere" >>"$T/B.conf"
	fill A
	mkdir -p "$T/datastore/ours.here"
	sql "$T/A/mine.here" 'CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES(1)'
	sql "$T/B/ours.here" 'CREATE TABLE t(id INTEGER PRIMARY KEY); INSERT INTO t VALUES(1)'
	echo file >"$T/datastore.file"
	start_datastore
	for node in A B; do
		run once $node
		[ "$status" -eq 1 ]
	done
	run once A
	snapshot A && snapshot datastore && snapshot B
	cmp "$T/A.snapshot" "$T/datastore.snapshot"
	cmp "$T/A.snapshot" "$T/B.snapshot"
	[ "$(sql "$T/B/ours.here" 'SELECT count(*) FROM t')" -eq 1 ]
	start_webserver A B
	wait_for 'a round' rounds_over A 1
	wait_for 'a round' rounds_over B 1
	for node in A B; do
		run "$BIN/sameroot" status -c "$T/$node.conf"
		echo "$output"
		[ "$status" -eq 1 ]
		[[ $output != *aside* ]]
		[ $node = A ] || [[ $output == *'of another kind at the datastore'* ]]
		[ $node = B ] || [[ $output == *'the datastore has no store of this name'* && $output == *'the datastore has this store, the configuration here does not name it'* ]]
	done
}

@test "a store that is taken out of the configuration and comes back; one that comes back as another kind" {
	for node in datastore A B; do
		cp "$T/$node.conf" "$T/$node.without"
		section $node shop sqlite
		cp "$T/$node.conf" "$T/$node.with"
	done
	put_back() { # WHICH
		for node in datastore A B; do cp "$T/$node.$1" "$T/$node.conf"; done
		edit_config datastore Datastore-Port= "Datastore-Port=$DATASTORE_PORT"
	}
	fill A
	sql "$T/A/shop.here" 'CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t VALUES(1, 1), (2, 2), (3, 3)'
	start_datastore
	rounds A B
	put_back without
	restart_datastore
	sql "$T/A/shop.here" 'DELETE FROM t WHERE id = 1; UPDATE t SET x = 20 WHERE id = 2'
	sql "$T/B/shop.here" 'UPDATE t SET x = 30 WHERE id = 3'
	rounds A B
	[ "$(sql "$T/datastore/shop.here" 'SELECT group_concat(x) FROM t')" = 1,2,3 ]
	put_back with
	restart_datastore
	rounds A B A
	for node in datastore A B; do [ "$(sql "$T/$node/shop.here" 'SELECT group_concat(x) FROM t')" = 20,30 ]; done

	# An epoch that rose meanwhile is a past of which its bases know nothing: a union, in which what loses is archived
	put_back without
	restart_datastore
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	rounds A B
	[ "$(sql "$T/A/state/state.db" "SELECT base_known FROM store WHERE name = 'shop'")" -eq 2 ] # unknown, and absent until then
	sql "$T/datastore/shop.here" 'UPDATE t SET x = 21 WHERE id = 2'
	put_back with
	restart_datastore
	rounds A B A
	for node in datastore A B; do [ "$(sql "$T/$node/shop.here" 'SELECT group_concat(x) FROM t')" = 21,30 ]; done
	[ "$(conflicts A length)" -eq 1 ]

	sed -i 's/^Kind=sqlite/Kind=files/' "$T/A.conf"
	run once A
	echo "$output$(cat "$T/A.once")"
	[ "$status" -eq 78 ]
	grep -q 'store shop: .*another name' "$T/A.once"
}

swap() { # NODE: its two databases, with their logs
	local end
	for end in '' -wal -shm; do
		[[ ! -e $T/$1/users.db$end ]] || mv "$T/$1/users.db$end" "$T/$1/aside$end"
		[[ ! -e $T/$1/webstore.db$end ]] || mv "$T/$1/webstore.db$end" "$T/$1/users.db$end"
		[[ ! -e $T/$1/aside$end ]] || mv "$T/$1/aside$end" "$T/$1/webstore.db$end"
	done
}

@test "two databases were swapped, on a webserver and on the datastore: paused, nothing of one goes into the other" {
	begin
	snapshot A >"$T/before"
	swap B
	once B && fail 'it did not see it'
	grep -q 'store users.db is paused: in its place lies another store: webstore.db' "$T/B.once"
	grep -q 'store webstore.db is paused: in its place lies another store: users.db' "$T/B.once"
	swap B
	rounds B A
	stop datastore
	swap datastore
	start_datastore
	"$BIN/sameroot" status -c "$T/datastore.conf" | grep -q 'in its place lies another store: users.db' || fail 'the datastore does not say so'
	once A && fail 'it was in sync with a swapped datastore'
	stop datastore
	run "$BIN/sameroot-restore" datastore -c "$T/datastore.conf" --from-files --users-db "$T/A/webstore.db" --yes
	[ "$status" -eq 64 ]
	[[ $output == *'it is a copy of the store webstore.db, not of users.db'* ]]
	swap datastore
	start_datastore
	rounds A B
	assert_same
	snapshot A | diff "$T/before" -
	[ "$(status_of datastore .epoch)" -eq 1 ]
}

@test "a store that cannot be marked is paused, on either side, with what to do; the others go on, and it does when that is done" {
	local in_its_way='DROP TABLE _sameroot_meta; CREATE VIEW _sameroot_meta AS SELECT 1 AS a'
	begin
	epoch=$(status_of datastore .epoch)
	stop datastore
	sql "$T/datastore/users.db" "$in_its_way"
	start_datastore
	sql "$T/A/users.db" "UPDATE users SET email = 'meanwhile' WHERE uid = 1"
	sql "$T/A/webstore.db" "UPDATE dashboards SET title = 'meanwhile' WHERE id = 'd-1'"
	round A B A B
	[ "$(sql "$T/B/webstore.db" "SELECT title FROM dashboards WHERE id = 'd-1'")" = meanwhile ]
	[ "$(status_of datastore .epoch)" = "$epoch" ]
	status_word datastore '.status.paused | length == 1 and (.[0].store == "users.db") and (.[0].why | contains("marker has no place"))
		and (.[0].command | contains("_sameroot_meta"))'
	sql "$T/datastore/users.db" 'DROP VIEW _sameroot_meta'
	kill -USR1 "${PID[datastore]}"
	wait_for 'the datastore goes on with it' status_word datastore '.status.paused == []'
	rounds A B A B
	everywhere 'SELECT email FROM users WHERE uid = 1' meanwhile
	rm -r "$T/B/resources/.sameroot"
	echo 'in the way' >"$T/B/resources/.sameroot"
	sql "$T/B/users.db" "UPDATE users SET email = 'from B' WHERE uid = 1"
	echo new >"$T/A/resources/new"
	round B A B
	everywhere 'SELECT email FROM users WHERE uid = 1' 'from B'
	api datastore /api/webservers | jq -e '[.[].status.paused[]] | length == 1 and (.[0].store == "resources") and (.[0].why | contains("marker has no place"))'
	[ ! -e "$T/B/resources/new" ]
	rm "$T/B/resources/.sameroot"
	rounds B A B
	assert_same
}
