/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fixtures/cuda_library.h"

#include "body.h"
#include "gpu_steps.h"
#include "looked_at.h"
#include "maps.h"
#include "row.h"
#include "walk.h"

#define STEP	    "anatomy"
#define BLOCK_WORDS ((size_t)1 << 17)
#define MARK_MASK   (~(uint64_t)0 << 40)

struct finding {
	uint64_t words;	  /* that bear the mark */
	uint64_t pieces;  /* a piece ends where the next word is not the next one */
	uint64_t shifted; /* marks at places that are not a word's */
	uint64_t last;
	bool is_in_piece;
};

static void look_at(const uint64_t *words, size_t n, struct finding *finding)
{
	for (size_t i = 0; i < n; i++) {
		if ((words[i] & MARK_MASK) != BODY_MARK) {
			finding->is_in_piece = false;
			continue;
		}
		if (!finding->is_in_piece || words[i] != finding->last + 1)
			finding->pieces++;
		finding->is_in_piece = true;
		finding->last = words[i];
		finding->words++;
	}
}

/* the mark's first bytes at any place, for content that is not aligned as it was */
static uint64_t count_shifted(const uint64_t *words, size_t n)
{
	const uint8_t mark[] = {0xB6, 0x5A, 0x5A};
	const uint8_t *bytes = (const uint8_t *)words;
	uint64_t count = 0;

	for (size_t at = 0; at + sizeof(mark) <= n * sizeof(*words); at++) {
		if (at % 8 != 5 && memcmp(bytes + at, mark, sizeof(mark)) == 0)
			count++;
	}
	return count;
}

static void search(pid_t pid, const struct maps *ranges, struct finding *ret)
{
	uint64_t *block = malloc(BLOCK_WORDS * sizeof(*block));
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || !block)
		fixture_die(1, "%s", path);
	for (size_t i = 0; i < ranges->n; i++) {
		for (uint64_t at = ranges->ranges[i].start; at < ranges->ranges[i].end;) {
			uint64_t left = ranges->ranges[i].end - at;
			size_t size = BLOCK_WORDS * sizeof(*block);
			ssize_t n = pread(fd, block, left < size ? left : size, (off_t)at);

			if (n <= 0)
				break;
			look_at(block, (size_t)n / sizeof(*block), ret);
			ret->shifted += count_shifted(block, (size_t)n / sizeof(*block));
			at += (uint64_t)n;
		}
		ret->is_in_piece = false;
	}
	free(block);
	(void)close(fd);
}

static void stage(pid_t pid, const char *what, struct maps *maps)
{
	maps_read(pid, maps);
	row_open(STEP, what);
	row_number("state", walk_state(pid));
	row_number("rss_kib", maps_status_kib(pid, "VmRSS"));
	row_number("size_kib", maps_status_kib(pid, "VmSize"));
	row_number("threads", maps_status_kib(pid, "Threads"));
	row_number("ranges", (long long)maps->n);
	row_number("device_maps", (long long)maps->n_device);
	row_number("device_fds", (long long)maps_device_fds(pid));
	row_close();
}

/* what the whole of device memory has become; the order in which it lies decides much */
static void show_staging(pid_t pid, size_t mib, const struct maps *before, const struct maps *after)
{
	static struct maps staging;
	struct finding finding = {0};
	uint64_t want = (uint64_t)mib << 17;

	maps_subtract(after, before, &staging);
	search(pid, &staging, &finding);
	row_open(STEP, "staging");
	row_number("mib", (long long)mib);
	row_number("ranges", (long long)staging.n);
	row_number("bytes", (long long)maps_bytes(&staging));
	row_number("words", (long long)finding.words);
	row_number("pieces", (long long)finding.pieces);
	if (finding.words < want)
		row_number("shifted", (long long)finding.shifted);
	row_flag("is_plain", finding.words == want);
	row_flag("is_in_order", finding.words == want && finding.pieces <= staging.n);
	row_close();
	for (size_t i = 0; i < staging.n && i < 16; i++) {
		row_open(STEP, "range");
		row_number("start", (long long)staging.ranges[i].start);
		row_number("bytes", (long long)(staging.ranges[i].end - staging.ranges[i].start));
		row_flag("is_aligned", staging.ranges[i].start % (2 << 20) == 0);
		row_close();
	}
}

static void walk_one(pid_t pid, enum walk_call call)
{
	struct walk walk = {.codes = {-1, -1, -1, -1}};

	(void)walk_through(pid, call, call, &walk);
	row_open(STEP, "call");
	walk_put(&walk);
	row_close();
}

void step_anatomy(size_t mib)
{
	static struct maps locked, after;
	struct target target;
	char before[64], later[64];

	CUDA_CALL(cuInit, 0);
	if (!target_start(&target, STEP, "plain", mib))
		return;
	target_sum(&target, before, sizeof(before));
	stage(target.pid, "running", &locked);
	walk_one(target.pid, WALK_LOCK);
	stage(target.pid, "locked", &locked);
	walk_one(target.pid, WALK_CHECKPOINT);
	stage(target.pid, "checkpointed", &after);
	show_staging(target.pid, mib, &locked, &after);
	walk_one(target.pid, WALK_RESTORE);
	stage(target.pid, "restored", &after);
	walk_one(target.pid, WALK_UNLOCK);
	stage(target.pid, "unlocked", &after);
	target_sum(&target, later, sizeof(later));
	row_open(STEP, "end");
	row_flag("sums_equal", *before && strcmp(before, later) == 0);
	row_close();
	target_end(&target);
}
