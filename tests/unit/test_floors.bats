#!/usr/bin/env bats
# scripts/floors finds what it is there to find: one planted violation a test, and silence over a house in order.

setup() {
	house=$(mktemp -d)
	mkdir -p "$house"/{cmd,http,hashtree,lib/base,lib/store,lib/sync,lib/bundle,lib/replica}
	echo '#include "lib/sync/a.h"' >"$house/cmd/main.c"
	printf '/* <archive.h> is not for us,\n * nor is sqlite3 */\n#include "lib/base/b.h"\n' >"$house/lib/sync/a.c"
	echo '#include <sqlite3.h>' >"$house/lib/store/internal.h"
	echo '#include "lib/store/internal.h"' >"$house/lib/store/s.c"
	touch "$house/lib/base/b.h"
}

teardown() {
	rm -rf "$house"
}

floors() {
	run "$SAMEROOT_SOURCE/scripts/floors" "$house"
}

# FILE LINE WHAT: with that line in that file, floors says WHAT about it
planted() {
	echo "$2" >"$house/$1"
	floors
	echo "$output"
	[ "$status" -eq 1 ]
	[[ $output == "$1:1: $3"* ]]
}

@test "a house in order is silent" {
	floors
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

@test "an include that points up" { planted lib/base/x.c '#include "lib/sync/a.h"' 'lib/base may not include lib/sync'; }
@test "an include across" { planted hashtree/x.c '#include "http/server.h"' 'hashtree may not include http'; }
@test "an include into cmd" { planted lib/sync/x.c '#  include "cmd/main.h"' 'lib/sync may not include cmd'; }
@test "an include from beside" { planted lib/sync/x.c '#include "a.h"' '"a.h": includes are written from the top'; }
@test "libarchive outside of its room" { planted lib/sync/x.c '#include <archive.h>' '<archive.h> belongs into lib/bundle only'; }
@test "libcurl in cmd" { planted cmd/x.c '#include <curl/curl.h>' '<curl/curl.h> belongs into http only'; }
@test "sqlite outside of its rooms" { planted lib/replica/x.h '#include <sqlite3.h>' '<sqlite3.h> belongs into lib/store lib/state lib/users only'; }
@test "hashtree with a clock" { planted hashtree/x.c '#include <time.h>' 'hashtree is pure'; }
@test "a room that nobody knows" {
	mkdir "$house/lib/attic"
	planted lib/attic/x.c 'int x;' 'the room lib/attic is not in the table'
}

@test "a foreign include that leaves its room by a header" {
	planted lib/replica/x.c '#include "lib/store/internal.h"' 'lib/store/internal.h shows <sqlite3.h> and may not leave its room'
}

@test "a foreign type that leaves its room by a header" {
	echo 'int sr_pack(struct archive *a);' >"$house/lib/bundle/pack.h"
	planted lib/replica/x.c '#include "lib/bundle/pack.h"' 'lib/bundle/pack.h shows types of another library'
}

@test "this house is in order" {
	run "$SAMEROOT_SOURCE/scripts/floors" "$SAMEROOT_SOURCE"
	echo "$output"
	[ "$status" -eq 0 ]
}
