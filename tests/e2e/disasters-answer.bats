#!/usr/bin/env bats
# The epoch rises while an answer is missing: what a webserver pushed may be at the datastore or not, and what was edited since gives way to neither.

load lib

edits() { # NAME EMAIL
	value "$1" "UPDATE users SET email = '$2' WHERE uid = 1"
}

adopt_union() {
	admin datastore /api/admin/adopt -d '{"what": "union"}' >/dev/null
}

# NAME MODE: its push has no answer: push-lost, it was committed; push-never, it was not
unanswered() {
	tamper "$2" 1
	once "$1" && fail "the answer came"
	tamper pass
}

begin_proxied() {
	begin
	start_proxy
}

# EMAIL: what all have in the end, and B, who edited it, lost nothing
stands() {
	rounds A B A B
	everywhere 'SELECT email FROM users WHERE uid = 1' "$1"
	assert_same
	[ "$(conflicts B length)" = 0 ] || fail "$(conflicts B)"
}

@test "what was edited after a push that was committed, but whose answer was lost, is an edit in the union, too" {
	begin_proxied
	edits B pushed
	echo pushed >"$T/B/resources/hosts.csv"
	echo new >"$T/B/resources/new"
	unanswered B push-lost
	[ "$(value datastore 'SELECT email FROM users WHERE uid = 1')" = pushed ]
	edits B edited
	echo edited >"$T/B/resources/hosts.csv"
	echo newer >"$T/B/resources/new"
	adopt_union
	rounds B
	stands edited
	[ "$(cat "$T/A/resources/hosts.csv" "$T/A/resources/new")" = $'edited\nnewer' ]
}

@test "... and after one that was not committed" {
	begin_proxied
	edits B pushed
	unanswered B push-never
	edits B edited
	adopt_union
	rounds B
	stands edited
}

@test "... where the edit makes it what it was before" {
	begin_proxied
	edits B pushed
	unanswered B push-lost
	edits B ada@example.org
	adopt_union
	rounds A B
	stands ada@example.org
}

@test "... and what is as it was pushed is an edit, wherever it got to" {
	begin_proxied
	edits B pushed
	unanswered B push-lost
	adopt_union
	rounds B
	stands pushed
}

@test "... when the round that gives the push up ends before it has planned" {
	begin_proxied
	edits B pushed
	unanswered B push-lost
	edits B edited
	echo other >"$T/A/resources/other" # something to walk to
	rounds A
	adopt_union
	tamper nodes-flip
	once B && fail "the tree could be walked"
	[ "$(sqlite3 "$T/B/state/state.db" 'SELECT count(*) FROM outbox')" = 0 ]
	tamper pass
	rounds B
	stands edited
	[ "$(sqlite3 "$T/B/state/state.db" 'SELECT count(*) FROM outbox_leaf')" = 0 ]
}

@test "... when the answer to the union's own push is lost, and the epoch rises again" {
	begin_proxied
	edits B pushed
	unanswered B push-lost
	edits B edited
	adopt_union
	unanswered B push-lost
	[ "$(value datastore 'SELECT email FROM users WHERE uid = 1')" = edited ]
	edits B 'edited again'
	adopt_union
	rounds B
	stands 'edited again'
}

@test "... when that push is lost, and the epoch rises again: then it is still an edit of the first" {
	begin_proxied
	edits B pushed
	unanswered B push-lost
	edits B edited
	adopt_union
	unanswered B push-never
	edits B 'edited again'
	adopt_union
	rounds B
	stands 'edited again'
}

@test "when that union is over, what was given up is forgotten: what is unedited in the next one is no edit" {
	begin_proxied
	edits B pushed
	unanswered B push-lost
	edits B edited
	adopt_union
	rounds B A
	[ "$(sqlite3 "$T/B/state/state.db" 'SELECT count(*) FROM outbox_leaf')" = 0 ]
	edits A later
	rounds A
	adopt_union
	rounds B A B
	everywhere 'SELECT email FROM users WHERE uid = 1' later
}
