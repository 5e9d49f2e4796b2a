#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run.sh build|first|wake|bake|wake-baked|stop|clean: an engine's image, its first boot, its wakes.
# first, wake and wake-baked take the engine's command, if it is not the image's own; it must be the
# same for all of them. Variables: ENGINE_IMAGE, READY (build), NAME, RUN_OPTIONS (podman run).
set -eu

here=$(dirname "$(readlink -f "$0")")
root=$(dirname "$(dirname "$here")")
BUNDLE=${BUNDLE:-$root/build/bundle/opt/snapinit}
NAME=${NAME:-snapinit-example}
image=localhost/$NAME
volume=$NAME-store

die() {
	echo "run.sh: $*" >&2
	exit 1
}

# start IMAGE OPTIONS -- COMMAND: CHECKPOINT_RESTORE is the one right that podman does not give
start() {
	what=$1
	shift
	options=
	while [ "$1" != -- ]; do
		options="$options $1"
		shift
	done
	shift
	# shellcheck disable=SC2086 # lists of words
	podman run --detach --replace --name "$NAME" --cap-add CHECKPOINT_RESTORE $options \
		${RUN_OPTIONS:-} "$what" "$@" >/dev/null
}

# wait_for EVENT|EVENT...: the first record with one of them
wait_for() {
	for _ in $(seq 600); do
		line=$(podman logs "$NAME" 2>&1 | grep -E "\"event\":\"($1)\"" | head -n 1)
		if [ -n "$line" ]; then
			echo "$line"
			return 0
		fi
		[ "$(podman inspect --format '{{.State.Running}}' "$NAME")" = true ] ||
			die "the container has ended: $(podman logs --tail 3 "$NAME" 2>&1)"
		sleep 0.1
	done
	die "no $1 within a minute"
}

# woken: the start before it ended as a wake
woken() {
	line=$(wait_for 'wake.done|boot.cold')
	echo "$line"
	case $line in
	*wake.done*) ;;
	*) die "not woken: $(podman logs "$NAME" 2>&1 | grep -E 'wake.(refused|failed)')" ;;
	esac
}

context() {
	folder=$(mktemp -d)
	trap 'rm -rf "$folder"' EXIT
}

[ $# -ge 1 ] || die "usage: run.sh build|first|wake|bake|wake-baked|stop|clean [COMMAND...]"
mode=$1
shift
case $mode in
build)
	[ -x "$BUNDLE/bin/snapinit" ] || die "no bundle in $BUNDLE: ./dev bundle"
	context
	cp -a "$BUNDLE" "$folder/snapinit"
	# chroot: nothing is run in this build, and this needs least of the machine
	podman build --isolation chroot --file "$here/Containerfile" --tag "$image" \
		${ENGINE_IMAGE:+--build-arg "ENGINE_IMAGE=$ENGINE_IMAGE"} \
		${READY:+--build-arg "READY=$READY"} "$folder"
	;;
first)
	# CRIU cannot dump under a seccomp filter
	start "$image" --security-opt seccomp=unconfined --env SNAPINIT_CAPTURE=first-boot \
		--volume "$volume:/snapshot" -- "$@"
	line=$(wait_for 'capture.done|capture.failed|wake.done')
	echo "$line"
	case $line in *capture.failed*) exit 1 ;; esac
	;;
wake)
	# podman's own seccomp profile, and a store that cannot be changed
	start "$image" --volume "$volume:/snapshot:ro" -- "$@"
	woken
	;;
bake)
	context
	mkdir -m 700 "$folder/store"
	mount=$(podman volume inspect --format '{{.Mountpoint}}' "$volume")
	cp -a "$mount/." "$folder/store/"
	podman build --isolation chroot --file "$here/Containerfile.baked" --tag "$image-baked" \
		--build-arg "IMAGE=$image" "$folder"
	;;
wake-baked)
	start "$image-baked" -- "$@"
	woken
	;;
stop)
	podman stop "$NAME"
	;;
clean)
	podman rm --force "$NAME"
	podman volume rm --force "$volume"
	podman rmi --force "$image-baked" "$image" 2>/dev/null || true
	;;
*)
	die "unknown command $mode"
	;;
esac
