/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/xcomp.h"

#include <errno.h>

#ifdef __x86_64__

#	include <cpuid.h>
#	include <elf.h>
#	include <stdio.h>
#	include <stdlib.h>
#	include <string.h>
#	include <sys/ptrace.h>
#	include <sys/syscall.h>
#	include <sys/uio.h>
#	include <unistd.h>

#	include "common/cleanup.h"
#	include "common/procfs.h"
#	include "snapshot/task/scratch.h"
#	include "snapshot/task/threads.h"

/* <asm/prctl.h> of Linux 5.16 */
#	define GET_XCOMP_SUPP 0x1021
#	define GET_XCOMP_PERM 0x1022
#	define REQ_XCOMP_PERM 0x1023

/* state components, SDM volume 1, 13.1 */
#	define TILE_CONFIG 17U
#	define TILE_DATA   18U
#	define BIT(n)	    (UINT64_C(1) << (n))
#	define DYNAMIC	    BIT(TILE_DATA) /* all that the kernel wants to be asked for */

#	define STATE_BYTES_MAX	   (32U << 10) /* of an XSAVE area: 11,008 with tiles */
#	define STATE_BV_AT	   512U	       /* which components it holds */
#	define CONFIG_BYTES	   64U
#	define NOT_IN_SYSTEM_CALL UINT64_MAX /* orig_rax */

static uint64_t supported(void)
{
	uint64_t all = 0;

	return syscall(SYS_arch_prctl, GET_XCOMP_SUPP, &all) == 0 ? all & DYNAMIC : 0;
}

/* an XSAVE area in the standard format, as ptrace gives and takes it whole */
struct state {
	unsigned char bytes[STATE_BYTES_MAX];
	struct iovec iov;
	size_t config_at;
	uint64_t components;
};

static int read_state(pid_t tid, struct state *state, struct snap_error *err)
{
	unsigned int size, at, c, d;

	state->iov = (struct iovec){state->bytes, sizeof(state->bytes)};
	if (ptrace(PTRACE_GETREGSET, tid, (void *)NT_X86_XSTATE, &state->iov) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot read the state of thread %d",
				 (int)tid);
	if (!__get_cpuid_count(0xd, TILE_CONFIG, &size, &at, &c, &d) || size != CONFIG_BYTES ||
	    at + CONFIG_BYTES > state->iov.iov_len || state->iov.iov_len == sizeof(state->bytes))
		return snap_fail_plain(err, SNAP_E_INTERNAL, EPROTO,
				       "no tile configuration in the state of thread %d", (int)tid);
	state->config_at = at;
	memcpy(&state->components, state->bytes + STATE_BV_AT, sizeof(state->components));
	return 0;
}

/* capture */

struct collector {
	const struct tree_process *process;
	injector_note_fn note;
	void *note_arg;
	struct manifest *m;
	struct snap_error *err;
};

static int fail_list(const struct collector *c, int errnum)
{
	return snap_fail(c->err, SNAP_E_DUMP, errnum, "cannot list the threads of pid %d (%s)",
			 (int)c->process->pid, c->process->comm);
}

/* list with room for one more entry, or NULL; each list is short */
static void *grow(void *list, size_t n, size_t item_bytes)
{
	return n < MANIFEST_ITEMS_MAX ? reallocarray(list, n + 1, item_bytes) : NULL;
}

static int note_config(struct collector *c, pid_t tid, const unsigned char *config)
{
	struct manifest_tile_config *items =
		grow(c->m->tile_configs, c->m->n_tile_configs, sizeof(*items));
	struct manifest_tile_config *item;

	if (!items)
		return fail_list(c, ENOMEM);
	c->m->tile_configs = items;
	item = &items[c->m->n_tile_configs++];
	item->tid = tid;
	for (size_t i = 0; i < CONFIG_BYTES; i++)
		(void)snprintf(&item->config[2 * i], 3, "%02x", config[i]);
	return 0;
}

static int note_state(struct collector *c, const struct injector *injector)
{
	struct state state;
	int r = read_state(injector->tid, &state, c->err);

	if (r < 0)
		return r;
	if (state.components & BIT(TILE_DATA) && injector->saved.orig_rax == NOT_IN_SYSTEM_CALL)
		return snap_fail_plain(c->err, SNAP_E_UNSNAPSHOTABLE, EBUSY,
				       "pid %d (%s) computes with AMX tiles in thread %d, whose "
				       "content CRIU would lose; capture it between two requests",
				       (int)c->process->pid, c->process->comm, (int)injector->tid);
	if (!(state.components & BIT(TILE_CONFIG)))
		return 0;
	/* the dump will take it away: whoever mends the tree after us must know it as well */
	if (c->note && c->note(injector, c->note_arg) != 0)
		return snap_fail_plain(c->err, SNAP_E_INTERNAL, EIO,
				       "cannot note the registers of thread %d",
				       (int)injector->tid);
	return note_config(c, injector->tid, state.bytes + state.config_at);
}

static int look_at_thread(pid_t tid, void *arg)
{
	struct collector *c = arg;
	struct injector injector;
	struct proc_stat stat;
	int r;

	if (procfs_stat(tid, &stat) < 0 || stat.state == 'Z' || stat.state == 'X')
		return 0;
	r = injector_attach(tid, NULL, &injector, c->err);
	if (r == 0)
		r = note_state(c, &injector);
	(void)injector_detach(&injector);
	return r;
}

/* 0 and *ret: what the process may use and must have asked for */
static int ask_permissions(const struct collector *c, uint64_t *ret)
{
	struct injector_options options = {.note = c->note, .note_arg = c->note_arg};
	struct injector injector;
	bool is_filtered;
	uint64_t at, told = 0;
	int64_t value = -1;
	int r = injector_attach_past_filters(c->process->pid, &options, &injector, &is_filtered,
					     c->err);

	/* a filter could answer with death: a process that has one that we may not suspend */
	at = r == 0 && !is_filtered ? scratch_find(&injector) : 0;
	if (at)
		r = scratch_ask(&injector, at, SYS_arch_prctl, GET_XCOMP_PERM, &value, &told,
				c->err);
	(void)injector_detach(&injector);
	*ret = value == 0 ? told & DYNAMIC : 0;
	return r;
}

static int look_at_process(struct collector *c)
{
	struct manifest_xcomp *items;
	uint64_t permissions;
	int r = ask_permissions(c, &permissions);

	if (r < 0 || permissions == 0)
		return r;
	items = grow(c->m->xcomp, c->m->n_xcomp, sizeof(*items));
	if (!items)
		return fail_list(c, ENOMEM);
	c->m->xcomp = items;
	items[c->m->n_xcomp++] =
		(struct manifest_xcomp){.pid = c->process->pid, .permissions = permissions};
	c->err->msg[0] = '\0';
	r = threads_each(c->process->pid, look_at_thread, c);
	return r < 0 && c->err->msg[0] == '\0' ? fail_list(c, -r) : r;
}

static int by_pid(const void *a, const void *b)
{
	const struct manifest_xcomp *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

static int by_tid(const void *a, const void *b)
{
	const struct manifest_tile_config *x = a, *y = b;

	return (x->tid > y->tid) - (x->tid < y->tid);
}

static void sort(struct manifest *m)
{
	if (m->n_xcomp > 0)
		qsort(m->xcomp, m->n_xcomp, sizeof(*m->xcomp), by_pid);
	if (m->n_tile_configs > 0)
		qsort(m->tile_configs, m->n_tile_configs, sizeof(*m->tile_configs), by_tid);
}

static void forget(struct manifest *m)
{
	free(m->xcomp);
	free(m->tile_configs);
	m->xcomp = NULL;
	m->tile_configs = NULL;
	m->n_xcomp = m->n_tile_configs = 0;
}

int xcomp_collect(const struct task_tree *tree, injector_note_fn note, void *note_arg,
		  struct manifest *m, struct snap_error *err)
{
	struct snap_error own = {0};
	struct collector c = {.note = note, .note_arg = note_arg, .m = m, .err = err ? err : &own};
	int r = 0;

	if (supported() == 0)
		return 0;
	for (size_t i = 0; r == 0 && i < tree->n_processes; i++) {
		c.process = &tree->processes[i];
		if (!c.process->zombie)
			r = look_at_process(&c);
	}
	if (r < 0) {
		forget(m);
		return r;
	}
	*c.err = (struct snap_error){0}; /* of an attempt that had another way */
	sort(m);
	return 0;
}

/* wake */

static int request(const struct manifest_xcomp *want, struct snap_error *err)
{
	struct injector injector;
	bool is_filtered;
	int r = injector_attach_past_filters(want->pid, NULL, &injector, &is_filtered, err);

	for (uint64_t n = 0; r == 0 && n < 64; n++) {
		uint64_t args[6] = {REQ_XCOMP_PERM, n};
		int64_t value = 0;

		if (!(want->permissions & BIT(n)))
			continue;
		r = injector_call(&injector, SYS_arch_prctl, args, &value, err);
		if (r == 0 && value < 0)
			r = snap_fail(err, SNAP_E_RESTORE, (int)-value,
				      "process %d does not get its permission to use AMX "
				      "(component %u) back%s",
				      (int)want->pid, (unsigned int)n,
				      value == -ENOSPC ? ": a signal stack is too small" : "");
	}
	(void)injector_detach(&injector);
	return r;
}

static unsigned char from_hex(const char *digits)
{
	char text[3] = {digits[0], digits[1], '\0'};

	return (unsigned char)strtoul(text, NULL, 16);
}

static int put_config(const struct manifest_tile_config *want, struct snap_error *err)
{
	struct injector injector;
	struct state state;
	int r = injector_attach(want->tid, NULL, &injector, err);

	if (r == 0)
		r = read_state(want->tid, &state, err);
	if (r == 0) {
		state.components |= BIT(TILE_CONFIG);
		memcpy(state.bytes + STATE_BV_AT, &state.components, sizeof(state.components));
		for (size_t i = 0; i < CONFIG_BYTES; i++)
			state.bytes[state.config_at + i] = from_hex(&want->config[2 * i]);
		if (ptrace(PTRACE_SETREGSET, want->tid, (void *)NT_X86_XSTATE, &state.iov) < 0)
			r = snap_fail(err, SNAP_E_RESTORE, errno,
				      "thread %d does not get its tile configuration back",
				      (int)want->tid);
	}
	(void)injector_detach(&injector);
	return r;
}

int xcomp_put_configs(const struct manifest *m, struct snap_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->n_tile_configs; i++)
		r = put_config(&m->tile_configs[i], err);
	return r;
}

int xcomp_restore(const struct manifest *m, struct snap_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < m->n_xcomp; i++)
		r = request(&m->xcomp[i], err);
	return r < 0 ? r : xcomp_put_configs(m, err);
}

#else

int xcomp_collect(const struct task_tree *tree, injector_note_fn note, void *note_arg,
		  struct manifest *m, struct snap_error *err)
{
	(void)tree;
	(void)note;
	(void)note_arg;
	(void)m;
	(void)err;
	return 0;
}

int xcomp_put_configs(const struct manifest *m, struct snap_error *err)
{
	(void)m;
	(void)err;
	return 0;
}

int xcomp_restore(const struct manifest *m, struct snap_error *err)
{
	if (m->n_xcomp == 0 && m->n_tile_configs == 0)
		return 0;
	return snap_fail_plain(err, SNAP_E_RESTORE, ENOSYS, "no AMX on this machine");
}

#endif
