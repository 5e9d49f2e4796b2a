/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/carried.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/io.h"
#include "common/procfs.h"
#include "snapshot/task/open_files.h"
#include "snapshot/task/sockets.h"

/* clock ticks are coarse: a file made in the engine's first moments must not be missed */
#define START_SLACK_NS (50 * (int64_t)NS_PER_MS)

struct collector {
	struct manifest *m;
	int files_fd;
	int64_t started_ns; /* of the root, CLOCK_REALTIME */
	dev_t root_dev;
	uint64_t carried_bytes;
	uint64_t copies_max; /* that there is memory for */
};

static int64_t timespec_ns(const struct timespec *ts)
{
	return (int64_t)ts->tv_sec * (int64_t)NS_PER_S + ts->tv_nsec;
}

/* when a process started, as wall-clock time */
static int started_ns(pid_t pid, int64_t *ret)
{
	struct timespec boot, real;
	struct proc_stat stat;
	int r = procfs_stat(pid, &stat);

	if (r < 0)
		return r;
	(void)clock_gettime(CLOCK_BOOTTIME, &boot);
	(void)clock_gettime(CLOCK_REALTIME, &real);
	*ret = timespec_ns(&real) - timespec_ns(&boot) +
	       (int64_t)(stat.start_ticks * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK)));
	return 0;
}

static bool is_on_other_tmpfs(const struct collector *c, const struct open_file *file)
{
	struct statfs fs;

	return file->st.st_dev != c->root_dev && statfs(file->path, &fs) == 0 &&
	       fs.f_type == TMPFS_MAGIC;
}

static bool must_carry(const struct collector *c, const struct open_file *file)
{
	return file->written || is_on_other_tmpfs(c, file) ||
	       timespec_ns(&file->st.st_ctim) >= c->started_ns - START_SLACK_NS;
}

static int add_dir(struct manifest *m, const char *path, const struct stat *st)
{
	struct manifest_dir *bigger;

	for (size_t i = 0; i < m->n_dirs; i++) {
		if (strcmp(m->dirs[i].path, path) == 0)
			return 0;
	}
	if (m->n_dirs >= MANIFEST_ITEMS_MAX)
		return -E2BIG;
	bigger = reallocarray(m->dirs, m->n_dirs + 1, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	m->dirs = bigger;
	bigger += m->n_dirs;
	*bigger = (struct manifest_dir){
		.path = strdup(path),
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
	};
	if (!bigger->path)
		return -ENOMEM;
	m->n_dirs++;
	return 0;
}

/* every folder above path, outermost first, so that they can be made in this order */
static int note_parents(struct manifest *m, const char *path)
{
	snap_cleanup_free char *dir = strdup(path);

	if (!dir)
		return -ENOMEM;
	for (char *slash = strchr(dir + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		struct stat st;
		int r;

		*slash = '\0';
		if (stat(dir, &st) == 0 && S_ISDIR(st.st_mode)) {
			r = add_dir(m, dir, &st);
			if (r < 0)
				return r;
		}
		*slash = '/';
	}
	return 0;
}

static struct manifest_file *add_file(struct manifest *m, const struct open_file *file)
{
	struct manifest_file *bigger;

	if (m->n_files >= MANIFEST_ITEMS_MAX)
		return NULL;
	bigger = reallocarray(m->files, m->n_files + 1, sizeof(*bigger));
	if (!bigger)
		return NULL;
	m->files = bigger;
	bigger += m->n_files;
	*bigger = (struct manifest_file){
		.path = strdup(file->path),
		.size = (uint64_t)file->st.st_size,
		.mtime_ns = timespec_ns(&file->st.st_mtim),
		.mode = file->st.st_mode & 07777,
		.uid = file->st.st_uid,
		.gid = file->st.st_gid,
		.mapped = file->mapped,
		.append = file->append && file->written,
	};
	if (!bigger->path)
		return NULL;
	m->n_files++;
	return bigger;
}

/* all of it, and not a byte less: a file may shrink under our hands */
static int copy_whole(int from, int to, uint64_t size, enum snap_code code, struct snap_error *err)
{
	struct stat st;
	int r = io_copy_fd(from, to, size, err);

	if (r < 0)
		return r;
	if (fstat(to, &st) < 0 || (uint64_t)st.st_size != size)
		return snap_fail(err, code, ENODATA, "it has fewer than %" PRIu64 " bytes", size);
	return 0;
}

/* the very file that the tree has, not what somebody put in its place meanwhile */
static int open_same(const char *path, const struct stat *wanted)
{
	snap_cleanup_close int fd = FD_NONE;
	struct stat st;

	/* non-blocking: what stands there now may be a fifo, and the tree is frozen */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (st.st_dev != wanted->st_dev || st.st_ino != wanted->st_ino || !S_ISREG(st.st_mode))
		return -ESTALE;
	return TAKE_FD(fd);
}

static int copy_in(struct collector *c, struct manifest_file *entry, const struct stat *st,
		   struct snap_error *err)
{
	snap_cleanup_close int from = open_same(entry->path, st);
	snap_cleanup_close int to = FD_NONE;
	char name[32];
	int r;

	if (from < 0)
		return snap_fail(err, SNAP_E_DUMP, -from, "cannot read '%s'", entry->path);
	if (entry->size > c->copies_max - c->carried_bytes)
		return snap_fail_plain(err, SNAP_E_PREFLIGHT, ENOMEM,
				       "memory: none left for a copy of '%s' (%" PRIu64
				       " bytes) in a store on a tmpfs",
				       entry->path, entry->size);
	(void)snprintf(name, sizeof(name), "f-%06zu", (size_t)(entry - c->m->files) + 1);
	to = openat(c->files_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (to < 0)
		return snap_fail(err, SNAP_E_DUMP, errno, "cannot create files/%s", name);
	r = copy_whole(from, to, entry->size, SNAP_E_DUMP, err);
	if (r < 0) {
		snap_error_prefix(err, "cannot carry '%s'", entry->path);
		return r;
	}
	entry->stored = strdup(name);
	r = entry->stored ? note_parents(c->m, entry->path) : -ENOMEM;
	if (r < 0)
		return snap_fail(err, SNAP_E_DUMP, -r, "cannot note '%s'", entry->path);
	c->carried_bytes += entry->size;
	return 0;
}

static bool has_room(const struct collector *c, const struct stat *st)
{
	return (uint64_t)st->st_size <= CARRIED_BYTES_MAX - c->carried_bytes;
}

static int too_large(const char *path, const struct stat *st, const char *why,
		     struct snap_error *err)
{
	return snap_fail_plain(
		err, SNAP_E_UNSNAPSHOTABLE, EFBIG,
		"'%s' (%" PRIu64 " bytes) %s and is too large to carry (limit %llu bytes in "
		"all); close it before the capture or put it on a volume that the new "
		"container has too",
		path, (uint64_t)st->st_size, why, CARRIED_BYTES_MAX);
}

static int collect_file(struct collector *c, const struct open_file *file, struct snap_error *err)
{
	bool carry = must_carry(c, file);
	struct manifest_file *entry;

	if (carry && !has_room(c, &file->st)) {
		if (file->written)
			return too_large(file->path, &file->st, "is open for writing", err);
		carry = false; /* read only: the image or a volume has it */
	}
	entry = add_file(c->m, file);
	if (!entry)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot note '%s'", file->path);
	return carry ? copy_in(c, entry, &file->st, err) : 0;
}

static struct manifest_file *find_file(const struct manifest *m, const char *path)
{
	for (size_t i = 0; i < m->n_files; i++) {
		if (strcmp(m->files[i].path, path) == 0)
			return &m->files[i];
	}
	return NULL;
}

/* carried in any case, also when the tree has it open and it would not be */
static int include_file(struct collector *c, char *path, struct snap_error *err)
{
	struct open_file file = {.path = path};
	struct manifest_file *entry = find_file(c->m, path);

	if (entry && entry->stored)
		return 0;
	if (lstat(path, &file.st) < 0)
		return snap_fail(err, SNAP_E_USAGE, errno, "--include '%s'", path);
	if (!S_ISREG(file.st.st_mode))
		return snap_fail_plain(err, SNAP_E_USAGE, EINVAL,
				       "--include '%s' is no regular file", path);
	if (!has_room(c, &file.st))
		return too_large(path, &file.st, "is to be included", err);
	if (!entry)
		entry = add_file(c->m, &file);
	if (!entry)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot note '%s'", path);
	entry->size = (uint64_t)file.st.st_size;
	return copy_in(c, entry, &file.st, err);
}

static int collect_includes(struct collector *c, const struct string_list *includes,
			    struct snap_error *err)
{
	for (size_t i = 0; i < includes->n; i++) {
		int r = include_file(c, includes->items[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int collect_socket_folders(const struct task_tree *tree, struct manifest *m,
				  struct snap_error *err)
{
	struct string_list paths = {0};
	int r = sockets_unix_paths(tree, &paths, err);

	for (size_t i = 0; r == 0 && i < paths.n; i++) {
		r = note_parents(m, paths.items[i]);
		if (r < 0)
			(void)snap_fail(err, SNAP_E_INTERNAL, -r, "cannot note the folder of '%s'",
					paths.items[i]);
	}
	string_list_done(&paths);
	return r;
}

/* made by the engine: a fresh container lacks it */
static bool is_new_folder(const struct collector *c, const char *path)
{
	struct statx stx;
	const struct statx_timestamp *made;

	if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &stx) < 0 ||
	    !S_ISDIR(stx.stx_mode))
		return false;
	made = stx.stx_mask & STATX_BTIME ? &stx.stx_btime : &stx.stx_ctime;
	return made->tv_sec * (int64_t)NS_PER_S + made->tv_nsec >= c->started_ns - START_SLACK_NS;
}

static int note_folder(struct collector *c, int dir_fd, const char *link)
{
	char path[PATH_MAX];
	ssize_t n = readlinkat(dir_fd, link, path, sizeof(path) - 2);

	if (n <= 1 || path[0] != '/')
		return 0;
	path[n] = '\0';
	if (strncmp(path, "/proc/", 6) == 0 || !is_new_folder(c, path))
		return 0;
	path[n] = '/'; /* so that the folder itself counts as a parent */
	path[n + 1] = '\0';
	return note_parents(c->m, path);
}

/* folders that a process works in or has open */
static int collect_folders_of(struct collector *c, pid_t pid)
{
	snap_cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	char path[32];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%d/cwd", (int)pid);
	r = note_folder(c, AT_FDCWD, path);
	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return r < 0 ? r : -errno;
	while (r == 0 && (entry = readdir(dir))) {
		if (isdigit((unsigned char)entry->d_name[0]))
			r = note_folder(c, dirfd(dir), entry->d_name);
	}
	return r;
}

static int collect_folders(struct collector *c, const struct task_tree *tree,
			   struct snap_error *err)
{
	for (size_t i = 0; i < tree->n_processes; i++) {
		int r = tree->processes[i].zombie ? 0
						  : collect_folders_of(c, tree->processes[i].pid);

		if (r < 0)
			return snap_fail(err, SNAP_E_DUMP, -r,
					 "cannot note the folders of pid %d (%s)",
					 (int)tree->processes[i].pid, tree->processes[i].comm);
	}
	return 0;
}

int carried_collect(const struct task_tree *tree, const struct string_list *includes, int gen_fd,
		    uint64_t copies_max, struct manifest *m, struct snap_error *err)
{
	snap_cleanup_close int files_fd = FD_NONE;
	struct open_files files = {0};
	struct collector c = {.m = m, .copies_max = copies_max};
	struct stat root;
	int r;

	if (mkdirat(gen_fd, "files", 0700) < 0)
		return snap_fail(err, SNAP_E_DUMP, errno, "cannot make files/");
	files_fd = openat(gen_fd, "files", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (files_fd < 0 || stat("/", &root) < 0)
		return snap_fail(err, SNAP_E_DUMP, errno, "cannot open files/");
	c.files_fd = files_fd;
	c.root_dev = root.st_dev;
	r = started_ns(tree->processes[0].pid, &c.started_ns);
	if (r < 0)
		return snap_fail(err, SNAP_E_DUMP, -r, "cannot tell when the engine started");

	r = open_files_collect(tree, &files, err);
	for (size_t i = 0; r == 0 && i < files.n; i++)
		r = collect_file(&c, &files.items[i], err);
	open_files_done(&files);
	if (r == 0)
		r = collect_includes(&c, includes, err);
	if (r == 0)
		r = collect_socket_folders(tree, m, err);
	if (r == 0)
		r = collect_folders(&c, tree, err);
	return r;
}

/* for whoever has to take it away when we cannot any more */
static int note_made(struct carried_made *made, struct string_list *list, char kind,
		     const char *path)
{
	char record[PATH_MAX + 1];
	int n = snprintf(record, sizeof(record), "%c%s", kind, path);

	if (n < 0 || (size_t)n >= sizeof(record))
		return -ENAMETOOLONG;
	if (made->journal_fd >= 0) {
		int r = io_write_full(made->journal_fd, record, (size_t)n + 1);

		if (r < 0)
			return r;
	}
	return string_list_add(list, path);
}

/* owner and mode through a descriptor: the name may be a link to elsewhere by now */
static int dress_dir(const struct manifest_dir *dir, struct snap_error *err)
{
	snap_cleanup_close int fd =
		open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return snap_fail(err, SNAP_E_RESTORE, errno, "cannot open '%s'", dir->path);
	if (geteuid() == 0 && fchown(fd, dir->uid, dir->gid) < 0)
		return snap_fail(err, SNAP_E_RESTORE, errno, "cannot own '%s'", dir->path);
	if (fchmod(fd, dir->mode) < 0)
		return snap_fail(err, SNAP_E_RESTORE, errno, "cannot set the mode of '%s'",
				 dir->path);
	return 0;
}

static int make_dirs(const struct manifest *m, struct carried_made *made, struct snap_error *err)
{
	for (size_t i = 0; i < m->n_dirs; i++) {
		const struct manifest_dir *dir = &m->dirs[i];
		int r;

		if (mkdir(dir->path, 0700) < 0) {
			if (errno == EEXIST || errno == EROFS)
				continue; /* what needs the folder will tell */
			return snap_fail(err, SNAP_E_RESTORE, errno, "cannot make '%s'", dir->path);
		}
		r = note_made(made, &made->dirs, 'D', dir->path);
		if (r < 0)
			return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot note '%s'", dir->path);
		r = dress_dir(dir, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int fill_file(int from, int to, const struct manifest_file *file, struct snap_error *err)
{
	struct timespec times[2] = {
		{.tv_nsec = UTIME_OMIT},
		{.tv_sec = file->mtime_ns / (int64_t)NS_PER_S,
		 .tv_nsec = file->mtime_ns % (int64_t)NS_PER_S},
	};
	int r = copy_whole(from, to, file->size, SNAP_E_CORRUPT, err);

	if (r < 0)
		return r;
	if (geteuid() == 0 && fchown(to, file->uid, file->gid) < 0)
		return snap_fail(err, SNAP_E_RESTORE, errno, "cannot set its owner");
	if (fchmod(to, file->mode) < 0 || futimens(to, times) < 0)
		return snap_fail(err, SNAP_E_RESTORE, errno, "cannot set its mode and time");
	return 0;
}

static int put_file(const struct manifest_file *file, int files_fd, struct carried_made *made,
		    struct snap_error *err)
{
	snap_cleanup_close int from = FD_NONE;
	snap_cleanup_close int to = FD_NONE;
	int r;

	to = open(file->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (to < 0 && errno == EEXIST)
		return 0;
	if (to < 0)
		return snap_fail(err, SNAP_E_RESTORE, errno, "cannot put back '%s'", file->path);
	r = note_made(made, &made->files, 'F', file->path);
	if (r < 0) {
		(void)unlink(file->path);
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot note '%s'", file->path);
	}
	from = openat(files_fd, file->stored, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (from < 0)
		return snap_fail(err, SNAP_E_CORRUPT, errno, "cannot open files/%s", file->stored);
	r = fill_file(from, to, file, err);
	if (r < 0)
		snap_error_prefix(err, "cannot put back '%s'", file->path);
	return r;
}

int carried_put_back(const struct manifest *m, int gen_fd, struct carried_made *made,
		     struct snap_error *err)
{
	snap_cleanup_close int files_fd = FD_NONE;
	int r = make_dirs(m, made, err);

	if (r < 0)
		return r;
	files_fd = openat(gen_fd, "files", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	for (size_t i = 0; r == 0 && i < m->n_files; i++) {
		if (m->files[i].stored)
			r = put_file(&m->files[i], files_fd, made, err);
	}
	return r;
}

void carried_undo(struct carried_made *made)
{
	for (size_t i = made->files.n; i > 0; i--)
		(void)unlink(made->files.items[i - 1]);
	for (size_t i = made->dirs.n; i > 0; i--)
		(void)rmdir(made->dirs.items[i - 1]);
	if (made->journal_fd >= 0 && ftruncate(made->journal_fd, 0) == 0)
		(void)lseek(made->journal_fd, 0, SEEK_SET);
	carried_made_done(made);
}

void carried_made_done(struct carried_made *made)
{
	string_list_done(&made->files);
	string_list_done(&made->dirs);
}
