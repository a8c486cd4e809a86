#!/usr/bin/env bats
# One round with a bit of everything in it, cut short at each of its steps in turn, at the webserver that pushes: afterwards it is whole or not at all.

# shellcheck disable=SC2034,SC2154 # lib.bash reads them; points.bash counts n

load lib
load interpose
load points

pusher_crashes() {
	start_datastore
	round_with A CRASH_AT=$n STEPS_TO="$T/steps" || true
	rounds A B || fail "crash at $n" || return 1
	as_wanted || return 1
	stop datastore
}

@test "a push is whole or not at all wherever the webserver crashes" {
	fill A
	start_datastore
	rounds A B A
	stop datastore
	busy_day
	crashes pusher_crashes
}
