/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/criu/criu_environment.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RUNTIME "XDG_RUNTIME_DIR="
#define GNUTLS	"GNUTLS_NO_IMPLICIT_INIT="

int criu_environment_make(const char *runtime_dir, struct criu_environment *ret)
{
	static char no_gnutls[] = GNUTLS "1";
	size_t n = 0, kept = 0;
	int length = snprintf(ret->runtime, sizeof(ret->runtime), RUNTIME "%s", runtime_dir);

	ret->envp = NULL;
	if (length < 0 || (size_t)length >= sizeof(ret->runtime))
		return -ENAMETOOLONG;
	while (environ[n])
		n++;
	ret->envp = calloc(n + 3, sizeof(*ret->envp));
	if (!ret->envp)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (strncmp(environ[i], RUNTIME, strlen(RUNTIME)) != 0 &&
		    strncmp(environ[i], GNUTLS, strlen(GNUTLS)) != 0)
			ret->envp[kept++] = environ[i];
	}
	ret->envp[kept++] = ret->runtime;
	ret->envp[kept] = no_gnutls;
	return 0;
}

void criu_environment_done(struct criu_environment *environment)
{
	free(environment->envp);
	environment->envp = NULL;
}
