#!/usr/bin/env bats
# kill -9 at random moments: a short soak (see scripts/soak; `make soak` does more).

load lib

setup() { :; }
teardown() { :; }

@test "kill -9 of a daemon at random moments: it converges, and no value is lost" {
	N=8 ROWS=300 SOAK_WAIT=90 run "$HERE/../../scripts/soak" "$BATS_TEST_TMPDIR/soak"
	echo "$output"
	[ "$status" -eq 0 ]
	[[ $output == *' values were committed'* ]]
}
