/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_INIT_ENVIRONMENT_H
#define SNAP_INIT_ENVIRONMENT_H

/*
 * The engine's environment where it is not ours: some variables replaced, others left out. Made
 * once before the first boot, so that no boot allocates.
 */

#include <stdbool.h>
#include <sys/types.h>

#define ENVIRONMENT_CHANGES_MAX 4
#define LISTEN_PID_SIZE		32

struct environment {
	char **envp; /* NULL: as ours; only the array is ours, its strings are not */
	const char *names[ENVIRONMENT_CHANGES_MAX];
	const char *variables[ENVIRONMENT_CHANGES_MAX];
	unsigned int n;

	/*
	 * LISTEN_PID says whom the descriptors from 3 on are meant for, and is not followed by
	 * anybody else: where it says us, the child has to write its own number there.
	 */
	bool has_listen_pid;
	char listen_pid[LISTEN_PID_SIZE]; /* "LISTEN_PID=N", for envp */
};

/* variable: "NAME=VALUE", not copied; NULL leaves NAME out */
void environment_change(struct environment *environment, const char *name, const char *variable);

/* is LISTEN_PID us? */
bool environment_is_listening(void);

/* prepare for environment_write_listen_pid() */
void environment_change_listen_pid(struct environment *environment);

/* in the child, before exec */
void environment_write_listen_pid(struct environment *environment, pid_t pid);

/* 0 or -ENOMEM */
int environment_make(struct environment *environment);
void environment_done(struct environment *environment);

#endif
