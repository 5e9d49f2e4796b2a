/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every process whose program is called snapinit is asked; one that does not answer is listed
 * too. The containers of snapctl have names besides.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/control_client.h"
#include "cli/output.h"
#include "cli/runtime_dir.h"
#include "cli/verbs.h"
#include "common/clock.h"
#include "common/procfs.h"
#include "common/text.h"

/* a snapinit answers in a millisecond, but a container may hold something else of that name */
#define PATIENCE_ONE_MS 2000
#define PATIENCE_ALL_MS 30000
/* what other users have put where theirs are found must not take the time of all */
#define PATIENCE_OTHERS_MS 2000

struct ps_options {
	struct verb_common common;
};

const struct option_def verb_ps_options[] = {
	VERB_COMMON_OPTIONS(struct ps_options),
};

static bool is_snapinit(pid_t pid)
{
	char link[64], program[4096];
	const char *name;
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
	n = readlink(link, program, sizeof(program) - 1);
	if (n <= 0)
		return false;
	program[n] = '\0';
	name = strrchr(program, '/');
	return name && (strcmp(name, "/snapinit") == 0 || strcmp(name, "/snapinit (deleted)") == 0);
}

struct listing {
	json_t *rows;
	json_t *names; /* pid, in decimal, to name */
	uint64_t deadline_ns;
};

static uint64_t deadline_of_one(const struct listing *listing)
{
	uint64_t one = deadline_after_ms(PATIENCE_ONE_MS);

	return one < listing->deadline_ns ? one : listing->deadline_ns;
}

/* {"pid": as we see it, "name": …, "answers": …, and what it says of itself} */
static json_t *ask_one(const struct listing *listing, pid_t pid)
{
	const struct control_target target = {.pid = (uint64_t)pid};
	struct snap_error err = {.code = SNAP_OK};
	json_t *state = NULL, *name;
	char key[16];

	(void)snprintf(key, sizeof(key), "%d", (int)pid);
	name = json_incref(json_object_get(listing->names, key));
	if (!name)
		name = json_string("");
	if (control_ask(&target, "state", deadline_of_one(listing), &state, &err) == 0)
		return json_pack("{s:i, s:o, s:b, s:o}", "pid", (int)pid, "name", name, "answers",
				 1, "state", state);
	text_make_printable(err.msg);
	return json_pack("{s:i, s:o, s:b, s:s}", "pid", (int)pid, "name", name, "answers", 0, "why",
			 err.msg);
}

static int add_name(const char *name, int socket_fd, void *arg)
{
	struct listing *listing = arg;
	pid_t pid = 0;
	int fd = control_target_connect_file(socket_fd, deadline_of_one(listing), &pid);
	char key[16];

	if (fd < 0) /* what a killed container has left */
		return 0;
	(void)fd_close(fd);
	(void)snprintf(key, sizeof(key), "%d", (int)pid);
	(void)json_object_set_new(listing->names, key, json_string(name));
	return 0;
}

static int add_pid(pid_t pid, void *arg)
{
	const struct listing *listing = arg;
	struct proc_stat stat;

	/* a child that has not executed its own program yet is called so too */
	if (is_snapinit(pid) && procfs_stat(pid, &stat) == 0 && !is_snapinit(stat.ppid))
		(void)json_array_append_new(listing->rows, ask_one(listing, pid));
	return 0;
}

/* the rows, the caller's */
static json_t *list_all(void)
{
	struct listing listing = {
		.rows = json_array(),
		.names = json_object(),
		.deadline_ns = deadline_after_ms(PATIENCE_OTHERS_MS),
	};

	(void)runtime_dir_each_of_others(add_name, &listing);
	listing.deadline_ns = deadline_after_ms(PATIENCE_ALL_MS);
	(void)runtime_dir_each(add_name, &listing);
	(void)procfs_each_pid(add_pid, &listing);
	json_decref(listing.names);
	return listing.rows;
}

static void print_row(const json_t *row)
{
	const json_t *state = json_object_get(row, "state");
	char phase[CONTROL_TEXT_MAX], origin[CONTROL_TEXT_MAX], store[CONTROL_TEXT_MAX];
	char name[CONTROL_TEXT_MAX], command[CONTROL_TEXT_MAX], up[OUTPUT_SIZE_MAX];
	json_int_t ms = json_integer_value(json_object_get(state, "uptime_ms"));
	const json_t *word = json_array_get(json_object_get(state, "command"), 0);

	(void)printf("%7lld  %-16s  %-10s  %-6s  %9s  %-24s  %s\n",
		     (long long)json_integer_value(json_object_get(row, "pid")),
		     control_text(row, "name", name)[0] ? name : "-",
		     state ? control_text(state, "state", phase) : "-",
		     state ? control_text(state, "origin", origin) : "-",
		     state ? output_duration(ms > 0 ? (uint64_t)ms : 0, up) : "-",
		     state && control_text(state, "snapshot", store)[0] ? store : "-",
		     state ? control_clean(word, command) : "does not answer");
}

int verb_ps(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	struct ps_options options = {.common = {.json = false}};
	int next = verb_parse(verb, &options, &options.common, argc, argv, err);
	json_t *list;

	if (next < 0)
		return next == VERB_HELPED ? 0 : VERB_FAILED;
	list = list_all();
	if (options.common.json)
		return output_json(json_pack("{s:s, s:o}", "schema", "snapctl.ps/v1", "snapinits",
					     list),
				   err) < 0
			       ? VERB_FAILED
			       : 0;
	(void)printf("%7s  %-16s  %-10s  %-6s  %9s  %-24s  %s\n", "PID", "NAME", "STATE", "START",
		     "UP", "SNAPSHOT", "COMMAND");
	for (size_t i = 0; i < json_array_size(list); i++)
		print_row(json_array_get(list, i));
	if (json_array_size(list) > 1)
		output_progress("state, capture and log-level choose one by --name or --pid");
	json_decref(list);
	return 0;
}
