/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/process.h"
#include "engine/engine.h"

#include "tests/lib/test.h"
#include "tests/unit/engine/scripted_server.h"

#define SERVER	  SNAP_SOURCE_DIR "/build/prefix/bin/llama-server"
#define MODEL	  SNAP_SOURCE_DIR "/../shared/models/stories260K.gguf"
#define GENERATOR SNAP_SOURCE_DIR "/tools/make_tiny_gguf.py"
#define WORDS_MAX 24

static const char *const environment[] = {
	"LLAMA_ARG_HOST",	  "LLAMA_ARG_PORT",	  "LLAMA_API_KEY",
	"LLAMA_ARG_API_KEY_FILE", "LLAMA_ARG_API_PREFIX", "LLAMA_ARG_SSL_CERT_FILE",
	"LLAMA_ARG_EMBEDDINGS",	  "LLAMA_ARG_RERANKING",
};

static int clear_environment(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(environment); i++)
		(void)unsetenv(environment[i]);
	return 0;
}

/* split at blanks; a word cannot hold one */
static char **split(const char *line, char *copy, char *words[WORDS_MAX])
{
	int n = 0;

	(void)snprintf(copy, 1024, "%s", line);
	for (char *word = strtok(copy, " "); word && n < WORDS_MAX - 1; word = strtok(NULL, " "))
		words[n++] = word;
	words[n] = NULL;
	return words;
}

/* argv must outlive the engine */
static char command_copy[1024];
static char *command_words[WORDS_MAX];

static int init(struct engine *engine, const char *line, const char *adapter, const char *ready,
		struct snap_error *err)
{
	const struct engine_config config = {
		.adapter = adapter,
		.ready = ready,
		.warmup = -1,
		.argv = split(line, command_copy, command_words),
	};

	return engine_init(engine, &config, err);
}

static void test_server_is_recognised_behind_wrappers(void **state)
{
	static const struct {
		const char *line;
		bool is_server;
	} cases[] = {
		{"llama-server --port 1", true},
		{"/usr/bin/llama-server --port 1 -m x", true},
		{"/p/ld-linux-x86-64.so.2 --library-path /a:/b --argv0 x /p/bin/llama-server "
		 "--port 1",
		 true},
		{"numactl --cpunodebind=0 -m 0,1", false},
		{"env A=b nice -n 5 llama-server --port 1 -m x", true},
		{"my-server -m /models/llama-server --port 1", false},
		{"my-server --model llama-server", false},
		{"llama-server-wrapper --port 1", false},
		{"python3 serve.py", false},
		{"a b c d e f g h i j k l m n o p llama-server --port 1", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct engine engine;

		assert_int_equal(init(&engine, cases[i].line, "auto", NULL, NULL), 0);
		if (strcmp(engine_adapter_name(&engine),
			   cases[i].is_server ? "llama-server" : "none") != 0)
			fail_msg("'%s' is taken for %s", cases[i].line,
				 engine_adapter_name(&engine));
	}
}

static void expect_address(const char *line, const char *host, int port)
{
	struct engine engine;
	struct snap_error err = {0};

	if (init(&engine, line, "auto", NULL, &err) != 0)
		fail_msg("'%s': %s", line, err.msg);
	assert_string_equal(engine.ready.host, host);
	assert_int_equal(engine.ready.port, port);
	assert_int_equal(engine.ready_kind, ENGINE_READY_HTTP);
	assert_string_equal(engine.oracle.host, host);
	assert_int_equal(engine.warmup.port, port);
	assert_int_equal(engine.warmup_count, 2);
	assert_string_equal(engine.oracle.method, "POST");
}

static void test_address_comes_from_options_then_from_the_environment(void **state)
{
	(void)state;
	expect_address("llama-server --port 81", "127.0.0.1", 81);
	expect_address("llama-server --port 81 --host 0.0.0.0 --port 82", "0.0.0.0", 82);
	expect_address("llama-server --host :: --port 81", "::", 81);
	expect_address("llama-server --host 127.0.0.2,::1 --port 81", "127.0.0.2", 81);
	(void)setenv("LLAMA_ARG_PORT", "83", 1);
	(void)setenv("LLAMA_ARG_HOST", "::1", 1);
	expect_address("llama-server -m x", "::1", 83);
	expect_address("llama-server -m x --port 84 --host localhost", "localhost", 84);
}

static void test_address_that_cannot_be_asked_is_told_with_the_remedy(void **state)
{
	static const struct {
		const char *line, *reason;
	} cases[] = {
		{"llama-server -m x", "add --port"},
		{"llama-server --port 0", "not 1 to 65535"},
		{"llama-server --port x", "not 1 to 65535"},
		{"llama-server --port 1 --host /run/x.sock", "--ready exec:COMMAND"},
		{"llama-server --port 1 --host gpu-box", "names are not looked up"},
		{"llama-server --port 1 --ssl-cert-file c --ssl-key-file k", "TLS"},
		{"llama-server --port 1 --api-prefix /a#b", "%XX"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct engine engine;
		struct snap_error err = {0};

		assert_int_equal(init(&engine, cases[i].line, "auto", NULL, &err), -EINVAL);
		if (!strstr(err.msg, cases[i].reason))
			fail_msg("'%s': %s", cases[i].line, err.msg);
	}
}

static void test_readiness_url_of_the_user_tells_the_address_as_well(void **state)
{
	struct engine engine;

	(void)state;
	assert_int_equal(
		init(&engine, "llama-server -m x", "auto", "http://127.0.0.3:99/health", NULL), 0);
	assert_int_equal(engine.oracle.port, 99);
	assert_string_equal(engine.oracle.host, "127.0.0.3");
	assert_int_equal(init(&engine, "/start.sh --port 98", "llama-server", NULL, NULL), 0);
	assert_int_equal(engine.oracle.port, 98);
}

static void test_requests_fit_what_the_server_serves(void **state)
{
	struct engine engine;

	(void)state;
	assert_int_equal(
		init(&engine, "llama-server --port 1 --api_prefix /v9", "auto", NULL, NULL), 0);
	assert_string_equal(engine.ready.path, "/v9/health");
	assert_string_equal(engine.oracle.path, "/v9/completion");
	assert_int_equal(init(&engine, "llama-server --port 1 --embeddings", "auto", NULL, NULL),
			 0);
	assert_string_equal(engine.oracle.path, "/embedding");
	assert_string_equal(engine.warmup.path, "/embedding");
	assert_int_equal(init(&engine, "llama-server --port 1 --rerank", "auto", NULL, NULL), 0);
	assert_false(engine_has_oracle(&engine));
	assert_int_equal(engine.warmup_count, 0);
	(void)setenv("LLAMA_ARG_EMBEDDINGS", "true", 1);
	assert_int_equal(init(&engine, "llama-server --port 1", "auto", NULL, NULL), 0);
	assert_string_equal(engine.oracle.path, "/embedding");
}

/* ask a scripted server as if it were llama-server, at its address or under another host name */
static int ask(const char *options, const char *host, const char *text, char **ret,
	       struct scripted_server_seen *seen)
{
	const struct scripted_answer answer = {.text = text};
	struct scripted_server server;
	struct engine engine;
	char line[512];
	size_t size;
	int r;

	scripted_server_start(&server, &answer, 1);
	(void)snprintf(line, sizeof(line), "llama-server --port %d %s", server.port, options);
	assert_int_equal(init(&engine, line, "auto", NULL, NULL), 0);
	if (host) {
		char request[256];

		(void)snprintf(request, sizeof(request), "GET http://%s:%d/x", host, server.port);
		assert_int_equal(engine_request_parse(request, &engine.oracle, NULL), 0);
	}
	r = engine_ask_oracle(&engine, deadline_after_ms(2000), ret, &size, NULL);
	if (r == 0)
		assert_int_equal(size, strlen(*ret));
	scripted_server_wait(&server, 1);
	*seen = *server.seen;
	scripted_server_stop(&server);
	return r;
}

static void expect_key(const char *options, const char *host, const char *key)
{
	snap_cleanup_free char *answer = NULL;
	struct scripted_server_seen seen;
	char field[256];

	assert_int_equal(
		ask(options, host, "HTTP/1.1 200 OK\r\n\r\n{\"content\":\"x\"}", &answer, &seen),
		0);
	(void)snprintf(field, sizeof(field), "\r\nAuthorization: Bearer %s\r\n", key ? key : "");
	if (key)
		assert_non_null(strstr(seen.request, field));
	else
		assert_null(strstr(seen.request, "Authorization"));
}

static void test_key_is_taken_where_the_server_takes_it(void **state)
{
	char path[] = "/tmp/snap-key-XXXXXX", options[64];
	snap_cleanup_close int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "# mine\n\nfile-key\nsecond\n", 24), 24);
	(void)snprintf(options, sizeof(options), "--api-key-file %s", path);

	expect_key("", NULL, NULL);
	expect_key("--api-key k1,k2", NULL, "k1");
	expect_key(options, NULL, "file-key");
	(void)setenv("LLAMA_API_KEY", "from-env", 1);
	expect_key("", NULL, "from-env");
	expect_key("--api_key from-argv", NULL, "from-argv");
	assert_int_equal(unlink(path), 0);
}

static void test_key_does_not_leave_for_another_address(void **state)
{
	(void)state;
	expect_key("--api-key k1", "127.0.0.1", "k1");
	expect_key("--api-key k1", "localhost", NULL);
}

static void test_malformed_key_is_refused_and_not_shown(void **state)
{
	struct engine engine;
	struct snap_error err = {0};
	char *answer;
	size_t size;

	(void)state;
	assert_int_equal(
		init(&engine, "llama-server --port 1 --api-key se\rcret", "auto", NULL, NULL), 0);
	assert_int_equal(engine_ask_oracle(&engine, deadline_after_ms(1000), &answer, &size, &err),
			 -EINVAL);
	assert_null(strstr(err.msg, "cret"));
	assert_non_null(strstr(err.msg, "not printable"));
}

static void expect_answer(const char *body, const char *expected)
{
	snap_cleanup_free char *answer = NULL;
	struct scripted_server_seen seen;
	char text[1024];

	(void)snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\n\r\n%s", body);
	assert_int_equal(ask("", NULL, text, &answer, &seen), 0);
	assert_string_equal(answer, expected);
}

static void test_only_the_generated_text_counts(void **state)
{
	(void)state;
	expect_answer("{\"content\":\"a\\nb\",\"timings\":{\"t\":1.5}}", "a\nb");
	expect_answer("{\"id\":7,\"choices\":[{\"text\":\"t\"}]}", "t");
	expect_answer("{\"choices\":[{\"message\":{\"content\":\"m\"}}]}", "m");
	expect_answer("{\"choices\":[]}", "{\"choices\":[]}");
	expect_answer("[1,2]", "[1,2]");
	expect_answer("{\"content\":5}", "{\"content\":5}");
	expect_answer("no json", "no json");
}

static void run_quiet(const char *const *argv)
{
	const struct process_spec spec = {.argv = (char *const *)(uintptr_t)argv};
	struct pidref child;
	int status = -1;

	assert_int_equal(process_spawn(&spec, &child, NULL), 0);
	assert_int_equal(process_wait(&child, deadline_after_ms(60000), &status), 0);
	assert_int_equal(status, 0);
	pidref_done(&child);
}

struct real_server {
	char *argv[WORDS_MAX];
	char port[8];
	char model[256];
	struct pidref process;
};

static void real_server_start(struct real_server *s, const char *extra1, const char *extra2)
{
	const char *const argv[] = {SERVER,	 "-m",	    s->model, "--port",
				    s->port,	 "-c",	    "256",    "--log-disable",
				    "--api-key", "k-1,k-2", extra1,   extra2};
	snap_cleanup_close int holder = FD_NONE;
	struct process_spec spec = {.argv = s->argv, .death_signal = SIGKILL};

	if (access(SERVER, X_OK) < 0) {
		print_message("SKIP: no build/prefix/bin/llama-server (./dev setup makes it)\n");
		skip();
	}
	(void)snprintf(s->model, sizeof(s->model), "%s", MODEL);
	if (access(MODEL, R_OK) < 0) {
		const char *const make[] = {"/usr/bin/python3", GENERATOR, "--out", s->model, NULL};

		(void)snprintf(s->model, sizeof(s->model), "/tmp/snap-tiny-%d.gguf", (int)getpid());
		run_quiet(make);
	}
	(void)snprintf(s->port, sizeof(s->port), "%d", scripted_server_dead_port(&holder));
	holder = fd_close(holder);
	memcpy(s->argv, argv, sizeof(argv));
	s->argv[ARRAY_LEN(argv)] = NULL;
	assert_int_equal(process_spawn(&spec, &s->process, NULL), 0);
}

static void real_server_stop(struct real_server *s)
{
	int status;

	(void)pidref_kill(&s->process, SIGKILL);
	assert_int_equal(process_wait(&s->process, deadline_after_ms(10000), &status), 0);
	pidref_done(&s->process);
	if (strcmp(s->model, MODEL) != 0)
		(void)unlink(s->model);
}

static int is_running(void *arg)
{
	struct real_server *s = arg;

	return pidref_kill(&s->process, 0);
}

/* other work in between, which leaves traces in the server's caches */
static void ask_something_else(const struct engine *engine, int i)
{
	struct engine other = *engine;
	snap_cleanup_free char *answer = NULL;
	size_t size;

	(void)snprintf(other.oracle.body, sizeof(other.oracle.body),
		       "{\"prompt\":\"The dog %d\",\"n_predict\":30,\"temperature\":0.9}", i);
	assert_int_equal(engine_ask_oracle(&other, deadline_after_ms(20000), &answer, &size, NULL),
			 0);
}

static void test_real_server_is_ready_warms_up_and_repeats_its_answer(void **state)
{
	struct real_server server;
	struct engine engine;
	const struct engine_config config = {.warmup = -1, .argv = server.argv};
	snap_cleanup_free char *answer = NULL;
	struct snap_error err = {0};
	size_t size = 0;

	(void)state;
	real_server_start(&server, NULL, NULL);
	assert_int_equal(engine_init(&engine, &config, NULL), 0);
	assert_string_equal(engine_adapter_name(&engine), "llama-server");
	if (engine_wait_ready(&engine, deadline_after_ms(60000), is_running, &server, &err) != 0 ||
	    engine_warm_up(&engine, deadline_after_ms(60000), &err) != 0 ||
	    engine_ask_oracle(&engine, deadline_after_ms(60000), &answer, &size, &err) != 0)
		fail_msg("%s", err.msg);
	assert_true(size > 10);
	if (strcmp(server.model, MODEL) == 0)
		assert_non_null(strstr(answer, "there was a little girl named Lily"));
	for (int i = 0; i < 6; i++) {
		ask_something_else(&engine, i);
		if (engine_check_oracle(&engine, answer, deadline_after_ms(60000), &err) != 0)
			fail_msg("%s", err.msg);
	}
	assert_int_equal(
		engine_check_oracle(&engine, "something else", deadline_after_ms(60000), NULL),
		ENGINE_ORACLE_MISMATCH);
	real_server_stop(&server);
}

static void test_real_server_for_embeddings_repeats_its_answer(void **state)
{
	struct real_server server;
	struct engine engine;
	const struct engine_config config = {.warmup = -1, .argv = server.argv};
	snap_cleanup_free char *answer = NULL;
	struct snap_error err = {0};
	size_t size;

	(void)state;
	real_server_start(&server, "--embeddings", NULL);
	assert_int_equal(engine_init(&engine, &config, NULL), 0);
	if (engine_wait_ready(&engine, deadline_after_ms(60000), is_running, &server, &err) != 0 ||
	    engine_warm_up(&engine, deadline_after_ms(60000), &err) != 0 ||
	    engine_ask_oracle(&engine, deadline_after_ms(60000), &answer, &size, &err) != 0 ||
	    engine_check_oracle(&engine, answer, deadline_after_ms(60000), &err) != 0)
		fail_msg("%s", err.msg);
	assert_non_null(strstr(answer, "\"embedding\":[["));
	real_server_stop(&server);
}

static void test_wrong_key_is_told_by_status(void **state)
{
	struct real_server server;
	struct engine engine;
	struct engine_config config = {.warmup = -1, .argv = server.argv};
	struct snap_error err = {0};
	char *argv[WORDS_MAX];

	(void)state;
	real_server_start(&server, NULL, NULL);
	memcpy(argv, server.argv, sizeof(argv));
	for (int i = 0; argv[i]; i++) {
		if (strcmp(argv[i], "k-1,k-2") == 0)
			argv[i] = (char *)(uintptr_t) "wrong";
	}
	config.argv = argv;
	assert_int_equal(engine_init(&engine, &config, NULL), 0);
	assert_int_equal(
		engine_wait_ready(&engine, deadline_after_ms(60000), is_running, &server, NULL), 0);
	assert_int_equal(engine_warm_up(&engine, deadline_after_ms(60000), &err), -EIO);
	assert_non_null(strstr(err.msg, "/completion: status 401"));
	assert_null(strstr(err.msg, "wrong"));
	real_server_stop(&server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_server_is_recognised_behind_wrappers,
				       clear_environment),
		cmocka_unit_test_setup(test_address_comes_from_options_then_from_the_environment,
				       clear_environment),
		cmocka_unit_test_setup(test_address_that_cannot_be_asked_is_told_with_the_remedy,
				       clear_environment),
		cmocka_unit_test_setup(test_readiness_url_of_the_user_tells_the_address_as_well,
				       clear_environment),
		cmocka_unit_test_setup(test_requests_fit_what_the_server_serves, clear_environment),
		cmocka_unit_test_setup(test_key_is_taken_where_the_server_takes_it,
				       clear_environment),
		cmocka_unit_test_setup(test_key_does_not_leave_for_another_address,
				       clear_environment),
		cmocka_unit_test_setup(test_malformed_key_is_refused_and_not_shown,
				       clear_environment),
		cmocka_unit_test_setup(test_only_the_generated_text_counts, clear_environment),
		cmocka_unit_test_setup(test_real_server_is_ready_warms_up_and_repeats_its_answer,
				       clear_environment),
		cmocka_unit_test_setup(test_real_server_for_embeddings_repeats_its_answer,
				       clear_environment),
		cmocka_unit_test_setup(test_wrong_key_is_told_by_status, clear_environment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
