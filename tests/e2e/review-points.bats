#!/usr/bin/env bats
# What review.bats has, interrupted at each step of a round in turn.

# shellcheck disable=SC2034 # lib.bash reads them

load lib
load interpose
load review

@test "a first fill that is interrupted at any point is taken up again" {
	fill A
	start_datastore
	rounds A
	for ((n = 1; n < 200; n++)); do
		rm -rf "$T/B" && mkdir "$T/B"
		round_with B CRASH_AT=$n STEPS_TO="$T/steps" || [ $? = 99 ] || fail "crash at $n: $(<"$T/B.once")"
		grep -q 'paused' "$T/B.once" && fail "crash at $n: $(<"$T/B.once")"
		once B || fail "after a crash at step $n: $(<"$T/B.once")"
		same_content datastore B || fail "after a crash at step $n the content differs"
		[ "$(wc -l <"$T/steps")" -ge "$n" ] || break
		: >"$T/steps"
	done
	echo "$n points" >&3
	[ "$n" -gt 10 ]
}

@test "a row that was in the way goes back to the datastore's version wherever the round is interrupted" {
	in_the_way
	keep_copy
	for ((n = 1; n < 200; n++)); do
		: >"$T/steps"
		round_with A CRASH_AT=$n STEPS_TO="$T/steps" || true
		round A A
		rounds A B
		[ "$(value datastore 'SELECT name FROM users WHERE uid = 2')" = Bert ] || fail "after a crash at step $n: $(value datastore 'SELECT * FROM users')"
		[ "$(value datastore 'SELECT name FROM users WHERE uid = 20')" = Bob ]
		assert_same
		conflicts A 'map(select(.reason == "unique" or .reason == "edited-both" or .reason == "union")) | length' | grep -qvx 0
		[ "$(wc -l <"$T/steps")" -ge "$n" ] || break
		[ "$(head -n "$n" "$T/steps" | tail -n 1)" != "" ]
		stop datastore
		back_to_copy
		start_datastore
	done
	echo "$n points" >&3
	[ "$n" -gt 5 ]
}
