/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>

#include "snapshot/recovery.h"
#include "worker/jobs.h"
#include "worker/talk.h"

int job_recover(const struct worker_options *options, struct snap_error *err)
{
	int r;

	(void)options; /* all there is to know is in the journal */
	if (fcntl(WORKER_FD_JOURNAL, F_GETFD) < 0)
		r = snap_fail_plain(err, SNAP_E_USAGE, EBADF, "there is no journal");
	else
		r = recovery_run(WORKER_FD_JOURNAL, err);
	if (r < 0) {
		talk_send(WORKER_MSG_FAILED, err->code, 0, 1, err->msg);
		return 1;
	}
	talk_send(WORKER_MSG_DONE, SNAP_OK, 0, 0, NULL);
	return 0;
}
