#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks every C file against .clang-format; `--fix` rewrites them instead. Version 14 only,
# because other versions lay out some lines differently. Exit status 77: not found, skipped.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

tool=''
for name in clang-format-14 clang-format; do
	version=$("$name" --version 2>/dev/null) || continue
	if [[ $version == *'version 14.'* ]]; then
		tool=$name
		break
	fi
done
if [[ -z $tool ]]; then
	echo "SKIP: clang-format 14 not found"
	exit 77
fi

folders=()
for folder in common engine snapshot init worker cli runtime-hooks launcher tests; do
	[[ ! -d $folder ]] || folders+=("$folder")
done
mapfile -d '' files < <(find "${folders[@]}" -path tests/data -prune -o \
	-type f \( -name '*.c' -o -name '*.h' \) -print0 | sort -z)
((${#files[@]})) || exit 0

case ${1:-} in
'') "$tool" --style=file --dry-run --Werror "${files[@]}" ;;
--fix) "$tool" --style=file -i "${files[@]}" ;;
*)
	echo "check_format: unknown argument $1" >&2
	exit 2
	;;
esac
