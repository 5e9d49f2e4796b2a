/* SPDX-License-Identifier: Apache-2.0 */
#include "init/descendants.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

#include "common/procfs.h"

#define SESSION_SCANS_MAX 8 /* a dying process may be seen again */

struct scan {
	const struct descendants_spare *spare;
	pid_t self;
	pid_t session;
	int sig;
	bool tree_only; /* signal the spared tree instead of the rest */
	int found;
};

static bool in_tree(const struct proc_stat *stat, pid_t root)
{
	/* helpers that lost their parent hang below us, but keep their session */
	return stat->pid == root || stat->session == root || procfs_is_descendant(stat->pid, root);
}

static int look_at(pid_t pid, void *arg)
{
	struct scan *scan = arg;
	const struct descendants_spare *spare = scan->spare;
	struct proc_stat stat;
	bool of_tree;

	if (pid == scan->self || procfs_stat(pid, &stat) < 0)
		return 0;
	if (stat.state == 'X' || !procfs_is_descendant(pid, scan->self))
		return 0;

	of_tree = spare->root > 0 && in_tree(&stat, spare->root);
	if (of_tree != scan->tree_only)
		return 0;
	if (!scan->tree_only && stat.start_ticks < spare->since)
		return 0;
	/* a zombie may be a leader whose threads live on, with descriptors: a port is not free yet
	 */
	if ((kill(pid, scan->sig) == 0 || errno != ESRCH) &&
	    (stat.state != 'Z' || stat.n_threads > 1))
		scan->found++;
	return 0;
}

int descendants_kill(const struct descendants_spare *spare)
{
	struct scan scan = {.spare = spare, .self = getpid(), .sig = SIGKILL};
	int r = procfs_each_pid(look_at, &scan);

	return r < 0 ? r : scan.found;
}

int descendants_count(const struct descendants_spare *spare)
{
	struct scan scan = {.spare = spare, .self = getpid()};
	int r = procfs_each_pid(look_at, &scan);

	return r < 0 ? r : scan.found;
}

static int look_at_session(pid_t pid, void *arg)
{
	struct scan *scan = arg;
	struct proc_stat stat;

	if (pid == scan->self || procfs_stat(pid, &stat) < 0 || stat.session != scan->session ||
	    stat.state == 'Z' || stat.state == 'X' || !procfs_is_descendant(pid, scan->self))
		return 0;
	if (kill(pid, SIGKILL) == 0)
		scan->found++;
	return 0;
}

void descendants_kill_session(pid_t session)
{
	/* again while there was one: it may have forked behind the scan */
	for (int i = 0; i < SESSION_SCANS_MAX; i++) {
		struct scan scan = {.self = getpid(), .session = session};

		if (procfs_each_pid(look_at_session, &scan) < 0 || scan.found == 0)
			return;
	}
}

int descendants_signal_tree(pid_t root, int sig)
{
	const struct descendants_spare tree = {.root = root};
	struct scan scan = {.spare = &tree, .self = getpid(), .sig = sig, .tree_only = true};
	int r = procfs_each_pid(look_at, &scan);

	return r < 0 ? r : scan.found;
}

int descendants_ask(void)
{
	const struct descendants_spare nobody = {.root = 0};
	struct scan scan = {.spare = &nobody, .self = getpid(), .sig = SIGTERM};
	struct scan again = {.spare = &nobody, .self = getpid(), .sig = SIGCONT};
	int r = procfs_each_pid(look_at, &scan);

	if (r == 0)
		r = procfs_each_pid(look_at, &again);
	return r < 0 ? r : scan.found;
}
