/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapctl: makes, looks at and checks snapshots from outside. It drives the same snapinit and
 * snapworker that a container has, and has no way of its own to capture or wake.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/container.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "common/fd.h"

static int run_verb(int argc, char **argv, struct snap_error *err, const char **ret_name)
{
	const struct verb *verb;

	if (argc < 1)
		return snap_fail_plain(err, SNAP_E_USAGE, 0, "no verb given, see snapctl help"),
		       VERB_FAILED;
	if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
		verbs_print_help(stdout);
		return 0;
	}
	verb = verbs_find(strcmp(argv[0], "--version") == 0 ? "version" : argv[0], err);
	if (!verb)
		return VERB_FAILED;
	*ret_name = verb->name;
	return verb->run(verb, argc, argv, err);
}

int main(int argc, char **argv)
{
	struct snap_error err = {.code = SNAP_OK};
	const char *name = NULL;
	int status;

	container_set_closed_stdio(fd_fill_stdio());
	/* an ignored SIGCHLD, inherited from a careless parent, would eat our children's status */
	(void)signal(SIGCHLD, SIG_DFL);
	status = run_verb(argc - 1, argv + 1, &err, &name);
	if (status == VERB_FAILED)
		status = output_failure(name, &err);
	if (output_finish(&err) < 0 && status == 0)
		status = output_failure(name, &err);
	return status;
}
