/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_CARRIED_H
#define SNAP_SNAPSHOT_CARRIED_H

/*
 * Files a fresh container lacks although the tree needs them: logs, temporaries, /dev/shm
 * objects. At a capture they are copied below files/ while the tree stands still; at a wake they
 * are put back before CRIU opens them, and taken away again if the wake fails.
 */

#include "snapshot/manifest.h"
#include "snapshot/task/tree.h"

#define CARRIED_BYTES_MAX (1ULL << 30) /* all carried files of a snapshot together */

/*
 * Note every regular file that the tree has mapped or open into m->files, copy those that must be
 * carried (made or changed since root started, open for writing, on a tmpfs, or listed in
 * includes) into gen_fd/files, and note their folders and those of bound unix sockets in m->dirs.
 * The tree must be stopped. copies_max: there is memory for so many bytes of copies.
 */
int carried_collect(const struct task_tree *tree, const struct string_list *includes, int gen_fd,
		    uint64_t copies_max, struct manifest *m, struct snap_error *err);

/* what carried_put_back() made, newest last */
struct carried_made {
	struct string_list files;
	struct string_list dirs;
	int journal_fd; /* each is noted here too (init/journal.h); FD_NONE: nowhere */
};

/* create what is absent; nothing that exists is touched. On failure what was made stays in *made */
int carried_put_back(const struct manifest *m, int gen_fd, struct carried_made *made,
		     struct snap_error *err);

/* remove what was made (after a failed wake) */
void carried_undo(struct carried_made *made);
void carried_made_done(struct carried_made *made);

#endif
