/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_ENGINE_ENGINE_H
#define SNAP_ENGINE_ENGINE_H

/*
 * The inference engine seen from outside: when it is ready, what warms it up, and one request
 * (the oracle) whose answer must be the same after a wake. An adapter knows these for one kind of
 * engine; it is named by the user or recognised from argv. Options beat what the adapter knows.
 *
 * Nothing here logs, keeps a connection open or follows a redirect: every request closes its
 * connection, because an established one cannot be dumped.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

struct engine_adapter;

/* what the user said; strings are the caller's and outlive the engine */
struct engine_config {
	const char *adapter; /* "auto", "llama-server", "vllm", "sglang", "http", "tcp", "none" */
	const char *ready;   /* http://H:P/PATH, tcp:H:P, exec:COMMAND, fd, notify, none; NULL:
				adapter's */
	const char *oracle;  /* "GET URL", "POST URL BODY", "none"; NULL: the adapter's */
	int warmup;	     /* requests before a capture; -1: the adapter's */
	const char *release; /* "POST URL BODY", "none"; NULL: the adapter's, reclaim too */
	const char *reclaim; /* the same; NULL: none */
	char *const *argv;   /* the engine's command, NULL-terminated */
};

enum engine_ready_kind {
	ENGINE_READY_NONE,
	ENGINE_READY_HTTP,
	ENGINE_READY_TCP,
	ENGINE_READY_EXEC,
	ENGINE_READY_FD,     /* told by PID 1: newline on the notify descriptor */
	ENGINE_READY_NOTIFY, /* told by PID 1: READY=1 */
};

struct engine_request {
	char method[8]; /* "GET" or "POST"; empty: no request */
	char host[64];
	int port;
	char path[512];
	char body[4096];
};

struct engine {
	const struct engine_adapter *adapter;
	char *const
		*argv; /* the config's; keys are looked up in it at the time of use, never kept */
	enum engine_ready_kind ready_kind;
	struct engine_request ready; /* HTTP and TCP */
	const char *ready_command;   /* EXEC */
	struct engine_request oracle;
	struct engine_request warmup;
	int warmup_count;
	/* engine/release.h; empty: nothing to ask for */
	struct engine_request release;
	struct engine_request reclaim;
	bool release_is_users;	  /* not the adapter's */
	const char *release_hint; /* what the engine must be told at its start */
};

/* no heap, nothing to release; -EINVAL with a message for a malformed option */
int engine_init(struct engine *engine, const struct engine_config *config, struct snap_error *err);

/*
 * Nobody said when it is ready, and it is no engine we know: a capture would take whatever has
 * booted so far. False after `--ready none` or `--engine none`, which say so on purpose.
 */
bool engine_readiness_is_unknown(const struct engine *engine, const struct engine_config *config);

const char *engine_adapter_name(const struct engine *engine);

/* one try: 0 ready, 1 not yet (err says what was seen), negative errno for what will never work */
int engine_probe_ready(const struct engine *engine, uint64_t deadline_ns, struct snap_error *err);

/*
 * Try every few milliseconds until ready. alive(arg) is asked before each try (NULL: not asked)
 * and must return 0 while waiting makes sense; another value is returned as it is. Not for FD and
 * NOTIFY, which PID 1 hears. -ETIMEDOUT with the last observation in err.
 */
int engine_wait_ready(const struct engine *engine, uint64_t deadline_ns, int (*alive)(void *arg),
		      void *arg, struct snap_error *err);

int engine_warm_up(const struct engine *engine, uint64_t deadline_ns, struct snap_error *err);

bool engine_has_oracle(const struct engine *engine);

/*
 * Ask the oracle. *ret_answer (the caller's to free, NUL-terminated, at most 1 MiB) is the part of
 * the answer that must not change: for llama-server the generated text, else the whole body.
 */
int engine_ask_oracle(const struct engine *engine, uint64_t deadline_ns, char **ret_answer,
		      size_t *ret_size, struct snap_error *err);

/* outcome of engine_check_oracle(): the engine answers something else */
#define ENGINE_ORACLE_MISMATCH 1

/* retries refused connections until the deadline; 0, ENGINE_ORACLE_MISMATCH or -errno */
int engine_check_oracle(const struct engine *engine, const char *expected, uint64_t deadline_ns,
			struct snap_error *err);

/*
 * "GET http://127.0.0.1:80/x" / "POST http://h:p/x BODY" / "none" and back; what the manifest
 * stores. Formatting gives 0, or -ENOSPC for a small buffer (ENGINE_REQUEST_TEXT_MAX is enough).
 */
#define ENGINE_REQUEST_TEXT_MAX 4800
int engine_request_parse(const char *text, struct engine_request *ret, struct snap_error *err);
int engine_request_format(const struct engine_request *request, char *buf, size_t size);

#endif
