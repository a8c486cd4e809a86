# balance.bash - the balancer status, asked and overridden.  After lib.bash.

lb() { # NAME [CURL OPTION...]: "STATUS BODY"
	local name=$1
	shift
	curl -sS --max-time 10 -w ' %{http_code}' "$@" "${URL[$name]}/api/system/lbstatus" | sed 's/\(.*\) \([0-9]*\)$/\2 \1/'
}

says() { # NAME "STATUS BODY"
	[ "$(lb "$1")" = "$2" ]
}

override() { # NAME WORD [CURL OPTION...]: the status
	local name=$1 word=$2
	shift 2
	curl -sS --max-time 10 -o "$T/answer" -w '%{http_code}' -X PUT "$@" "${URL[$name]}/api/system/lbstatus/override/$word"
}

as_admin() { # NAME WORD
	override "$1" "$2" -H "Authorization: Bearer $(<"$T/$1/state/admin-token")"
}

in_registry() { # FILTER, of the registry
	api datastore /api/webservers | jq -e "$1" >/dev/null
}

uuid_of() { # NAME, of a webserver
	status_of "$1" .node
}

# A, B and the datastore with users of Sameroot's own: ada is an admin, grace is none, their passwords are `a good password`.
start_with_users() {
	"$BIN/sameroot" init --webserver --yes -c "$T/A.conf" >/dev/null
	"$BIN/sameroot" user add --admin ada -c "$T/A.conf" <<<'a good password'
	"$BIN/sameroot" user add grace -c "$T/A.conf" <<<'a good password'
	start_all
	wait_same datastore A B
	wait_for 'both are in the registry' in_registry 'length == 2 and all(.status.balancer.answer == "ALIVE")'
}
