/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/interrupt.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/cleanup.h"

static atomic_bool stop;
static volatile sig_atomic_t stopped_by;

static void on_signal(int number)
{
	stopped_by = number;
	atomic_store(&stop, true);
}

const atomic_bool *interrupt_watch(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = on_signal};

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		(void)sigaction(numbers[i], &action, NULL);
	/* a file that may not grow is a failure to tell, not a death */
	(void)signal(SIGXFSZ, SIG_IGN);
	return &stop;
}

int interrupt_signal(void)
{
	return stopped_by;
}
