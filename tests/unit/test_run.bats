#!/usr/bin/env bats
# tests/run counts rightly: whoever runs no test, stops in the middle or leaks at the end has failed.

setup() {
	house=$(mktemp -d)
	mkdir -p "$house"/{tests/unit,tests/e2e,build/tests}
	cp "$SAMEROOT_SOURCE/tests/run" "$house/tests/run"
}

teardown() {
	rm -rf "$house"
}

# NAME BODY: a test program that does that
program() {
	touch "$house/tests/unit/test_$1.c"
	printf '#!/bin/sh\n%s\n' "$2" >"$house/build/tests/test_$1"
	chmod +x "$house/build/tests/test_$1"
}

summary() {
	run env BUILD=build "$house/tests/run" unit e2e
	echo "$output"
	[ "${lines[-1]}" = "$1" ]
	[ "$status" -eq "$2" ]
}

@test "what passes is counted" {
	program a 'echo 1..2; echo "ok 1 - x"; echo "ok 2 - y"'
	program b 'echo 1..1; echo "ok 1 - x"'
	summary '3 passed, 0 failed' 0
}

@test "bats files count with the rest, skips are listed" {
	program a 'echo 1..1; echo "ok 1 - x"'
	printf '@test "fine" { true; }\n@test "later" { skip "no reason"; }\n' >"$house/tests/e2e/z.bats"
	summary '2 passed, 0 failed, 1 skipped' 0
	[[ $output == *'skipped e2e/z.bats: later # skip no reason'* ]]
}

@test "a failure is shown in full" {
	program a 'echo 1..2; echo "ok 1 - x"; echo "not ok 2 - y"; echo "# the reason"; exit 1'
	summary '1 passed, 1 failed' 1
	[[ $output == *'# the reason'* ]]
}

@test "no test is no success" {
	program a true
	program b 'echo 1..0'
	summary '0 passed, 2 failed' 1
}

@test "nothing at all is no success" { summary '0 passed, 1 failed' 1; }

@test "what was planned and did not run has failed" {
	program a 'echo 1..5; echo "ok 1 - x"; kill -ABRT $$'
	summary '1 passed, 4 failed' 1
}

@test "a leak after the last test is a failure" {
	program a 'echo 1..1; echo "ok 1 - x"; exit 23'
	summary '1 passed, 1 failed' 1
}

@test "a program that is not there has failed" {
	touch "$house/tests/unit/test_gone.c"
	summary '0 passed, 1 failed' 1
}

@test "a program that hangs is stopped" {
	program a 'echo 1..1; exec sleep 600'
	export SECONDS_MOST=1
	summary '0 passed, 1 failed' 1
	[[ $output == *'stopped after 1 s'* ]]
}
