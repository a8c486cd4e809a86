#!/usr/bin/env bats
# What is moved or copied: a file, a directory, a large file; its content does not travel, for whoever is to have it has it at another path.

load lib
load wire

KIB=1024

# All of it is written on A, and both others have it: 2.3 MB in dir, 8 MiB in big.
all_have_it() {
	mkdir -p "$T/A/resources/dir/deeper"
	for k in {1..40}; do random "$T/A/resources/dir/$k" 50000; done
	random "$T/A/resources/dir/deeper/one" 300000
	random "$T/A/resources/big" $((8192 * KIB))
	start_datastore
	rounds A B
	assert_same A B datastore
}

# FILE BYTES
random() {
	head -c "$2" /dev/urandom >"$1"
}

# KIB: no more went up from A, and as much down to B, and all have the same
travels_within() {
	local up down
	wire pass
	rounds A
	up=$(passed up)
	down=$(passed down)
	rounds B
	assert_same A B datastore
	((up < $1 * KIB && $(passed down) - down < $1 * KIB)) || fail "$up bytes went up, $(($(passed down) - down)) down"
}

@test "what is moved moves no content: a directory of small files, a large file" {
	all_have_it
	start_wire
	mv "$T/A/resources/dir" "$T/A/resources/moved"
	mv "$T/A/resources/big" "$T/A/resources/moved/bigger"
	touch -d '2001-02-03 04:05:06.789' "$T/A/resources/moved/bigger" "$T/A/resources/moved/7"
	travels_within 40
	for name in B datastore; do
		[[ $(stat -c %.9Y "$T/$name/resources/moved/bigger" "$T/$name/resources/moved/7") == "$(stat -c %.9Y "$T/A/resources/moved/bigger" "$T/A/resources/moved/7")" ]]
	done
}

@test "what is copied moves no content: a directory, a large file, in the place of another and with another mode" {
	all_have_it
	start_wire
	cp -r "$T/A/resources/dir" "$T/A/resources/copied"
	cp "$T/A/resources/big" "$T/A/resources/dir/7"
	chmod 600 "$T/A/resources/dir/7"
	travels_within 40
}

@test "two files that change places, and what is copied from what is overwritten" {
	all_have_it
	start_wire
	mv "$T/A/resources/dir/1" "$T/A/resources/x"
	mv "$T/A/resources/dir/2" "$T/A/resources/dir/1"
	mv "$T/A/resources/x" "$T/A/resources/dir/2"
	cp "$T/A/resources/big" "$T/A/resources/big-before"
	echo 'something else' >"$T/A/resources/big"
	travels_within 20
}

@test "what is moved while others edit it: the edit is kept, and nothing is lost" {
	all_have_it
	mv "$T/A/resources/dir" "$T/A/resources/moved"
	echo 'an edit of B' >>"$T/B/resources/dir/7"
	rounds A B A B
	assert_same A B datastore
	[ ! -e "$T/A/resources/dir/8" ]
	grep -sq 'an edit of B' "$T/A/resources/dir/7" || grep -rq 'an edit of B' "$T"/*/state/archive
	cmp "$T/B/resources/moved/8" "$T/A/resources/moved/8"
}
