/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "common/parse.h"
#include "engine/adapter.h"
#include "engine/address.h"
#include "engine/engine_ask.h"
#include "engine/engine_request.h"

/*
 * llama.cpp's server. Its options stand in argv or in LLAMA_ARG_…; argv wins, and of two the last.
 * All requests go by what the server itself was told, so one with --embeddings is never asked for
 * a completion: llama.cpp 0.7.0 crashes on that.
 */

#define PROGRAM "llama-server"

/* ld.so, its options and a wrapper such as numactl may come first */
#define PROGRAM_WORDS_MAX 16

#define KEY_FILE_MAX (64U << 10)

#define COMPLETION                                                                        \
	"{\"prompt\":\"Once upon a time\",\"n_predict\":%d,\"temperature\":0,\"seed\":1," \
	"\"cache_prompt\":false,\"ignore_eos\":true}"
#define EMBEDDING "{\"content\":\"Once upon a time\"}"

/* "port" or "api-key"; llama.cpp takes '_' for '-' */
static bool is_option(const char *word, const char *name)
{
	if (strncmp(word, "--", 2) != 0)
		return false;
	for (word += 2; *word == *name || (*word == '_' && *name == '-'); word++, name++) {
		if (*word == '\0')
			return true;
	}
	return false;
}

/* what follows is about the model, so the program has been named by now */
static bool is_model_option(const char *word)
{
	return strcmp(word, "-m") == 0 || strcmp(word, "-hf") == 0 || is_option(word, "model") ||
	       is_option(word, "hf-repo") || is_option(word, "model-url");
}

/* the words after the program's own name; NULL: it is not in argv */
static char *const *server_options(char *const *argv)
{
	for (int i = 0; argv && argv[i] && i < PROGRAM_WORDS_MAX; i++) {
		const char *slash = strrchr(argv[i], '/');

		if (strcmp(slash ? slash + 1 : argv[i], PROGRAM) == 0)
			return argv + i + 1;
		if (is_model_option(argv[i]))
			return NULL;
	}
	return NULL;
}

/* where the command is a script of the user's, all of it may hold options */
static char *const *words_of(char *const *argv)
{
	static char *const nothing[] = {NULL};
	char *const *options = server_options(argv);

	if (options)
		return options;
	return argv ? argv : nothing;
}

static const char *option_value(char *const *argv, const char *name, const char *env)
{
	const char *value = getenv(env);

	for (char *const *word = words_of(argv); word[0] && word[1]; word++) {
		if (is_option(word[0], name))
			value = word[1];
	}
	return value && value[0] ? value : NULL;
}

static bool flag_is_set(char *const *argv, const char *name, const char *other, const char *env)
{
	const char *value = getenv(env);

	for (char *const *word = words_of(argv); word[0]; word++) {
		if (is_option(word[0], name) || is_option(word[0], other))
			return true;
	}
	return value && (strcmp(value, "1") == 0 || strcmp(value, "on") == 0 ||
			 strcmp(value, "true") == 0 || strcmp(value, "enabled") == 0);
}

static bool recognises(const struct engine_config *config)
{
	return server_options(config->argv) != NULL;
}

static int find_host(char *const *argv, char ret_host[ADDRESS_HOST_MAX], struct snap_error *err)
{
	const char *host = option_value(argv, "host", "LLAMA_ARG_HOST");
	size_t size;

	if (!host)
		host = "127.0.0.1";
	/* several addresses: any will do */
	size = strcspn(host, ",");
	if (size > 5 && strncmp(host + size - 5, ".sock", 5) == 0)
		return snap_fail(err, SNAP_E_USAGE, EINVAL,
				 PROGRAM
				 " listens on the unix socket '%.*s', which cannot be asked: "
				 "give --ready exec:COMMAND and --oracle none",
				 (int)(size < 100 ? size : 100), host);
	return address_set_host(host, size, ret_host, err);
}

/* where the server listens, by its options, else by the user's readiness URL; 0 or -EINVAL */
static int find_address(const struct engine *engine, char ret_host[ADDRESS_HOST_MAX], int *ret_port,
			struct snap_error *err)
{
	const char *port = option_value(engine->argv, "port", "LLAMA_ARG_PORT");

	if (option_value(engine->argv, "ssl-cert-file", "LLAMA_ARG_SSL_CERT_FILE"))
		return snap_fail(err, SNAP_E_USAGE, EINVAL,
				 PROGRAM
				 " serves TLS, which is not spoken: give --ready exec:COMMAND "
				 "and --oracle none");
	if (!port && engine->ready_kind == ENGINE_READY_HTTP) {
		memcpy(ret_host, engine->ready.host, sizeof(engine->ready.host));
		*ret_port = engine->ready.port;
		return 0;
	}
	/* 8080 once, 9931 in version 0.7.0 */
	if (!port)
		return snap_fail(err, SNAP_E_USAGE, EINVAL,
				 PROGRAM
				 " has no --port, and its default differs between versions: "
				 "add --port, or give --ready http://ADDRESS:PORT/health");
	if (parse_int(port, 1, 65535, ret_port) < 0)
		return snap_fail(err, SNAP_E_USAGE, EINVAL,
				 PROGRAM " has port '%.20s', not 1 to 65535", port);
	return find_host(engine->argv, ret_host, err);
}

static int set_request(const struct engine *engine, const char *method, const char *path,
		       struct engine_request *ret, struct snap_error *err)
{
	const char *prefix = option_value(engine->argv, "api-prefix", "LLAMA_ARG_API_PREFIX");
	char address[ADDRESS_TEXT_MAX], url[sizeof(ret->path) + ADDRESS_TEXT_MAX + 8];
	int r, n;

	r = find_address(engine, ret->host, &ret->port, err);
	if (r < 0)
		return r;
	address_format(ret->host, ret->port, address);
	n = snprintf(url, sizeof(url), "http://%s%s%s", address, prefix ? prefix : "", path);
	if (n < 0 || (size_t)n >= sizeof(url))
		return snap_fail(err, SNAP_E_USAGE, EINVAL,
				 PROGRAM " has an --api-prefix too long");
	r = engine_request_set_url(ret, url, (size_t)n, err);
	if (r < 0)
		return r;
	(void)snprintf(ret->method, sizeof(ret->method), "%s", method);
	return 0;
}

static int set_ready(struct engine *engine, struct snap_error *err)
{
	int r = set_request(engine, "GET", "/health", &engine->ready, err);

	engine->ready_kind = ENGINE_READY_HTTP;
	return r;
}

/* a request that makes the model work; an empty one for a server that only ranks */
static int set_work(const struct engine *engine, int n_predict, struct engine_request *ret,
		    struct snap_error *err)
{
	bool embeds = flag_is_set(engine->argv, "embeddings", "embedding", "LLAMA_ARG_EMBEDDINGS");
	int r;

	if (flag_is_set(engine->argv, "reranking", "rerank", "LLAMA_ARG_RERANKING")) {
		*ret = (struct engine_request){0};
		return 0;
	}
	r = set_request(engine, "POST", embeds ? "/embedding" : "/completion", ret, err);
	if (r < 0)
		return r;
	if (embeds)
		(void)snprintf(ret->body, sizeof(ret->body), EMBEDDING);
	else
		(void)snprintf(ret->body, sizeof(ret->body), COMPLETION, n_predict);
	return 0;
}

/* enough tokens to tell a wrong state, few enough to be quick; never cut short by an end token */
static int set_oracle(struct engine *engine, struct snap_error *err)
{
	return set_work(engine, 24, &engine->oracle, err);
}

static int set_warmup(struct engine *engine, struct snap_error *err)
{
	int r = set_work(engine, 16, &engine->warmup, err);

	engine->warmup_count = engine->warmup.method[0] ? 2 : 0;
	return r;
}

/* first of a comma-separated list, or first line of a key file that is no comment */
static int key_find(char *const *argv, char *buf, size_t size, struct snap_error *err)
{
	const char *list = option_value(argv, "api-key", "LLAMA_API_KEY");
	const char *path = option_value(argv, "api-key-file", "LLAMA_ARG_API_KEY_FILE");
	snap_cleanup_free char *file = NULL;
	const char *key = list ? list : "", *stop = ",";
	size_t file_size = 0, n;
	int r = 0;

	if (!list && path) {
		r = io_read_file(AT_FDCWD, path, KEY_FILE_MAX, &file, &file_size, err);
		if (r < 0)
			return r;
		key = file;
		stop = "\r\n";
		while (*key == '#' || *key == '\n' || *key == '\r') {
			key += strcspn(key, "\n");
			key += *key == '\n' ? 1 : 0;
		}
	}
	n = strcspn(key, stop);
	for (size_t i = 0; i < n && r == 0; i++)
		r = isprint((unsigned char)key[i]) ? 0 : -EINVAL;
	if (r == 0 && n < size) {
		memcpy(buf, key, n);
		buf[n] = '\0';
	}
	if (file)
		explicit_bzero(file, file_size);
	if (r < 0 || n >= size)
		return snap_fail(err, SNAP_E_USAGE, EINVAL,
				 "the API key of " PROGRAM " is too long or not printable");
	return 0;
}

static int authorize(const struct engine *engine, const struct engine_request *request,
		     char buf[HTTP_AUTHORIZATION_MAX], struct snap_error *err)
{
	const size_t scheme_size = strlen("Bearer ");
	char host[ADDRESS_HOST_MAX];
	int port = 0, r;

	/* the key is for the server alone, wherever a URL of the user's may lead */
	buf[0] = '\0';
	if (find_address(engine, host, &port, NULL) < 0 || port != request->port ||
	    strcmp(host, request->host) != 0)
		return 0;
	r = key_find(engine->argv, buf + scheme_size, HTTP_AUTHORIZATION_MAX - scheme_size, err);
	if (r < 0)
		return r;
	if (buf[scheme_size] == '\0')
		buf[0] = '\0';
	else
		memcpy(buf, "Bearer ", scheme_size);
	return 0;
}

/* text of /completion, /v1/completions or /v1/chat/completions; the rest holds times and ids */
static const json_t *find_text(const json_t *root)
{
	const json_t *text = json_object_get(root, "content");
	const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);

	if (!text)
		text = json_object_get(choice, "text");
	if (!text)
		text = json_object_get(json_object_get(choice, "message"), "content");
	return json_is_string(text) ? text : NULL;
}

static int pick_answer(const struct http_response *response, char **ret_answer, size_t *ret_size,
		       struct snap_error *err)
{
	json_t *root = json_loadb(response->body, response->body_size, 0, NULL);
	const json_t *text = find_text(root);
	int r = ADAPTER_WHOLE_BODY;

	if (text) {
		size_t size = json_string_length(text);
		char *answer = malloc(size + 1);

		if (answer) {
			memcpy(answer, json_string_value(text), size);
			answer[size] = '\0';
			*ret_answer = answer;
			*ret_size = size;
			r = 0;
		} else {
			r = snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "no memory for the answer");
		}
	}
	json_decref(root);
	return r;
}

/*
 * Prompts that are in its slots are nobody's after a wake. llama.cpp takes the erasing for an
 * action on files: it wants --slot-save-path.
 */
static int set_release(struct engine *engine, struct snap_error *err)
{
	if (!option_value(engine->argv, "slot-save-path", "LLAMA_ARG_SLOT_SAVE_PATH"))
		return 0;
	return set_request(engine, "GET", "/slots", &engine->release, err);
}

static int erase_slot(const struct engine *engine, const json_t *slot, uint64_t deadline_ns,
		      struct snap_error *err)
{
	snap_cleanup_http_response struct http_response response = {0};
	struct engine_request request = {.method = ""};
	const json_t *id = json_object_get(slot, "id");
	char path[64];
	int r;

	if (!json_is_integer(id) || json_is_true(json_object_get(slot, "is_processing")))
		return 0;
	(void)snprintf(path, sizeof(path), "/slots/%lld?action=erase",
		       (long long)json_integer_value(id));
	r = set_request(engine, "POST", path, &request, err);
	return r < 0 ? r : engine_ask(engine, &request, deadline_ns, &response, err);
}

/* every slot that is idle */
static int release(const struct engine *engine, uint64_t deadline_ns, struct snap_error *err)
{
	snap_cleanup_http_response struct http_response response = {0};
	const json_t *slot;
	json_t *root;
	size_t i;
	int r = engine_ask(engine, &engine->release, deadline_ns, &response, err);

	if (r < 0)
		return r;
	root = json_loadb(response.body, response.body_size, 0, NULL);
	if (!json_is_array(root))
		r = snap_fail(err, SNAP_E_NOT_READY, EIO, PROGRAM " does not list its slots");
	json_array_foreach(root, i, slot)
	{
		if (r == 0)
			r = erase_slot(engine, slot, deadline_ns, err);
	}
	json_decref(root);
	return r;
}

const struct engine_adapter adapter_llama_server = {
	.name = PROGRAM,
	.recognises = recognises,
	.set_ready = set_ready,
	.set_oracle = set_oracle,
	.set_warmup = set_warmup,
	.set_release = set_release,
	.release = release,
	.authorize = authorize,
	.pick_answer = pick_answer,
};
