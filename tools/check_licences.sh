#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks that every file says its licence (REUSE). Exit status 77: not found, skipped.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."
command -v reuse >/dev/null || {
	echo "SKIP: reuse not found"
	exit 77
}
exec reuse lint
