#!/usr/bin/env bats
# `sameroot` against real daemons: status, ls, diff, conflicts, adopt.

bats_require_minimum_version 1.5.0

setup() {
	house=$(mktemp -d)
	pids=()
	mkdir -p "$house"/{d,w}
	(umask 077 && printf 'a secret of more than thirty-two characters\n' | tr ' ' - >"$house/auth")
}

teardown() {
	[ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
	for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
	rm -rf "$house"
}

# config WHO PLAIN [DATASTORE]: the configuration of d or w
config() {
	cat >"$house/$1.conf" <<-END
		[global]
		Control-Auth-File=$house/auth
		Datastore-Update-Interval=1
		Lb-Recognition-Period=0
		Datastore-Listen-Address=127.0.0.1
		Datastore-Port=0
		Sync-Listen-Address=127.0.0.1
		Sync-Port=0
		Datastore-Insecure-Disable-TLS=$2
		Datastore-Insecure-Skip-TLS-Verify=true
		Insecure-Disable-HTTPS=$2
		User-DB-Path=$house/$1/users.db
		Web-Store-Path=$house/$1/webstore.db
		Webserver-Resource-Store=$house/$1/resources
		State-Directory=$house/$1/state
		Datastore-User-DB-Path=$house/$1/datastore-users.db
		Datastore-Web-Store-Path=$house/$1/datastore-webstore.db
		Datastore-Resource-Store=$house/$1/datastore-resources
		Datastore-State-Directory=$house/$1/datastore-state
		${3:+Datastore=$3}
		${3:+External-Addr=web1.example.org:80}
	END
}

# eventually COMMAND...: at most 20 s
eventually() {
	local i
	for ((i = 0; i < 200; i++)); do
		"$@" && return 0
		sleep 0.1
	done
	echo "it never came: $*"
	return 1
}

# start PROGRAM WHO STATE-DIRECTORY
start() {
	"$BIN/$1" -c "$house/$2.conf" 2>>"$house/$2.log" 3>&- &
	pids+=($!)
	eventually test -s "$house/$3/address" || { cat "$house/$2.log"; return 1; }
}

stop() {
	kill "${pids[-1]}"
	wait "${pids[-1]}"
	unset 'pids[-1]'
}

# A datastore, and a webserver's files; PLAIN as above.
cluster() {
	config d "$1"
	start sameroot-datastore d d/datastore-state
	config w "$1" "$(sed 's|.*//||' "$house/d/datastore-state/address")"
	mkdir -p "$house/w/resources/img"
	echo hello >"$house/w/resources/img/a b.txt"
	ln -s nowhere "$house/w/resources/link"
	sqlite3 "$house/w/users.db" 'CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES(1, "ann"), (2, "bob")'
	eventually ready
}

ready() {
	d status >/dev/null 2>&1
}

d() { "$BIN/sameroot" -c "$house/d.conf" "$@"; }
w() { "$BIN/sameroot" -c "$house/w.conf" "$@"; }
once() { "$BIN/sameroot-sync" -c "$house/w.conf" --once; }

in_sync() {
	[ "$(w status --json 2>/dev/null | jq .in_sync)" = true ]
}

# expect STATUS COMMAND...
expect() {
	local want=$1
	shift
	run "$@"
	echo "$* -> $status: $output"
	[ "$status" -eq "$want" ]
}

@test "help and version, of the program and of its commands" {
	expect 0 "$BIN/sameroot" --help
	for command in status ls diff 'conflicts list' adopt; do
		[[ $output == *"  $command "* ]]
	done
	expect 0 "$BIN/sameroot" adopt --help
	[[ $output == *--union* && $output == *--yes* ]]
	expect 0 "$BIN/sameroot" diff --version
	[[ $output == "sameroot "* ]]
}

@test "wrong usage is said with 64, a configuration that is not there with 78" {
	config d true
	expect 64 "$BIN/sameroot"
	expect 64 "$BIN/sameroot" frobnicate
	expect 64 "$BIN/sameroot" status extra
	expect 64 "$BIN/sameroot" status --union
	expect 64 "$BIN/sameroot" conflicts
	expect 64 "$BIN/sameroot" ls a b
	expect 64 d status --datastore --webserver
	expect 78 "$BIN/sameroot" -c "$house/nothing.conf" status
}

@test "a node without a daemon says so and exits 75" {
	config w true 127.0.0.1:1
	expect 75 w status
	[[ $output == *"is not running"* ]]
	[ ! -e "$house/w/state" ]
	config d true
	start sameroot-datastore d d/datastore-state
	eventually ready
	stop
	[ ! -e "$house/d/datastore-state/address" ]
	expect 75 d status
	[[ $output == *"is not running"* && $output == *resources* ]]
	[ "$(d status --json 2>/dev/null | jq .running)" = false ]
	[ "$(d status --json 2>/dev/null | jq -r .role)" = datastore ]
}

@test "status, ls and diff of a webserver in sync" {
	cluster true
	start sameroot-sync w w/state
	eventually in_sync
	expect 0 w status
	[[ $output == *"in sync"*yes* && $output == *resources/link* ]]
	[ "$(w status --json | jq -r '.role, .stores[2].unknown_count' | xargs)" = 'webserver 1' ]
	expect 0 w ls
	[ "${#lines[@]}" -eq 3 ]
	expect 0 w ls resources/img
	[[ $output =~ ^file\ +0644\ +1\ +6\ +resources/img/a%20b.txt$ ]]
	expect 0 w ls resources/img/a%20b.txt
	[ "${#lines[@]}" -eq 1 ]
	[ "$(w ls --json users.db/users | jq -c 'map(.path)')" = '["users.db/users/1","users.db/users/2"]' ]
	expect 66 w ls resources/nothing
	expect 0 w diff
	[ -z "$output" ]
	[ "$(w diff --json)" = '[]' ]
	eventually known_there
	expect 0 d status
	[[ $output == *web1.example.org*known* ]]
	expect 0 d ls resources/img
}

known_there() {
	[ "$(d status --json | jq -r '.webservers[0].history')" = known ]
}

@test "diff names each differing path" {
	cluster true
	once
	expect 0 w diff
	echo other >"$house/w/resources/img/a b.txt"
	echo new >"$house/w/resources/new"
	sqlite3 "$house/w/users.db" 'DELETE FROM users WHERE id = 1; UPDATE users SET name = "rob" WHERE id = 2'
	run --separate-stderr w diff
	echo "$output"
	[ "$status" -eq 1 ]
	[ "${#lines[@]}" -eq 4 ]
	[[ ${lines[0]} == "differs "*resources/img/a%20b.txt* ]]
	[[ ${lines[1]} == "only here "*resources/new* ]]
	[[ ${lines[2]} == "only at the datastore "*users.db/users/1* ]]
	[[ ${lines[3]} == "differs "*users.db/users/2* ]]
	run --separate-stderr w diff --json
	[ "$(jq -c 'map([.path, .here == null, .there == null])' <<<"$output")" = \
		'[["resources/img/a%20b.txt",false,false],["resources/new",false,true],["users.db/users/1",true,false],["users.db/users/2",false,false]]' ]
	once
	expect 0 w diff
}

@test "diff exits 75 when the datastore is away" {
	cluster true
	once
	stop
	expect 75 w diff
}

@test "a lost store is paused: status says why and exits 1" {
	cluster true
	start sameroot-sync w w/state
	eventually in_sync
	mv "$house/w/resources" "$house/away"
	eventually lost
	expect 1 w status
	[[ $output == *"held or paused:"*resources*"put it back"* ]]
	[ -e "$house/d/datastore-resources/img/a b.txt" ]
	mv "$house/away" "$house/w/resources"
	eventually w status
}

lost() {
	run w status
	[ "$status" -eq 1 ]
}

@test "conflicts are listed, with and without a daemon" {
	cluster true
	once
	[ "$(w conflicts list --json)" = '[]' ]
	[ "$(d conflicts list --json)" = '[]' ]
	echo mine >"$house/w/resources/img/a b.txt"
	echo theirs >"$house/d/datastore-resources/img/a b.txt"
	kill -USR1 "${pids[0]}"
	eventually seen_there
	once
	[ "$(cat "$house/w/resources/img/a b.txt")" = theirs ]
	run --separate-stderr w conflicts list --json
	[ "$(jq -c 'map([keys_unsorted, .store, .path, .size])' <<<"$output")" = '[[["id","store","path","when","reason","kind","size"],"resources","resources/img/a%20b.txt",5]]' ]
	without=$output
	start sameroot-sync w w/state
	eventually in_sync
	[ "$(w conflicts list --json)" = "$without" ]
	expect 0 w conflicts list
	[[ $output == *resources/img/a%20b.txt ]]
}

seen_there() {
	[ "$(d ls --json resources/img | jq '.[0].bytes')" = 7 ]
}

@test "adopt raises the epoch, and asks before it does" {
	cluster true
	start sameroot-sync w w/state
	eventually in_sync
	expect 64 d adopt
	expect 64 d adopt --union
	[[ $output == *--yes* ]]
	expect 64 w adopt --union --yes
	# at a terminal it asks; where the machine has no pseudo-terminals, there is none
	if [[ -e /dev/ptmx ]]; then
		expect 1 script -qec "'$BIN/sameroot' -c '$house/d.conf' adopt --union" /dev/null <<<n
		[[ $output == *"[y/N]"*"nothing was changed"* ]]
	fi
	[ "$(d status --json | jq .epoch)" = 1 ]
	expect 0 d adopt --union --yes
	[[ $output == *web1.example.org* && $output == *"epoch 2"* ]]
	[ "$(d status --json | jq .epoch)" = 2 ]
	[ "$(d adopt --union --yes --json 2>/dev/null | jq .result.epoch)" = 3 ]
	eventually at_epoch_3
	eventually in_sync
	stop
	expect 64 w adopt --union --yes --webserver
	stop
	expect 75 d adopt --union --yes
	[[ $output == *"start it first"* ]]
}

at_epoch_3() {
	[ "$(w status --json | jq .datastore.epoch)" = 3 ]
}

@test "over TLS the daemon's own key is what counts" {
	cluster false
	[[ $(<"$house/d/datastore-state/address") == https://* ]]
	expect 0 d status
	start sameroot-sync w w/state
	eventually in_sync
	expect 0 w status
	expect 0 w diff
	cp "$house/d/datastore-state/certificate.pem" "$house/w/state/certificate.pem"
	expect 77 w status
	[[ $output == *"not the sync daemon"* ]]
}

@test "who may not read the state directory is told so" {
	[ "$(id -u)" -eq 0 ] || skip "only root can become somebody else"
	cluster true
	chmod 755 "$house"
	cp "$BIN/sameroot" "$house/sameroot"
	expect 77 setpriv --reuid 65534 --regid 65534 --clear-groups "$house/sameroot" -c "$house/d.conf" status
	[[ $output == *"run this as root"* ]]
}
