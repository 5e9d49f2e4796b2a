/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_CHECKS_H
#define SNAP_CLI_CHECKS_H

/*
 * What the doctor looks at. Each check has a stable id, does the real thing (makes the system call,
 * reads the file) instead of guessing from versions, and says what was seen, what is wanted and
 * what to do about it. A probe fills in what it found; it never fails itself.
 */

#include <limits.h>
#include <stdbool.h>

#include "cli/host.h"

enum check_status {
	CHECK_OK,
	CHECK_WARN, /* works, but slower, or for less */
	CHECK_FAIL, /* no snapshot can be made or woken here */
	CHECK_SKIP, /* could not be looked at; message says why */
	CHECK_STATUS_MAX_,
};

struct finding {
	enum check_status status;
	char observed[256];
	char required[160];
	char message[640];
	char remedy[320];
};

/* what probes need to know; filled in by the verb */
struct doctor {
	struct host host;
	const char *store; /* NULL: none given */
	const char *criu;
	char snapinit[PATH_MAX]; /* empty: none found */
	char worker[PATH_MAX];	 /* the same */
	uint64_t worker_caps;	 /* capabilities that its file gives it beyond ours */
	char self[PATH_MAX];
	bool trial;
};

/* ours, or snapworker's */
static inline bool doctor_has_cap(const struct doctor *doctor, int cap)
{
	return ((doctor->host.fingerprint.caps_effective | doctor->worker_caps) >> cap) & 1;
}

typedef void (*probe_fn)(const struct doctor *doctor, struct finding *ret);

struct check {
	const char *id;
	probe_fn probe;
};

const char *check_status_name(enum check_status status);

/* NULL-terminated by .id == NULL */
extern const struct check checks_table[];

/* for probes: fill in the texts */
void finding_set(struct finding *finding, enum check_status status, const char *message,
		 const char *remedy);
void finding_observed(struct finding *finding, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void finding_required(struct finding *finding, const char *text);

/* "works", or the name of the errno; r is 0 or -errno */
void finding_call(struct finding *finding, int r);

/* run fn in a child process and get what it returns (0 or -errno); -ECHILD when it was killed */
int check_in_child(int (*fn)(void *arg), void *arg);

/* probe_kernel.c */
void probe_kernel_version(const struct doctor *doctor, struct finding *ret);
void probe_ptrace(const struct doctor *doctor, struct finding *ret);
void probe_kcmp(const struct doctor *doctor, struct finding *ret);
void probe_set_tid(const struct doctor *doctor, struct finding *ret);
void probe_ns_last_pid(const struct doctor *doctor, struct finding *ret);
void probe_pidfd(const struct doctor *doctor, struct finding *ret);
void probe_userfaultfd(const struct doctor *doctor, struct finding *ret);
void probe_io_uring(const struct doctor *doctor, struct finding *ret);

/* probe_rights.c */
const char *doctor_setting(const struct doctor *doctor);
void probe_cap_checkpoint(const struct doctor *doctor, struct finding *ret);
void probe_cap_setpcap(const struct doctor *doctor, struct finding *ret);
void probe_setting(const struct doctor *doctor, struct finding *ret);
void probe_seccomp(const struct doctor *doctor, struct finding *ret);
void probe_no_new_privs(const struct doctor *doctor, struct finding *ret);
void probe_namespaces(const struct doctor *doctor, struct finding *ret);
void probe_user_namespace(const struct doctor *doctor, struct finding *ret);

/* probe_place.c */
void probe_root_filesystem(const struct doctor *doctor, struct finding *ret);
void probe_shared_memory(const struct doctor *doctor, struct finding *ret);
void probe_run(const struct doctor *doctor, struct finding *ret);
void probe_store(const struct doctor *doctor, struct finding *ret);
void probe_memory_limit(const struct doctor *doctor, struct finding *ret);
void probe_nofile(const struct doctor *doctor, struct finding *ret);

/* probe_parts.c */
void probe_criu(const struct doctor *doctor, struct finding *ret);
uint64_t probe_worker_caps(const char *worker, const struct fingerprint *here);
void probe_snapinit(const struct doctor *doctor, struct finding *ret);
void probe_worker(const struct doctor *doctor, struct finding *ret);

/* probe_trial.c */
void probe_trial_wake(const struct doctor *doctor, struct finding *ret);

#endif
