/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/progress.h"
#include "common/fd.h"

#include "tests/lib/test.h"

#define GIB	 (1ULL << 30)
#define SECOND	 1000000000ULL
#define PATIENCE 20000

static void formatted(uint64_t done, uint64_t total, uint64_t elapsed_ns, const char *expected)
{
	char text[PROGRESS_TEXT_MAX];

	progress_format("verify", done, total, elapsed_ns, text);
	assert_string_equal(text, expected);
}

static void test_rate_and_time_left_are_told(void **state)
{
	(void)state;
	formatted(GIB, 4 * GIB, 2 * SECOND,
		  "verify: 1.0 GiB of 4.0 GiB (25 %), 512.0 MiB/s, 6 s left");
	/* too early to tell */
	formatted(GIB, 4 * GIB, SECOND / 2, "verify: 1.0 GiB of 4.0 GiB (25 %), 2.0 GiB/s");
	formatted(0, GIB, 0, "verify: 0 B of 1.0 GiB (0 %)");
	/* the sum is not known, or was a little too small */
	formatted(GIB, 0, 2 * SECOND, "verify: 1.0 GiB, 512.0 MiB/s");
	formatted(GIB + 1, GIB, 2 * SECOND, "verify: 1.0 GiB of 1.0 GiB (99 %), 512.0 MiB/s");
}

/* standard error is a terminal (or a pipe), whose other end is `fd` */
struct screen {
	int fd;
	int saved;
	char seen[4096];
	size_t n;
};

static void screen_open(struct screen *screen, bool terminal)
{
	int ends[2];

	if (terminal)
		assert_int_equal(openpty(&ends[0], &ends[1], NULL, NULL, NULL), 0);
	else
		assert_int_equal(pipe(ends), 0);
	*screen = (struct screen){.fd = ends[0], .saved = dup(STDERR_FILENO)};
	assert_int_equal(fcntl(screen->fd, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
	(void)close(ends[1]);
}

static void screen_read(struct screen *screen, int patience_ms)
{
	struct pollfd pfd = {.fd = screen->fd, .events = POLLIN};
	ssize_t n;

	if (poll(&pfd, 1, patience_ms) <= 0)
		return;
	n = read(screen->fd, screen->seen + screen->n, sizeof(screen->seen) - 1 - screen->n);
	if (n > 0)
		screen->n += (size_t)n;
}

static bool screen_shows(struct screen *screen, const char *text)
{
	for (int i = 0; i < PATIENCE / 100 && !strstr(screen->seen, text); i++)
		screen_read(screen, 100);
	return strstr(screen->seen, text) != NULL;
}

static void screen_close(struct screen *screen)
{
	assert_int_equal(dup2(screen->saved, STDERR_FILENO), STDERR_FILENO);
	(void)close(screen->saved);
	screen_read(screen, 0);
	(void)close(screen->fd);
}

static atomic_int asked;

static int64_t count(void *arg)
{
	(void)arg;
	return 1024 * (int64_t)(1 + atomic_fetch_add(&asked, 1));
}

static void test_terminal_shows_one_line_that_goes_again(void **state)
{
	struct screen screen;
	bool shown, warned;

	(void)state;
	atomic_store(&asked, 0);
	screen_open(&screen, true);
	progress_start("verify", 0, count, NULL);
	shown = screen_shows(&screen, "\r\033[Ksnapctl: verify: 2.0 KiB");
	/* other lines come on a line of their own */
	output_warning("hm");
	warned = screen_shows(&screen, "\r\033[Ksnapctl: \033[33mwarning:\033[0m hm");
	(void)screen_shows(&screen, "4.0 KiB");
	progress_stop();
	progress_stop();
	screen_close(&screen);
	assert_true(shown);
	assert_true(warned);
	assert_string_equal(screen.seen + screen.n - 4, "\r\033[K");
}

static void assert_silent(bool terminal)
{
	struct screen screen;

	atomic_store(&asked, 0);
	screen_open(&screen, terminal);
	progress_start("verify", 0, count, NULL);
	(void)usleep(500000);
	progress_stop();
	screen_close(&screen);
	assert_int_equal(atomic_load(&asked), 0);
	assert_int_equal(screen.n, 0);
}

static void test_nothing_is_shown_elsewhere(void **state)
{
	(void)state;
	assert_silent(false);
	assert_int_equal(setenv("TERM", "dumb", 1), 0);
	assert_silent(true);
	assert_int_equal(setenv("TERM", "vt100", 1), 0);
	output_set_quiet(true);
	assert_silent(true);
	output_set_quiet(false);
}

static void warning(bool terminal, const char *expected)
{
	struct screen screen;
	bool shown;

	screen_open(&screen, terminal);
	output_warning("hm");
	shown = screen_shows(&screen, expected);
	screen_close(&screen);
	assert_true(shown);
}

static void test_colour_is_for_terminals_and_no_color_is_respected(void **state)
{
	(void)state;
	warning(true, "snapctl: \033[33mwarning:\033[0m hm");
	warning(false, "snapctl: warning: hm");
	assert_int_equal(setenv("NO_COLOR", "1", 1), 0);
	warning(true, "snapctl: warning: hm");
	assert_int_equal(setenv("NO_COLOR", "", 1), 0);
	warning(true, "\033[33m");
	assert_int_equal(unsetenv("NO_COLOR"), 0);
	assert_int_equal(setenv("TERM", "dumb", 1), 0);
	warning(true, "snapctl: warning: hm");
	assert_int_equal(setenv("TERM", "vt100", 1), 0);
}

static void test_reads_are_counted(void **state)
{
	struct progress_reads reads;
	char block[65536];
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	int64_t n;

	(void)state;
	if (access("/proc/self/io", R_OK) < 0) {
		print_message("SKIP: this kernel does not count what a process reads\n");
		skip();
	}
	progress_from_reads(&reads);
	for (int i = 0; i < 16; i++)
		assert_int_equal(read(fd, block, sizeof(block)), (ssize_t)sizeof(block));
	n = progress_reads(&reads);
	(void)close(fd);
	assert_in_range(n, 1048576, 1048576 + 65536);
}

static void put_file(int dir_fd, const char *name, size_t size)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(close(fd), 0);
}

static void test_growth_is_that_of_all_files(void **state)
{
	char folder[] = "/tmp/snap_progress_XXXXXX";
	struct progress_growth growth = {.generation = "gen-1"};

	(void)state;
	assert_non_null(mkdtemp(folder));
	growth.store_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(progress_growth(&growth), -ENOENT);
	assert_int_equal(mkdirat(growth.store_fd, "gen-1", 0700), 0);
	assert_int_equal(mkdirat(growth.store_fd, "gen-1/criu", 0700), 0);
	assert_int_equal(progress_growth(&growth), 0);
	put_file(growth.store_fd, "gen-1/pages.dat", 3000);
	put_file(growth.store_fd, "gen-1/criu/core-1.img", 77);
	assert_int_equal(progress_growth(&growth), 3077);
	assert_int_equal(unlinkat(growth.store_fd, "gen-1/criu/core-1.img", 0), 0);
	assert_int_equal(unlinkat(growth.store_fd, "gen-1/criu", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(growth.store_fd, "gen-1/pages.dat", 0), 0);
	assert_int_equal(unlinkat(growth.store_fd, "gen-1", AT_REMOVEDIR), 0);
	(void)close(growth.store_fd);
	assert_int_equal(rmdir(folder), 0);
}

static int set_terminal(void **state)
{
	(void)state;
	(void)unsetenv("NO_COLOR");
	return setenv("TERM", "vt100", 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rate_and_time_left_are_told),
		cmocka_unit_test(test_terminal_shows_one_line_that_goes_again),
		cmocka_unit_test(test_nothing_is_shown_elsewhere),
		cmocka_unit_test(test_colour_is_for_terminals_and_no_color_is_respected),
		cmocka_unit_test(test_reads_are_counted),
		cmocka_unit_test(test_growth_is_that_of_all_files),
	};

	return cmocka_run_group_tests(tests, set_terminal, NULL);
}
