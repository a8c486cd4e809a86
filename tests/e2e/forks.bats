#!/usr/bin/env bats
# Two histories of one epoch: the datastore is restored from an older image, with its state, and goes on with a webserver that had not been beyond that before the
# others are seen.  What was pushed in the one before, and in the other since, is reverted by neither.

# shellcheck disable=SC2034 # lib.bash reads them

load lib

# A, B and C are in step, and an image of the datastore is made.  It is what comes back with go_back.
imaged() {
	write_config C
	begin
	rounds C
	stop datastore
	cp -a "$T/datastore" "$T/image"
	start_datastore
}

go_back() {
	stop datastore
	rm -r "$T/datastore"
	cp -a "$T/image" "$T/datastore"
	start_datastore
}

set_of() { # NAME UID EMAIL
	value "$1" "UPDATE users SET email = '$3' WHERE uid = $2"
}

# HISTORY: A and B are held, and one command unites all three
united() {
	round A B
	grep -q "the datastore's history is $1" "$T/A.once" || fail "A: $(<"$T/A.once")"
	grep -q 'held: ' "$T/B.once" || fail "B: $(<"$T/B.once")"
	"$BIN/sameroot" adopt --union --yes -c "$T/datastore.conf" >"$T/adopted"
	round A B C A B C
	assert_same datastore A B C
}

emails() { # EMAIL...: those of users 1, 2, ...
	everywhere 'SELECT group_concat(email) FROM (SELECT email FROM users ORDER BY uid)' "$1"
}

@test "the datastore goes on from an older image: what was pushed before that and nobody has changed since stands, however much others have pushed meanwhile" {
	imaged
	set_of A 1 of-A
	rounds A B
	go_back
	for ((k = 1; k <= 3; k++)); do
		set_of C 2 "of-C$k"
		rounds C
	done
	united fork
	emails 'of-A,of-C3,c@example.org'
}

@test "... and when it has been started again since" {
	imaged
	set_of A 1 of-A
	rounds A B
	go_back
	set_of C 2 of-C1
	rounds C
	stop datastore
	start_datastore
	set_of C 3 of-C2
	rounds C
	united fork
	emails 'of-A,of-C1,of-C2'
}

@test "... and what was pushed since is not replaced by what others had before, though they heard of that later" {
	write_config C
	begin
	rounds C
	set_of A 2 before
	rounds A C
	stop datastore
	cp -a "$T/datastore" "$T/image"
	start_datastore
	for ((k = 1; k <= 3; k++)); do
		set_of A 1 "of-A$k"
		rounds A
	done
	rounds B # which hears only now of user 2
	go_back
	set_of C 2 of-C
	rounds C
	united ahead
	emails 'of-A3,of-C,c@example.org'
}

@test "... and who was not there when the datastore's history was lost goes on as ever: what it deletes is deleted" {
	imaged
	set_of A 1 of-A
	rounds A B
	go_back
	set_of C 2 of-C
	rounds C
	value C "DELETE FROM members WHERE uid = 3; DELETE FROM users WHERE uid = 3"
	set_of C 2 of-C2
	united fork
	emails 'of-A,of-C2'
	[ "$(conflicts C length)" = 0 ]
}

@test "... unless it does not know what became of its last push: what it has edited since is an edit of that" {
	imaged
	start_proxy
	tamper push-lost 1
	set_of C 1 first
	! once C || fail 'the answer came'
	rounds_without_proxy A B
	set_of C 1 second
	go_back
	DATASTORE_PORT=$REAL_PORT
	united ahead
	emails 'second,c@example.org'
}
