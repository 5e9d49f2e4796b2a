/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "snapshot/recovery.h"
#include "worker/jobs.h"
#include "worker/talk.h"

int job_recover(const struct worker_options *options, struct snap_error *err)
{
	int journal_fd = talk_journal_fd(), kept[WORKER_KEPT_MAX_], r;
	struct recovery_files files;

	(void)options; /* all there is to know is in the journal and what was kept */
	talk_kept_fds(kept);
	files = (struct recovery_files){
		.folder_fd = kept[WORKER_KEPT_FOLDER],
		.map_fd = kept[WORKER_KEPT_MAP],
		.data_fd = kept[WORKER_KEPT_DATA],
	};
	if (journal_fd < 0)
		r = snap_fail_plain(err, SNAP_E_USAGE, EBADF, "there is no journal");
	else
		r = recovery_run(journal_fd, &files, err);
	if (r < 0) {
		talk_send(WORKER_MSG_FAILED, err->code, 0, 1, err->msg);
		return 1;
	}
	talk_send(WORKER_MSG_DONE, SNAP_OK, 0, 0, NULL);
	return 0;
}
