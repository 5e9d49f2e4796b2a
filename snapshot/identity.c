/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/identity.h"

#include <errno.h>
#include <limits.h>
#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/cleanup.h"

#define SALT_BYTES    16
#define SALT_DIGITS   32U /* two for a byte */
#define SHA256_DIGITS 64

/*
 * Variables that differ between instances of one service by nature: names given by the container
 * runtime, the service manager, the shell and the platforms. A '*' at the end stands for anything.
 * Credentials are not here: a woken engine would go on with the old ones.
 */
static const char *const ignored_names[] = {
	/* shells, terminals, runtimes */
	"HOSTNAME",
	"PWD",
	"OLDPWD",
	"SHLVL",
	"_",
	"TERM",
	"COLUMNS",
	"LINES",
	"container_uuid",
	/* service managers */
	"NOTIFY_SOCKET",
	"LISTEN_*",
	"INVOCATION_ID",
	"JOURNAL_STREAM",
	"SYSTEMD_EXEC_PID",
	"MANAGERPID",
	"MAINPID",
	"WATCHDOG_PID",
	/* ours */
	"SNAPINIT_*",
	/* Kubernetes: the API server's address, and the usual names for the downward API */
	"KUBERNETES_*",
	"POD_NAME",
	"POD_UID",
	"POD_IP",
	"NODE_NAME",
	/* Cloud Run, Lambda, ECS, Fly, Azure Container Apps, RunPod, Modal */
	"K_REVISION",
	"CLOUD_RUN_EXECUTION",
	"CLOUD_RUN_TASK_INDEX",
	"CLOUD_RUN_TASK_ATTEMPT",
	"AWS_LAMBDA_LOG_STREAM_NAME",
	"_X_AMZN_TRACE_ID",
	"ECS_CONTAINER_METADATA_URI*",
	"ECS_AGENT_URI",
	"FLY_MACHINE_ID",
	"FLY_MACHINE_VERSION",
	"FLY_ALLOC_ID",
	"FLY_PRIVATE_IP",
	"CONTAINER_APP_REPLICA_NAME",
	"CONTAINER_APP_REVISION",
	"RUNPOD_POD_ID",
	"RUNPOD_POD_HOSTNAME",
	"MODAL_TASK_ID",
};

/* a variable of the environment at hand; name and value point into envp */
struct variable {
	const char *name;
	size_t name_len;
	const char *value;
	size_t index; /* in envp */
};

static bool is_ignored(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(ignored_names); i++) {
		size_t want = strlen(ignored_names[i]);

		if (ignored_names[i][want - 1] == '*') {
			if (len >= want - 1 && memcmp(name, ignored_names[i], want - 1) == 0)
				return true;
		} else if (len == want && memcmp(name, ignored_names[i], want) == 0) {
			return true;
		}
	}
	return false;
}

bool identity_ignores_env(const char *name)
{
	return is_ignored(name, strlen(name));
}

static int compare_variables(const void *a, const void *b)
{
	const struct variable *va = a, *vb = b;
	size_t shorter = va->name_len < vb->name_len ? va->name_len : vb->name_len;
	int r = memcmp(va->name, vb->name, shorter);

	if (r != 0)
		return r;
	if (va->name_len != vb->name_len)
		return va->name_len < vb->name_len ? -1 : 1;
	return va->index < vb->index ? -1 : va->index > vb->index;
}

static bool is_same_name(const struct variable *a, const struct variable *b)
{
	return a->name_len == b->name_len && memcmp(a->name, b->name, a->name_len) == 0;
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t ua = *(const uint32_t *)a, ub = *(const uint32_t *)b;

	return ua < ub ? -1 : ua > ub;
}

static void format_hex(const unsigned char *bytes, size_t n, char *ret)
{
	for (size_t i = 0; i < n; i++)
		(void)snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

static int make_salt(char ret[SALT_DIGITS + 1])
{
	unsigned char bytes[SALT_BYTES];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return -errno;
	format_hex(bytes, sizeof(bytes), ret);
	return 0;
}

/*
 * SHA-256 of salt, name and value, each ended by a NUL; a name that is there more than once (which
 * one counts is up to the program) has all its values in it, in order.
 */
static void digest_variables(const char *salt, const struct variable *same, size_t n,
			     char ret[SHA256_DIGITS + 1])
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	SHA2_CTX context;

	SHA256Init(&context);
	SHA256Update(&context, (const uint8_t *)salt, SALT_DIGITS + 1);
	SHA256Update(&context, (const uint8_t *)same[0].name, same[0].name_len);
	SHA256Update(&context, (const uint8_t *)"", 1);
	for (size_t i = 0; i < n; i++)
		SHA256Update(&context, (const uint8_t *)same[i].value, strlen(same[i].value) + 1);
	SHA256Final(digest, &context);
	format_hex(digest, sizeof(digest), ret);
}

static size_t collect_variables(char *const *envp, struct variable *ret)
{
	size_t n = 0;

	for (size_t i = 0; envp[i]; i++) {
		const char *equals = strchr(envp[i], '=');

		/* no name, or no variable at all: getenv() cannot find it either */
		if (!equals || equals == envp[i] || is_ignored(envp[i], (size_t)(equals - envp[i])))
			continue;
		ret[n++] = (struct variable){
			.name = envp[i],
			.name_len = (size_t)(equals - envp[i]),
			.value = equals + 1,
			.index = i,
		};
	}
	return n;
}

static int take_env(char *const *envp, struct manifest_identity *identity)
{
	snap_cleanup_free struct variable *variables = NULL;
	size_t n = 0, same;

	while (envp[n])
		n++;
	if (n > MANIFEST_ITEMS_MAX)
		return -E2BIG;
	variables = calloc(n + 1, sizeof(*variables));
	identity->env = calloc(n + 1, sizeof(*identity->env));
	if (!variables || !identity->env)
		return -ENOMEM;
	n = collect_variables(envp, variables);
	qsort(variables, n, sizeof(*variables), compare_variables);

	for (size_t i = 0; i < n; i += same) {
		struct manifest_env *env = &identity->env[identity->n_env];

		for (same = 1; i + same < n; same++) {
			if (!is_same_name(&variables[i], &variables[i + same]))
				break;
		}
		env->name = strndup(variables[i].name, variables[i].name_len);
		if (!env->name)
			return -ENOMEM;
		identity->n_env++;
		digest_variables(identity->env_salt, &variables[i], same, env->digest);
	}
	return 0;
}

static int take_groups(struct manifest_identity *identity)
{
	int n = getgroups(0, NULL);

	if (n < 0)
		return -errno;
	identity->groups = calloc((size_t)n + 1, sizeof(*identity->groups));
	if (!identity->groups)
		return -ENOMEM;
	_Static_assert(sizeof(gid_t) == sizeof(uint32_t), "getgroups() fills the list itself");
	n = n > 0 ? getgroups(n, identity->groups) : 0;
	if (n < 0)
		return -errno;
	identity->n_groups = (size_t)n;
	qsort(identity->groups, identity->n_groups, sizeof(uint32_t), compare_u32);
	return 0;
}

static int take_command(char *const *argv, struct manifest_identity *identity)
{
	for (size_t i = 0; argv[i]; i++) {
		int r = i < MANIFEST_ITEMS_MAX ? string_list_add(&identity->argv, argv[i]) : -E2BIG;

		if (r < 0)
			return r;
	}
	identity->cwd = getcwd(NULL, 0);
	if (!identity->cwd)
		return -errno;
	/* "(unreachable)/x" below a root that does not hold it */
	return identity->cwd[0] == '/' ? 0 : -ENOENT;
}

int identity_take(char *const *argv, char *const *envp, const char *adapter, const char *salt,
		  struct manifest_identity *ret, struct snap_error *err)
{
	struct manifest_identity identity = {.uid = geteuid(), .gid = getegid()};
	const char *what = "salt";
	int r = -EINVAL;

	if (!salt) {
		r = make_salt(identity.env_salt);
	} else if (strlen(salt) == SALT_DIGITS) {
		memcpy(identity.env_salt, salt, SALT_DIGITS + 1);
		r = 0;
	}
	if (r == 0) {
		what = "working folder and command";
		r = take_command(argv, &identity);
	}
	if (r == 0) {
		what = "groups";
		r = take_groups(&identity);
	}
	if (r == 0) {
		what = "environment";
		r = take_env(envp, &identity);
	}
	if (r == 0) {
		what = "adapter's name";
		identity.adapter = strdup(adapter);
		r = identity.adapter ? 0 : -ENOMEM;
	}
	if (r < 0) {
		identity_done(&identity);
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot take the %s", what);
	}
	*ret = identity;
	return 0;
}

void identity_done(struct manifest_identity *identity)
{
	string_list_done(&identity->argv);
	free(identity->cwd);
	free(identity->groups);
	for (size_t i = 0; i < identity->n_env; i++)
		free(identity->env[i].name);
	free(identity->env);
	free(identity->adapter);
	*identity = (struct manifest_identity){0};
}
