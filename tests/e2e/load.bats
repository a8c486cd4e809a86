#!/usr/bin/env bats
# A short `make load`: the tool itself.

load lib

@test "twelve webservers in one process, a user and a client that reads nothing come to rest with equal roots" {
	BUILD=${BIN%/bin} WEBSERVERS=12 LONG=5 STALLED=1 "$HERE/../load/run" "$BATS_TEST_TMPDIR" 2>&1 | tee "$T/said"
	grep -q '^12 webservers, 5 s: .* 0 failed,' "$T/said"
	grep -q '^every change is everywhere; roots equal$' "$T/said"
	grep -q 'registry: 12 webservers' "$T/said"
}
