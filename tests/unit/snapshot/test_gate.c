/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A snapshot that fits this process exactly, and a table of single differences. Each must give its
 * one clause word for word, be turned off by its name in the accept list (but for damage), and
 * appear beside its neighbour's when both are there.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/init_options.h"
#include "snapshot/fingerprint.h"
#include "snapshot/gate.h"
#include "snapshot/identity.h"

#include "tests/lib/test.h"
#include "tests/unit/snapshot/sample.h"
#include "tests/unit/snapshot/sandbox.h"

#define CAP_BIT(n) (1ULL << (n))

struct fixture {
	struct sandbox box;
	struct manifest m;
	struct manifest_identity want;
	struct fingerprint here;
	struct gate_reasons reasons;
	struct gate_accept accept;
	char expect[512];
	int fd;	   /* of a flip, closed at the end */
	pid_t pid; /* of a flip, killed at the end */
};

static void __attribute__((format(printf, 2, 3))) expect(struct fixture *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(f->expect, sizeof(f->expect), fmt, ap);
	va_end(ap);
}

/* a port that nobody has; the socket is closed again unless it is asked for */
static uint32_t free_port(int *ret_fd)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	if (ret_fd) {
		assert_int_equal(listen(fd, 1), 0);
		*ret_fd = fd;
	} else {
		(void)close(fd);
	}
	return ntohs(address.sin_port);
}

static int32_t free_pid(int32_t from)
{
	while (kill(from, 0) == 0 || errno != ESRCH)
		from++;
	return from;
}

static void set_file(struct fixture *f, struct manifest_file *file, const char *name)
{
	struct stat st;
	char path[128];

	sample_set(&file->path, sandbox_path(&f->box, name, path, sizeof(path)));
	if (fstatat(f->box.fd, name, &st, 0) == 0) {
		file->size = (uint64_t)st.st_size;
		file->mtime_ns = st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
	}
}

/* files[0] is there, files[1] is stored and absent, files[2] is there and open for append */
static void set_files(struct fixture *f)
{
	char path[128];

	sandbox_put_text(&f->box, "model", "weights");
	sandbox_put_text(&f->box, "log", "line\n");
	sandbox_put_text(&f->box, "files/f-000001", "stored");
	sandbox_put_text(&f->box, "criu/inventory.img", "inventory");
	sandbox_put_text(&f->box, "criu/pages-1.img", "pages");
	f->m.files = reallocarray(f->m.files, 3, sizeof(*f->m.files));
	f->m.files[2] = (struct manifest_file){.append = true};
	f->m.n_files = 3;
	set_file(f, &f->m.files[0], "model");
	set_file(f, &f->m.files[1], "state");
	set_file(f, &f->m.files[2], "log");
	f->m.files[1].size = 6;
	f->m.files[1].append = false;
	sample_set(&f->m.dirs[0].path, sandbox_path(&f->box, "run", path, sizeof(path)));
	f->m.images[0].size = 9;
	f->m.images[1].size = 5;
	f->m.images[2].size = 6;
}

static void fixture_init(struct fixture *f)
{
	static char arg0[] = "/bin/engine", arg1[] = "--port", arg2[] = "80";
	char *argv[] = {arg0, arg1, arg2, NULL};
	char *envp[] = {(char[]){"LANG=C"}, (char[]){"PATH=/bin"}, (char[]){"ZED=1"}, NULL};

	*f = (struct fixture){.fd = -1};
	sandbox_init(&f->box);
	sample_manifest(&f->m);
	identity_done(&f->m.identity);
	fingerprint_done(&f->m.host);
	assert_int_equal(identity_take(argv, envp, "http", NULL, &f->m.identity, NULL), 0);
	assert_int_equal(identity_take(argv, envp, "http", f->m.identity.env_salt, &f->want, NULL),
			 0);
	assert_int_equal(fingerprint_take("4.2.1", "00ff", &f->m.host, NULL), 0);
	assert_int_equal(fingerprint_take("4.2.1", "00ff", &f->here, NULL), 0);
	sample_set(&f->here.setting, "B");
	f->m.unprivileged = true;
	f->m.resident_bytes = 1 << 20;
	f->here.memory_available = 1ULL << 30;
	f->here.no_new_privs = f->m.host.no_new_privs = false;
	set_files(f);
	f->m.n_listeners = 2;
	f->m.listeners[0].port = free_port(NULL);
	f->m.listeners[1].port = free_port(NULL);
	sample_set(&f->m.listeners[1].protocol, "udp");
	sample_set(&f->m.listeners[1].address, "0.0.0.0");
	for (int i = 0; i < 3; i++)
		f->m.pids[i] = free_pid(i == 0 ? 20000 : f->m.pids[i - 1] + 1);
	f->m.root_pid = f->m.pids[0];
}

static void fixture_done(struct fixture *f)
{
	if (f->fd >= 0)
		(void)close(f->fd);
	if (f->pid > 0) {
		(void)kill(f->pid, SIGKILL);
		(void)waitpid(f->pid, NULL, 0);
	}
	manifest_done(&f->m);
	identity_done(&f->want);
	fingerprint_done(&f->here);
	sandbox_done(&f->box);
}

static int check(struct fixture *f)
{
	return gate_check(&f->m, &f->want, &f->here, f->box.fd, &f->accept, &f->reasons);
}

static void flip_schema(struct fixture *f)
{
	f->m.schema = 2;
	expect(f, "manifest schema 2, this snapinit reads 1");
}

static void flip_argv(struct fixture *f)
{
	sample_set(&f->want.argv.items[2], "81");
	expect(f, "argv[2] is '81', captured with '80'");
}

static void flip_argv_length(struct fixture *f)
{
	assert_int_equal(string_list_add(&f->want.argv, "-v"), 0);
	expect(f, "argv has 4 words, captured with 3");
}

static void flip_argv_secret(struct fixture *f)
{
	sample_set(&f->want.argv.items[1], "--api-key");
	sample_set(&f->m.identity.argv.items[1], "--api-key");
	sample_set(&f->want.argv.items[2], "hunter2");
	expect(f, "argv[2] differs from the captured one");
}

static void flip_cwd(struct fixture *f)
{
	sample_set(&f->m.identity.cwd, "/srv\n");
	expect(f, "cwd is '%s', captured in '/srv?'", f->want.cwd);
}

static void flip_cwd_gone(struct fixture *f)
{
	sample_set(&f->m.identity.cwd, "/nowhere");
	sample_set(&f->want.cwd, "/nowhere");
	expect(f, "cwd '/nowhere' is no folder here");
}

static void flip_uid(struct fixture *f)
{
	f->want.uid = 1234567;
	expect(f, "uid is 1234567, captured as %u", f->m.identity.uid);
}

static void flip_gid(struct fixture *f)
{
	f->want.gid = 1234567;
	expect(f, "gid is 1234567, captured as %u", f->m.identity.gid);
}

static void set_groups(struct manifest_identity *identity, uint32_t first, size_t n)
{
	identity->groups = reallocarray(identity->groups, n + 1, sizeof(*identity->groups));
	identity->n_groups = n;
	for (size_t i = 0; i < n; i++)
		identity->groups[i] = first + (uint32_t)i;
}

static void flip_groups(struct fixture *f)
{
	set_groups(&f->m.identity, 10, 2);
	set_groups(&f->want, 11, 5);
	expect(f, "groups differ: added 12, 13, 14 and 1 more, removed 10");
}

static void flip_env(struct fixture *f)
{
	f->want.env[0].digest[0] ^= 1;
	sample_set(&f->want.env[2].name, "ZOO");
	expect(f, "environment differs: added ZOO, removed ZED, changed LANG "
		  "(remedy: --accept env:NAME for each that may)");
}

static void flip_env_salt(struct fixture *f)
{
	f->want.env_salt[0] ^= 1;
	expect(f, "environment was digested with another salt");
}

static void flip_adapter(struct fixture *f)
{
	sample_set(&f->want.adapter, "tcp");
	expect(f, "adapter is 'tcp', captured with 'http'");
}

static void flip_machine(struct fixture *f)
{
	sample_set(&f->m.host.machine, "riscv64");
	expect(f, "machine is %s, captured on riscv64", f->here.machine);
}

static void flip_kernel(struct fixture *f)
{
	sample_set(&f->m.host.kernel_release, "5.10.0");
	expect(f, "kernel is %s, captured on 5.10.0", f->here.kernel_release);
}

static void flip_cpu(struct fixture *f)
{
	static const char *const more[] = {"zz1", "zz2", "zz3", "zz4"};
	struct string_list *flags = &f->m.host.cpu_flags;

	/* one in front of all that are here, four behind */
	sample_set(&flags->items[0], "+aaa");
	for (size_t i = 0; i < ARRAY_LEN(more); i++)
		assert_int_equal(string_list_add(flags, more[i]), 0);
	expect(f, "cpu lacks +aaa, zz1, zz2 and 2 more");
}

static void flip_criu_version(struct fixture *f)
{
	sample_set(&f->here.criu_version, "4.3");
	sample_set(&f->here.criu_build_id, "1111");
	expect(f, "criu is 4.3, captured with 4.2.1");
}

static void flip_criu_build_id(struct fixture *f)
{
	sample_set(&f->here.criu_build_id, "1111");
	expect(f, "criu's build id is 1111, captured with 00ff");
}

static void flip_setting(struct fixture *f)
{
	sample_set(&f->here.setting, "none");
	expect(f, "setting is none: no right to restore here (remedy: --cap-add "
		  "CHECKPOINT_RESTORE, keep SETPCAP)");
}

static void flip_caps(struct fixture *f)
{
	f->m.host.caps_effective |= CAP_BIT(12) | CAP_BIT(40);
	f->here.caps_effective &= ~(CAP_BIT(12) | CAP_BIT(40));
	f->m.host.caps_bounding |= CAP_BIT(63);
	expect(f, "caps lack NET_ADMIN, CHECKPOINT_RESTORE, 63, which the capture had (remedy: add "
		  "them here, or capture with the rights of the wake)");
}

static void flip_filter(struct fixture *f)
{
	f->m.tree_has_filter = true;
	expect(f,
	       "filter: the captured engine has a seccomp filter, which setting B cannot restore "
	       "(remedy: capture without one)");
}

static void flip_privileged(struct fixture *f)
{
	f->m.unprivileged = false;
	expect(f, "privileged: captured in CRIU's privileged mode, setting here is B (remedy: "
		  "capture for it, snapctl create --for docker)");
}

static void flip_no_new_privs(struct fixture *f)
{
	f->here.no_new_privs = true;
	f->m.identity.uid = f->want.uid = 1000;
	expect(f,
	       "no_new_privs is set here, captured without (remedy: allow privilege escalation)");
}

static void flip_page_size(struct fixture *f)
{
	f->m.host.page_size = 65536;
	expect(f, "page_size is %" PRIu64 ", captured on 65536", f->here.page_size);
}

static void flip_nofile(struct fixture *f)
{
	f->here.nofile = 16;
	f->m.host.nofile = 1024;
	expect(f, "nofile is 16, captured with 1024 (remedy: --ulimit nofile)");
}

static void flip_memory(struct fixture *f)
{
	f->here.memory_available = (65 << 20) - 1;
	expect(f, "memory: 64 MiB available, 65 MiB needed");
}

static void flip_image_missing(struct fixture *f)
{
	assert_int_equal(unlinkat(f->box.fd, "criu/pages-1.img", 0), 0);
	expect(f, "image 'criu/pages-1.img' is missing");
}

static void flip_image_size(struct fixture *f)
{
	sandbox_put_text(&f->box, "criu/pages-1.img", "pag");
	expect(f, "image 'criu/pages-1.img' has 3 bytes, captured with 5");
}

static void flip_image_link(struct fixture *f)
{
	assert_int_equal(renameat(f->box.fd, "criu/pages-1.img", f->box.fd, "criu/x"), 0);
	assert_int_equal(symlinkat("x", f->box.fd, "criu/pages-1.img"), 0);
	expect(f, "image 'criu/pages-1.img' is no regular file");
}

static void flip_image_inventory(struct fixture *f)
{
	sample_set(&f->m.images[0].name, "criu/pages-1.img");
	f->m.images[0].size = 5;
	expect(f, "image 'criu/inventory.img' is not in the manifest");
}

static void flip_file_missing(struct fixture *f)
{
	assert_int_equal(unlinkat(f->box.fd, "model", 0), 0);
	expect(f, "file '%s': missing", f->m.files[0].path);
}

static void flip_file_size(struct fixture *f)
{
	sandbox_put_text(&f->box, "model", "other weights");
	expect(f, "file '%s' has 13 bytes, captured with 7", f->m.files[0].path);
}

static void flip_file_mtime(struct fixture *f)
{
	const struct timespec times[2] = {{.tv_sec = 5, .tv_nsec = 7}, {.tv_sec = 5, .tv_nsec = 7}};

	assert_int_equal(utimensat(f->box.fd, "model", times, 0), 0);
	expect(f, "file '%s' has mtime 5000000007 ns, captured with %" PRId64 " ns",
	       f->m.files[0].path, f->m.files[0].mtime_ns);
}

static void flip_file_is_folder(struct fixture *f)
{
	assert_int_equal(unlinkat(f->box.fd, "model", 0), 0);
	assert_int_equal(mkdirat(f->box.fd, "model", 0700), 0);
	expect(f, "file '%s' is no regular file here", f->m.files[0].path);
}

static void flip_file_append_shrunk(struct fixture *f)
{
	sandbox_put_text(&f->box, "log", "l");
	expect(f, "file '%s' has 1 bytes, captured with at least 5", f->m.files[2].path);
}

static void flip_file_stored_missing(struct fixture *f)
{
	sample_set(&f->m.files[1].stored, "f-000009");
	expect(f, "stored file 'f-000009': missing");
}

static void flip_file_stored_size(struct fixture *f)
{
	f->m.files[1].size = 7;
	expect(f, "stored file 'f-000001' has 6 bytes, captured with 7");
}

static void flip_file_stands_in_the_way(struct fixture *f)
{
	sandbox_put_text(&f->box, "state", "other");
	expect(f, "file '%s' has 5 bytes, captured with 6", f->m.files[1].path);
}

static void flip_file_cannot_be_put_back(struct fixture *f)
{
	char path[128];

	sample_set(&f->m.files[1].path, sandbox_path(&f->box, "log/state", path, sizeof(path)));
	expect(f, "file '%s' cannot be put back: Not a directory", f->m.files[1].path);
}

static void flip_dir(struct fixture *f)
{
	sandbox_put_text(&f->box, "run", "");
	expect(f, "dir '%s' is no folder here", f->m.dirs[0].path);
}

static void flip_dir_below_file(struct fixture *f)
{
	char path[128];

	sample_set(&f->m.dirs[0].path, sandbox_path(&f->box, "model/run/x", path, sizeof(path)));
	expect(f, "dir '%s' is no folder here", f->m.dirs[0].path);
}

static void flip_listener_taken(struct fixture *f)
{
	f->m.listeners[0].port = free_port(&f->fd);
	expect(f, "tcp 127.0.0.1:%u is taken", f->m.listeners[0].port);
}

static void flip_listener_address(struct fixture *f)
{
	sample_set(&f->m.listeners[0].address, "192.0.2.77");
	expect(f, "address 192.0.2.77 is not on this host (tcp)");
}

static void flip_listener_udp_taken(struct fixture *f)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	int on = 1;

	f->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	address.sin_port = htons((uint16_t)f->m.listeners[1].port);
	assert_int_equal(setsockopt(f->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	assert_int_equal(bind(f->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	expect(f, "udp 0.0.0.0:%u is taken", f->m.listeners[1].port);
}

static void start_child(struct fixture *f, void (*prepare)(void))
{
	int pipe_fds[2];
	char byte;

	assert_int_equal(pipe(pipe_fds), 0);
	f->pid = fork();
	assert_true(f->pid >= 0);
	if (f->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (prepare)
			prepare();
		(void)!write(pipe_fds[1], "", 1);
		(void)close(pipe_fds[1]);
		for (;;)
			(void)pause();
	}
	(void)close(pipe_fds[1]);
	assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
	(void)close(pipe_fds[0]);
}

static void set_one_pid(struct fixture *f, pid_t pid)
{
	f->m.pids[0] = f->m.root_pid = pid;
	f->m.n_pids = 1;
}

static void flip_pid(struct fixture *f)
{
	start_child(f, NULL);
	set_one_pid(f, f->pid);
	expect(f, "pid %d is taken by 'test_gate'", (int)f->pid);
}

static void flip_pid_zombie(struct fixture *f)
{
	siginfo_t info;

	start_child(f, NULL);
	set_one_pid(f, f->pid);
	assert_int_equal(kill(f->pid, SIGKILL), 0);
	assert_int_equal(waitid(P_PID, (id_t)f->pid, &info, WEXITED | WNOWAIT), 0);
	expect(f, "pid %d is taken by 'test_gate'", (int)f->pid);
}

static void flip_pid_max(struct fixture *f)
{
	char text[32] = "";
	int fd = open("/proc/sys/kernel/pid_max", O_RDONLY | O_CLOEXEC);

	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	(void)close(fd);
	set_one_pid(f, atoi(text));
	expect(f, "pid %d is above this host's pid_max %d", atoi(text), atoi(text));
}

static void flip_stdio_kind(struct fixture *f)
{
	sample_set(&f->m.stdio[0], "socket:[1]");
	expect(f, "stdio: stdin was 'socket:[1]', which is no pipe");
}

static void flip_stdio_same(struct fixture *f)
{
	sample_set(&f->m.stdio[2], "pipe:[4712]");
	expect(f, "stdio: stdout and stderr were the same pipe:[4712]");
}

struct flip {
	const char *check; /* its name, for accept */
	void (*fn)(struct fixture *f);
};

/* in the order of the gate's own table */
static const struct flip flips[] = {
	{"schema", flip_schema},
	{"argv", flip_argv},
	{"argv", flip_argv_length},
	{"argv", flip_argv_secret},
	{"cwd", flip_cwd},
	{"cwd", flip_cwd_gone},
	{"uid", flip_uid},
	{"gid", flip_gid},
	{"groups", flip_groups},
	{"env", flip_env},
	{"env", flip_env_salt},
	{"adapter", flip_adapter},
	{"machine", flip_machine},
	{"kernel", flip_kernel},
	{"cpu", flip_cpu},
	{"criu", flip_criu_version},
	{"criu", flip_criu_build_id},
	{"setting", flip_setting},
	{"caps", flip_caps},
	{"filter", flip_filter},
	{"privileged", flip_privileged},
	{"no_new_privs", flip_no_new_privs},
	{"page_size", flip_page_size},
	{"nofile", flip_nofile},
	{"memory", flip_memory},
	{"image", flip_image_missing},
	{"image", flip_image_size},
	{"image", flip_image_link},
	{"image", flip_image_inventory},
	{"file", flip_file_missing},
	{"file", flip_file_size},
	{"file", flip_file_mtime},
	{"file", flip_file_is_folder},
	{"file", flip_file_append_shrunk},
	{"file", flip_file_stored_missing},
	{"file", flip_file_stored_size},
	{"file", flip_file_stands_in_the_way},
	{"file", flip_file_cannot_be_put_back},
	{"dir", flip_dir},
	{"dir", flip_dir_below_file},
	{"listener", flip_listener_taken},
	{"listener", flip_listener_address},
	{"listener", flip_listener_udp_taken},
	{"pid", flip_pid},
	{"pid", flip_pid_zombie},
	{"pid", flip_pid_max},
	{"stdio", flip_stdio_kind},
	{"stdio", flip_stdio_same},
};

static bool is_fixed(const struct flip *flip)
{
	return strcmp(flip->check, "schema") == 0 || strcmp(flip->check, "image") == 0;
}

static void test_matching_snapshot_passes(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	if (check(&f) != 0)
		fail_msg("refused: %s", f.reasons.text);
	assert_int_equal(f.reasons.n, 0);
	assert_string_equal(f.reasons.text, "");
	assert_int_equal(gate_check(&f.m, &f.want, &f.here, f.box.fd, NULL, &f.reasons), 0);
	fixture_done(&f);
}

static void test_one_difference_gives_exactly_its_clause(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(flips); i++) {
		struct fixture f;

		fixture_init(&f);
		flips[i].fn(&f);
		if (check(&f) != 1 || f.reasons.n != 1 || strcmp(f.reasons.text, f.expect) != 0)
			fail_msg("%zu %s: %zu reasons: '%s', not '%s'", i, flips[i].check,
				 f.reasons.n, f.reasons.text, f.expect);
		fixture_done(&f);
	}
}

static void test_accepted_difference_gives_none_unless_it_is_damage(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(flips); i++) {
		const char *items[] = {"other", "argv0", flips[i].check};
		struct fixture f;

		fixture_init(&f);
		f.accept = (struct gate_accept){.items = items, .n = 2};
		flips[i].fn(&f);
		assert_int_equal(check(&f), 1);
		f.accept.n = 3;
		if (check(&f) != is_fixed(&flips[i]))
			fail_msg("%zu %s: '%s'", i, flips[i].check, f.reasons.text);
		fixture_done(&f);
	}
}

static void test_two_differences_give_both_in_one_line(void **state)
{
	size_t tried = 0;

	(void)state;
	for (size_t i = 0; i + 1 < ARRAY_LEN(flips); i++) {
		char both[1024];
		struct fixture f;

		if (strcmp(flips[i].check, flips[i + 1].check) == 0)
			continue;
		fixture_init(&f);
		flips[i].fn(&f);
		(void)snprintf(both, sizeof(both), "%s; ", f.expect);
		flips[i + 1].fn(&f);
		(void)strncat(both, f.expect, sizeof(both) - strlen(both) - 1);
		/* these change what the first one is about */
		if (flips[i + 1].fn != flip_filter && flips[i].fn != flip_setting &&
		    (check(&f) != 1 || f.reasons.n != 2 || strcmp(f.reasons.text, both) != 0))
			fail_msg("%zu: %zu reasons: '%s', not '%s'", i, f.reasons.n, f.reasons.text,
				 both);
		tried++;
		fixture_done(&f);
	}
	assert_true(tried > 20);
}

/* the word that stands at the beginning of a known one: CHECK or CHECK:THING */
static bool is_listed(const char *check)
{
	const char *at = INIT_OPTIONS_ACCEPT, *word;
	size_t size, n = strlen(check);

	while ((word = option_word_next(&at, &size)) != NULL) {
		if (size == n && memcmp(word, check, n) == 0)
			return true;
	}
	return false;
}

static bool is_check(const char *word, size_t size)
{
	for (size_t i = 0; i < ARRAY_LEN(flips); i++) {
		if (strlen(flips[i].check) == size && memcmp(flips[i].check, word, size) == 0)
			return true;
	}
	/* asked apart, by gate_check_gpus(): tests/gpu/test_gpu_gate.py */
	return size == strlen("gpu") && memcmp(word, "gpu", size) == 0;
}

static void test_accept_knows_all_checks_and_nothing_else(void **state)
{
	const char *at = INIT_OPTIONS_ACCEPT, *word;
	size_t size;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(flips); i++)
		assert_int_equal(is_listed(flips[i].check), !is_fixed(&flips[i]));
	while ((word = option_word_next(&at, &size)) != NULL) {
		const char *colon = memchr(word, ':', size);

		if (!is_check(word, colon ? (size_t)(colon - word) : size))
			fail_msg("there is no check %.*s", (int)size, word);
	}
}

static void test_single_things_can_be_accepted(void **state)
{
	char item[160];
	const char *items[] = {"env:LANG", "env:ZED", item};
	struct fixture f;

	(void)state;
	fixture_init(&f);
	flip_env(&f);
	f.accept = (struct gate_accept){.items = items, .n = 2};
	assert_int_equal(check(&f), 1);
	assert_string_equal(f.reasons.text,
			    "environment differs: added ZOO (remedy: --accept env:ZOO)");
	fixture_done(&f);

	fixture_init(&f);
	sample_set(&f.m.host.cpu_flags.items[0], "+aaa");
	assert_int_equal(check(&f), 1);
	(void)snprintf(item, sizeof(item), "cpu:+aaa");
	f.accept = (struct gate_accept){.items = items, .n = 3};
	assert_int_equal(check(&f), 0);
	fixture_done(&f);

	fixture_init(&f);
	flip_file_missing(&f);
	(void)snprintf(item, sizeof(item), "file:%s", f.m.files[0].path);
	f.accept = (struct gate_accept){.items = items, .n = 3};
	assert_int_equal(check(&f), 0);
	flip_file_append_shrunk(&f);
	assert_int_equal(check(&f), 1);
	assert_string_equal(f.reasons.text, f.expect);
	fixture_done(&f);

	fixture_init(&f);
	flip_listener_address(&f);
	(void)snprintf(item, sizeof(item), "listener:192.0.2.77:%u", f.m.listeners[0].port);
	f.accept = (struct gate_accept){.items = items, .n = 3};
	assert_int_equal(check(&f), 0);
	fixture_done(&f);
}

static void test_more_rights_and_flags_here_are_fine(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	sample_set(&f.here.setting, "A");
	f.here.caps_effective = f.here.caps_bounding = UINT64_MAX;
	assert_int_equal(string_list_add(&f.here.cpu_flags, "zzz"), 0);
	f.here.nofile = f.m.host.nofile + 1;
	f.m.unprivileged = false;
	f.m.tree_has_filter = true;
	f.m.host.no_new_privs = true;
	if (check(&f) != 0)
		fail_msg("refused: %s", f.reasons.text);
	fixture_done(&f);
}

static void test_grown_append_file_and_same_stored_file_are_fine(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	sandbox_put_text(&f.box, "log", "line\nanother line\n");
	sandbox_put_text(&f.box, "state", "stored");
	assert_int_equal(mkdirat(f.box.fd, "run", 0700), 0);
	if (check(&f) != 0)
		fail_msg("refused: %s", f.reasons.text);
	fixture_done(&f);
}

static int check_read_only(void *arg)
{
	struct fixture *f = arg;
	char path[128];

	(void)sandbox_path(&f->box, "ro", path, sizeof(path));
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(path, path, NULL, MS_BIND, NULL) < 0 ||
	    mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0)
		return 77;
	if (check(f) != 1 || strcmp(f->reasons.text, f->expect) != 0) {
		(void)fprintf(stderr, "'%s', not '%s'\n", f->reasons.text, f->expect);
		return 1;
	}
	return 0;
}

static void test_nothing_can_be_put_back_on_a_read_only_file_system(void **state)
{
	struct fixture f;
	char path[128];
	int r;

	(void)state;
	fixture_init(&f);
	sandbox_put_text(&f.box, "ro/keep", "");
	sample_set(&f.m.files[1].path, sandbox_path(&f.box, "ro/a/b/state", path, sizeof(path)));
	sample_set(&f.m.dirs[0].path, sandbox_path(&f.box, "ro/a/b", path, sizeof(path)));
	expect(&f,
	       "file '%s' cannot be put back: Read-only file system; "
	       "dir '%s' cannot be made: Read-only file system",
	       f.m.files[1].path, f.m.dirs[0].path);
	r = sandbox_run(0, check_read_only, &f);
	fixture_done(&f);
	if (r == 77) {
		print_message("SKIP: no right to mount\n");
		skip();
	}
	assert_int_equal(r, 0);
}

static void lead_group(void)
{
	(void)setpgid(0, 0);
}

static int leave_group_behind(void *arg)
{
	struct fixture *f = arg;
	pid_t leader;

	/* the leader of a group ends, a member stays */
	start_child(f, lead_group);
	leader = f->pid;
	start_child(f, NULL);
	if (setpgid(f->pid, leader) < 0)
		return 1;
	(void)kill(leader, SIGKILL);
	if (waitpid(leader, NULL, 0) != leader || kill(leader, 0) == 0)
		return 2;
	set_one_pid(f, leader);
	expect(f, "pid %d is taken by the process group of %d", (int)leader, (int)f->pid);
	if (check(f) != 1 || strcmp(f->reasons.text, f->expect) != 0)
		return 3;
	(void)kill(f->pid, SIGKILL);
	return 0;
}

static void test_group_without_leader_keeps_its_number_busy(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	assert_int_equal(leave_group_behind(&f), 0);
	fixture_done(&f);
}

static void *wait_for_lock(void *arg)
{
	pid_t *tid = arg;

	__atomic_store_n(tid, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
	for (;;)
		(void)pause();
	return NULL;
}

static void test_thread_keeps_its_number_busy(void **state)
{
	struct fixture f;
	pthread_t thread;
	pid_t tid = 0;
	char start[64];

	(void)state;
	fixture_init(&f);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_lock, &tid), 0);
	while (__atomic_load_n(&tid, __ATOMIC_SEQ_CST) == 0)
		(void)sched_yield();
	set_one_pid(&f, tid);
	assert_int_equal(check(&f), 1);
	(void)snprintf(start, sizeof(start), "pid %d is taken by", (int)tid);
	assert_int_equal(strncmp(f.reasons.text, start, strlen(start)), 0);
	assert_int_equal(pthread_cancel(thread), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	fixture_done(&f);
}

static void test_port_on_both_families_is_free_for_both(void **state)
{
	struct fixture f;
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	if (fd < 0) {
		print_message("SKIP: no IPv6 here\n");
		skip();
	}
	(void)close(fd);
	fixture_init(&f);
	sample_set(&f.m.listeners[0].address, "0.0.0.0");
	sample_set(&f.m.listeners[1].protocol, "tcp6");
	sample_set(&f.m.listeners[1].address, "::");
	f.m.listeners[1].port = f.m.listeners[0].port;
	if (check(&f) != 0)
		fail_msg("refused: %s", f.reasons.text);

	/* somebody has the IPv4 one: that is not in the way of an IPv6-only socket */
	f.m.listeners[0].port = f.m.listeners[1].port = free_port(&f.fd);
	assert_int_equal(check(&f), 1);
	expect(&f, "tcp 0.0.0.0:%u is taken", f.m.listeners[0].port);
	assert_string_equal(f.reasons.text, f.expect);

	/* alone it was for both families, so that the IPv4 one being taken is in its way */
	f.m.listeners[0].port = free_port(NULL);
	assert_int_equal(check(&f), 1);
	expect(&f, "tcp6 [::]:%u is taken", f.m.listeners[1].port);
	assert_string_equal(f.reasons.text, f.expect);
	fixture_done(&f);
}

static void test_many_reasons_fit_in_one_bounded_line(void **state)
{
	struct fixture f;
	size_t n = 1000;

	(void)state;
	fixture_init(&f);
	for (size_t i = 0; i < f.m.n_files; i++) {
		free(f.m.files[i].path);
		free(f.m.files[i].stored);
	}
	free(f.m.files);
	f.m.files = calloc(n, sizeof(*f.m.files));
	f.m.n_files = n;
	for (size_t i = 0; i < n; i++)
		assert_true(asprintf(&f.m.files[i].path, "/nowhere/%0200zu", i) > 0);
	assert_int_equal(check(&f), 1);
	assert_int_equal(f.reasons.n, n);
	assert_non_null(strstr(f.reasons.text, "; and 997 more of file"));

	for (size_t i = 0; i < ARRAY_LEN(flips); i++) {
		if (flips[i].fn != flip_pid && flips[i].fn != flip_pid_zombie &&
		    strncmp(flips[i].check, "file", 4) != 0 && flips[i].fn != flip_cpu &&
		    flips[i].fn != flip_image_link && flips[i].fn != flip_image_missing &&
		    flips[i].fn != flip_listener_udp_taken && flips[i].fn != flip_listener_taken)
			flips[i].fn(&f);
	}
	assert_int_equal(check(&f), 1);
	assert_true(strlen(f.reasons.text) < sizeof(f.reasons.text));
	assert_non_null(strstr(f.reasons.text, "; and "));
	assert_int_equal(strcmp(f.reasons.text + strlen(f.reasons.text) - 5, " more"), 0);
	assert_null(strchr(f.reasons.text, '\n'));
	fixture_done(&f);
}

static void test_values_of_the_environment_never_appear(void **state)
{
	char *envp[] = {(char[]){"API_KEY=hunter2"}, (char[]){"LANG=hunter3"}, NULL};
	char *argv[] = {(char[]){"/bin/engine"}, (char[]){"--port"}, (char[]){"80"}, NULL};
	struct fixture f;

	(void)state;
	fixture_init(&f);
	identity_done(&f.want);
	assert_int_equal(identity_take(argv, envp, "http", f.m.identity.env_salt, &f.want, NULL),
			 0);
	assert_int_equal(check(&f), 1);
	assert_string_equal(f.reasons.text,
			    "environment differs: added API_KEY, removed PATH, ZED, "
			    "changed LANG (remedy: --accept env:NAME for each that may)");
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matching_snapshot_passes),
		cmocka_unit_test(test_one_difference_gives_exactly_its_clause),
		cmocka_unit_test(test_accepted_difference_gives_none_unless_it_is_damage),
		cmocka_unit_test(test_two_differences_give_both_in_one_line),
		cmocka_unit_test(test_accept_knows_all_checks_and_nothing_else),
		cmocka_unit_test(test_single_things_can_be_accepted),
		cmocka_unit_test(test_more_rights_and_flags_here_are_fine),
		cmocka_unit_test(test_grown_append_file_and_same_stored_file_are_fine),
		cmocka_unit_test(test_nothing_can_be_put_back_on_a_read_only_file_system),
		cmocka_unit_test(test_group_without_leader_keeps_its_number_busy),
		cmocka_unit_test(test_thread_keeps_its_number_busy),
		cmocka_unit_test(test_port_on_both_families_is_free_for_both),
		cmocka_unit_test(test_many_reasons_fit_in_one_bounded_line),
		cmocka_unit_test(test_values_of_the_environment_never_appear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
