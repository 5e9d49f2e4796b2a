/* SPDX-License-Identifier: Apache-2.0 */
#include "init/environment.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/parse.h"

void environment_change(struct environment *environment, const char *name, const char *variable)
{
	if (environment->n == ARRAY_LEN(environment->names))
		abort(); /* our own callers are fewer */
	environment->names[environment->n] = name;
	environment->variables[environment->n++] = variable;
}

bool environment_is_listening(void)
{
	const char *text = getenv("LISTEN_PID");
	uint64_t pid;

	return text && parse_u64(text, &pid) == 0 && pid == (uint64_t)getpid();
}

void environment_change_listen_pid(struct environment *environment)
{
	environment->has_listen_pid = true;
	environment_write_listen_pid(environment, 0);
	environment_change(environment, "LISTEN_PID", environment->listen_pid);
}

void environment_write_listen_pid(struct environment *environment, pid_t pid)
{
	if (environment->has_listen_pid)
		(void)snprintf(environment->listen_pid, sizeof(environment->listen_pid),
			       "LISTEN_PID=%d", (int)pid);
}

static bool is_changed(const struct environment *environment, const char *variable)
{
	for (unsigned int i = 0; i < environment->n; i++) {
		size_t len = strlen(environment->names[i]);

		if (strncmp(variable, environment->names[i], len) == 0 && variable[len] == '=')
			return true;
	}
	return false;
}

int environment_make(struct environment *environment)
{
	size_t n = 0, used = 0;
	char **envp;

	if (environment->n == 0)
		return 0;
	while (environ[n])
		n++;
	envp = calloc(n + environment->n + 1, sizeof(*envp));
	if (!envp)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (!is_changed(environment, environ[i]))
			envp[used++] = environ[i];
	}
	for (unsigned int i = 0; i < environment->n; i++) {
		if (environment->variables[i])
			envp[used++] = (char *)(uintptr_t)environment->variables[i];
	}
	environment->envp = envp;
	return 0;
}

void environment_done(struct environment *environment)
{
	free(environment->envp);
	*environment = (struct environment){.envp = NULL};
}
