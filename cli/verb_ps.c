/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every process whose program is called snapinit is asked; one that does not answer is listed
 * too, with what /proc tells.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/control_client.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "common/procfs.h"

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

/* {"pid": as we see it, "answers": …, and what it says of itself} */
static json_t *ask_one(pid_t pid)
{
	const struct control_target target = {.pid = (uint64_t)pid};
	struct snap_error err = {.code = SNAP_OK};
	json_t *state = NULL;

	if (control_ask(&target, "state", &state, &err) < 0)
		return json_pack("{s:i, s:b, s:s}", "pid", (int)pid, "answers", 0, "why", err.msg);
	return json_pack("{s:i, s:b, s:o}", "pid", (int)pid, "answers", 1, "state", state);
}

static int add_pid(pid_t pid, void *list)
{
	struct proc_stat stat;

	/* a child that has not executed its own program yet is called so too */
	if (is_snapinit(pid) && procfs_stat(pid, &stat) == 0 && !is_snapinit(stat.ppid))
		(void)json_array_append_new(list, ask_one(pid));
	return 0;
}

static void print_row(const json_t *row)
{
	const json_t *state = json_object_get(row, "state");
	char name[CONTROL_TEXT_MAX], origin[CONTROL_TEXT_MAX], store[CONTROL_TEXT_MAX];
	char command[CONTROL_TEXT_MAX], up[OUTPUT_SIZE_MAX];
	json_int_t ms = json_integer_value(json_object_get(state, "uptime_ms"));
	const json_t *word = json_array_get(json_object_get(state, "command"), 0);

	(void)printf("%7lld  %-10s  %-6s  %9s  %-24s  %s\n",
		     (long long)json_integer_value(json_object_get(row, "pid")),
		     state ? control_text(state, "state", name) : "-",
		     state ? control_text(state, "origin", origin) : "-",
		     state ? output_duration(ms > 0 ? (uint64_t)ms : 0, up) : "-",
		     state && control_text(state, "snapshot", store)[0] ? store : "-",
		     state ? control_clean(word, command) : "does not answer");
}

int verb_ps(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	struct ps_options options = {.common = {.json = false}};
	int next = verb_parse(verb, &options, &options.common, argc, argv, err);
	json_t *list, *row;
	size_t i;

	if (next < 0)
		return next == VERB_HELPED ? 0 : VERB_FAILED;
	list = json_array();
	(void)procfs_each_pid(add_pid, list);
	if (options.common.json)
		return output_json(json_pack("{s:s, s:o}", "schema", "snapctl.ps/v1", "snapinits",
					     list),
				   err) < 0
			       ? VERB_FAILED
			       : 0;
	(void)printf("%7s  %-10s  %-6s  %9s  %-24s  %s\n", "PID", "STATE", "START", "UP",
		     "SNAPSHOT", "COMMAND");
	json_array_foreach(list, i, row) print_row(row);
	json_decref(list);
	return 0;
}
