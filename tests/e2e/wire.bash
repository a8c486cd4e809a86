# wire.bash - a wire between webservers and the datastore that counts, cuts and holds (wire.py).  After lib.bash.

# From now on webservers reach the datastore over it, and it does what `wire` says.
start_wire() {
	touch "$T/wire"
	mkdir -p "$T/meter"
	REAL_PORT=$DATASTORE_PORT
	launch wire python3 "$HERE/wire.py" "$REAL_PORT" "$T/wire" "$T/meter"
	DATASTORE_PORT=${URL[wire]##*:}
}

wire() { # MODE [BYTES]; see wire.py
	rm -f "$T/meter/held"
	echo "$*" >"$T/wire.new"
	mv "$T/wire.new" "$T/wire"
}

# up or down: bytes that passed so far
passed() {
	local up down
	read -r up down <"$T/meter/bytes"
	if [[ $1 == up ]]; then echo "$up"; else echo "$down"; fi
}
