/* SPDX-License-Identifier: Apache-2.0 */
#include "looked_at.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fixtures/cuda_library.h"

#include "row.h"
#include "walk.h"

#define BOOT_LIMIT_S 60
#define SUM_LIMIT_S  60
#define TREE_MAX     256

/* for whoever cleans up if this program is killed */
static void note(pid_t pid)
{
	const char *path = getenv("GPU_RUN_PIDS");
	FILE *file = path ? fopen(path, "ae") : NULL;

	if (!file)
		return;
	(void)fprintf(file, "%d\n", pid);
	(void)fclose(file);
}

static void __attribute__((noreturn))
become(const int *words, const int *answers, const char *kind, size_t mib)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%zu", mib);
	(void)setsid();
	if (dup2(words[0], STDIN_FILENO) < 0 || dup2(answers[1], STDOUT_FILENO) < 0)
		_exit(1);
	(void)execl("/proc/self/exe", "gpu_probe", "body", kind, text, (char *)NULL);
	_exit(127);
}

bool target_start(struct target *target, const char *step, const char *kind, size_t mib)
{
	char answer[64];
	int words[2], answers[2];

	if (pipe2(words, O_CLOEXEC) < 0 || pipe2(answers, O_CLOEXEC) < 0)
		fixture_die(1, "pipe2");
	target->pid = fork();
	if (target->pid < 0)
		fixture_die(1, "fork");
	if (target->pid == 0)
		become(words, answers, kind, mib);
	note(target->pid);
	(void)close(words[0]);
	(void)close(answers[1]);
	target->words = words[1];
	target->answers = answers[0];
	if (target_ask(target, "", BOOT_LIMIT_S, answer, sizeof(answer)) &&
	    strcmp(answer, "ready") == 0)
		return true;
	row_open(step, kind);
	row_number("mib", (long long)mib);
	row_text("result", "it does not come up; its reason is on stderr");
	row_close();
	target_end(target);
	return false;
}

/* a line is read byte by byte, so that nothing of the next one is taken */
bool target_ask(const struct target *target, const char *word, int seconds, char *ret, size_t size)
{
	double deadline = walk_now_ms() + seconds * 1e3;
	size_t used = 0;

	if (*word &&
	    (write(target->words, word, strlen(word)) < 0 || write(target->words, "\n", 1) < 0))
		return false;
	while (used + 1 < size) {
		struct pollfd pfd = {.fd = target->answers, .events = POLLIN};
		double left = deadline - walk_now_ms();

		if (left <= 0 || poll(&pfd, 1, (int)left) <= 0 ||
		    read(target->answers, ret + used, 1) != 1)
			return false;
		if (ret[used] == '\n') {
			ret[used] = '\0';
			return true;
		}
		used++;
	}
	return false;
}

void target_sum(const struct target *target, char *ret, size_t size)
{
	if (!target_ask(target, "sum", SUM_LIMIT_S, ret, size))
		ret[0] = '\0';
}

/* all are locked before one is checkpointed; those that the driver does not know need nothing */
static bool give_devices_back(const pid_t *pids, size_t n)
{
	bool is_good = true;

	for (size_t i = 0; i < n; i++) {
		if (walk_is_cuda(pids[i]) && walk_state(pids[i]) == CU_PROCESS_STATE_RUNNING)
			(void)walk_do(pids[i], WALK_LOCK, 10000, NULL);
	}
	for (size_t i = 0; i < n; i++) {
		if (!walk_is_cuda(pids[i]))
			continue;
		if (walk_state(pids[i]) == CU_PROCESS_STATE_LOCKED)
			(void)walk_do(pids[i], WALK_CHECKPOINT, 0, NULL);
		if (walk_state(pids[i]) != CU_PROCESS_STATE_CHECKPOINTED)
			is_good = false;
	}
	return is_good;
}

void target_end(struct target *target)
{
	(void)give_devices_back(&target->pid, 1);
	(void)kill(target->pid, SIGKILL);
	(void)waitpid(target->pid, NULL, 0);
	(void)close(target->words);
	(void)close(target->answers);
}

static void add_children(pid_t pid, pid_t *pids, size_t *n)
{
	char path[64];
	FILE *file;
	int child;

	if (*n == TREE_MAX)
		return;
	pids[(*n)++] = pid;
	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	file = fopen(path, "re");
	while (file && fscanf(file, "%d", &child) == 1)
		add_children(child, pids, n);
	if (file)
		(void)fclose(file);
}

bool target_end_tree(pid_t pid)
{
	pid_t pids[TREE_MAX];
	size_t n = 0;
	bool is_good;

	add_children(pid, pids, &n);
	is_good = give_devices_back(pids, n);
	/* the first last: its end is the end of what it is PID 1 of */
	for (size_t i = n; i-- > 0;)
		(void)kill(pids[i], SIGKILL);
	return is_good;
}
