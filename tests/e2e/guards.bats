#!/usr/bin/env bats
# The guards (design section 8): what is held says so on both sides, with the command that resolves it; and that command, after a look at what it will do.

# shellcheck disable=SC2154 # keys of PID

load lib

# NODE COMMAND...: `sameroot` on that node; what it says in $output
tool() {
	local node=$1
	shift
	run "$BIN/sameroot" "$@" -c "$T/$node.conf" </dev/null
}

says() { # WORD...
	local word
	for word; do [[ $output == *"$word"* ]] || fail "no '$word' in: $output" || return 1; done
}

# The datastore is another one, with its own stores: a foreign history.
replace_datastore() {
	stop datastore
	mv "$T/datastore" "$T/old-datastore"
	mkdir "$T/datastore"
	start_datastore
}

# NAME...: a round of each is held
held() {
	local name
	for name; do
		run once "$name"
		[ "$status" -eq 1 ] || fail "$name: status $status: $(<"$T/$name.once")"
	done
}

# --- status -------------------------------------------------------------------------------------------------------------

@test "what is held on a webserver, or paused, is shown on the datastore too, with the command, until it is resolved" {
	begin
	tool datastore status
	[ "$status" -eq 0 ]
	mv "$T/B/resources" "$T/unmounted"
	round B A
	tool datastore status
	[ "$status" -eq 1 ]
	says '127.0.0.1:' ': resources' 'lost: nothing is there' 'since' 'sameroot-restore webserver --from-datastore --store resources' 'put it back'
	mv "$T/unmounted" "$T/B/resources"
	rounds B
	tool datastore status
	[ "$status" -eq 0 ] || fail "$output"
	replace_datastore
	held A
	tool datastore status
	[ "$status" -eq 1 ]
	says 'round' 'held: the datastore'"'"'s history is foreign' 'sameroot adopt --union' 'sameroot adopt --mirror'
	api datastore /api/webservers | jq -e '.[0].status | .held[0].command and .held[0].since_ms > 0 and .conflicts.entries == 0 and .paused == []'
	snapshot A
	tool datastore adopt --union
	[ "$status" -eq 64 ]
	says 'becomes its predecessor: webserver 127.0.0.1' 'will be raised to 2' '--yes' 'users.db'
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	rounds A B
	tool datastore status
	[ "$status" -eq 0 ] || fail "$output"
	assert_same
	[ "$(value datastore 'SELECT count(*) FROM users')" = 3 ]
}

@test "a datastore that lost its secret says so; with a webserver's in its place they go on" {
	begin
	cp "$T/control-auth" "$T/A-auth"
	edit_config A Control-Auth-File= "Control-Auth-File=$T/A-auth"
	stop datastore
	rm "$T/control-auth"
	start_datastore
	grep -q 'warn.* made a new secret, .*control-auth, beside a history that is there' "$T/datastore.log"
	run once A
	[ "$status" -ne 0 ]
	grep -q "the secret is wrong: it is not this node's Control-Auth" "$T/A.once"
	stop datastore
	cp "$T/A-auth" "$T/control-auth"
	start_datastore
	rounds A
}

foreseen() { # the datastore waits, and so many have asked it
	tool datastore adopt --union
	[ "$(grep -c 'becomes its predecessor: webserver ' <<<"$output")" = "$1" ]
}

@test "a datastore with content and no history: one adopt --union founds it, and lets in who asked meanwhile, and who was started meanwhile" {
	begin
	start_webserver A
	wait_for 'a round' rounds_over A 1
	stop datastore
	mv "$T/datastore" "$T/old"
	mkdir -p "$T/datastore/resources"
	cp "$T/old/resources/hosts.csv" "$T/datastore/resources"
	echo own >"$T/datastore/resources/own"
	printf 'no database, but bytes' >"$T/datastore/webstore.db"
	launch datastore "$BIN/sameroot-datastore" -c "$T/datastore.conf"
	wait_for 'it waits for a store' grep -q 'founding: store webstore.db: corrupt' "$T/datastore.log"
	tool datastore status
	[ "$status" -eq 1 ]
	output=$(tr -s ' ' <<<"$output")
	says 'webstore.db sqlite paused - - ' 'resources files waiting - - ' 'put a good copy in its place'
	tool datastore adopt --union --yes
	[ "$status" -eq 75 ]
	says 'it is paused, and nothing is founded before it is well: corrupt'
	rm "$T/datastore/webstore.db"
	wait_for 'it waits for the word' grep -q 'does not know whose it is.*adopt --union` on the datastore' "$T/datastore.log"
	wait_for 'A asks' foreseen 1
	start_webserver B
	wait_for 'B asks' foreseen 2
	says 'no history yet' 'not counted yet'
	[[ $output != *'0 leaves'* && $output != *'No webserver is known'* ]] || fail "$output"
	tool datastore status
	[ "$status" -eq 1 ]
	output=$(tr -s ' ' <<<"$output")
	says 'resources files waiting - - ' 'users.db sqlite new - - ' 'datastore founding: store resources has content' 'since 20' \
		'`sameroot adopt --union` on the datastore starts from what lies' '`sameroot-restore datastore --from https://WEBSERVER:9406`'
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	wait_same
	[ "$(cat "$T/A/resources/own")" = own ]
	[ "$(value datastore 'SELECT count(*) FROM users')" = 3 ]
}

# --- adopt --mirror ---------------------------------------------------------------------------------------------------------

archived_rows() { # NAME REASON: the names of users in the archive
	conflicts "$1" "[.[] | select(.reason == \"$2\" and .kind == \"row\") | .columns.name // .columns.title // empty] | sort | join(\",\")" | tr -d '"'
}

# Another datastore, which has the sample data, but one row of another value, one more and one less, and so with files.
other_datastore() {
	begin
	replace_datastore
	write_config C
	fill C
	sql "$T/C/users.db" "UPDATE users SET email = 'theirs' WHERE uid = 1; INSERT INTO users VALUES(9, 'Theirs', NULL, 0);
		DELETE FROM members WHERE uid = 2; DELETE FROM users WHERE uid = 2"
	echo theirs >"$T/C/resources/hosts.csv"
	echo theirs >"$T/C/resources/theirs"
	rounds C
	assert_same datastore C
}

@test "adopt --mirror on a webserver that is held: it becomes what the other datastore is, and what it had lies in the archive" {
	other_datastore
	echo mine >"$T/A/resources/mine"
	value A "UPDATE users SET email = 'mine' WHERE uid = 3; INSERT INTO users VALUES(4, 'Mine', NULL, 0)"
	value A "CREATE TABLE own(id INTEGER PRIMARY KEY, title TEXT); INSERT INTO own VALUES(1, 'own')"
	held A B
	tool A adopt --mirror
	[ "$status" -eq 64 ]
	grep -E '^users.db +[0-9]+ +5 +1 +2' <<<"$output" # only here: Bert, his membership, Mine, and the table with its row; different: Ada, Carol
	says 'Every store of this webserver will be what the datastore has' "$T/A/state/archive" '--yes'
	tool A adopt --mirror --store nothing --yes
	[ "$status" -eq 64 ]
	tool datastore adopt --mirror --yes
	[ "$status" -eq 64 ]
	tool A adopt --mirror --yes
	[ "$status" -eq 0 ] || fail "$output"
	rounds A
	EXCEPT=own assert_same datastore C A
	[ "$(archived_rows A mirror)" = Ada,Bert,Carol,Mine,own ]
	[ "$(value A 'SELECT count(*) FROM own')" = 0 ]
	for file in mine hosts.csv; do
		id=$(conflicts A ".[] | select(.path == \"resources/$file\" and .reason == \"mirror\") | .id" | tr -d '"')
		[ -s "$(archived A "$id")" ] || fail "$file is not in the archive: $(conflicts A)"
	done
	[ "$(cat "$(archived A "$(conflicts A '.[] | select(.path == "resources/mine") | .id' | tr -d '"')")")" = mine ]
	held B # it was not asked
	value A "UPDATE users SET email = 'goes on' WHERE uid = 9"
	rounds A
	round C A # C does not have the table
	[ "$(value C 'SELECT email FROM users WHERE uid = 9')" = 'goes on' ]
	[ "$(conflicts A length)" -eq "$(conflicts A '[.[] | select(.reason == "mirror")] | length')" ]
	check_databases
}

@test "adopt --mirror on a webserver that is held, with a database that has tables and no row on either side" {
	write_config C
	for name in A C; do
		fill $name
		sql "$T/$name/webstore.db" 'DELETE FROM dashboards; DELETE FROM preferences; DELETE FROM history'
	done
	start_datastore
	rounds A
	replace_datastore
	value C "UPDATE users SET email = 'theirs' WHERE uid = 1"
	rounds C
	held A
	sql "$T/A/webstore.db" "INSERT INTO history VALUES(x'01', 1, 'mine')"
	tool A adopt --mirror --yes
	[ "$status" -eq 1 ]
	says 'refused: store webstore.db is empty at the datastore, and not here'
	held A
	sql "$T/A/webstore.db" 'DELETE FROM history'
	tool A adopt --mirror --yes
	[ "$status" -eq 0 ] || fail "$output"
	rounds A
	assert_same datastore A C
	[ "$(value A 'SELECT email FROM users WHERE uid = 1')" = theirs ]
}

@test "adopt --mirror is refused by a store that is empty at the datastore, and --store takes the others" {
	begin
	start_webserver A
	wait_for 'a round' rounds_over A 1
	sed -i 's/^\[global\]$/&\nMax-Delete-Percent=100/' "$T"/*.conf
	replace_datastore
	sync_now A
	tool A adopt --mirror --yes
	[ "$status" -eq 1 ]
	says 'refused: store users.db is empty at the datastore, and not here' '--store NAME'
	tool A adopt --mirror --store resources --yes
	[ "$status" -eq 1 ]
	admin A /api/admin/adopt -f -d '{"what": "mirror", "store": null}' # as if the datastore had been emptied after the command had looked
	sync_now A
	sync_now A
	[ "$(value A 'SELECT count(*) FROM users')" = 3 ]
	grep -q 'mirror is refused: store users.db is empty at the datastore' "$T/A.log"
	tool A status
	[ "$status" -eq 1 ]
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	sync_now A
	wait_same datastore A
	stop A
	# of one store alone; the others go on as ever
	value A "UPDATE users SET email = 'mine' WHERE uid = 1"
	sql "$T/A/webstore.db" "INSERT INTO dashboards VALUES('mine', 1, 'Mine', NULL, 1)"
	tool A adopt --mirror --store webstore.db --yes
	[ "$status" -eq 0 ]
	rounds A
	[ "$(sql "$T/A/webstore.db" "SELECT count(*) FROM dashboards WHERE id = 'mine'")" = 0 ]
	[ "$(archived_rows A mirror)" = Mine ]
	[ "$(value datastore 'SELECT email FROM users WHERE uid = 1')" = mine ]
	assert_same datastore A
	rounds A
	sql "$T/A/webstore.db" "INSERT INTO dashboards VALUES('later', 1, 'Later', NULL, 1)"
	rounds A # it was once, and is over
	[ "$(sql "$T/datastore/webstore.db" "SELECT count(*) FROM dashboards WHERE id = 'later'")" = 1 ]
}

# The datastore is what it was when it was kept.
keep_datastore() {
	stop datastore
	cp -a "$T/datastore" "$T/kept"
	start_datastore
}

roll_back_datastore() {
	stop datastore
	rm -r "${T:?}/datastore"
	mv "$T/kept" "$T/datastore"
}

@test "adopt --mirror goes back to an older image of the datastore, also to one that went another way since" {
	begin
	keep_datastore
	value A "UPDATE users SET email = 'given up' WHERE uid = 1; INSERT INTO users VALUES(10, 'Later', NULL, 0); DELETE FROM users WHERE uid = 3"
	echo 'given up' >"$T/A/resources/hosts.csv"
	rounds A B
	roll_back_datastore
	start_datastore
	held A B
	grep -q 'history is ahead' "$T/A.once"
	tool A adopt --mirror --yes
	[ "$status" -eq 0 ]
	rounds A
	assert_same datastore A
	[ "$(value A 'SELECT group_concat(uid || email) FROM users')" = '1ada@example.org,3c@example.org' ]
	[ "$(archived_rows A mirror)" = Ada,Later ]
	value A "UPDATE users SET email = 'goes on' WHERE uid = 1" # and so the datastore is as far as B was, with another root
	rounds A
	held B
	grep -q 'history is fork' "$T/B.once"
	tool B adopt --mirror --yes
	rounds B A
	assert_same
	everywhere 'SELECT email FROM users WHERE uid = 1' 'goes on'
}

@test "after adopt --mirror nothing of the history that was given up passes for newer, though it lay where it could not be mirrored" {
	begin
	keep_datastore
	echo 'given up' >"$T/A/resources/hosts.csv"
	value A "UPDATE users SET email = 'given up' WHERE uid = 1"
	rounds A
	value A "UPDATE users SET email = 'given up, too' WHERE uid = 1"
	rounds A B A
	roll_back_datastore
	start_datastore
	held A B
	mv "$T/A/resources" "$T/unmounted"
	tool A adopt --mirror --yes
	tool B adopt --mirror --yes
	round A
	rounds B
	echo new >"$T/B/resources/hosts.csv"
	rounds B
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf"
	rounds B
	mv "$T/unmounted" "$T/A/resources"
	rounds A B
	assert_same
	[ "$(cat "$T/datastore/resources/hosts.csv")" = new ]
	conflicts A | grep -q 'resources/hosts.csv'
}

@test "adopt --mirror says which stores cannot be had from the datastore, and is refused where that is all of them" {
	begin
	value A "UPDATE users SET email = 'mine' WHERE uid = 1"
	mv "$T/datastore/webstore.db" "$T/kept"
	sql "$T/kept" 'PRAGMA wal_checkpoint(TRUNCATE)' >/dev/null
	rm -f "$T"/datastore/webstore.db-*
	paused_there() { [[ $(status_of datastore '[.stores[] | select(.mode == "paused") | .name] | join(",")') == "$1" ]]; }
	wait_for 'it is paused there' paused_there webstore.db
	tool A adopt --mirror
	says 'Store webstore.db is not mirrored: it is paused at the datastore: lost' 'Every other store of this webserver will be what the datastore has'
	grep -Eq '^webstore.db +- +- +- +- +it is paused' <<<"$output" || fail "$output"
	tool A adopt --mirror --store webstore.db --yes
	[ "$status" -eq 1 ]
	says 'refused: store webstore.db: it is paused at the datastore: lost'
	mv "$T/datastore/users.db" "$T/kept-users"
	mv "$T/datastore/resources" "$T/kept-resources"
	wait_for 'all are paused there' paused_there users.db,webstore.db,resources
	tool A adopt --mirror --yes
	[ "$status" -eq 1 ]
	says 'refused: store users.db: it is paused at the datastore'
	[ -z "$(sqlite3 "$T/A/state/state.db" "SELECT value FROM meta WHERE name = 'mirror'")" ]
	[ "$(value A 'SELECT email FROM users WHERE uid = 1')" = mine ]
}

# --- clones -----------------------------------------------------------------------------------------------------------------

# FROM TO: a copy of the whole machine, state directory, stores and all
clone_machine() {
	write_config "$2"
	rm -r "${T:?}/$2"
	cp -a "$T/$1" "$T/$2"
	rm -f "$T/$2/state/address"
}

is_held() {
	status_of "$1" '.trouble_code' | grep -q held
}

is_well() {
	tool "$1" status
	[ "$status" -eq 0 ]
}

@test "a cloned machine beside the original: the one that starts later is refused and loses nothing, and goes on with an identity of its own" {
	begin
	clone_machine A C
	start_webserver A C
	wait_for 'the copy is refused' is_held C
	tool C status
	[ "$status" -eq 1 ]
	says 'two machines run as webserver' "$(sed -n 's/External-Addr=//p' "$T/A.conf")" "$(sed -n 's/External-Addr=//p' "$T/C.conf")" 127.0.0.1 'sameroot join --new-uuid'
	tool datastore status
	[ "$status" -eq 1 ]
	says "$(sed -n 's/External-Addr=//p' "$T/C.conf")" 'sameroot join --new-uuid' 'restored from an older image, nothing: it is let in within three intervals'
	value A "INSERT INTO users VALUES(10, 'Of A', 'a', 0); UPDATE users SET email = 'of A' WHERE uid = 1"
	value C "INSERT INTO users VALUES(11, 'Of C', 'c', 0); UPDATE users SET email = 'of C' WHERE uid = 2"
	echo 'of C' >"$T/C/resources/of-C"
	rm "$T/C/resources/hosts.csv"
	sync_now A
	sync_now C
	[ "$(value datastore 'SELECT count(*) FROM users WHERE uid > 9')" = 1 ]
	[ ! -e "$T/datastore/resources/of-C" ]
	tool C join --new-uuid
	[ "$status" -eq 64 ]
	tool C join --new-uuid --yes
	[ "$status" -eq 0 ] || fail "$output"
	wait_same datastore A C
	[ "$(value A "SELECT group_concat(uid || coalesce(email, '')) FROM (SELECT * FROM users WHERE uid IN (1, 10, 11) ORDER BY uid)")" = '1of A,10a,11c' ]
	[ "$(cat "$T/A/resources/of-C")" = 'of C' ]
	[ "$(cat "$T/C/resources/hosts.csv")" = 'a table' ] # a union deletes nothing
	[ "$(value A 'SELECT email FROM users WHERE uid = 2')" = 'of C' ]
	[ "$(api datastore /api/webservers | jq '[.[] | select(.clone == null)] | length')" -ge 2 ]
	is_well A && is_well C
}

@test "a copy started while the original runs: the original is refused, and goes on when the copy has its own identity" {
	begin
	start_webserver A
	wait_for 'a round' rounds_over A 2
	cp -a "$T/A/state" "$T/image" # of the running machine
	clone_machine A C
	cp "$T"/image/state.db* "$T/C/state/"
	start_webserver C
	wait_for 'one of the two is refused' eval 'is_held A || is_held C'
	value A "INSERT INTO users VALUES(10, 'Of A', 'a', 0)"
	value C "INSERT INTO users VALUES(11, 'Of C', 'c', 0)"
	tool C join --new-uuid --yes
	wait_same datastore A C
	[ "$(value datastore 'SELECT count(*) FROM users WHERE uid > 9')" = 2 ]
	wait_for 'all is well' is_well A
	no_conflicts
}

@test "a copy that goes on instead of the original, which is refused: what was edited on either is an edit when the copy has its own identity" {
	begin
	clone_machine A C
	start_webserver C
	value C "UPDATE users SET email = 'of C' WHERE uid = 1"
	wait_for 'the copy pushes' eval '[ "$(value datastore "SELECT email FROM users WHERE uid = 1")" = "of C" ]'
	value A "UPDATE users SET email = 'of A' WHERE uid = 2; INSERT INTO users VALUES(10, 'Of A', 'a', 0)"
	start_webserver A
	wait_for 'the original is refused' is_held A
	echo 'of A' >"$T/A/resources/hosts.csv"
	value A "UPDATE users SET email = 'of A' WHERE uid IN (1, 3)"
	value C "INSERT INTO users VALUES(11, 'Of C', 'c', 0)"
	tool C join --new-uuid --yes
	[ "$status" -eq 0 ] || fail "$output"
	wait_for 'all is well' is_well A
	wait_same datastore A C
	[ "$(value C "SELECT group_concat(uid || coalesce(email, '')) FROM (SELECT * FROM users WHERE uid IN (1, 2, 3, 10, 11) ORDER BY uid)")" = '1of C,2of A,3of A,10a,11c' ]
	[ "$(cat "$T/C/resources/hosts.csv")" = 'of A' ]
	[ "$(conflicts A length)" = 1 ] # both edited it
	conflicts A | grep -q union
}

@test "what was edited after a push to which only a copy got the answer is an edit of that" {
	begin
	start_proxy
	value A "UPDATE users SET email = 'sent' WHERE uid IN (1, 2)"
	tamper push-lost 1
	once A && fail 'the answer came'
	tamper pass
	clone_machine A C
	echo 'of C' >"$T/C/resources/of-C"
	rounds C
	value A "UPDATE users SET email = 'after it' WHERE uid = 1"
	held A
	wait_for 'it is let in' once A
	grep -q 'answer was lost; the datastore says: unknown' "$T/A.log"
	rounds B
	assert_same
	[ "$(value B "SELECT group_concat(email) FROM (SELECT email FROM users WHERE uid < 3 ORDER BY uid)")" = 'after it,sent' ]
	[ "$(conflicts A length)" = 0 ]
}

@test "without its state directory: what is new here is sent, what was edited gives way to what the datastore has, and comes back from the archive" {
	begin
	value A "UPDATE users SET email = 'edited' WHERE uid = 1; INSERT INTO users VALUES(10, 'New', 'n', 0); DELETE FROM users WHERE uid = 3"
	echo edited >"$T/A/resources/hosts.csv"
	mv "$T/A/state" "$T/lost"
	rounds A B
	assert_same
	[ "$(value B "SELECT group_concat(uid || email) FROM (SELECT * FROM users WHERE uid IN (3, 10) ORDER BY uid)")" = '3c@example.org,10n' ]
	[ "$(conflicts A '[.[].reason] | unique | join(" ")')" = '"union"' ]
	[ "$(conflicts A length)" = 2 ]
	for id in $(conflicts A '.[].id' | tr -d '"'); do "$BIN/sameroot" conflicts restore "$id" -c "$T/A.conf" >/dev/null; done
	rounds A B
	assert_same
	[ "$(value B 'SELECT email FROM users WHERE uid = 1')$(cat "$T/B/resources/hosts.csv")" = editededited ]
}

@test "an image, state directory and stores, in which the application wrote before the first round: that is an edit" {
	begin
	edit_config A Datastore-Update-Interval= Datastore-Update-Interval=5 # whose successor is silent for three of these is let in
	cp -a "$T/A" "$T/image"
	value A "UPDATE users SET email = 'since' WHERE uid = 1"
	rounds A B
	rm -rf "${T:?}/A" && mv "$T/image" "$T/A"
	value A "UPDATE users SET email = 'in the image' WHERE uid IN (1, 2)"
	echo 'in the image' >"$T/A/resources/hosts.csv"
	held A
	wait_for 'it is let in' once A
	rounds B
	assert_same
	[ "$(value B "SELECT group_concat(email) FROM (SELECT email FROM users WHERE uid IN (1, 2) ORDER BY uid)")" = 'since,in the image' ]
	[ "$(cat "$T/B/resources/hosts.csv")" = 'in the image' ]
	[ "$(conflicts A length)" = 1 ]
}

# NAME SQL: of its state.db
state() {
	sqlite3 "$T/$1/state/state.db" "$2"
}

@test "a crash in the exchange of tokens, on either side, locks nobody out; an older image waits until it is the only one" {
	begin
	rounds A A A A
	old=$(state A "SELECT hex(value) FROM meta WHERE name = 'token'")
	rounds A
	# the answer did not come, or was not written: the datastore has it
	state A "INSERT INTO meta SELECT 'token-next', substr(value, 1, 16) FROM meta WHERE name = 'token'; UPDATE meta SET value = x'$old' WHERE name = 'token'"
	rounds A A
	# it was never asked
	state A "INSERT INTO meta VALUES('token-next', randomblob(16))"
	rounds A A
	# the datastore is of an older backup, which knows an older token
	stop datastore
	rm -rf "$T/backup" && cp -a "$T/datastore/state" "$T/backup"
	start_datastore
	rounds A A
	stop datastore
	rm -rf "$T/datastore/state" && cp -a "$T/backup" "$T/datastore/state"
	start_datastore
	rounds A A B
	# an older image of the webserver: the one that was current is silent from now on
	rm -rf "$T/image" && cp -a "$T/A/state" "$T/image"
	echo new >"$T/A/resources/new"
	rounds A A
	rm -rf "$T/A/state" && cp -a "$T/image" "$T/A/state"
	held A
	grep -q 'restored from an older image, it is let in when .*join --new-uuid' "$T/A.once"
	wait_for 'it is let in' once A
	rounds A B
	assert_same
	[ "$(cat "$T/B/resources/new")" = new ]
	no_conflicts
}

@test "a marker that was written, of which state.db does not know yet, is known through a pull that is cut short, too" {
	local obstacle="$T/B/resources/.sameroot/marker.new"
	begin
	# as a crash leaves it that came right after the marker was written
	sqlite3 "$T/B/state/state.db" "UPDATE store SET pending = marker, marker = randomblob(16) WHERE name = 'resources'"
	echo second >"$T/A/resources/more"
	rounds A
	mkdir -p "$obstacle/in the way"
	run once B
	[[ $status -ne 0 && $(<"$T/B.once") == *marker.new* ]] || fail "$(<"$T/B.once")"
	rm -r "$obstacle"
	echo edited >"$T/B/resources/hosts.csv"
	rounds B A
	assert_same
	[ "$(<"$T/A/resources/hosts.csv")" = edited ]
	[ "$(grep -c 'a copy was put in its place' "$T/B.log")" = 0 ]
}
