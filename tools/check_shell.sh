#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks every shell script by shellcheck. Exit status 77: not found, skipped.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
command -v shellcheck >/dev/null || {
	echo "SKIP: shellcheck not found"
	exit 77
}
mapfile -d '' files < <(git ls-files -z -co --exclude-standard -- dev .ci/run '*.sh')
exec shellcheck -- "${files[@]}"
