#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh cold|create|wake: the agent without a snapshot, its snapshot made, the agent woken from it.
# MODEL, PORT and STORE may be set. A snapshot belongs to one command and environment: create and
# wake from the same shell.
set -eu

here=$(dirname "$(readlink -f "$0")")
root=$(dirname "$(dirname "$here")")
PORT=${PORT:-8090}
STORE=${STORE:-$root/build/rag-agent.snapshot}
snapctl=$root/build/release/cli/snapctl
criu=$root/build/prefix/usr/sbin/criu
url=http://127.0.0.1:$PORT
oracle="GET $url/ask?q=how+do+I+design+a+butterworth+filter"

die() {
	echo "run.sh: $*" >&2
	exit 2
}

[ $# -eq 1 ] || die "usage: run.sh cold|create|wake"
for module in fastapi scipy sklearn uvicorn; do
	[ -d "/usr/lib/python3/dist-packages/$module" ] ||
		die "python3-$module is missing: ./dev setup"
done
[ -x "$snapctl" ] || die "$snapctl is not built: ./dev build release"
if [ -z "${MODEL:-}" ]; then
	# of noise: right in its shape and size, and it says nothing
	MODEL=$root/build/tiny.gguf
	[ -e "$MODEL" ] || /usr/bin/python3 "$root/tools/make_tiny_gguf.py" --out "$MODEL" >&2
fi

cd "$root"
mode=$1
set -- /usr/bin/python3 -B "$here/agent.py" --port "$PORT" --model "$MODEL"
case $mode in
cold)
	exec "$snapctl" run --criu "$criu" -- "$@"
	;;
create)
	exec "$snapctl" create --for full --criu "$criu" --output "$STORE" \
		--engine http --ready "$url/health" --oracle "$oracle" -- "$@"
	;;
wake)
	exec "$snapctl" run --for full --criu "$criu" --snapshot "$STORE" \
		--engine http --ready "$url/health" --oracle "$oracle" -- "$@"
	;;
*)
	die "usage: run.sh cold|create|wake"
	;;
esac
