#!/usr/bin/env bats
# Real daemons, stopped at some of their steps and started again (crash.py has how; `make crash` stops them at every one).

crash() {
	run "$BATS_TEST_DIRNAME/crash.py" --jobs 1 --seed "${SEED:-1}" --sample "${SAMPLE:-10}" "$@"
	echo "$output"
	[ "$status" -eq 0 ]
}

setup_file() {
	export PYTHONDONTWRITEBYTECODE=1
}

@test "a webserver that pulls" { crash pull; }
@test "a webserver that pulls, with edits of its own" { crash conflict; }
@test "a webserver that pushes" { crash push; }
@test "a new webserver that is filled" { crash fill; }
@test "a datastore that commits a push" { crash commit; }
@test "a webserver that pulls a delta, and what was moved" { crash largepull; }
@test "a webserver that pushes a delta, and what was moved" { crash largepush; }
@test "a datastore that commits a delta, and what was moved" { crash largecommit; }
@test "a datastore that commits a push in part" { crash refuse; }
@test "a datastore that finds direct edits" { crash direct; }
@test "a datastore that starts over direct edits" { crash start; }
@test "a datastore that is founded" { crash found; }
@test "an application whose commits are not durable: what was pushed stays" { crash loose; }

# Its frames are whole in the log, and whoever opens the database after a crash finds them.
@test "a commit whose fsync fails is made once" { crash --all --crash eio --only 'sync datastore/[a-z]+.db' refuse; }

@test "a marker of files that cannot be written leaves no draft" { crash --all --crash eio --only 'datastore/resources/.sameroot/marker' refuse; }
