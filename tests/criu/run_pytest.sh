#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run_pytest.sh FILE [ARGUMENT...]: pytest as ctest wants it, 77 when every test was skipped.
here=$(dirname "$(readlink -f "$0")")
# the distribution's own: a python3 earlier in PATH may lack numpy and pytest
python=/usr/bin/python3
[ -x "$python" ] || python=python3
if ! "$python" -c 'import pytest' 2>/dev/null; then
	echo "SKIP: python3-pytest is not installed"
	exit 77
fi
file=$1
shift
[ -z "$SNAP_TEST_FULL" ] || set -- --full "$@"
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
"$python" -m pytest -p no:cacheprovider -q -rs --durations=5 "$here/$file" "$@" >"$out" 2>&1
status=$?
cat "$out"
# 5: nothing was collected
[ "$status" -eq 0 ] || exit "$status"
if ! grep -Eq '[0-9]+ (passed|xfailed)' "$out"; then
	sed -n 's/^SKIPPED \[[0-9]*\] [^ ]* /SKIP: /p' "$out"
	exit 77
fi
