/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/fingerprint.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/io.h"
#include "common/procfs.h"
#include "snapshot/cgroup.h"

#ifndef CAP_CHECKPOINT_RESTORE
#	define CAP_CHECKPOINT_RESTORE 40
#endif

#define CPUINFO_MAX 65536U /* the first processor's part is about 1.5 KiB */
#define FLAGS_MAX   4096U
#define CPUS_MAX    16384

static bool has_cap(uint64_t caps, int cap)
{
	return (caps >> cap) & 1;
}

/* CAP_SYS_ADMIN includes CAP_CHECKPOINT_RESTORE: capabilities(7) */
static bool may_checkpoint(uint64_t caps)
{
	return has_cap(caps, CAP_CHECKPOINT_RESTORE) || has_cap(caps, CAP_SYS_ADMIN);
}

/* capabilities in a user namespace of our own do not reach what CRIU's privileged mode needs */
static bool is_initial_user_namespace(void)
{
	unsigned long long inside, outside, count;
	char line[128];

	if (io_read_line(AT_FDCWD, "/proc/self/uid_map", line, sizeof(line)) < 0)
		return true; /* a kernel without user namespaces */
	return sscanf(line, "%llu %llu %llu", &inside, &outside, &count) == 3 && inside == 0 &&
	       outside == 0 && count == UINT32_MAX;
}

static const char *find_setting(const struct fingerprint *f)
{
	static const int privileged[] = {CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_SYS_TIME,
					 CAP_SETPCAP};
	bool has_all = true;

	if (!may_checkpoint(f->caps_effective) || !has_cap(f->caps_effective, CAP_SETPCAP))
		return "none";
	if (f->seccomp_filter)
		return "C";
	for (size_t i = 0; i < ARRAY_LEN(privileged); i++)
		has_all &= has_cap(f->caps_effective, privileged[i]);
	return has_all && is_initial_user_namespace() ? "A" : "B";
}

static int read_status(const char *key, int base, uint64_t *ret, struct snap_error *err)
{
	char text[64], *end;
	int r = procfs_status_field(getpid(), key, text, sizeof(text));

	if (r < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, -r, "no %s in '/proc/self/status'", key);
	*ret = strtoull(text, &end, base);
	if (end == text || *end != '\0')
		return snap_fail(err, SNAP_E_PREFLIGHT, EPROTO, "%s in '/proc/self/status'", key);
	return 0;
}

static int take_rights(struct fingerprint *f, struct snap_error *err)
{
	uint64_t no_new_privs, seccomp = 0;
	int r;

	r = read_status("CapEff", 16, &f->caps_effective, err);
	if (r == 0)
		r = read_status("CapBnd", 16, &f->caps_bounding, err);
	if (r == 0)
		r = read_status("NoNewPrivs", 10, &no_new_privs, err);
	/* kernels without seccomp have no such line, and no filter then */
	if (r == 0 && read_status("Seccomp", 10, &seccomp, NULL) < 0)
		seccomp = 0;
	if (r < 0)
		return r;
	f->no_new_privs = no_new_privs != 0;
	f->seccomp_filter = seccomp == 2;
	f->setting = strdup(find_setting(f));
	return f->setting ? 0 : -ENOMEM;
}

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* the words behind "flags" (x86) or "Features" (arm) of the first processor, sorted, each once */
static int take_cpu_flags(struct string_list *ret)
{
	snap_cleanup_free char *text = malloc(CPUINFO_MAX);
	char *line, *save = NULL;
	size_t n = 0;

	if (!text)
		return -ENOMEM;
	if (io_read_line(AT_FDCWD, "/proc/cpuinfo", text, CPUINFO_MAX) < 0)
		return 0;
	line = strstr(text, "\nflags\t");
	if (!line)
		line = strstr(text, "\nFeatures\t");
	line = line ? strchr(line, ':') : NULL;
	if (!line)
		return 0;
	line++;
	line[strcspn(line, "\n")] = '\0';
	for (char *word = strtok_r(line, " \t", &save); word && ret->n < FLAGS_MAX;
	     word = strtok_r(NULL, " \t", &save)) {
		int r = string_list_add(ret, word);

		if (r < 0)
			return r;
	}
	if (ret->n == 0)
		return 0;
	qsort(ret->items, ret->n, sizeof(*ret->items), compare_strings);
	for (size_t i = 0; i < ret->n; i++) {
		if (n > 0 && strcmp(ret->items[n - 1], ret->items[i]) == 0)
			free(ret->items[i]);
		else
			ret->items[n++] = ret->items[i];
	}
	ret->n = n;
	return 0;
}

/* processors we may run on; the mask is as large as the kernel's, which we do not know */
static uint64_t count_cpus(void)
{
	for (int cpus = 1024; cpus <= CPUS_MAX; cpus *= 2) {
		size_t size = CPU_ALLOC_SIZE(cpus);
		cpu_set_t *set = CPU_ALLOC(cpus);
		int n = 0;

		if (set && sched_getaffinity(0, size, set) == 0)
			n = CPU_COUNT_S(size, set);
		CPU_FREE(set);
		if (n > 0)
			return (uint64_t)n;
	}
	return 1;
}

static int take_machine(struct fingerprint *f)
{
	struct utsname names;
	struct rlimit limit;

	if (uname(&names) < 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	f->machine = strdup(names.machine);
	f->kernel_release = strdup(names.release);
	f->kernel_version = strdup(names.version);
	if (!f->machine || !f->kernel_release || !f->kernel_version)
		return -ENOMEM;
	f->nofile = limit.rlim_cur > INT64_MAX ? INT64_MAX : limit.rlim_cur;
	f->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
	f->cpus = count_cpus();
	return take_cpu_flags(&f->cpu_flags);
}

static int take_memory(struct fingerprint *f, struct snap_error *err)
{
	snap_cleanup_close int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (root_fd < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, errno, "cannot open '/'");
	return cgroup_memory(root_fd, &f->memory_limit, &f->memory_available, err);
}

int fingerprint_take(const char *criu_version, const char *criu_build_id, struct fingerprint *ret,
		     struct snap_error *err)
{
	struct fingerprint f = {0};
	int r;

	r = take_machine(&f);
	if (r < 0)
		(void)snap_fail(err, SNAP_E_PREFLIGHT, -r, "cannot describe this machine");
	if (r == 0)
		r = take_rights(&f, err);
	if (r == 0)
		r = take_memory(&f, err);
	if (r == 0) {
		f.criu_version = strdup(criu_version);
		f.criu_build_id = strdup(criu_build_id);
		if (!f.criu_version || !f.criu_build_id)
			r = snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot describe CRIU");
	}
	if (r < 0) {
		fingerprint_done(&f);
		return r;
	}
	*ret = f;
	return 0;
}
