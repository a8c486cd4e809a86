#!/usr/bin/env bats
# A directory of a store that is swapped for a link to outside of it while changes are applied there: at every system call of the apply that names a file.

load lib

SWAP=$BIN/../tests/swap.so

begin() { # nothing but the way in which files are opened keeps them inside
	for name in datastore A B; do write_config "$name" Sandbox=false; done
	fill A
	mkdir -p "$T/A/resources/d"
	echo x >"$T/A/resources/d/mode"
	[ -e "$SWAP" ]
	mkdir -p "$T/outside/dir/sub"
	for name in old mode new dir/sub/file; do echo outside >"$T/outside/$name"; done
	ln -s "$T/outside" "$T/aside"
}

@test "a link that is planted while a pull is applied leads nobody out of the store" {
	begin
	start_datastore
	rounds A B
	calls=$(python3 "$HERE/hostile_links.py" "$T" "$SWAP" "$BIN/sameroot-sync" pull)
	((calls > 30)) || fail "only $calls calls"
}

@test "a link that is planted while a push is applied leads nobody out of the store" {
	begin
	launch datastore env LD_PRELOAD="$SWAP" SR_SWAP_ARM="$T/arm" ASAN_OPTIONS=verify_asan_link_order=0 "$BIN/sameroot-datastore" -c "$T/datastore.conf"
	# shellcheck disable=SC2034 # of lib.bash
	DATASTORE_PORT=${URL[datastore]##*:}
	wait_for 'the datastore is ready' ready datastore
	rounds A B
	calls=$(python3 "$HERE/hostile_links.py" "$T" "$SWAP" "$BIN/sameroot-sync" push)
	((calls > 30)) || fail "only $calls calls"
}
