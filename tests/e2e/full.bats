#!/usr/bin/env bats
# A state directory on a file system that is full: what goes on, what is refused, and that it goes on by itself when there is room.

load lib

small_state() { # NAME KEY SIZE
	mkdir "$T/small"
	mount -t tmpfs -o size="$3" none "$T/small" 2>/dev/null || skip 'no mount here'
	# shellcheck disable=SC2034 # teardown unmounts it
	MOUNTED=$T/small
	edit_config "$1" "$2=" "$2=$T/small/state"
	ln -s "$T/small/state" "$T/$1/state"
}

fill_up() {
	dd if=/dev/zero of="$T/small/junk" bs=1k 2>/dev/null || true
	[ "$(stat -f -c %a "$T/small")" -eq 0 ]
}

# For balancers it is there all the same; who looks is told in words, and by a metric.
only_serves() {
	[ "$(curl -fsS "${URL[datastore]}/api/system/lbstatus")" = ALIVE ]
	[[ $(status_of datastore .balancer.why) == 'it serves what was committed last, and takes no push'*"$T/small/state: No space left on device"* ]]
	"$BIN/sameroot" status -c "$T/datastore.conf" >"$T/only-serves" 2>&1 || true
	grep -q '^ready  *for reading only$' "$T/only-serves"
	grep -A1 '^balancer  *ALIVE$' "$T/only-serves" | grep -q 'takes no push'
	api datastore /metrics | grep -q '^sameroot_read_only 1'
}

@test "a full state directory of the datastore: it stays, serves and refuses, starts, and goes on when there is room" {
	small_state datastore Datastore-State-Directory 8m
	fill A
	start_datastore
	rounds A B
	start_webserver B
	wait_for 'B is in step' same_content datastore B
	fill_up
	echo new >"$T/A/resources/new"
	sql "$T/A/users.db" "INSERT INTO users(uid, name) VALUES(4711, 'late')"
	run once A
	[ "$status" -ne 0 ]
	grep -q "$T/small/state.*No space left on device" "$T/A.once"
	says_so() { "$BIN/sameroot" status -c "$T/datastore.conf" 2>&1 | grep -q "$T/small/state: No space left on device"; }
	wait_for 'its status names the directory' says_so
	api datastore /metrics >"$T/metrics"
	grep -q '^sameroot_held 1' "$T/metrics"
	only_serves
	echo direct >"$T/datastore/resources/direct"
	sync_now B
	sync_now B
	alive "${PID[datastore]}"
	ready datastore
	[ "$(root_of datastore)" = "$(root_of B)" ]
	[ ! -e "$T/B/resources/direct" ]
	# no room for anything, at all, at the start
	stop datastore
	dd if=/dev/zero of="$T/small/junk2" bs=1k 2>/dev/null || true
	start_datastore
	sync_now B
	wait_for 'its status names the directory' says_so
	wait_for 'it only serves, after a start too' ready datastore
	only_serves
	run once A
	grep -q "$T/small/state.*No space left on device" "$T/A.once"
	rm "$T"/small/junk*
	wait_for 'what was changed there is taken' test -e "$T/B/resources/direct"
	rounds A
	wait_for 'all have all' same_content datastore A B
	cmp "$T/A/resources/new" "$T/B/resources/new"
	[ "$(value B "SELECT count(*) FROM users WHERE name = 'late'")" = 1 ]
	says_it_is_well() { "$BIN/sameroot" status -c "$T/datastore.conf" >/dev/null; }
	wait_for 'nothing waits' says_it_is_well
	[ "$(status_of datastore .balancer.why)" = null ]
	"$BIN/sameroot" status -c "$T/datastore.conf" | grep -q '^ready  *yes$'
	api datastore /metrics | grep -q '^sameroot_read_only 0'
}

# NAME: its round is one that takes what is new, pushes nothing, and says why
takes_only() {
	run once "$1"
	[ "$status" -ne 0 ]
	grep -q "only what is new at the datastore is taken, until it can take this webserver's check-in: .*$T/small/state.*No space left on device" "$T/$1.once" ||
		fail "it said: $(<"$T/$1.once")"
}

@test "a datastore without a free byte: a webserver that starts, a new one too, takes what is there, and pushes when there is room" {
	small_state datastore Datastore-State-Directory 8m
	INTERVAL=2 write_config A
	write_config C
	fill A
	start_datastore
	rounds A
	cp -a "$T/A" "$T/image"
	rounds A
	fill_up
	mkdir -p "$T/C/resources"
	echo new >"$T/C/resources/new"
	echo late >"$T/A/resources/late"
	takes_only C
	cmp "$T/A/resources/img/logo" "$T/C/resources/img/logo"
	[ "$(value C 'SELECT count(*) FROM users')" = 3 ]
	[ -e "$T/C/resources/new" ]
	takes_only A
	[ ! -e "$T/datastore/resources/new" ]
	[ ! -e "$T/datastore/resources/late" ]
	# a copy of A of before its last start: refused, and when A has been silent for long it cannot be let in, for that takes room
	mv "$T/A" "$T/A.aside" && mv "$T/image" "$T/A"
	rm "$T/A/resources/hosts.csv"
	image_is() { [[ $(once A 2>&1; cat "$T/A.once") == *"$1"* ]]; }
	image_is 'two machines run as webserver'
	wait_for 'it is the only one' image_is 'No space left on device'
	[ ! -e "$T/A/resources/hosts.csv" ] # nothing was taken
	[ "$(grep -c 'only what is new' "$T/A.once")" -eq 0 ]
	rm -r "$T/A" && mv "$T/A.aside" "$T/A"
	rm "$T"/small/junk*
	rounds A C A
	same_content datastore A C
	[ "$(<"$T/A/resources/new")$(<"$T/C/resources/late")" = newlate ]
}

@test "a datastore that cannot open its state for want of room waits for it; it can be stopped meanwhile" {
	small_state datastore Datastore-State-Directory 8m
	start_datastore
	rounds A
	stop datastore # its write-ahead log goes with it
	fill_up
	for _ in 1 2; do
		: >"$T/datastore.log"
		"$BIN/sameroot-datastore" -c "$T/datastore.conf" </dev/null >>"$T/datastore.log" 2>&1 3>&- &
		PID[datastore]=$!
		wait_for 'it says so' grep -q 'No space left on device.*it goes on by itself when there is room' "$T/datastore.log"
		run ready datastore
		[ "$status" -ne 0 ]
		[[ -e $T/stopped ]] || stop datastore
		touch "$T/stopped"
	done
	rm "$T/small/junk"
	wait_for 'it goes on' ready datastore
	rounds A B
	assert_same
}

@test "a full state directory of a webserver: it stays, starts, and what was changed meanwhile goes through when there is room" {
	small_state A State-Directory 8m
	fill A
	start_datastore
	start_webserver A B
	wait_for 'both have it' same_content datastore A B
	fill_up
	echo new >"$T/A/resources/new"
	echo other >"$T/B/resources/other"
	wait_for 'B is heard' test -e "$T/datastore/resources/other"
	says_so() { "$BIN/sameroot" status -c "$T/A.conf" 2>&1 | grep -q 'No space left on device'; }
	wait_for 'its status says why' says_so
	alive "${PID[A]}"
	stop A
	dd if=/dev/zero of="$T/small/junk2" bs=1k 2>/dev/null || true
	start_webserver A
	wait_for 'its log says why' grep -q 'No space left on device' "$T/A.log"
	rm "$T"/small/junk*
	wait_for 'all have all' same_content datastore A B
	[ "$(<"$T/B/resources/new")" = new ]
	[ "$(<"$T/A/resources/other")" = other ]
}
