/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_GATE_CHECK_H
#define SNAP_SNAPSHOT_GATE_CHECK_H

/* Between the gate and its checks (gate_identity.c, gate_host.c, gate_gpu.c,
 * gate_files.c); nobody else's. */

#include "snapshot/gate.h"

#define GATE_NAMES_MAX 3 /* names in one clause, clauses of one check */

struct gate {
	const struct manifest *m;
	const struct manifest_identity *want;
	const struct fingerprint *here;
	int gen_fd;
	const struct gate_accept *accept;
	struct gate_reasons *ret;
	const char *check;	   /* name of the check that runs */
	struct gpu_host *gpu_host; /* as found, for the caller; NULL: none */
	bool is_trusted;	   /* may a library be loaded that the manifest names? */
	bool is_fixed;		   /* no user can accept what it finds */
	size_t n_clauses;	   /* that this check has given */
	size_t n_hidden;	   /* of all checks: reasons that found no place in the text */
};

/* some names of many: "A, B, C and 4 more" */
struct gate_names {
	char text[256];
	size_t n;
};

typedef void (*gate_check_fn)(struct gate *gate);

/* a reason under the check's own name */
void gate_refuse(struct gate *gate, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* a reason about one thing of many; accepted as "check:thing" too */
void gate_refuse_thing(struct gate *gate, const char *thing, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* does the user accept this difference? thing may be NULL */
bool gate_accepts(const struct gate *gate, const char *thing);

void gate_names_add(struct gate_names *names, const char *name);

/* call once, after the last name */
const char *gate_names_text(struct gate_names *names);

/* text of another's making as it may stand in a message: one line, the end of it if it is long */
const char *gate_quote(const char *text, char *buf, size_t size);

void gate_check_schema(struct gate *gate);
void gate_check_argv(struct gate *gate);
void gate_check_cwd(struct gate *gate);
void gate_check_uid(struct gate *gate);
void gate_check_gid(struct gate *gate);
void gate_check_groups(struct gate *gate);
void gate_check_env(struct gate *gate);
void gate_check_adapter(struct gate *gate);

void gate_check_machine(struct gate *gate);
void gate_check_kernel(struct gate *gate);
void gate_check_cpu(struct gate *gate);
void gate_check_criu(struct gate *gate);
void gate_check_setting(struct gate *gate);
void gate_check_caps(struct gate *gate);
void gate_check_filter(struct gate *gate);
void gate_check_privileged(struct gate *gate);
void gate_check_no_new_privs(struct gate *gate);
void gate_check_page_size(struct gate *gate);
void gate_check_nofile(struct gate *gate);
void gate_check_memory(struct gate *gate);
void gate_check_listener(struct gate *gate);
void gate_check_pid(struct gate *gate);
void gate_check_stdio(struct gate *gate);

void gate_check_gpu(struct gate *gate);

void gate_check_image(struct gate *gate);
void gate_check_file(struct gate *gate);
void gate_check_dir(struct gate *gate);

#endif
