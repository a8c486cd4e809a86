#!/usr/bin/env bats
# One round with a bit of everything in it, cut short at each of its steps in turn, at the datastore: afterwards it is whole or not at all.

# shellcheck disable=SC2034,SC2154 # lib.bash reads them; points.bash counts n

load lib
load interpose
load points

datastore_crashes() {
	local pid
	LD_PRELOAD="$PRELOAD" CRASH_AT=$n STEPS_TO="$T/steps" launch datastore "$BIN/sameroot-datastore" -c "$T/datastore.conf" &&
		DATASTORE_PORT=${URL[datastore]##*:} && once A || true
	pid=${PID[datastore]:-}
	if [[ -n $pid ]]; then
		kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
		unset "PID[datastore]"
	fi
	start_datastore
	rounds A B || fail "crash at $n" || return 1
	as_wanted || return 1
	stop datastore
}

@test "a push is whole or not at all wherever the datastore crashes" {
	write_config datastore Sandbox=false # or it could not tell its steps
	fill A
	start_datastore
	rounds A B A
	stop datastore
	busy_day
	crashes datastore_crashes
}
