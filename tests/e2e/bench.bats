#!/usr/bin/env bats
# `make bench` itself, at a size of seconds, with whatever peers are here.

setup_file() {
	load lib
	unset T QUICK SEED KEEP # of the `make` that runs this
	export DIRECTORY=$BATS_FILE_TMPDIR SIZE=tiny
	"$HERE/../bench/run" >"$BATS_FILE_TMPDIR/said" 2>"$BATS_FILE_TMPDIR/noise" || echo "$?" >"$BATS_FILE_TMPDIR/status"
}

setup() {
	load lib
	T=$BATS_TEST_TMPDIR
	json=$BATS_FILE_TMPDIR/bench.json
}

@test "every workload is measured to its end" {
	[[ ! -e $BATS_FILE_TMPDIR/status ]] || { cat "$BATS_FILE_TMPDIR"/{said,noise}; false; }
	[ "$(jq -r '.workloads | map(.name) | join(" ")' "$json")" = 'W1 W1b W2 W3 W4 W5 W6 W7 W8 W9' ]
	jq -e '.workloads | all(.failed == null and ([.cases[].reaches[]] | length) > 0)' "$json"
	jq -e '[.workloads[].cases[].tools.sameroot // empty] | length > 20 and all(.runs > 0 and (.median_seconds // .per_second) > 0)' "$json"
}

@test "each reach says what was seen, what is wanted and whether that is met, or why it was not measured" {
	jq -e '[.workloads[].cases[].reaches[]] | all(if .seen == null then .met == null and .why != null
		elif .at_least then .met == (.seen >= .limit) else .met == (.seen <= .limit) end)' "$json"
	[ "$(grep -c '^    reach  .*\(met\|NOT MET\|not measured: .*\)$' "$BATS_FILE_TMPDIR/said")" -eq "$(jq '[.workloads[].cases[].reaches[]] | length' "$json")" ]
}

@test "nothing is left but the results" {
	[ -z "$(find "$BATS_FILE_TMPDIR" -maxdepth 1 -name 'data.*')" ]
}

@test "a peer that is absent is said to be absent, and what needs it not to be measured" {
	mkdir "$T/bin"
	ln -s "$(python3 -c 'import sys; print(sys.executable)')" "$T/bin/python3"
	run env PATH="$T/bin" DIRECTORY="$T/out" T=W2 "$T/bin/python3" "$HERE/../bench/run"
	[[ $output == *'absent: rsync (package rsync)'* ]]
	jq -e '.peers.rsync == null and ([.workloads[].cases[].reaches[] | select(.what | test("rsync"))] | length > 0 and all(.met == null and .why == "rsync is absent"))' \
		"$T/out/bench.json"
}

@test "what fails is named, and the status says so" {
	mkdir "$T/bin"
	ln -s "$BIN/sameroot-datastore" "$T/bin/"
	printf '#!/bin/sh\necho no round today >&2\nexit 70\n' >"$T/bin/sameroot-sync"
	chmod +x "$T/bin/sameroot-sync"
	run env BIN="$T/bin" DIRECTORY="$T/out" T=W2 "$HERE/../bench/run"
	[ "$status" -eq 1 ]
	[[ $output == *"FAILED: $T/bin/sameroot-sync"*'status 70: no round today'* ]]
}

@test "bench-scale moves what it is told to, and says what that took" {
	local limit=64
	[[ $BIN != */san-* ]] || limit=1024 # what a sanitizer keeps is not ours
	TMPDIR=$T LIMIT_MIB=$limit "$HERE/../bench/scale" 100 500 one-table >"$T/said"
	grep -q "^100 files, 500 rows; limit $limit MiB a process$" "$T/said"
	grep -Eq '^quiet round +B +[0-9.]+ +[0-9.]+ +[0-9]+ +[0-9]+% +1 +[0-9]+ +[0-9]+$' "$T/said"
	[ -z "$(find "$T" -mindepth 1 -not -name said)" ]
}
