/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/io.h"
#include "common/parse.h"

#include "tests/fuzz/fuzz_target.h"

/*
 * Runs a fuzz target without libFuzzer: `PROGRAM SEED-FOLDER [RUN]`. First every seed as it is,
 * then mutations drawn from a fixed generator, so that run N is the same input everywhere; RUN
 * repeats one and leaves its input in the file named by the variable FUZZ_SAVE.
 */

#define SEEDS_MAX 512
#define SEED_MAX  (2U << 20)
#define INPUT_MAX (64U << 10)
#define MUTATIONS 20000U

struct seed {
	char *data;
	size_t size;
};

static struct seed seeds[SEEDS_MAX];
static size_t n_seeds;

/* xorshift64*: small, and the same on every machine */
static uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545F4914F6CDD1DULL;
}

static size_t random_below(uint64_t *state, size_t limit)
{
	return limit ? (size_t)(random_next(state) >> 16) % limit : 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* names sorted, because the order of a folder differs between file systems */
static int load_seeds(const char *folder)
{
	char *names[SEEDS_MAX];
	size_t n = 0;
	DIR *dir = opendir(folder);
	int r = 0;

	if (!dir)
		return -errno;
	for (const struct dirent *entry = readdir(dir); entry && n < SEEDS_MAX;
	     entry = readdir(dir)) {
		if (entry->d_name[0] != '.')
			names[n++] = strdup(entry->d_name);
	}
	qsort(names, n, sizeof(names[0]), compare_names);
	for (size_t i = 0; i < n; i++) {
		if (r == 0)
			r = io_read_file(dirfd(dir), names[i], SEED_MAX, &seeds[i].data,
					 &seeds[i].size, NULL);
		free(names[i]);
	}
	(void)closedir(dir);
	n_seeds = n;
	return r;
}

static void insert(uint8_t *buf, size_t *size, size_t at, const void *data, size_t n)
{
	if (*size + n > INPUT_MAX)
		return;
	memmove(buf + at + n, buf + at, *size - at);
	memcpy(buf + at, data, n);
	*size += n;
}

static void cut(uint8_t *buf, size_t *size, size_t at, size_t n)
{
	memmove(buf + at, buf + at + n, *size - at - n);
	*size -= n;
}

/* one change of the kind that breaks parsers */
static void mutate(uint8_t *buf, size_t *size, uint64_t *state)
{
	static const char *const words[] = {"\r\n", "\n",	"\0\0",	      "0", "-1", "ffffffff",
					    "\xff", "99999999", "2147483648", " ", "\"", "{",
					    "}",    "[",	"\\u0000"};
	size_t at = random_below(state, *size + 1), left = *size - at;
	size_t n = random_below(state, (left < 64 ? left : 64) + 1);
	const char *word = words[random_below(state, ARRAY_LEN(words))];
	const struct seed *other = &seeds[random_below(state, n_seeds)];
	size_t from = random_below(state, other->size + 1);
	uint8_t copy[64];

	switch (random_below(state, 7)) {
	case 0:
		if (left)
			buf[at] ^= (uint8_t)(1U << random_below(state, 8));
		break;
	case 1:
		if (left)
			buf[at] = (uint8_t)random_next(state);
		break;
	case 2:
		insert(buf, size, at, word, word[0] ? strlen(word) : 2);
		break;
	case 3:
		cut(buf, size, at, n);
		break;
	case 4:
		memcpy(copy, buf + at, n);
		insert(buf, size, at, copy, n);
		break;
	case 5:
		*size = at;
		break;
	default:
		n = random_below(state, other->size - from + 1);
		insert(buf, size, at, other->data + from, n < 256 ? n : 256);
		break;
	}
}

/* input of a run, the same for the same number */
static size_t make_input(size_t run, uint8_t *buf)
{
	const struct seed *seed = &seeds[run % n_seeds];
	uint64_t state = 0x9E3779B97F4A7C15ULL * (run + 1);
	size_t size = seed->size < INPUT_MAX ? seed->size : INPUT_MAX;

	memcpy(buf, seed->data, size);
	for (size_t i = 1 + random_below(&state, 6); i > 0; i--)
		mutate(buf, &size, &state);
	return size;
}

static void run_one(size_t run)
{
	/* exactly as large as the input, so that a sanitizer sees a byte read too far */
	static uint8_t buf[INPUT_MAX];
	size_t size;
	uint8_t *exact;

	if (run < n_seeds) {
		(void)LLVMFuzzerTestOneInput((const uint8_t *)seeds[run].data, seeds[run].size);
		return;
	}
	size = make_input(run, buf);
	exact = malloc(size ? size : 1);
	if (!exact)
		abort();
	memcpy(exact, buf, size);
	if (getenv("FUZZ_SAVE"))
		(void)io_replace_file(AT_FDCWD, getenv("FUZZ_SAVE"), exact, size, 0600, NULL);
	(void)LLVMFuzzerTestOneInput(exact, size);
	free(exact);
}

/* the runs live in a child, so that the number of the one that kills it can be told */
static int run_all(size_t n)
{
	volatile size_t *progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 0;
	pid_t pid;

	if (progress == MAP_FAILED)
		return 1;
	pid = fork();
	if (pid == 0) {
		for (size_t run = 0; run < n; run++) {
			*progress = run;
			run_one(run);
		}
		exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	if (status != 0) {
		(void)fprintf(stderr, "run %zu failed (wait status %#x); repeat it by its number\n",
			      *progress, (unsigned int)status);
		return 1;
	}
	(void)printf("%zu seeds and %u mutations\n", n_seeds, MUTATIONS);
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t run = 0;
	int r;

	if (argc < 2 || argc > 3 || (argc == 3 && parse_u64(argv[2], &run) < 0)) {
		(void)fprintf(stderr, "usage: %s SEED-FOLDER [RUN]\n", argv[0]);
		return 2;
	}
	r = load_seeds(argv[1]);
	if (r < 0 || n_seeds == 0) {
		(void)fprintf(stderr, "%s: no seeds: %s\n", argv[1], strerror(-r));
		return 1;
	}
	if (argc == 3)
		run_one((size_t)run);
	else
		r = run_all(n_seeds + MUTATIONS);
	for (size_t i = 0; i < n_seeds; i++)
		free(seeds[i].data);
	return r;
}
