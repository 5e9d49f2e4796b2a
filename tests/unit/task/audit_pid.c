/* SPDX-License-Identifier: Apache-2.0 */
/* audit_pid [--unprivileged] PID: the findings, one a line; "~" before those that may pass */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/parse.h"
#include "snapshot/task/audit.h"

int main(int argc, char **argv)
{
	snap_cleanup(task_tree_done) struct task_tree tree = {0};
	struct audit_rights rights = {
		.admin = true,
		.uid = geteuid(),
		.init_pid = 1,
		.self_pid = getpid(),
	};
	struct snap_error err = {0};
	struct audit_report report;
	int pid;

	if (argc == 3 && strcmp(argv[1], "--unprivileged") == 0)
		rights.admin = false;
	if (argc < 2 || parse_int(argv[argc - 1], 1, 1 << 22, &pid) < 0)
		return 2;
	if (task_tree_collect(pid, &tree, &err) < 0 ||
	    audit_tree(&tree, &rights, &report, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	for (size_t i = 0; i < report.n; i++)
		(void)printf("%s%s\n", report.items[i].transient ? "~" : "", report.items[i].text);
	return 0;
}
