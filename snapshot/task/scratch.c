/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/scratch.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/ptrace.h>

#include "snapshot/task/procmaps.h"

#define BELOW_SP 512U /* the red zone is 128 (x86-64 ABI) */

uint64_t scratch_place(uint64_t start, uint64_t sp)
{
	uint64_t at = (sp - BELOW_SP) & ~(uint64_t)(sizeof(uint64_t) - 1);

	/* below its start a stack would grow */
	return at >= start && at < sp ? at : start;
}

#ifdef __x86_64__
uint64_t scratch_find(const struct injector *injector)
{
	snap_cleanup_procmaps struct procmaps maps;
	uint64_t sp = injector->saved.rsp;
	struct proc_map map;

	if (procmaps_open(&maps, injector->tid) < 0 || sp == 0)
		return 0;
	while (procmaps_next(&maps, &map) > 0) {
		if (map.start <= sp - 1 && sp - 1 < map.end)
			return !map.shared && (map.prot & PROT_WRITE) ? scratch_place(map.start, sp)
								      : 0;
	}
	return 0;
}
#else
/* no injector attaches there */
uint64_t scratch_find(const struct injector *injector)
{
	(void)injector;
	return 0;
}
#endif

int scratch_ask(struct injector *injector, uint64_t at, long number, uint64_t what,
		int64_t *ret_value, uint64_t *ret_word, struct snap_error *err)
{
	uint64_t args[6] = {what, at};
	long saved;
	int r;

	*ret_value = -EFAULT;
	*ret_word = 0;
	errno = 0;
	saved = ptrace(PTRACE_PEEKDATA, injector->tid, (void *)at, NULL);
	if (errno != 0)
		return 0;
	r = injector_call(injector, number, args, ret_value, err);
	if (r < 0)
		return r;
	errno = 0;
	*ret_word = (uint64_t)ptrace(PTRACE_PEEKDATA, injector->tid, (void *)at, NULL);
	if (errno != 0)
		*ret_value = -EFAULT;
	if (ptrace(PTRACE_POKEDATA, injector->tid, (void *)at, (void *)saved) < 0)
		return snap_fail(err, SNAP_E_DUMP, errno, "cannot put a word of thread %d back",
				 (int)injector->tid);
	return 0;
}
