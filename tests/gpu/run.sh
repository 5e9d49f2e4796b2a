#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The run on hardware: what NVIDIA's driver does, and what snapinit does over it, on this machine.
# Needs root and nothing from a network. docs/gpu.md tells how and what for.
#
#   tests/gpu/run.sh [--fake] [--out DIR] [--budget SECONDS] [--build DIR] [--prefix DIR]
#                    [--only STEP,...] [--port N] [--kill-restored]
#   tests/gpu/run.sh --pack DIR      what a machine without our libraries needs, for --build DIR there
#
# OUT/results.jsonl has a JSON object a line: those of the steps, and for each step one of step "run"
# with its name, result (ok, skipped, failed, timed out) and seconds. The table goes to stdout.
# Exit status: 0 all steps are ok or skipped, 1 one is not, 77 no driver or GPU here.
# shellcheck disable=SC2317 # functions that traps and shell() call
set -uo pipefail

ROOT=$(dirname "$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")")
HERE=$ROOT/tests/gpu
OUT=$ROOT/build/gpu-run BUILD=$ROOT/build/dev PREFIX=$ROOT/build/prefix
BUDGET=585 FAKE=0 ONLY='' PACK='' PORT=8170 KILL_RESTORED=0
PYTHON=${SNAP_PYTHON:-python3}

say() { printf 'gpu: %s\n' "$*" >&2; }

usage() {
	say "$*"
	sed -n '7,9s/^# *//p' "${BASH_SOURCE[0]}" >&2
	exit 2
}

while (($#)); do
	case $1 in
	--fake) FAKE=1 ;;
	--kill-restored) KILL_RESTORED=1 ;;
	--out | --budget | --build | --prefix | --only | --pack | --port)
		(($# > 1)) || usage "$1 needs a value"
		name=${1#--}
		declare "${name^^}=$2"
		shift
		;;
	*) usage "unknown: $1" ;;
	esac
	shift
done
[[ $BUDGET =~ ^[0-9]+$ && $PORT =~ ^[0-9]+$ ]] || usage "--budget and --port take numbers"

# --- what there is -----------------------------------------------------------------------------

# pack DIR: no more than what is carried to a machine (64 MiB); the bundle has its own libraries
pack() {
	local bundle=$ROOT/build/bundle/opt/snapinit name
	[[ -x $bundle/bin/snapctl ]] || {
		say "--pack needs $bundle (./dev bundle)"
		exit 1
	}
	rm -rf "$1"
	mkdir -p "$1/tests/gpu/probe" "$1/tests/fixtures"
	cp -a "$bundle" "$1/bundle"
	rm -rf "$1/bundle/share"
	cp "$BUILD/tests/gpu/probe/gpu_probe" "$1/tests/gpu/probe/"
	for name in cuda_engine cuda_kernels.fatbin; do
		if [[ -e $BUILD/tests/fixtures/$name ]]; then
			cp "$BUILD/tests/fixtures/$name" "$1/tests/fixtures/"
		fi
	done
	say "$1: $(du -sh "$1" | cut -f1)"
}

if [[ -n $PACK ]]; then
	pack "$PACK"
	exit
fi

# the reason why there is nothing to run on
why_not() {
	if [[ ! -r /proc/driver/nvidia/version ]]; then
		echo "no NVIDIA driver (/proc/driver/nvidia/version)"
	elif ! compgen -G '/dev/nvidia[0-9]*' >/dev/null; then
		echo "no NVIDIA GPU (/dev/nvidia0)"
	elif [[ $(uname -r) == 4.4.0 ]]; then
		echo "gVisor, where CRIU does not work"
	elif [[ $(uname -m) != x86_64 ]]; then
		echo "the driver has no checkpoint on $(uname -m)"
	fi
}

if ((!FAKE)); then
	reason=$(why_not)
	if [[ -n $reason ]]; then
		echo "SKIP: $reason"
		exit 77
	fi
	# where the driver's libraries may be beside the loader's own places
	for folder in /usr/local/nvidia/lib64 /usr/local/nvidia/lib; do
		[[ ! -d $folder ]] || LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
	done
fi
((EUID == 0)) || {
	say "root is needed"
	exit 1
}

mkdir -p "$OUT" || exit 1
OUT=$(realpath "$OUT")
RESULTS=$OUT/results.jsonl
WORK=$(mktemp -d "${TMPDIR:-/tmp}/gpu-run.XXXXXX") || exit 1
: >"$RESULTS"
: >"$OUT/log"
BUILD=$(realpath -m "$BUILD") PREFIX=$(realpath -m "$PREFIX")
PROBE=$BUILD/tests/gpu/probe/gpu_probe
FIXTURES=$BUILD/tests/fixtures
((!FAKE)) || LD_LIBRARY_PATH=$FIXTURES/fake_cuda
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}
export GPU_RUN_PIDS=$WORK/pids GPU_RUN_CUBIN='' PYTHONDONTWRITEBYTECODE=1
: >"$GPU_RUN_PIDS"
# our own environment is part of what a wake compares
unset SNAPINIT_SNAPSHOT SNAPINIT_LOG_FORMAT

# --- steps -------------------------------------------------------------------------------------

BEGIN=$SECONDS
END_LIMIT=60
((!FAKE)) || END_LIMIT=5
STEP_PID=0
STATUS=0

left() { echo $((BUDGET - (SECONDS - BEGIN))); }

# row NAME RESULT SECONDS
row() { printf '{"step":"run","name":"%s","result":"%s","seconds":%d}\n' "$@" >>"$RESULTS"; }

# fact NAME VALUE...: any text
fact() {
	"$PYTHON" -c 'import json, sys
print(json.dumps({"step": "facts", "what": sys.argv[1], "value": " ".join(sys.argv[2:])}))' "$@"
}

# end_started: processes of a step that left some, in the way that is allowed: locked and checkpointed
# before they are killed (NVIDIA/cuda-checkpoint #53)
end_started() {
	local pid pids=()
	while read -r pid; do
		# ours still, and no other that has the number now
		if grep -qzxF "GPU_RUN_PIDS=$GPU_RUN_PIDS" "/proc/$pid/environ" 2>/dev/null; then
			pids+=("$pid")
		fi
	done <"$GPU_RUN_PIDS"
	: >"$GPU_RUN_PIDS"
	((${#pids[@]})) || return 0
	say "ending ${pids[*]}"
	timeout -k 5 "$END_LIMIT" "$PROBE" end "${pids[@]}" && return
	# the driver does not answer. Killed as it is, one may hang the machine; it is better left
	if ((FAKE)); then
		kill -KILL "${pids[@]}" 2>/dev/null
	else
		say "left behind, for they did not give their devices back: ${pids[*]}"
		STATUS=1
	fi
}

# step NAME LIMIT COMMAND...: its stdout are rows; it never takes more than what is left
step() {
	local name=$1 limit=$2 start=$SECONDS result=ok rc
	shift 2
	[[ -z $ONLY || ,$ONLY, == *,$name,* ]] || return 0
	if (($(left) < limit)); then
		limit=$(left)
	fi
	if ((limit < 5)); then
		row "$name" "skipped: no time left" 0
		return 0
	fi
	say "$name (at most $limit s)"
	printf '== %s\n' "$name" >>"$OUT/log"
	# in the background: a trap waits for no child
	timeout -k 20 "$limit" "$@" >>"$RESULTS" 2>>"$OUT/log" &
	STEP_PID=$!
	wait "$STEP_PID"
	rc=$?
	STEP_PID=0
	case $rc in
	0) ;;
	77) result="skipped: $(tail -n 1 "$OUT/log" | tr -dc "[:alnum:] ._/:,-")" ;;
	124 | 137) result="timed out" ;;
	*) result="failed: $rc" ;;
	esac
	[[ $rc == 0 || $rc == 77 ]] || STATUS=1
	end_started
	row "$name" "$result" $((SECONDS - start))
}

# steps that are functions run in a shell of their own, for timeout to end them
shell() {
	export -f fact facts build skip
	export ROOT BUILD PREFIX PROBE FIXTURES FAKE PYTHON
	step "$1" "$2" bash -c "$1"
}

skip() {
	echo "$*" >&2
	exit 77
}

facts() {
	local name
	fact kernel "$(uname -r)"
	fact driver "$(cat /proc/driver/nvidia/version 2>/dev/null)"
	fact module "$(grep -E 'OpenRm|Persist' /proc/driver/nvidia/params 2>/dev/null | tr '\n' ' ')"
	fact nodes "$(compgen -G '/dev/nvidia*' | tr '\n' ' ')"
	command -v nvidia-smi >/dev/null && fact nvidia-smi "$(timeout 20 nvidia-smi -q |
		grep -E 'Product Name|Persistence|MIG|ECC Mode|Current  *:|Max|Gen|Width|Driver Version|CUDA Version')"
	for name in yama/ptrace_scope randomize_va_space; do
		fact "$name" "$(cat "/proc/sys/kernel/$name" 2>/dev/null)"
	done
	fact io_uring_disabled "$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null)"
	fact huge_pages "$(cat /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null)"
	fact memlock "$(ulimit -l)"
	fact memory_limit "$(cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null)"
	fact memory "$(grep -E 'MemTotal|MemAvailable' /proc/meminfo | tr -s ' \n' ' ')"
	fact processor "$(grep -m 1 'model name' /proc/cpuinfo | cut -d: -f2), $(nproc)"
	fact disk "$(df -h --output=source,fstype,size,avail "$ROOT" | tail -n 1 | tr -s ' ')"
}

# with a build folder or a pack at hand there is nothing to do
build() {
	if [[ ! -x $PROBE ]]; then
		if ! command -v cmake >/dev/null || ! command -v ninja >/dev/null; then
			skip "no $PROBE, and no cmake and ninja to build it"
		fi
		cd "$ROOT" || exit 1
		cmake --preset dev || exit 1
		cmake --build --preset dev || exit 1
	fi >&2
	fact build "$BUILD"
	fact nvcc "$(PATH=$PATH:/usr/local/cuda/bin nvcc --version 2>/dev/null | tail -n 2 | head -n 1)"
	fact kernels "$(compgen -G "$FIXTURES/*.fatbin")"
}

cleanup() {
	trap - EXIT INT TERM
	if ((STEP_PID)); then
		kill "$STEP_PID" 2>/dev/null
		wait "$STEP_PID"
	fi
	[[ ! -x $PROBE ]] || end_started
	rm -rf "$WORK"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- sizes -------------------------------------------------------------------------------------

# MiB of device memory that a process here may have: of the GPU, and of the machine, which has it twice
# once it is checkpointed
possible() {
	local device host
	device=$(timeout 60 "$PROBE" free 2>>"$OUT/log") || device=0
	host=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
	if ((device > host)); then device=$host; fi
	echo $((device / 3))
}

# fitting MIB...: those that fit
fitting() {
	local mib
	for mib in "$@"; do
		if ((mib <= POSSIBLE)); then echo "$mib"; fi
	done
}

# rounds STEP LIMIT NAME WHAT OPTIONS... -- ENGINE...: snapshots by snapctl
rounds() {
	local name=$1 limit=$2 engine=$3 what=$4
	shift 4
	local options=()
	while [[ $1 != -- ]]; do
		options+=("$1")
		shift
	done
	step "$name" "$limit" "$PYTHON" "$HERE/gpu_rounds.py" --build "$BUILD" --prefix "$PREFIX" \
		--probe "$PROBE" --work "$WORK" --step "$name" --name "$engine" --port "$PORT" \
		"${options[@]}" "$what" "$@"
}

# --- the run, by value -------------------------------------------------------------------------

shell facts 40
shell build 240
[[ -x $PROBE ]] || {
	say "no $PROBE: nothing to run"
	"$PYTHON" "$HERE/gpu_table.py" "$RESULTS"
	exit 1
}
[[ ! -r $FIXTURES/cuda_kernels.fatbin ]] || GPU_RUN_CUBIN=$FIXTURES/cuda_kernels.fatbin
# the fake has kernels of its own and takes any file
((!FAKE)) || GPU_RUN_CUBIN=${GPU_RUN_CUBIN:-/dev/null}
POSSIBLE=$(possible)
SPIN=5000 ANATOMY=1024 VARIANTS=256 WAKES=5 FEW_WAKES=2
COST=(0 256 1024 4096 16384) SNAPSHOTS=(1024 5120)
if ((FAKE)); then
	SPIN=500 ANATOMY=16 VARIANTS=4 WAKES=2 FEW_WAKES=1 COST=(0 4 16 32) SNAPSHOTS=(16 40)
fi
ENGINE=("$FIXTURES/cuda_engine" --port "$PORT")
# kernels count in its sums
[[ -z $GPU_RUN_CUBIN ]] || ENGINE+=(--cubin "$GPU_RUN_CUBIN")

step probe 40 "$PROBE" probe
step semantics 60 "$PROBE" semantics "$SPIN"
mapfile -t sizes < <(fitting "$ANATOMY")
step anatomy 60 "$PROBE" anatomy "${sizes[@]:-64}"
mapfile -t sizes < <(fitting "${SNAPSHOTS[@]}")
small=${sizes[0]:-64}
rounds snapinit 90 "cuda $small" wakes --wakes "$WAKES" -- "${ENGINE[@]}" --device-mib "$small"
rounds refused 40 "cuda $small" refused -- "${ENGINE[@]}" --device-mib "$small"
mapfile -t sizes < <(fitting "${COST[@]}")
step cost 90 "$PROBE" cost "${sizes[@]}"
step variants 60 "$PROBE" variants "$VARIANTS"

# torch_is_there: with a GPU
torch_is_there() {
	timeout 90 "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' \
		>/dev/null 2>&1
}
if [[ -n $ONLY && ,$ONLY, != *,torch,* ]]; then
	:
elif ((FAKE)) || ! torch_is_there; then
	row torch "skipped: no PyTorch with a GPU" 0
else
	# io_uring and profilers are what a capture cannot take
	export UV_USE_IO_URING=0 TOKENIZERS_PARALLELISM=false CUDA_MODULE_LOADING=LAZY OMP_NUM_THREADS=4
	rounds torch 150 torch wakes --wakes "$FEW_WAKES" --path /generate -- \
		"$(command -v "$PYTHON")" -B "$HERE/torch_server.py" --port "$PORT"
fi
rounds two-processes 60 "2 x cuda $VARIANTS" wakes --wakes "$FEW_WAKES" --cache warm -- \
	"${ENGINE[@]}" --device-mib "$VARIANTS" --children 1
mapfile -t sizes < <(fitting "${SNAPSHOTS[@]:1}")
for large in "${sizes[@]}"; do
	rounds snapinit-large 120 "cuda $large" wakes --wakes "$FEW_WAKES" -- \
		"${ENGINE[@]}" --device-mib "$large"
done
rounds pages-off 90 "cuda $small" wakes --wakes "$FEW_WAKES" --pages off -- \
	"${ENGINE[@]}" --device-mib "$small"
# the trial wake of verify ends as PID 1 ends it; on a driver that is one kill of a live restored process
if ((FAKE || KILL_RESTORED)); then
	rounds verify 60 "cuda $VARIANTS" verify -- "${ENGINE[@]}" --device-mib "$VARIANTS"
elif [[ -z $ONLY || ,$ONLY, == *,verify,* ]]; then
	row verify "skipped: it kills a live restored process (--kill-restored)" 0
fi

"$PYTHON" "$HERE/gpu_table.py" "$RESULTS" | tee "$OUT/table.txt" || STATUS=1
say "$((SECONDS - BEGIN)) s; $RESULTS"
exit "$STATUS"
