/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request and its answers, in order: we send criu_req, CRIU may send any number of NOTIFY
 * packets (each is answered), then one packet with the result. The result's cr_errmsg is the
 * first error line of the run and is often a harmless one (RLIMIT_NOFILE without SYS_RESOURCE),
 * so the reason told to people is taken from the log: its last error lines, harmless ones left
 * out.
 */
#include "snapshot/criu/session.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/io.h"
#include "common/process.h"

#include "rpc.pb-c.h"

#define PACKET_MAX     65536
#define LOG_TAIL       65536
#define GHOST_LIMIT    (64U << 20) /* bytes of an unlinked file kept in the images */
#define FREEZE_TIMEOUT 10	   /* seconds, CRIU's own alarm for stopping the tree */
#define REASON_LINES   3

/* what CRIU gets: 0 to 2, its end of the socket, and then what is inherited */
enum {
	SOCKET_FD = 3,
	OWN_FDS = 4
};

/*
 * CRIU looks for its cache only when a request has come; what runtime_fd stands for is decided
 * while CRIU starts
 */
static int start_swrk(const struct criu_program *program, const struct criu_start *start,
		      const struct process_fd *fds, int runtime_fd, struct pidref *ret,
		      struct snap_error *err)
{
	char number[16], runtime[64];
	const char *const args[] = {"swrk", number, NULL};
	sigset_t ignored = {0};
	struct process_spec spec = {
		.close_fds = true,
		.death_signal = start->outlives_us ? 0 : SIGKILL,
		.ignored = start->outlives_us ? &ignored : NULL,
		.fds = fds,
		.n_fds = OWN_FDS + start->n_inherit,
	};
	int r;

	(void)sigemptyset(&ignored);
	(void)sigaddset(&ignored, SIGPIPE);
	(void)sigaddset(&ignored, SIGXFSZ); /* it then says which file */
	(void)snprintf(number, sizeof(number), "%d", fds[SOCKET_FD].to);
	(void)snprintf(runtime, sizeof(runtime), "/proc/%d/fd/%d", (int)getpid(), runtime_fd);
	r = criu_program_spawn(program, args, runtime, &spec, ret, err);
	if (r < 0 && err)
		err->code = SNAP_E_PREFLIGHT;
	return r;
}

int criu_session_open(const struct criu_program *program, const struct criu_start *start,
		      struct criu_session *ret, struct snap_error *err)
{
	snap_cleanup_close int ours = FD_NONE;
	snap_cleanup_close int theirs = FD_NONE;
	snap_cleanup_close int log_fd = FD_NONE;
	snap_cleanup_close int null_fd = FD_NONE;
	snap_cleanup_close int runtime_fd = FD_NONE;
	struct process_fd fds[OWN_FDS + CRIU_INHERIT_MAX];
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot make a socket pair");
	ours = pair[0];
	theirs = fd_dup_above(pair[1], 16); /* off the way of inherited numbers */
	(void)fd_close(pair[1]);
	log_fd = memfd_create("criu.log", MFD_CLOEXEC);
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	runtime_fd = fd_dup_above(null_fd, 16); /* no folder: no cache */
	if (theirs < 0 || log_fd < 0 || null_fd < 0 || runtime_fd < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot prepare CRIU's descriptors");

	fds[0] = (struct process_fd){null_fd, 0};
	fds[1] = (struct process_fd){log_fd, 1};
	fds[2] = (struct process_fd){log_fd, 2};
	fds[SOCKET_FD] = (struct process_fd){theirs, theirs};
	for (unsigned int i = 0; i < start->n_inherit; i++)
		fds[OWN_FDS + i] = (struct process_fd){start->inherit[i], start->inherit[i]};
	r = start_swrk(program, start, fds, runtime_fd, &ret->process, err);
	if (r < 0)
		return r;
	*ret = (struct criu_session){
		.process = ret->process,
		.sock = TAKE_FD(ours),
		.log_fd = TAKE_FD(log_fd),
		.runtime_fd = TAKE_FD(runtime_fd),
	};
	return 0;
}

void criu_session_use_cache(struct criu_session *session, int dir_fd)
{
	if (dir_fd >= 0)
		(void)dup3(dir_fd, session->runtime_fd, O_CLOEXEC);
}

void criu_session_close(struct criu_session *session)
{
	int status;

	if (pidref_is_set(&session->process)) {
		(void)pidref_kill(&session->process, SIGKILL);
		(void)process_wait(&session->process, deadline_after_ms(5000), &status);
		pidref_done(&session->process);
	}
	session->sock = fd_close(session->sock);
	session->log_fd = fd_close(session->log_fd);
	session->runtime_fd = fd_close(session->runtime_fd);
}

static bool is_harmless(const char *line)
{
	static const char *const harmless[] = {
		"RLIMIT_NOFILE",      "rlimit",	   "kdat", "XDG_RUNTIME_DIR",
		"Can't open pagemap", "netfilter",
	};

	for (size_t i = 0; i < ARRAY_LEN(harmless); i++) {
		if (strstr(line, harmless[i]))
			return true;
	}
	return false;
}

/* "(00.012345)    12: Error (criu/files.c:12): text" → "text" */
static const char *error_text(const char *line)
{
	const char *mark = strstr(line, "Error (");
	const char *colon = mark ? strstr(mark, "): ") : NULL;

	if (!mark)
		return strstr(line, "BUG at ");
	return colon ? colon + 3 : mark;
}

/* the last few error lines of CRIU's log, joined */
static void reason_from_log(int log_fd, char *buf, size_t size)
{
	const char *lines[REASON_LINES] = {NULL};
	char text[LOG_TAIL + 1], *save = NULL;
	off_t end = lseek(log_fd, 0, SEEK_END), from;
	ssize_t n;
	size_t used = 0;

	buf[0] = '\0';
	from = end > LOG_TAIL ? end - LOG_TAIL : 0;
	n = pread(log_fd, text, LOG_TAIL, from);
	if (n <= 0)
		return;
	text[n] = '\0';
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *reason = error_text(line);

		if (!reason || is_harmless(reason))
			continue;
		memmove(lines, lines + 1, (REASON_LINES - 1) * sizeof(lines[0]));
		lines[REASON_LINES - 1] = reason;
	}
	for (int i = 0; i < REASON_LINES && used < size; i++) {
		if (lines[i])
			used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? "; " : "",
						 lines[i]);
	}
}

static int fail_with_log(struct criu_session *session, enum snap_code code, int errnum,
			 const char *what, struct snap_error *err)
{
	char reason[640];

	reason_from_log(session->log_fd, reason, sizeof(reason));
	return snap_fail(err, code, errnum, "CRIU %s%s%s", what, reason[0] ? ": " : "", reason);
}

static int send_request(struct criu_session *session, const CriuReq *req, enum snap_code code,
			struct snap_error *err)
{
	uint8_t packet[PACKET_MAX];
	size_t size = criu_req__get_packed_size(req);
	ssize_t n;

	if (size > sizeof(packet))
		return snap_fail_plain(err, SNAP_E_INTERNAL, EMSGSIZE, "request to CRIU too large");
	(void)criu_req__pack(req, packet);
	n = send(session->sock, packet, size, MSG_NOSIGNAL);
	if (n < 0)
		return snap_fail(err, code, errno, "CRIU ended without taking a request");
	return 0;
}

/* one packet; the result is freed with criu_resp__free_unpacked() */
static int recv_response(struct criu_session *session, uint64_t deadline_ns, enum snap_code code,
			 CriuResp **ret, struct snap_error *err)
{
	uint8_t packet[PACKET_MAX];
	struct pollfd pfd = {.fd = session->sock, .events = POLLIN};
	ssize_t n;
	int r;

	do
		r = poll(&pfd, 1, deadline_left_ms(deadline_ns));
	while (r < 0 && errno == EINTR);
	if (r == 0)
		return fail_with_log(session, code, ETIMEDOUT, "did not answer before its deadline",
				     err);
	n = recv(session->sock, packet, sizeof(packet), MSG_DONTWAIT | MSG_TRUNC);
	if (n <= 0)
		return fail_with_log(session, code, n < 0 ? errno : EPIPE,
				     "ended without an answer", err);
	if ((size_t)n > sizeof(packet))
		return snap_fail(err, code, EMSGSIZE, "answer of CRIU too large");
	*ret = criu_resp__unpack(NULL, (size_t)n, packet);
	if (!*ret)
		return snap_fail(err, code, EPROTO, "answer of CRIU is no criu_resp");
	return 0;
}

/* one request and all that is said until its answer */
struct talk {
	enum snap_code code; /* of its failures */
	criu_notify_fn notify;
	void *arg;
	bool refused; /* notify did */
};

static int answer_notify(struct criu_session *session, const CriuResp *resp, struct talk *talk,
			 struct snap_error *err)
{
	CriuReq req = CRIU_REQ__INIT;
	int r = 0;

	if (talk->notify && resp->notify && resp->notify->script)
		r = talk->notify(resp->notify->script,
				 resp->notify->has_pid ? resp->notify->pid : 0, talk->arg);
	talk->refused |= r != 0;
	req.type = CRIU_REQ_TYPE__NOTIFY;
	req.has_notify_success = true;
	req.notify_success = r == 0;
	return send_request(session, &req, talk->code, err);
}

/* send, answer notifications, return the final response or fail */
static int converse(struct criu_session *session, const CriuReq *req, const struct criu_options *o,
		    struct talk *talk, CriuResp **ret, struct snap_error *err)
{
	CriuResp *resp = NULL;
	int r = send_request(session, req, talk->code, err);

	while (r == 0) {
		r = recv_response(session, o->deadline_ns, talk->code, &resp, err);
		if (r < 0)
			return r;
		if (resp->type != CRIU_REQ_TYPE__NOTIFY) /* NOLINT: set, since r >= 0 */
			break;
		r = answer_notify(session, resp, talk, err);
		criu_resp__free_unpacked(resp, NULL);
		resp = NULL;
	}
	if (r < 0)
		return r;
	session->answered = true;
	if (!resp->success) { /* NOLINT: set, since r >= 0 */
		int errnum = resp->has_cr_errno ? resp->cr_errno : 0;

		criu_resp__free_unpacked(resp, NULL);
		if (talk->refused) /* ours to tell */
			return -ECANCELED;
		return fail_with_log(session, talk->code, errnum,
				     talk->code == SNAP_E_DUMP ? "dump failed" : "restore failed",
				     err);
	}
	*ret = resp;
	return 0;
}

int criu_session_ask_version(struct criu_session *session, struct snap_error *err)
{
	CriuReq req = CRIU_REQ__INIT;

	req.type = CRIU_REQ_TYPE__VERSION;
	req.has_keep_open = true;
	req.keep_open = true;
	return send_request(session, &req, SNAP_E_PREFLIGHT, err);
}

int criu_session_version(struct criu_session *session, uint64_t deadline_ns, struct snap_error *err)
{
	CriuResp *resp = NULL;
	int r = recv_response(session, deadline_ns, SNAP_E_PREFLIGHT, &resp, err);

	if (r < 0)
		return r;
	if (resp->success && resp->version) {
		const CriuVersion *v = resp->version;

		(void)snprintf(session->version, sizeof(session->version), "%d.%d", v->major_number,
			       v->minor_number);
		if (v->has_sublevel && v->sublevel)
			(void)snprintf(session->version, sizeof(session->version), "%d.%d.%d",
				       v->major_number, v->minor_number, v->sublevel);
	} else {
		r = snap_fail_plain(err, SNAP_E_PREFLIGHT, EPROTO,
				    "CRIU does not tell its version");
	}
	criu_resp__free_unpacked(resp, NULL);
	return r;
}

static void common_options(CriuOpts *opts, const struct criu_options *o, bool notify)
{
	opts->images_dir_fd = o->images_fd;
	opts->has_work_dir_fd = o->work_fd >= 0;
	opts->work_dir_fd = o->work_fd;
	opts->has_log_level = true;
	opts->log_level = o->log_level;
	opts->has_log_to_stderr = true;
	opts->log_to_stderr = true;
	opts->has_notify_scripts = true;
	opts->notify_scripts = notify; /* each is a turn to us and back */
	opts->has_unprivileged = true;
	opts->unprivileged = o->unprivileged;
	opts->has_ext_unix_sk = true;
	opts->ext_unix_sk = true;
	opts->has_file_locks = true;
	opts->file_locks = true;
	opts->has_manage_cgroups_mode = true;
	opts->manage_cgroups_mode = CRIU_CG_MODE__IGNORE;
	opts->has_network_lock = true;
	opts->network_lock = CRIU_NETWORK_LOCK_METHOD__SKIP;
	opts->has_ghost_limit = true;
	opts->ghost_limit = GHOST_LIMIT;
	opts->has_link_remap = true;
	opts->link_remap = true;
}

int criu_session_dump(struct criu_session *session, const struct criu_options *options,
		      criu_notify_fn notify, void *arg, struct snap_error *err)
{
	CriuReq req = CRIU_REQ__INIT;
	CriuOpts opts = CRIU_OPTS__INIT;
	CriuResp *resp = NULL;
	struct talk talk = {.code = SNAP_E_DUMP, .notify = notify, .arg = arg};
	int r;

	req.type = CRIU_REQ_TYPE__DUMP;
	req.opts = &opts;
	common_options(&opts, options, notify != NULL);
	opts.has_pid = true;
	opts.pid = options->pid;
	opts.has_leave_running = true;
	opts.leave_running = options->leave_running;
	opts.has_timeout = true;
	opts.timeout = FREEZE_TIMEOUT;
	opts.has_tcp_established = true;
	opts.tcp_established = options->net_admin;
	opts.has_tcp_skip_in_flight = true;
	opts.tcp_skip_in_flight = true;

	r = converse(session, &req, options, &talk, &resp, err);
	if (r < 0)
		return r;
	criu_resp__free_unpacked(resp, NULL);
	return 0;
}

int criu_session_restore(struct criu_session *session, const struct criu_options *options,
			 criu_notify_fn notify, void *arg, pid_t *ret_pid, struct snap_error *err)
{
	CriuReq req = CRIU_REQ__INIT;
	CriuOpts opts = CRIU_OPTS__INIT;
	InheritFd inherit[CRIU_INHERIT_MAX], *inherit_list[CRIU_INHERIT_MAX];
	struct talk talk = {.code = SNAP_E_RESTORE, .notify = notify, .arg = arg};
	CriuResp *resp = NULL;
	int r, status;

	req.type = CRIU_REQ_TYPE__RESTORE;
	req.opts = &opts;
	common_options(&opts, options, notify != NULL);
	opts.has_leave_stopped = true;
	opts.leave_stopped = true;
	/* the gate has compared every mapped and open file */
	opts.has_skip_file_rwx_check = true;
	opts.skip_file_rwx_check = true;
	opts.has_tcp_close = true;
	opts.tcp_close = true;
	for (unsigned int i = 0; i < options->n_inherit; i++) {
		inherit_fd__init(&inherit[i]);
		inherit[i].key = (char *)(uintptr_t)options->inherit[i].key;
		inherit[i].fd = options->inherit[i].fd;
		inherit_list[i] = &inherit[i];
	}
	opts.n_inherit_fd = options->n_inherit;
	opts.inherit_fd = inherit_list;

	r = converse(session, &req, options, &talk, &resp, err);
	if (r < 0)
		return r;
	if (!resp->restore /* NOLINT: set, since r >= 0 */ || resp->restore->pid <= 0)
		r = snap_fail_plain(err, SNAP_E_RESTORE, EPROTO,
				    "CRIU does not tell the restored pid");
	else
		*ret_pid = resp->restore->pid;
	criu_resp__free_unpacked(resp, NULL);
	if (r < 0)
		return r;

	/* the root is CRIU's child until CRIU is gone */
	session->sock = fd_close(session->sock);
	if (process_wait(&session->process, options->deadline_ns, &status) < 0)
		return snap_fail_plain(err, SNAP_E_RESTORE, ETIMEDOUT, "CRIU does not end");
	pidref_done(&session->process);
	return 0;
}
