/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/recovery.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/device_copy.h"
#include "common/fd.h"
#include "common/io.h"
#include "snapshot/device_files.h"
#include "snapshot/gpu/checkpoint.h"
#include "snapshot/pages/fill.h"
#include "snapshot/steps.h"

#define TRACER_PATIENCE_MS 30000U /* half of what PID 1 has for all of it */
#define TRACER_POLL_MS	   50
#define GPU_START_MS	   60000U

enum record_kind {
	RECORD_THREAD = 1,
	RECORD_DROPPED = 2,
	RECORD_REFILLED = 3, /* takes the one before back; no body */
	RECORD_GPU = 4,	     /* locked, or further on */
	RECORD_RUNS = 5,     /* takes what was noted of the thread back */
	RECORD_DEVICES = 6,  /* device memory is saved */
};

/* mappings are to be as they were: no advice, and no call in a task whose registers are foreign */
static const struct fill_options refill_options = {.filler = FILL_FILLER_WRITEV,
						   .thp = FILL_THP_NEVER};

/* in front of each record; both ends are the same program on the same machine */
struct record_head {
	uint32_t kind;
	uint32_t bytes; /* that follow */
};

struct record_thread {
	int32_t tid;
	uint32_t extended_bytes;
	uint64_t mask;
	struct user_regs_struct registers;
	unsigned char extended[INJECTOR_EXTENDED_MAX]; /* the last: only what is used is written */
};

struct record_dropped {
	char store[PATH_MAX];
	char generation[STORE_NAME_MAX];
};

struct record_gpu {
	int32_t pid;
	int32_t restore_tid;
	uint64_t device_bytes; /* at most, of all processes; 0: not known */
	uint32_t by_storage;   /* CustomStorage */
	uint32_t pad;
	char library[PATH_MAX];
};

/* and which GPU is which: nobody has a manifest yet */
struct record_devices {
	struct record_dropped saved;
	uint32_t n;
	char uuids[GPU_DEVICES_MAX][33];
};

struct record_runs {
	int32_t tid;
};

union record_body {
	struct record_thread thread;
	struct record_dropped dropped;
	struct record_gpu gpu;
	struct record_runs runs;
	struct record_devices devices;
};

/* a memfd never writes less than it was given unless memory is out */
static int append(int fd, uint32_t kind, const void *body, size_t size)
{
	struct record_head head = {.kind = kind, .bytes = (uint32_t)size};
	struct iovec parts[] = {{&head, sizeof(head)}, {(void *)(uintptr_t)body, size}};
	ssize_t n;

	if (fd < 0)
		return 0;
	n = writev(fd, parts, ARRAY_LEN(parts));
	if (n < 0)
		return -errno;
	return (size_t)n == sizeof(head) + size ? 0 : -ENOSPC;
}

int recovery_note_thread(const struct injector *injector, void *arg)
{
	const struct recovery_journal *journal = arg;
	struct record_thread body;
	ssize_t n;
	int r;

	if (journal->fd < 0)
		return 0;
	memset(&body, 0, offsetof(struct record_thread, extended));
	body.tid = injector->tid;
	body.mask = injector->saved_mask;
	body.registers = injector->saved;
	n = injector_read_extended(injector, body.extended, sizeof(body.extended));
	if (n < 0)
		return (int)n;
	body.extended_bytes = (uint32_t)n;
	r = append(journal->fd, RECORD_THREAD, &body,
		   offsetof(struct record_thread, extended) + (size_t)n);
	return r == 0 ? steps_fault("thread-noted", NULL) : r;
}

static int name_generation(const char *store_path, const char *generation,
			   struct record_dropped *ret)
{
	if (strlen(generation) >= sizeof(ret->generation))
		return -ENAMETOOLONG;
	if (!realpath(store_path, ret->store))
		return -errno;
	memcpy(ret->generation, generation, strlen(generation));
	return 0;
}

int recovery_note_dropped(const struct recovery_journal *journal, const char *store_path,
			  const char *generation)
{
	struct record_dropped body = {0};
	int r;

	if (journal->fd < 0)
		return 0;
	r = name_generation(store_path, generation, &body);
	return r == 0 ? append(journal->fd, RECORD_DROPPED, &body, sizeof(body)) : r;
}

int recovery_note_devices(const struct recovery_journal *journal, const char *store_path,
			  const char *generation, const struct manifest_gpu *gpu)
{
	struct record_devices body = {.n = (uint32_t)gpu->n_devices};
	int r;

	if (journal->fd < 0)
		return 0;
	if (gpu->n_devices > GPU_DEVICES_MAX)
		return -E2BIG;
	for (size_t i = 0; i < gpu->n_devices; i++)
		memcpy(body.uuids[i], gpu->devices[i].uuid, sizeof(body.uuids[i]));
	r = name_generation(store_path, generation, &body.saved);
	return r == 0 ? append(journal->fd, RECORD_DEVICES, &body, sizeof(body)) : r;
}

int recovery_note_gpu(const struct recovery_journal *journal, const struct manifest_gpu *gpu)
{
	struct record_gpu body = {0};
	int r = 0;

	if (strlen(gpu->library) >= sizeof(body.library))
		return -ENAMETOOLONG;
	memcpy(body.library, gpu->library, strlen(gpu->library));
	for (size_t i = 0; r == 0 && i < gpu->n_processes; i++) {
		body.pid = gpu->processes[i].pid;
		body.restore_tid = gpu->processes[i].restore_tid;
		body.device_bytes = gpu->processes[i].staging_bytes;
		body.by_storage = manifest_has_device_files(gpu);
		r = append(journal->fd, RECORD_GPU, &body, sizeof(body));
	}
	return r;
}

int recovery_note_gpu_runs(const struct recovery_journal *journal, const struct manifest_gpu *gpu)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < gpu->n_processes; i++) {
		struct record_runs body = {.tid = gpu->processes[i].restore_tid};

		r = append(journal->fd, RECORD_RUNS, &body, sizeof(body));
	}
	return r;
}

int recovery_note_refilled(const struct recovery_journal *journal)
{
	return append(journal->fd, RECORD_REFILLED, NULL, 0);
}

int recovery_forget(const struct recovery_journal *journal)
{
	if (journal->fd < 0)
		return 0;
	if (ftruncate(journal->fd, 0) < 0 || lseek(journal->fd, 0, SEEK_SET) < 0)
		return -errno;
	return 0;
}

/* 1: a record; 0: the end, or one that its writer did not finish: nothing was done after it */
static int next_record(int fd, off_t *at, struct record_head *head, union record_body *body)
{
	ssize_t n = pread(fd, head, sizeof(*head), *at);

	if (n < 0)
		return -errno;
	if (n < (ssize_t)sizeof(*head))
		return 0;
	if (head->bytes > sizeof(*body))
		return -EUCLEAN;
	n = pread(fd, body, head->bytes, *at + (off_t)sizeof(*head));
	if (n < 0)
		return -errno;
	if (n < (ssize_t)head->bytes)
		return 0;
	*at += (off_t)(sizeof(*head) + head->bytes);
	return 1;
}

static int open_generation(struct record_dropped *dropped, struct store *store,
			   struct snap_error *err)
{
	dropped->store[sizeof(dropped->store) - 1] = '\0';
	dropped->generation[sizeof(dropped->generation) - 1] = '\0';
	return store_open(store, dropped->store, false, err);
}

/* the files that somebody kept are the ones, wherever and whether they have a name */
static int refill_from(const struct recovery_files *files, struct snap_error *err)
{
	struct fill_result result;
	struct page_map map = {0};
	int r = page_map_load_from(files->map_fd, files->data_fd, &map, err);

	if (r == 0)
		r = pages_fill_from(&map, files->data_fd, &refill_options, &result, err);
	page_map_done(&map);
	return r;
}

static int refill(struct record_dropped *dropped, struct snap_error *err)
{
	snap_cleanup_close int gen_fd = FD_NONE;
	struct store store = {.fd = FD_NONE};
	struct fill_result result;
	struct page_map map = {0};
	int r = open_generation(dropped, &store, err);

	if (r < 0)
		return r;
	gen_fd = store_hold_generation(&store, dropped->generation, err);
	r = gen_fd < 0 ? gen_fd : page_map_load(gen_fd, PAGE_FILES_TREE, &map, err);
	if (r == 0)
		r = pages_fill(&map, gen_fd, &refill_options, &result, err);
	page_map_done(&map);
	store_close(&store);
	return r;
}

static bool is_thread(const struct record_head *head, const struct record_thread *thread)
{
	size_t fixed = offsetof(struct record_thread, extended);

	return head->bytes >= fixed && head->bytes - fixed == thread->extended_bytes;
}

/*
 * The capture that noted the thread had traced it, so EPERM is not for lack of rights: somebody
 * else traces it now (who, cannot be seen from within a pid namespace), and may soon have done with
 * it.
 */
static int put_back(const struct record_thread *thread, uint64_t tracer_deadline_ns,
		    struct snap_error *err)
{
	const struct timespec pause = {.tv_nsec = TRACER_POLL_MS * (long)NS_PER_MS};
	int r;

	for (;;) {
		r = injector_put_back(thread->tid, &thread->registers, thread->mask,
				      thread->extended, thread->extended_bytes, err);
		if (r != -EPERM || deadline_left_ms(tracer_deadline_ns) == 0)
			break;
		(void)nanosleep(&pause, NULL);
	}
	return r == -ESRCH ? 0 : r;
}

static int fail_damaged(int r, struct snap_error *err)
{
	if (r == -EUCLEAN)
		return snap_fail_plain(err, SNAP_E_INTERNAL, EUCLEAN, "the journal is damaged");
	return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot read the journal");
}

/* 1 and *ret: this is dropped and was not refilled; 0: nothing is */
static int find_dropped(int fd, struct record_dropped *ret, struct snap_error *err)
{
	struct record_head head;
	union record_body body;
	int r, found = 0;
	off_t at = 0;

	while ((r = next_record(fd, &at, &head, &body)) > 0) {
		if (head.kind == RECORD_REFILLED)
			found = 0;
		if (head.kind != RECORD_DROPPED)
			continue;
		if (head.bytes != sizeof(body.dropped))
			return fail_damaged(-EUCLEAN, err);
		*ret = body.dropped;
		found = 1;
	}
	return r < 0 ? fail_damaged(r, err) : found;
}

struct recovery {
	int journal_fd;
	const struct recovery_files *files;
	bool refilled;
	struct record_dropped dropped;
};

static int step_memory(void *context, struct snap_error *err)
{
	struct recovery *recovery = context;
	int r = find_dropped(recovery->journal_fd, &recovery->dropped, err);

	if (r <= 0)
		return r;
	r = recovery->files->data_fd >= 0 ? refill_from(recovery->files, err)
					  : refill(&recovery->dropped, err);
	recovery->refilled = r == 0;
	return r;
}

/* has the thread lived on since it was noted? a damaged record is found by who looks for it */
static bool has_run(int fd, off_t at, pid_t tid)
{
	struct record_head head;
	union record_body body;

	while (next_record(fd, &at, &head, &body) > 0) {
		if (head.kind == RECORD_RUNS && head.bytes == sizeof(body.runs) &&
		    body.runs.tid == tid)
			return true;
	}
	return false;
}

static int step_threads(void *context, struct snap_error *err)
{
	const struct recovery *recovery = context;
	struct record_head head;
	union record_body body;
	uint64_t tracer_deadline_ns = deadline_after_ms(TRACER_PATIENCE_MS);
	off_t at = 0;
	int r;

	while ((r = next_record(recovery->journal_fd, &at, &head, &body)) > 0) {
		if (head.kind != RECORD_THREAD)
			continue;
		if (!is_thread(&head, &body.thread))
			return fail_damaged(-EUCLEAN, err);
		if (has_run(recovery->journal_fd, at, body.thread.tid))
			continue;
		r = put_back(&body.thread, tracer_deadline_ns, err);
		if (r < 0)
			return r;
	}
	return r < 0 ? fail_damaged(r, err) : 0;
}

/* the store may be another one by now, with a generation of that name */
static bool is_same_folder(int folder_fd, const struct store *store, const char *name)
{
	struct stat kept, named;

	return fstat(folder_fd, &kept) == 0 &&
	       fstatat(store->fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       kept.st_dev == named.st_dev && kept.st_ino == named.st_ino;
}

static bool has_gpu_process(const struct manifest_gpu *gpu, pid_t pid)
{
	for (size_t i = 0; i < gpu->n_processes; i++) {
		if (gpu->processes[i].pid == pid)
			return true;
	}
	return false;
}

static int add_gpu_process(const struct record_gpu *record, struct manifest_gpu *gpu)
{
	struct manifest_gpu_process *bigger =
		reallocarray(gpu->processes, gpu->n_processes + 1, sizeof(*bigger));

	if (!bigger)
		return -ENOMEM;
	gpu->processes = bigger;
	bigger[gpu->n_processes++] = (struct manifest_gpu_process){
		.pid = record->pid,
		.restore_tid = record->restore_tid,
		.staging_bytes = record->device_bytes,
	};
	return 0;
}

/* what the journal says of GPUs */
struct gpu_notes {
	struct manifest_gpu gpu; /* processes, and of devices their UUIDs */
	bool by_storage;
	bool is_saved; /* to this generation */
	struct record_dropped saved;
	char library[PATH_MAX]; /* of the last record */
};

static int take_gpu(const struct record_gpu *record, struct gpu_notes *ret)
{
	memcpy(ret->library, record->library, PATH_MAX - 1);
	ret->by_storage = record->by_storage != 0;
	return has_gpu_process(&ret->gpu, record->pid) ? 0 : add_gpu_process(record, &ret->gpu);
}

static int take_devices(const struct record_devices *record, struct gpu_notes *ret)
{
	if (record->n > GPU_DEVICES_MAX)
		return -EUCLEAN;
	free(ret->gpu.devices);
	ret->gpu.n_devices = 0;
	ret->gpu.devices = calloc((size_t)record->n + 1, sizeof(*ret->gpu.devices));
	if (!ret->gpu.devices)
		return -ENOMEM;
	for (uint32_t i = 0; i < record->n; i++)
		memcpy(ret->gpu.devices[i].uuid, record->uuids[i], sizeof(record->uuids[i]) - 1);
	ret->gpu.n_devices = record->n;
	ret->saved = record->saved;
	ret->is_saved = true;
	return 0;
}

static int find_gpu(int fd, struct gpu_notes *ret, struct snap_error *err)
{
	struct record_head head;
	union record_body body;
	off_t at = 0;
	int r;

	while ((r = next_record(fd, &at, &head, &body)) > 0) {
		int taken = 0;

		if (head.kind == RECORD_GPU)
			taken = head.bytes == sizeof(body.gpu) ? take_gpu(&body.gpu, ret)
							       : -EUCLEAN;
		if (head.kind == RECORD_DEVICES)
			taken = head.bytes == sizeof(body.devices)
					? take_devices(&body.devices, ret)
					: -EUCLEAN;
		if (taken < 0)
			return fail_damaged(taken, err);
	}
	return r < 0 ? fail_damaged(r, err) : 0;
}

/* the folder that somebody kept is the one, wherever and whether it has a name */
static int load_devices(const struct recovery *recovery, struct gpu_notes *notes,
			struct device_files *ret, struct snap_error *err)
{
	struct store store = {.fd = FD_NONE};
	int r = 0;

	ret->gen_fd = recovery->files->folder_fd >= 0
			      ? fcntl(recovery->files->folder_fd, F_DUPFD_CLOEXEC, 0)
			      : FD_NONE;
	if (ret->gen_fd < 0)
		r = open_generation(&notes->saved, &store, err);
	if (r == 0 && ret->gen_fd < 0)
		ret->gen_fd = r = store_hold_generation(&store, notes->saved.generation, err);
	store_close(&store);
	return r < 0 ? r : page_map_load(ret->gen_fd, PAGE_FILES_DEVICES, &ret->map, err);
}

static int mend_gpu(const struct recovery *recovery, struct gpu_notes *notes,
		    struct snap_error *err)
{
	struct gpu_driver driver;
	struct device_files files = {.gen_fd = FD_NONE, .fill = refill_options};
	struct gpu_checkpoint checkpoint = {
		.driver = &driver, .manifest = &notes->gpu, .by_storage = notes->by_storage};
	uint64_t bytes = notes->gpu.processes[0].staging_bytes;
	int r = gpu_driver_open(notes->library, &driver, err);

	if (r < 0)
		return r;
	r = gpu_driver_start(&driver, notes->by_storage && gpu_driver_has_storage(&driver), err);
	if (r == 0)
		r = gpu_driver_wait(&driver, deadline_after_ms(GPU_START_MS), err);
	if (r == 0) {
		if (notes->is_saved)
			r = load_devices(recovery, notes, &files, err);
		if (notes->is_saved)
			checkpoint.content = device_files_content(&files);
		if (r == 0)
			r = gpu_checkpoint_mend(&checkpoint, err);
		/* it will be killed, and it may have its devices open */
		if (r < 0)
			(void)gpu_checkpoint_put_away(
				&checkpoint,
				deadline_after_ms(GPU_PUT_AWAY_MS + device_copy_ms(bytes)), NULL);
	}
	gpu_checkpoint_done(&checkpoint);
	device_files_done(&files);
	(void)fd_close(files.gen_fd);
	gpu_driver_close(&driver);
	return r;
}

/* after the threads: the driver's own must be what it was */
static int step_gpu(void *context, struct snap_error *err)
{
	struct recovery *recovery = context;
	struct gpu_notes notes = {.by_storage = false};
	int r = find_gpu(recovery->journal_fd, &notes, err);

	if (r == 0 && notes.gpu.n_processes > 0)
		r = mend_gpu(recovery, &notes, err);
	if (r == 0 && notes.is_saved) {
		recovery->dropped = notes.saved;
		recovery->refilled = true;
	}
	free(notes.gpu.processes);
	free(notes.gpu.devices);
	return r;
}

/* nobody will ever finish that generation: its page files are as large as the engine */
static int step_discard(void *context, struct snap_error *err)
{
	struct recovery *recovery = context;
	const int folder_fd = recovery->files->folder_fd;
	struct store store = {.fd = FD_NONE};

	(void)err;
	if (recovery->refilled && open_generation(&recovery->dropped, &store, NULL) == 0 &&
	    (folder_fd < 0 || is_same_folder(folder_fd, &store, recovery->dropped.generation)))
		store_abort(&store, recovery->dropped.generation);
	store_close(&store);
	return 0;
}

static const struct step recovery_steps[] = {
	{"memory", step_memory, NULL},
	{"threads", step_threads, NULL},
	{"gpu", step_gpu, NULL},
	{"discard", step_discard, NULL},
};

int recovery_run(int journal_fd, const struct recovery_files *files, struct snap_error *err)
{
	struct recovery recovery = {.journal_fd = journal_fd, .files = files};
	struct step_times times;

	return steps_run("recover", recovery_steps, ARRAY_LEN(recovery_steps), &recovery, &times,
			 err);
}
