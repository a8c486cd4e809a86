#!/usr/bin/env bats
# What changes is on the others at once: they wait for it at the datastore, however long the interval is.

# shellcheck disable=SC2034,SC2154 # lib.bash reads them; keys of PID and URL

load lib

INTERVAL=3600

# N requests wait at the datastore.
waiting() {
	[ "$(admin datastore /metrics | sed -n 's/^sameroot_http_waiting_requests //p')" = "$1" ]
}

begin_waiting() {
	fill A
	start_all
	wait_same
	wait_for 'both wait' waiting 2
}

@test "what A pushes is on B at once, and nobody does a round too many" {
	begin_waiting
	sleep 4 # what was changed within 2 s of a scan is looked at once more, and what was pulled after 2.5 s
	a=$(status_of A .rounds) b=$(status_of B .rounds)
	echo new >"$T/A/resources/new"
	sync_now A
	wait_same
	wait_for 'both wait again' waiting 2
	echo "rounds: A $a to $(status_of A .rounds), B $b to $(status_of B .rounds)"
	[ "$(status_of A .rounds)" -le $((a + 3)) ]
	[ "$(status_of B .rounds)" -le $((b + 3)) ]
	sql "$T/B/users.db" "UPDATE users SET email = 'new' WHERE uid = 1"
	sync_now B
	wait_same
}

@test "who waits goes on waiting when the datastore was restarted, or killed" {
	begin_waiting
	stop datastore
	start_datastore
	wait_for 'both wait' waiting 2
	stop datastore KILL
	start_datastore
	wait_for 'both wait' waiting 2
	echo new >"$T/A/resources/new"
	sync_now A
	wait_same
	! grep -i 'wait' "$T/A.log" "$T/B.log" || fail 'it is nothing to tell'
}

@test "who waits ends at once, and begins anew" {
	begin_waiting
	stop B
	wait_for 'one waits' waiting 1
	echo new >"$T/A/resources/new"
	sync_now A
	start_webserver B
	wait_same
	wait_for 'both wait' waiting 2
	stop A KILL
	start_webserver A
	wait_for 'A waits once' waiting 2
	echo newer >"$T/B/resources/new"
	sync_now B
	wait_same
}

# What is told beside the root comes at once, too.
@test "what was held goes on at once when it is let through" {
	sed -i 's/^\[global\]$/&\nMax-Delete-Count=3/' "$T"/*.conf
	mkdir -p "$T/A/resources"
	for i in {1..12}; do echo "$i" >"$T/A/resources/f$i"; done
	begin_waiting
	rm "$T/A/resources"/f{1..9}
	sync_now A
	[ -e "$T/B/resources/f1" ]
	"$BIN/sameroot" -c "$T/A.conf" --yes adopt --deletions
	wait_same
	[ ! -e "$T/B/resources/f1" ]
}

rounds_of_B() {
	[ "$(status_of B .rounds)" -ge "$1" ]
}

# So many check-ins were answered with 304.  By the datastore, for B asks it for the registry when it is asked for its status.
unchanged() {
	admin datastore /metrics | awk '/^sameroot_http_requests_total{route="\/api\/(tree|changes)",method="GET",code="304"} / { n += $2 } END { print n + 0 }'
}

unchanged_since() {
	(($(unchanged) >= $1))
}

# By what goes over the wire.
@test "a quiet interval is one request of at most 500 bytes with its answer" {
	fill A
	for name in datastore A B; do edit_config $name Datastore-Update-Interval= Datastore-Update-Interval=1; done
	start_datastore
	rounds A
	mkdir "$T/meter"
	echo pass >"$T/wire"
	launch wire python3 "$HERE/wire.py" "$DATASTORE_PORT" "$T/wire" "$T/meter"
	DATASTORE_PORT=${URL[wire]##*:} start_webserver B
	wait_same datastore B
	wait_for 'it is quiet' unchanged_since 4
	rounds=$(status_of B .rounds) before=$(unchanged)
	bytes=$(awk '{ print $1 + $2 }' "$T/meter/bytes")
	wait_for 'ten more intervals' unchanged_since $((before + 10))
	after=$(unchanged) bytes=$(($(awk '{ print $1 + $2 }' "$T/meter/bytes") - bytes))
	echo "$bytes bytes in $((after - before)) intervals"
	((bytes <= 500 * (after - before) + 500)) # the next one is asked already
	[ "$(status_of B .last_round.requests)" -eq 1 ]
	(($(status_of B .rounds) >= rounds + 10)) # they were rounds
	api datastore /api/webservers | jq -e 'any(.external_addr == "127.0.0.1:8076" and .stale == false)'
}

asked() {
	grep -c '^tamper tree' "$T/proxy.log"
}

@test "a datastore that knows no waiting is not asked on end, nor one behind a proxy that cuts it" {
	fill A
	for name in datastore A B; do edit_config $name Datastore-Update-Interval= Datastore-Update-Interval=1; done
	start_datastore
	start_webserver A
	start_proxy
	start_webserver B
	wait_same
	for mode in tree-at-once tree-drop tree-untagged; do
		tamper $mode
		rounds=$(status_of B .rounds)
		wait_for 'the request of before is over' rounds_of_B $((rounds + 2))
		rounds=$(status_of B .rounds) asked=$(asked)
		wait_for 'ten more rounds' rounds_of_B $((rounds + 10))
		echo "$mode: $(($(asked) - asked)) requests in $(($(status_of B .rounds) - rounds)) rounds"
		(($(asked) - asked <= 2 * ($(status_of B .rounds) - rounds) + 5))
		echo $mode >"$T/A/resources/new"
		wait_same
	done
	! grep -iE 'wait|warn|error' "$T/B.log" || fail 'it is nothing to tell'
}

@test "a datastore that tells something new each time costs no more than a round now and then" {
	start_behind_proxy
	wait_for 'both wait' waiting 2
	tamper tree-start
	echo new >"$T/A/resources/new"
	sync_now A # which wakes B
	wait_same
	rounds=$(status_of B .rounds)
	sleep 3
	rounds=$(($(status_of B .rounds) - rounds))
	echo "$rounds rounds"
	((rounds >= 1 && rounds <= 30)) # by one after the other it would be hundreds
	tamper pass
	echo newer >"$T/A/resources/new"
	sync_now A
	wait_same
}
