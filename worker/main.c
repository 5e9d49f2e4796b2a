/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapworker: the heavy work beside PID 1. It is started for one job, tells PID 1 how it goes
 * over WORKER_FD_SOCKET, and may die at any point: PID 1 then takes its next plan.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "snapshot/steps.h"
#include "worker/ambient.h"
#include "worker/jobs.h"
#include "worker/talk.h"

struct job {
	const char *name;
	int (*run)(const struct worker_options *options, struct snap_error *err);
};

static const struct job jobs[] = {
	{"wake", job_wake},   {"capture", job_capture}, {"watch", job_watch},
	{"probe", job_probe}, {"recover", job_recover}, {"suspend", job_suspend},
};

static const struct job *find_job(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
		if (name && strcmp(jobs[i].name, name) == 0)
			return &jobs[i];
	}
	return NULL;
}

static int start_log(const struct worker_options *options, struct snap_error *err)
{
	enum log_level level;
	enum log_format format;

	if (log_level_parse(options->log_level, &level) < 0 ||
	    log_format_parse(options->log_format, &format) < 0)
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "bad --log-level or --log-format");
	log_init("snapworker", STDERR_FILENO, format, level);
	return 0;
}

/* PID 1 wants us to end: take back what is half made */
static void on_term(int sig)
{
	(void)sig;
	steps_stop(); /* NOLINT(bugprone-signal-handler): it sets a sig_atomic_t */
}

int main(int argc, char **argv)
{
	const struct job *job = argc > 1 ? find_job(argv[1]) : NULL;
	struct worker_options options;
	struct snap_error err = {0};
	int r;

	if (!job) {
		(void)fprintf(
			stderr,
			"usage: snapworker wake|capture|watch|probe|recover|suspend [options] -- command…\n"
			"snapworker is started by snapinit, not by people.\n");
		return 2;
	}
	(void)fd_fill_stdio();
	(void)umask(0077); /* whatever is in memory is in a snapshot */
	r = worker_options_parse(argc, argv, &options, &err);
	if (r == 0)
		r = start_log(&options, &err);
	if (r == 0)
		r = ambient_raise(&err);
	if (r < 0) {
		talk_send(WORKER_MSG_FAILED, err.code, 0, 0, err.msg);
		return 2;
	}
	(void)signal(SIGTERM, on_term);
	/* a file that may not grow is an error to tell, not a death */
	(void)signal(SIGXFSZ, SIG_IGN);
	for (int fd = WORKER_FD_SOCKET; fd <= WORKER_FD_LAST; fd++)
		(void)fd_set_cloexec(fd, true);
	return job->run(&options, &err);
}
