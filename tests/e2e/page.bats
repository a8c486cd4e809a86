#!/usr/bin/env bats
# The status page: what it answers, and what a person does with it in a real browser (tests/page/drive.mjs).

bats_require_minimum_version 1.5.0

load lib

ADA='ada:a good password' GRACE='grace:another password'

begin_with_users() {
	"$BIN/sameroot" init --webserver --yes -c "$T/A.conf" >"$T/init"
	start_datastore
	round A B
	echo "${ADA#*:}" | "$BIN/sameroot" user add --admin ada -c "$T/A.conf"
	echo "${GRACE#*:}" | "$BIN/sameroot" user add grace -c "$T/A.conf"
	rounds A B
}

# NAME LOGIN PATH [CURL OPTION...]: the status; $T/answer, $T/head
page() {
	local name=$1 login=$2 path=$3
	shift 3
	: >"$T/answer"
	curl -sS --max-time 10 -o "$T/answer" -D "$T/head" -w '%{http_code}' -u "$login" "$@" "${URL[$name]}$path"
}

# In front of the datastore, as its manual page says
start_nginx() {
	local port
	command -v nginx >/dev/null || skip 'there is no nginx: scripts/setup installs it'
	port=$(free_port)
	mkdir -p "$T/nginx"
	{
		echo "daemon off; master_process off; pid $T/nginx/pid; error_log $T/nginx.log; events { }"
		echo "http { access_log off; client_body_temp_path $T/nginx; proxy_temp_path $T/nginx; fastcgi_temp_path $T/nginx; uwsgi_temp_path $T/nginx; scgi_temp_path $T/nginx;"
		echo "server { listen 127.0.0.1:$port;"
		sed -n '/^location \/ops\/sameroot\/ {/,/^}/p' "$SAMEROOT_SOURCE/man/sameroot-datastore.8" | sed "s|https://127.0.0.1:9405/|${URL[datastore]}/|"
		echo '} }'
	} >"$T/nginx.conf"
	nginx -p "$T/nginx" -c "$T/nginx.conf" >>"$T/nginx.log" 2>&1 3>&- &
	PID["nginx"]=$!
	URL["nginx"]=http://127.0.0.1:$port/ops/sameroot
	wait_for 'nginx answers' curl -sS -o /dev/null "${URL[nginx]}/healthz"
}

need_browser() {
	local page=$SAMEROOT_SOURCE/tests/page
	command -v chromium node >/dev/null || skip 'there is no chromium or no node: scripts/setup installs them'
	[[ -d $page/node_modules/playwright-core ]] || skip 'playwright-core is not there: scripts/setup gets it with npm'
}

drive() { # SCENARIO NAME-OR-URL LOGIN [ARGUMENT...]
	local scenario=$1 url=${URL[$2]:-$2}
	shift 2
	timeout 120 node "$SAMEROOT_SOURCE/tests/page/drive.mjs" "$scenario" "${url%/}/" "$@" 3>&-
}

known() { # NAME: of the registry, it told its balancer status
	api datastore /api/webservers | jq -e --arg name "$1" 'any(.[]; .name == $name and .status.balancer.answer == "ALIVE")' >/dev/null
}

@test "for whoever may log in, on both daemons; a strict policy, relative URLs, an ETag; only the datastore's page lets admins do something" {
	local name path tag
	begin_with_users
	start_webserver A
	wait_for 'A is known' known 127.0.0.1:8075
	for name in datastore A; do
		for path in / /page.css /page.js /page.svg /api/page; do
			[ "$(curl -sS -o "$T/answer" -D "$T/head" -w '%{http_code}' "${URL[$name]}$path")" = 401 ]
			grep -qix 'WWW-Authenticate: Basic realm="Sameroot", charset="UTF-8".' "$T/head" # one challenge, or no browser asks
			[ "$(page "$name" "$GRACE" "$path")" = 200 ]
			grep -qi "^Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" "$T/head"
			grep -qi '^X-Content-Type-Options: nosniff' "$T/head"
			grep -qi '^Referrer-Policy: no-referrer' "$T/head"
			grep -qi '^Cache-Control: private, no-' "$T/head"
			[ "$path" = /api/page ] || {
				tag=$(sed -n 's/^ETag: \(.*\).$/\1/ip' "$T/head")
				[ "$(page "$name" "$GRACE" "$path" -H "If-None-Match: W/$tag")" = 304 ]
			}
		done
		page "$name" "$GRACE" /api/page
		[ "$(jq -c .user "$T/answer")" = '{"name":"grace","admin":false,"actions":[]}' ]
	done
	[ "$(jq -r .view.status.role "$T/answer")" = webserver ]
	page A "$ADA" /api/page
	[ "$(jq -c .user "$T/answer")" = '{"name":"ada","admin":true,"actions":[]}' ]
	page datastore "$ADA" /api/page
	jq -e '.user.admin and (.user.actions | index("override"))' "$T/answer"
	jq -e '.view | .status.role == "datastore" and .status.balancer.answer == "ALIVE" and .waiting == [] and (.changes | length > 0)
		and ([.status.webservers[].status.balancer.answer] == ["ALIVE", null])' "$T/answer"
	run ! grep -q "$(<"$T/control-auth")" "$T/answer"
	run ! grep -qE '(src|href|action)="(/|http)|innerHTML|insertAdjacent|document\.write|eval\(' "$SAMEROOT_SOURCE"/lib/node/page/*.{html,js}
}

@test "nothing new is 304; a change is another ETag; what waits stands there with the command that resolves it" {
	local tag
	begin_with_users
	page datastore "$ADA" /api/page
	tag=$(sed -n 's/^ETag: \(.*\).$/\1/ip' "$T/head")
	wait_for 'nothing new' not_modified "$tag"
	[ ! -s "$T/answer" ]
	[ "$(page datastore "$GRACE" /api/page -H "If-None-Match: $tag")" = 200 ] # of another user
	mv "$T/datastore/resources" "$T/away"
	kill -USR1 "${PID[datastore]}"
	wait_for 'the page tells of it' waits_for resources
	jq -e '.view.waiting[0] | .node == null and (.command | contains("sameroot-restore datastore")) and .since_ms > 0' "$T/answer"
}

not_modified() {
	[ "$(page datastore "$ADA" /api/page -H "If-None-Match: $1")" = 304 ]
}

waits_for() {
	page datastore "$ADA" /api/page >"$T/status" && jq -e --arg what "$1" '.view.waiting[0].what == $what' "$T/answer" >/dev/null
}

@test "in a browser: a webserver goes DEAD without a reload, an admin drains and does without a mouse, another one only reads" {
	need_browser
	begin_with_users
	start_webserver A
	wait_for 'A is known' known 127.0.0.1:8075
	drive drains datastore "$ADA" 127.0.0.1:8075
	drive goes datastore "$GRACE" 127.0.0.1:8075 DEAD "curl -sSf -u '$ADA' -X PUT ${URL[A]}/api/system/lbstatus/override/dead"
	drive reads datastore "$GRACE" datastore api/system/lbstatus/override/dead
	drive keys datastore "$ADA" datastore
}

@test "in a browser: a webserver called <script> does no harm; dark, and on a phone; without JavaScript; when the daemon does not answer, and when it is shut down" {
	need_browser
	local evil='<script>alert(1)</script>'
	RECOGNITION=4 SHUTDOWN=30 write_config datastore
	begin_with_users
	api datastore "/api/webservers/$(python3 -c 'import uuid; print(uuid.uuid4())')" -X PUT -d "$(jq -cn --arg evil "$evil" '{name: $evil,
		external_addr: "<img src=x onerror=alert(2)>", version: "<b>1", status: {held: [{what: $evil, why: $evil, since_ms: 0, command: "`\($evil)`"}],
		balancer: {state: $evil, answer: $evil, why: $evil, override: "dead", by: $evil, since_ms: 1}}}')"
	drive shows datastore "$ADA" "$evil"
	drive fits datastore "$ADA"
	drive without_script datastore "$ADA"
	drive falls_silent datastore "$ADA" datastore "kill -STOP ${PID[datastore]}" "kill -CONT ${PID[datastore]}"
	drive shuts_down datastore "$ADA" datastore
	wait_for 'the datastore ends' gone "${PID[datastore]}"
}

@test "in a browser: many webservers go silent at once; one is forgotten, one hangs, and nobody loses his place" {
	need_browser
	local a=127.0.0.1:8075 b=127.0.0.1:8076 put
	begin_with_users
	start_webserver B
	wait_for 'B is known' known "$b"
	wait_for 'A is stale' eval "api datastore /api/webservers | jq -e 'any(.name == \"$a\" and .stale)' >'$T/answer'"
	drive keeps_place datastore "$ADA" "$b" "$a" "$BIN/sameroot forget $a --yes -c $T/datastore.conf" "echo new >$T/B/resources/new"
	put="curl -sSf -X PUT -H 'Authorization: Bearer $(<"$T/control-auth")' -d '{\"version\": \"0.1.0\"}' ${URL[datastore]}/api/webservers"
	drive many_fall_silent datastore "$ADA" 30 "for i in \$(seq 10 39); do $put/00000000-0000-4000-8000-0000000000\$i; done"
	kill -STOP "${PID[B]}"
	drive lets_be datastore "$ADA" "${b%:*}" datastore # no other one has that host any more
	kill -CONT "${PID[B]}"
}

@test "what another site's page has a browser change is refused; so is a login by a proxy that is not trusted, and a trusted one tells who tries" {
	local put=(-X PUT) to=/api/system/lbstatus/override/drain
	write_config datastore 'Trusted-Proxies=127.0.0.1/32, ::1'
	begin_with_users
	[ "$(page datastore "$ADA" "$to" "${put[@]}" -H 'Sec-Fetch-Site: cross-site' -H 'X-Sameroot-Page: 1')" = 403 ]
	[ "$(page datastore "$ADA" "$to" "${put[@]}" -H 'Origin: https://evil.example' -H 'X-Sameroot-Page: 1')" = 403 ]
	[ "$(page datastore "$ADA" "$to" "${put[@]}" -H 'Sec-Fetch-Site: same-origin' -H "Origin: ${URL[datastore]}")" = 403 ] # a form, for instance
	[ "$(curl -sS -o /dev/null -w '%{http_code}' "${URL[datastore]}/api/system/lbstatus")" = 200 ]
	[ "$(page datastore "$ADA" / -H 'Sec-Fetch-Site: cross-site')" = 200 ] # a link
	[ "$(page datastore "$ADA" "$to" "${put[@]}")" = 204 ]                 # no browser
	[ "$(page datastore "$ADA" "$to" "${put[@]}" -H 'Sec-Fetch-Site: same-origin' -H "Origin: ${URL[datastore]}" -H 'X-Sameroot-Page: 1')" = 204 ]

	[ "$(page datastore "$ADA" / -H 'X-Forwarded-For: 203.0.113.9')" = 403 ] # plain HTTP from elsewhere
	[ "$(page datastore "$ADA" / -H 'X-Forwarded-For: 203.0.113.9' -H 'X-Forwarded-Proto: https')" = 200 ]
	for _ in {1..5}; do
		[ "$(page datastore ada:guess /api/page -H 'X-Forwarded-For: 203.0.113.9' -H 'X-Forwarded-Proto: https')" = 401 ]
	done
	[ "$(page datastore ada:guess /api/page -H 'X-Forwarded-For: 203.0.113.9' -H 'X-Forwarded-Proto: https')" = 429 ]
	[ "$(page datastore "$ADA" /api/page -H 'X-Forwarded-For: 203.0.113.9, 203.0.113.10' -H 'X-Forwarded-Proto: https')" = 200 ]
}

@test "behind nginx, below a path of its own: to look at, to change, and to shut down a webserver; not before the proxy is trusted" {
	begin_with_users
	start_nginx
	[ "$(page nginx "$ADA" /)" = 403 ]
	grep -q 'Trusted-Proxies does not name' "$T/answer"
	stop datastore
	sed -i 's/^\[global\]$/&\nTrusted-Proxies=127.0.0.1/' "$T/datastore.conf"
	start_datastore
	start_webserver A
	wait_for 'A is known' known 127.0.0.1:8075
	[ "$(page nginx "$ADA" /api/page)" = 200 ]
	[ "$(curl -sS -o /dev/null -w '%{http_code} %{redirect_url}' "${URL[nginx]}")" = "301 ${URL[nginx]}/" ]
	need_browser
	drive drains nginx "$ADA" 127.0.0.1:8075
	drive reads nginx "$GRACE" datastore api/system/lbstatus/override/dead
	drive ends nginx "$ADA" 127.0.0.1:8075 "timeout 30 tail --pid=${PID[A]} -f /dev/null"
}
