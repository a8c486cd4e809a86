#!/usr/bin/env bats
# Databases of real applications, each driven by its own program on two webservers: at the same time, and in turns.  Afterwards the rows and the schema are the same
# on both and at the datastore, SQLite finds all of them sound, and no round has taken away a version of a row that is neither at the datastore nor archived
# (ledger.py).  The applications number their rows by AUTOINCREMENT or rowid: two webservers that make one at the same time give both the same number, which is a
# conflict by the design; what is at stake here is that all agree on what became of it.
#
# Debian 12 (scripts/setup installs them; tried with these versions):
#   fossil 2.21             a version control system: wiki, tickets, users; compressed blobs with a UNIQUE hash, and tables that refer to them by number
#   newsboat 2.21           a feed reader: articles with AUTOINCREMENT, a table without a primary key
#   buku 4.7                bookmarks with a UNIQUE URL; a deletion gives its number to the last one
#   libnss3-tools 3.87      Mozilla's certificates and keys: a hundred columns without a type, UNIQUE ON CONFLICT ABORT and REPLACE
#   python3-django 3.2      a web framework: users, groups, sessions; foreign keys DEFERRABLE INITIALLY DEFERRED, UNIQUE pairs

# shellcheck disable=SC2034 # lib.bash reads them

load lib

# PROGRAM...: or the test is skipped
need() {
	local program
	for program; do command -v "$program" >/dev/null || skip "$program is not installed"; done
}

# NAME DATABASE...: a round, held against the ledger
round() {
	local name=$1 status=0
	edit_config "$name" Datastore= "Datastore=127.0.0.1:$DATASTORE_PORT"
	python3 "$HERE/ledger.py" "$T" "$@" -- "$BIN/sameroot-sync" --once -c "$T/$name.conf" >"$T/$name.once" 2>&1 3>&- || status=$?
	cat "$T/$name.once" >>"$T/$name.log"
	[[ $status -le 1 ]] || fail "a round of $name: status $status: $(<"$T/$name.once")"
}

# WORK DATABASE...: WORK NAME K does an application's work on NAME for the Kth time
together() {
	local work=$1 k=1 name turn
	shift
	for turn in 'A B:A B A' A:'A B' B:'B A' 'B A:B A B'; do
		for name in ${turn%:*}; do "$work" "$name" $k || fail "$work $name $k" || return 1; done
		for name in ${turn#*:}; do round "$name" "$@" || return 1; done
		k=$((k + 1))
	done
	for name in A B A; do round $name "$@" || return 1; done
	assert_same
	check_databases
	for db; do
		dump_schema "$T/A/$db" >"$T/schema"
		for name in datastore B; do dump_schema "$T/$name/$db" | diff "$T/schema" - || fail "the schema of $db differs: $name" || return 1; done
	done
	echo "archived: $(conflicts A length) at A, $(conflicts B length) at B; rows: $(dump_db "$T/A/users.db" | wc -l)" >&3
}

# --- fossil ---------------------------------------------------------------------------------------------------------------

f() { # NAME COMMAND...
	local name=$1
	shift
	(cd "$T" && HOME=$T/$name USER=ada fossil "$@" -R "$T/$name/users.db" </dev/stdin) >>"$T/fossil.log" 2>&1
}

fossil_work() {
	local n=$1$2
	f "$1" user new "user$n" "$n@example.org" "secret$n" </dev/null
	echo "page of $n" | f "$1" wiki create "Page $n" || return
	[[ $2 -eq 1 ]] || echo "changed by $n" | f "$1" wiki commit "Page A1" || return
	f "$1" ticket add title "ticket $n" status Open comment "of $n" </dev/null || return
	f "$1" set mtime-changes "$(($2 % 2))" </dev/null
}

@test "fossil: a repository" {
	need fossil
	start_datastore
	(cd "$T" && HOME=$T/A USER=ada fossil init --admin-user ada "$T/A/users.db") >"$T/fossil.log" 2>&1
	rounds A B
	assert_same
	together fossil_work users.db
	for name in A B; do (HOME=$T/$name USER=ada fossil wiki list -R "$T/$name/users.db") | grep -q 'Page A1'; done
}

# --- newsboat ---------------------------------------------------------------------------------------------------------------

feed() { # FILE TITLE ITEM...
	local file=$1 item
	echo "<?xml version='1.0'?><rss version='2.0'><channel><title>$2</title><link>http://example.org/$2</link><description>x</description>" >"$file.new"
	for item in "${@:3}"; do
		echo "<item><title>$item of $2</title><link>http://example.org/$item</link><guid>$2-$item</guid><description>$RANDOM</description></item>" >>"$file.new"
	done
	echo '</channel></rss>' >>"$file.new"
	mv "$file.new" "$file"
}

newsboat_work() {
	feed "$T/feed.$1" "$1" $(seq 1 $(($2 * 3)))
	feed "$T/feed.both" both "b$2" "c$(($2 + 1))"
	printf "file://$T/feed.%s\n" A B both >"$T/urls"
	for what in A B both; do [[ -e $T/feed.$what ]] || feed "$T/feed.$what" $what 1; done
	HOME=$T/$1 newsboat -u "$T/urls" -c "$T/$1/users.db" -C /dev/null -x reload >>"$T/newsboat.log" 2>&1 || return
	seq -f "$1-%g" 1 "$2" >"$T/read"
	HOME=$T/$1 newsboat -u "$T/urls" -c "$T/$1/users.db" -C /dev/null -I "$T/read" >>"$T/newsboat.log" 2>&1 # these articles are read now
}

@test "newsboat: a cache of feeds that both made by themselves" {
	need newsboat
	start_datastore
	together newsboat_work users.db
	[ "$(sql "$T/B/users.db" 'SELECT count(DISTINCT feedurl) FROM rss_item')" -ge 2 ] # the numbers of one's first articles are the other's
	[ "$(sql "$T/B/users.db" 'SELECT count(*) > 0 FROM rss_item WHERE NOT unread')" = 1 ]
}

# --- buku -------------------------------------------------------------------------------------------------------------------

b() { # NAME OPTION...
	local name=$1
	shift
	XDG_DATA_HOME=$T/$name/xdg buku --nostdin --nc --tacit "$@" >>"$T/buku.log" 2>&1 </dev/null
}

buku_work() { # nothing answers at port 1
	local n=$1$2 count k
	mkdir -p "$T/$1/xdg/buku"
	[[ -e $T/$1/xdg/buku/bookmarks.db ]] || ln -s "$T/$1/users.db" "$T/$1/xdg/buku/bookmarks.db"
	for k in 1 2; do b "$1" --add "http://127.0.0.1:1/$n/$k" "tag$k,$n" --title "bookmark $k of $n" --comment "of $n"; done
	b "$1" --add "http://127.0.0.1:1/both/$2" --title "by $n"
	b "$1" --update 2 --tag + "updated-$n"
	[[ $2 -eq 1 ]] || b "$1" --delete 3
	count=$(sql "$T/$1/users.db" 'SELECT count(*) FROM bookmarks')
	((count >= 3)) || fail "$count bookmarks"
}

@test "buku: bookmarks whose numbers move" {
	need buku
	start_datastore
	together buku_work users.db
	XDG_DATA_HOME=$T/B/xdg buku --nostdin --nc --np --print -j | jq -e 'length > 5'
}

# --- nss --------------------------------------------------------------------------------------------------------------------

n() { # NAME OPTION...
	local name=$1
	shift
	certutil -d "sql:$T/$name/nss" "$@" >>"$T/nss.log" 2>&1
}

nss_work() {
	local n=$1$2
	export NSS_MAX_MP_PBE_ITERATION_COUNT=1 # nothing here is a secret
	mkdir -p "$T/$1/nss"
	[[ -e $T/$1/nss/cert9.db ]] || ln -s "$T/$1/users.db" "$T/$1/nss/cert9.db"
	[[ -e $T/$1/nss/key4.db ]] || ln -s "$T/$1/webstore.db" "$T/$1/nss/key4.db"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$T/key" -out "$T/cert" -subj "/CN=$n" -days 9 2>>"$T/nss.log"
	n "$1" -A -n "cert $n" -t ,, -i "$T/cert" || return
	openssl pkcs12 -export -passout pass: -in "$T/cert" -inkey "$T/key" -name "key $n" -out "$T/p12" 2>>"$T/nss.log" || return
	pk12util -d "sql:$T/$1/nss" -i "$T/p12" -W '' -K '' >>"$T/nss.log" 2>&1 || return
	[[ $2 -eq 1 ]] || n "$1" -M -n 'cert A1' -t "$([[ $1 == A ]] && echo C || echo P),," || return
	[[ $2 -ne 3 ]] || n "$1" -D -n "cert A2"
}

@test "nss: certificates and keys" {
	need certutil pk12util
	start_datastore
	mkdir "$T/A/nss"
	certutil -N -d "sql:$T/A/nss" --empty-password
	mv "$T/A/nss/cert9.db" "$T/A/users.db"
	mv "$T/A/nss/key4.db" "$T/A/webstore.db"
	rounds A B
	assert_same
	together nss_work users.db webstore.db
	for name in A B; do certutil -L -d "sql:$T/$name/nss" | grep -q 'cert A1'; done
}

# --- django -----------------------------------------------------------------------------------------------------------------

django_work() {
	/usr/bin/python3 - "$T/$1/users.db" "$1$2" <<'PY' >>"$T/django.log" 2>&1
import random, sys
import django
from django.conf import settings
settings.configure(SECRET_KEY="x", USE_TZ=True, SITE_ID=1, DEFAULT_AUTO_FIELD="django.db.models.AutoField",
	DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1], "OPTIONS": {"timeout": 30}}},
	PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
	INSTALLED_APPS=["django.contrib." + app for app in ("contenttypes", "auth", "sessions", "sites", "flatpages", "redirects")])
django.setup()
from django.core.management import call_command
from django.contrib.auth.models import Group, Permission, User
from django.contrib.flatpages.models import FlatPage
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sites.models import Site
call_command("migrate", verbosity=0)
n = sys.argv[2]
rnd = random.Random(n)
for k in range(4):
	user = User.objects.create_user(f"user{n}-{k}", f"{n}@example.org", "secret")
	group, _ = Group.objects.get_or_create(name=f"group {rnd.randrange(6)}")
	user.groups.add(group)
	group.permissions.add(rnd.choice(Permission.objects.all()))
	session = SessionStore()
	session["user"] = user.pk
	session.create()
page = FlatPage.objects.create(url=f"/{n}/", title=f"page of {n}", content="x")
page.sites.add(Site.objects.get_current())
for user in rnd.sample(list(User.objects.order_by("pk")), 2):
	user.first_name = f"changed by {n}"
	user.save()
if n[1] != "1":
	rnd.choice(User.objects.order_by("pk")).delete() # and what refers to it
PY
}

@test "django: users, groups and sessions of sites that both made by themselves" {
	/usr/bin/python3 -c 'import django' 2>/dev/null || skip 'python3-django is not installed'
	start_datastore
	together django_work users.db
	[ "$(sql "$T/B/users.db" 'SELECT count(*) > 8 FROM auth_user')" = 1 ]
}
