#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks the spelling of code and documents by codespell. Exit status 77: not found, skipped.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
command -v codespell >/dev/null || {
	echo "SKIP: codespell not found"
	exit 77
}
mapfile -d '' files < <(git ls-files -z -co --exclude-standard -- ':!tests/data' ':!LICENSE' ':!LICENSES')
exec codespell --ignore-words tools/codespell.ignore -- "${files[@]}"
