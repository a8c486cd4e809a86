#!/usr/bin/env bats
# A node that verifies itself: what rots on a disk, without a word in any file time, is reported, and neither pushed nor handed out.
load lib

# NAME [OPTIONS]: a disk of its own below its resources.
mount_disk() {
	truncate -s 128M "$T/disk"
	# shellcheck disable=SC2086
	/sbin/mkfs.ext4 -q ${2:-} "$T/disk"
	LOOP=$(losetup -f --show "$T/disk") || skip 'no loop device'
	mkdir -p "$T/$1/resources"
	MOUNTED=$T/$1/resources
	mount "$LOOP" "$MOUNTED"
	rmdir "$MOUNTED/lost+found"
}

teardown_of_lib=$(declare -f teardown)
eval "lib_${teardown_of_lib}"
teardown() {
	lib_teardown
	[[ -z ${LOOP:-} ]] || losetup -d "$LOOP"
}

rot() { # TEXT: one bit of it, on the disk, where it may also have been before
	local at
	umount "$MOUNTED"
	for at in $(grep -abo "$1" "$LOOP" | cut -d : -f 1); do
		printf '\x00' | dd of="$LOOP" bs=1 seek="$at" conv=notrunc status=none
	done
	blockdev --flushbufs "$LOOP"
	mount "$LOOP" "$MOUNTED"
}

# NAME: while it was stopped its resources/img/3 has rotted, and it is time for it to verify itself
begin_with_rot() {
	mount_disk "$1"
	fill A
	for i in {1..5}; do echo "content of file number $i" >"$T/A/resources/img/$i"; done
	start_datastore
	start_webserver A
	wait_same datastore A
	sleep 2.2 # what is younger is not trusted by a scan, which would take the rot for an edit
	sync_now A
	stop A
	stop datastore
	rot 'content of file number 3'
	echo '{"due_ms":1}' >"$T/$1/state/verified"
	start_datastore
	start_webserver A
}

on() {
	local name=$1 command=$2
	shift 2
	"$BIN/sameroot" "$command" -c "$T/$name.conf" "$@"
}

has_verified() {
	on "$1" status --json 2>/dev/null | jq -e '.verify.ended_ms > 0' >/dev/null
}

reports_the_rot() {
	on "$1" status --json >"$T/status" || true
	jq -e '.verify.wrong_count == 1 and .verify.wrong[0].path == "resources/img/3" and .verify.due_ms > .verify.ended_ms + 5 * 86400000' "$T/status" ||
		fail "$(jq .verify "$T/status")" || return 1
	grep -E 'verify: resources/img/3: its content is not what the tree says.*expected [0-9a-f]{32}, found [0-9a-f]{32}' "$T/$1.log" || return 1
	run on "$1" status
	[[ $status -eq 1 && $output == *'1 not what the tree says'* && $output == *'resources/img/3'* ]] || fail "status $status: $output" || return 1
	api "$1" /metrics | grep -x 'sameroot_verify_rotten 1'
}

# NAME [FROM]: --repair puts its img/3 back, and that is no edit
repairs() {
	local root inode
	root=$(root_of datastore)
	inode=$(stat -c '%Y %a' "$T/$1/resources/img/3")
	run on "$1" verify --repair
	[[ $status -eq 64 ]] || fail "nobody was asked: status $status: $output" || return 1
	run on "$1" verify --repair --yes
	[[ $status -eq 0 && $output == *"resources/img/3: repaired, from ${2:-}"* ]] || fail "status $status: $output" || return 1
	on "$1" status --json | jq -e '.verify.wrong_count == 0 and .verify.wrong == []' || return 1
	sync_now A
	grep -qx 'content of file number 3' "$T/$1/resources/img/3" || return 1
	[[ $(stat -c '%Y %a' "$T/$1/resources/img/3") == "$inode" ]] || return 1
	on "$1" verify || return 1
	[[ $(root_of datastore) == "$root" && $(root_of A) == "$root" ]]
}

finds_the_rot() {
	run on datastore verify
	[ "$status" -eq 1 ] || fail "status $status: $output"
	[[ $output == *'resources/img/3: its content is not what the tree says, though its size and times are unchanged'* && $output != *img/4:* ]] ||
		fail "$output"
}

@test "verify without FILE: what rotted on the disk, by its path, whether the daemon runs or not" {
	mount_disk datastore
	fill A
	for i in {1..5}; do echo "content of file number $i" >"$T/A/resources/img/$i"; done
	start_datastore
	start_webserver A
	wait_same datastore A
	on A verify
	sleep 2.2 # what is younger is not trusted by a scan, which would take the rot for an edit
	sync_now A
	on datastore verify --json | jq -e '.wrong == [] and .skipped == [] and .leaves > 15'
	on datastore ls >/dev/null
	stop datastore
	rot 'content of file number 3'
	echo 'an edit, and no rot' >"$T/datastore/resources/img/4"
	finds_the_rot
	start_datastore
	finds_the_rot
	# nothing was changed by looking, and a backup says that it lacks it
	run on datastore backup "$T/b.tar"
	[[ $status -eq 1 && $output == *'MISSING: resources/img/3: '* ]] || fail "status $status: $output"
	on datastore verify "$T/b.tar" --json | jq -e '.missing_count == 1 and .left_out[0].path == "resources/img/3"'
	tar -tf "$T/b.tar" | grep -q '^resources/img/4$'
}

@test "a webserver that verifies itself reports what has rotted there, and does not push it" {
	write_config A
	begin_with_rot A
	wait_for 'A to verify itself' has_verified A
	reports_the_rot A
	sync_now A
	grep -qx 'content of file number 3' "$T/datastore/resources/img/3"
	run cmp "$T/"{datastore,A}/resources/img/3
	[ "$status" -eq 1 ]
	repairs A 'the datastore'
	[[ $(on A conflicts list --json | jq '[.. | objects | select(.path? == "resources/img/3")] | length') -eq 1 ]]
}

@test "a datastore that verifies itself reports what has rotted there, and hands it to nobody" {
	begin_with_rot datastore
	wait_for 'the datastore to verify itself' has_verified datastore
	reports_the_rot datastore
	start_webserver B
	wait_for 'B to have the rest' test -e "$T/B/resources/img/5"
	sync_now B
	[[ ! -e $T/B/resources/img/3 ]] || fail "$(od -c "$T/B/resources/img/3")"
	grep -qx 'content of file number 3' "$T/A/resources/img/3"
	repairs datastore
	wait_same datastore A B
}

@test "what no other node has, and what was edited in an ordinary way, --repair leaves, and says what is left to do" {
	begin_with_rot datastore
	wait_for 'the datastore to verify itself' has_verified datastore
	stop A
	run on datastore verify --repair --yes
	[[ $status -eq 1 && $output == *'resources/img/3: '*'no other node has this content'*'put it back from a backup'* ]] || fail "status $status: $output"
	run admin datastore /api/admin/repair -w ' %{http_code}' -d '{"path":"resources"}'
	[[ $output == *' 404' ]] || fail "$output"
	run admin datastore /api/admin/repair -w ' %{http_code}' -d '{"path":"resources/img/5"}'
	[[ $output == '{"rotten":false,"from":null,"archived":false} 200' ]] || fail "$output"
	grep -v nothing "$T/A/resources/img/3" >"$T/datastore/resources/img/3"
	on datastore verify
}

# Its data, and all that lies behind it, is where the disk ends now: an I/O error.
lose_the_end() { # TEXT
	local at
	umount "$MOUNTED"
	at=$(grep -abo "$1" "$T/disk" | head -n 1)
	truncate -s "${at%%:*}" "$T/disk"
	blockdev --flushbufs "$LOOP"
	mount "$LOOP" "$MOUNTED"
}

# It may have lain in what is lost, and what is written now, too: until a copy is on the disk.
rescue_the_marker() {
	local own=$MOUNTED/.sameroot n
	for n in {1..200}; do
		! dd if="$own/marker" iflag=direct of=/dev/null status=none 2>/dev/null || break
		cp "$T/marker" "$own/parts/$n"
		sync "$own/parts/$n" 2>/dev/null || true
		! dd if="$own/parts/$n" iflag=direct of=/dev/null status=none 2>/dev/null || mv "$own/parts/$n" "$own/marker"
	done
	rm -f "$own/parts/"*
	cmp "$T/marker" "$own/marker"
}

@test "what cannot be read any more is reported, not pushed, and comes back from another node" {
	mount_disk A '-O ^has_journal -b 4096'
	fill A
	head -c 2M /dev/zero >"$T/A/resources/img/4"
	start_datastore
	start_webserver A
	wait_same datastore A
	{ head -c 30M /dev/zero && echo 'content of file number 5' && head -c 4M /dev/zero; } >"$T/A/resources/img/5"
	sync
	# what is written from now on lies before it
	head -c 200M /dev/zero >"$T/A/resources/.sameroot/rest" 2>/dev/null || true
	rm "$T/A/resources/img/4"
	sync
	wait_same datastore A
	sleep 2.2 # as above
	sync_now A
	stop A
	cp "$MOUNTED/.sameroot/marker" "$T/marker"
	lose_the_end 'content of file number 5'
	run cmp "$T/"{A,datastore}/resources/img/5
	[[ $output == *'Input/output error'* ]] || skip 'no end of a disk that is an error'
	rm "$T/A/resources/.sameroot/rest"
	rescue_the_marker
	start_webserver A
	run on A verify
	[[ $status -eq 1 && $output == *'resources/img/5: it cannot be read'* ]] || fail "status $status: $output"
	sync_now A
	grep -qa 'content of file number 5' "$T/datastore/resources/img/5"
	root=$(root_of datastore)
	run on A verify --repair --yes
	[[ $status -eq 0 && $output == *'resources/img/5: repaired, from the datastore; nothing is kept of what had rotted'* ]] || fail "status $status: $output"
	grep -qa 'content of file number 5' "$T/A/resources/img/5"
	sync_now A
	[[ $(root_of datastore) == "$root" && $(root_of A) == "$root" ]]
	no_conflicts
	on A verify
}

verifies() {
	on "$1" status --json 2>/dev/null | jq -e '.verify.running' >/dev/null
}

@test "a backup need not wait until a datastore that verifies itself has read all of its files" {
	fill A
	truncate -s 400M "$T/A/resources/large" # 12 s at 32 MiB a second
	start_datastore
	start_webserver A
	wait_same datastore A
	stop datastore
	echo '{"due_ms":1}' >"$T/datastore/state/verified"
	start_datastore
	wait_for 'the datastore to begin to verify itself' verifies datastore
	wait_for 'a backup' on datastore backup "$T/b.tar"
	verifies datastore
	stop datastore
}

# NAME: a file has rotted there, and what is copied from it on A comes there all the same
is_not_copied_from_rot() {
	mount_disk "$1"
	fill A
	{ echo 'content that rots' && head -c 5000 /dev/zero; } >"$T/A/resources/img/3"
	start_all
	wait_same
	sleep 2.2 # as above
	sync_now A
	sync_now B
	for name in A B datastore; do stop "$name"; done
	rot 'content that rots'
	start_all
	cp "$T/A/resources/img/3" "$T/A/resources/img/3-copied"
	for name in datastore B; do
		wait_for "it is at $name" cmp -s "$T/A/resources/img/3-copied" "$T/$name/resources/img/3-copied"
	done
	! cmp -s "$T/"{A,"$1"}/resources/img/3
}

@test "what is copied on a webserver is not copied from what has rotted at the datastore" {
	is_not_copied_from_rot datastore
}

@test "... nor on another webserver" {
	is_not_copied_from_rot B
}
