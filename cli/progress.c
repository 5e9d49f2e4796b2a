/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/io.h"
#include "snapshot/folder.h"

#define PERIOD_MS   200 /* the first line comes after one: what is quicker shows nothing */
#define TELLABLE_NS NS_PER_S
#define CLEAR_LINE  "\r\033[K"
#define IO_TEXT_MAX 512

static struct {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	const char *what; /* NULL: no work */
	uint64_t total;
	uint64_t started_ns;
	progress_fn done;
	void *arg;
	bool ends;
	bool is_shown;
} work = {.lock = PTHREAD_MUTEX_INITIALIZER};

void progress_format(const char *what, uint64_t done, uint64_t total, uint64_t elapsed_ns,
		     char buf[PROGRESS_TEXT_MAX])
{
	char done_text[OUTPUT_SIZE_MAX], total_text[OUTPUT_SIZE_MAX], rate_text[OUTPUT_SIZE_MAX];
	double rate = elapsed_ns > 0 ? (double)done * 1e9 / (double)elapsed_ns : 0;
	int n = snprintf(buf, PROGRESS_TEXT_MAX, "%s: %s", what, output_size(done, done_text));
	size_t used = (size_t)n;

	if (total > 0) {
		/* what it is measured by may be a little more than the sum that was known before */
		uint64_t percent = done >= total ? 99 : done * 100 / total;

		n = snprintf(buf + used, PROGRESS_TEXT_MAX - used, " of %s (%u %%)",
			     output_size(total, total_text), (unsigned int)percent);
		used += (size_t)n;
	}
	if (rate < 1)
		return;
	n = snprintf(buf + used, PROGRESS_TEXT_MAX - used, ", %s/s",
		     output_size((uint64_t)rate, rate_text));
	used += (size_t)n;
	/* a rate of the first moments says nothing about the rest */
	if (total > done && elapsed_ns >= TELLABLE_NS)
		(void)snprintf(buf + used, PROGRESS_TEXT_MAX - used, ", %lu s left",
			       (unsigned long)((double)(total - done) / rate + 0.999));
}

static void hide(void)
{
	if (work.is_shown)
		(void)!write(STDERR_FILENO, CLEAR_LINE, strlen(CLEAR_LINE));
	work.is_shown = false;
}

static void show(void)
{
	int64_t done = work.done(work.arg);
	char text[PROGRESS_TEXT_MAX], line[PROGRESS_TEXT_MAX + 32];
	int n;

	if (done <= 0) {
		work.started_ns = clock_now_ns(); /* of the work, not of what comes before it */
		return;
	}
	progress_format(work.what, (uint64_t)done, work.total, clock_now_ns() - work.started_ns,
			text);
	n = snprintf(line, sizeof(line), CLEAR_LINE "snapctl: %s", text);
	(void)!write(STDERR_FILENO, line, (size_t)n);
	work.is_shown = true;
}

static void *keep_showing(void *arg)
{
	(void)arg;
	(void)pthread_mutex_lock(&work.lock);
	while (!work.ends) {
		struct timespec until;

		(void)clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += PERIOD_MS * (long)NS_PER_MS;
		if (until.tv_nsec >= (long)NS_PER_S) {
			until.tv_nsec -= (long)NS_PER_S;
			until.tv_sec++;
		}
		if (pthread_cond_timedwait(&work.wake, &work.lock, &until) == ETIMEDOUT)
			show();
	}
	(void)pthread_mutex_unlock(&work.lock);
	return NULL;
}

void progress_start(const char *what, uint64_t total, progress_fn done, void *arg)
{
	sigset_t all, before;

	if (work.what || output_is_quiet() || !output_is_terminal(STDERR_FILENO))
		return;
	work.what = what;
	work.total = total;
	work.done = done;
	work.arg = arg;
	work.ends = false;
	work.started_ns = clock_now_ns();
	/* signals are for the thread that knows what to do with them */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_BLOCK, &all, &before);
	if (pthread_create(&work.thread, NULL, keep_showing, NULL) != 0)
		work.what = NULL;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void progress_stop(void)
{
	if (!work.what)
		return;
	(void)pthread_mutex_lock(&work.lock);
	work.ends = true;
	(void)pthread_cond_signal(&work.wake);
	(void)pthread_mutex_unlock(&work.lock);
	(void)pthread_join(work.thread, NULL);
	hide();
	work.what = NULL;
}

void progress_pause(void)
{
	(void)pthread_mutex_lock(&work.lock);
	hide();
}

void progress_resume(void)
{
	(void)pthread_mutex_unlock(&work.lock);
}

/* --- what it can be measured by --------------------------------------------------------------- */

/* "rchar": what read(2) and its kin have returned, from the page cache too */
static int64_t bytes_read(void)
{
	char text[IO_TEXT_MAX];
	ssize_t n = io_read_line(AT_FDCWD, "/proc/self/io", text, sizeof(text));
	unsigned long long bytes;

	if (n < 0)
		return n;
	return sscanf(text, "rchar: %llu", &bytes) == 1 ? (int64_t)bytes : -EPROTO;
}

void progress_from_reads(struct progress_reads *reads)
{
	int64_t now = bytes_read();

	reads->before = now < 0 ? 0 : (uint64_t)now;
}

int64_t progress_reads(void *arg)
{
	const struct progress_reads *reads = arg;
	int64_t now = bytes_read();

	return now < 0 ? now : now - (int64_t)reads->before;
}

static int64_t bytes_told(void *arg)
{
	struct progress_told *told = arg;

	return atomic_load(&told->done);
}

void progress_tell(void *arg, uint64_t done, uint64_t total)
{
	struct progress_told *told = arg;

	atomic_store(&told->done, (long long)done);
	if (!told->began)
		progress_start(told->what, total, bytes_told, told);
	told->began = true;
	/* the sum grows when the work has read what it is about */
	(void)pthread_mutex_lock(&work.lock);
	work.total = total;
	(void)pthread_mutex_unlock(&work.lock);
}

static int add_size(int dir_fd, const char *name, void *arg)
{
	uint64_t *sum = arg;
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
		*sum += (uint64_t)st.st_size;
	return 0;
}

int64_t progress_growth(void *arg)
{
	static const char *const folders[] = {".", "criu", "files"};
	const struct progress_growth *growth = arg;
	snap_cleanup_close int gen_fd = openat(growth->store_fd, growth->generation,
					       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	uint64_t sum = 0;

	if (gen_fd < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		snap_cleanup_close int fd =
			openat(gen_fd, folders[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (fd >= 0)
			(void)folder_each(fd, add_size, &sum);
	}
	return (int64_t)sum;
}
