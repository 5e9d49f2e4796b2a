/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/steps.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"

static volatile sig_atomic_t stopped;
static const char *running; /* name of the table; NULL: none */

void steps_stop(void)
{
	stopped = 1;
}

bool steps_stopped(void)
{
	return stopped != 0;
}

#ifdef SNAP_FAULTS
static int fault_at(const char *table, const char *step, struct snap_error *err)
{
	const char *wanted = getenv("SNAPINIT_FAULT");
	char name[128];
	int n = snprintf(name, sizeof(name), "%s.%s=", table, step);

	if (!wanted || n < 0 || strncmp(wanted, name, (size_t)n) != 0)
		return 0;
	if (strcmp(wanted + n, "kill") == 0)
		(void)raise(SIGKILL);
	while (strcmp(wanted + n, "hang") == 0)
		(void)pause();
	return snap_fail(err, SNAP_E_INTERNAL, EIO, "fault asked for by SNAPINIT_FAULT");
}
#else
static int fault_at(const char *table, const char *step, struct snap_error *err)
{
	(void)table;
	(void)step;
	(void)err;
	return 0;
}
#endif

int steps_fault(const char *point, struct snap_error *err)
{
	return running ? fault_at(running, point, err) : 0;
}

int steps_run(const char *table, const struct step *steps, size_t n, void *context,
	      struct step_times *times, struct snap_error *err)
{
	int r = 0;

	assert(n <= STEPS_MAX);
	running = table;
	times->n = 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t start = clock_now_ns();

		times->names[i] = steps[i].name;
		times->n = i + 1;
		r = steps[i].run(context, err);
		if (r == 0)
			r = fault_at(table, steps[i].name, err);
		if (r == 0 && stopped && i + 1 < n)
			r = snap_fail_plain(err, SNAP_E_STOPPED, ECANCELED, "asked to stop");
		times->dur_ns[i] = clock_now_ns() - start;
		if (r == 0)
			continue;
		/* the failing step is undone too: it may have got half way */
		for (size_t back = i + 1; back > 0; back--) {
			if (steps[back - 1].undo)
				steps[back - 1].undo(context);
		}
		break;
	}
	running = NULL;
	return r;
}
