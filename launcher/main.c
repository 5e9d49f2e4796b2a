/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * TOP/bin/NAME and TOP/libexec/snapinit/NAME of the relocatable bundle. The programs themselves
 * are dynamic, and the image they run in may have another C library or none, so each is started
 * by the bundle's own ld.so with the bundle's own libraries, wherever TOP lies:
 *
 *   TOP/lib/ld-linux-x86-64.so.2 --library-path TOP/lib --argv0 NAME TOP/lib/snapinit/NAME ARGS
 *
 * A program that ld.so runs has no file capabilities; those of this file are handed down as
 * ambient ones, which CRIU inherits as well.
 */

#define LDSO	     "ld-linux-x86-64.so.2"
#define EXIT_OURS    125
#define FIXED_WORDS  6
#define TOP_SUFFIX_1 "/bin/"
#define TOP_SUFFIX_2 "/libexec/snapinit/"

static int fail(const char *name, const char *what, const char *path, int errnum)
{
	(void)fprintf(stderr, "%s: %s '%s': %s\n", name, what, path, strerror(errnum));
	return EXIT_OURS;
}

/* cut "/bin/NAME" or "/libexec/snapinit/NAME" off; the name, NULL for another place */
static const char *split_path(char *path)
{
	static const char *const suffixes[] = {TOP_SUFFIX_2, TOP_SUFFIX_1};
	const char *name = strrchr(path, '/');

	if (!name)
		return NULL;
	name++;
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		size_t size = strlen(suffixes[i]);
		char *suffix = path + (name - path) - size;

		if (name - path >= (ptrdiff_t)size && strncmp(suffix, suffixes[i], size) == 0) {
			*suffix = '\0';
			return name;
		}
	}
	return NULL;
}

/* what ld.so would obey; the kernel does not tell it any more that it has to be careful */
static void drop_loader_variables(void)
{
	char **to = environ;

	for (char **from = environ; *from; from++) {
		if (strncmp(*from, "LD_", 3) != 0 && strncmp(*from, "GLIBC_TUNABLES=", 15) != 0)
			*to++ = *from;
	}
	*to = NULL;
}

/*
 * Make ambient what CRIU needs of our permitted capabilities. Nothing is there under
 * no_new_privs, and ambient ones may be forbidden: the program below finds out what it lacks.
 */
static void hand_capabilities_down(void)
{
	static const unsigned int wanted[] = {CAP_CHECKPOINT_RESTORE, CAP_SETPCAP, CAP_SYS_PTRACE};
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	bool has_any = false;

	if (syscall(SYS_capget, &header, data) < 0)
		return;
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		struct __user_cap_data_struct *word = &data[wanted[i] / 32];
		uint32_t bit = UINT32_C(1) << (wanted[i] % 32);

		if (word->permitted & bit) {
			word->inheritable |= bit;
			has_any = true;
		}
	}
	if (!has_any || syscall(SYS_capset, &header, data) < 0)
		return;
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, wanted[i], 0, 0);
	drop_loader_variables();
}

static int launch(const char *top, const char *name, int argc, char **argv)
{
	char ldso[PATH_MAX], lib[PATH_MAX], program[PATH_MAX];
	const char *fixed[FIXED_WORDS] = {ldso,	     "--library-path",		lib,
					  "--argv0", argc > 0 ? argv[0] : name, program};
	const char **words;

	if (snprintf(lib, sizeof(lib), "%s/lib", top) >= (int)sizeof(lib) ||
	    snprintf(ldso, sizeof(ldso), "%s/lib/" LDSO, top) >= (int)sizeof(ldso) ||
	    snprintf(program, sizeof(program), "%s/lib/snapinit/%s", top, name) >=
		    (int)sizeof(program))
		return fail(name, "cannot start from", top, ENAMETOOLONG);
	/* ld.so would say it less clearly, with an exit status that means something else */
	if (access(program, X_OK) < 0)
		return fail(name, "the bundle is incomplete, cannot execute", program, errno);

	words = calloc((size_t)argc + FIXED_WORDS + 1, sizeof(*words));
	if (!words)
		return fail(name, "cannot start", name, ENOMEM);
	memcpy(words, fixed, sizeof(fixed));
	for (int i = 1; i < argc; i++)
		words[FIXED_WORDS + i - 1] = argv[i];
	(void)execve(ldso, (char *const *)(uintptr_t)words, environ);
	free(words);
	return fail(name, "the bundle is incomplete, cannot execute", ldso, errno);
}

int main(int argc, char **argv)
{
	char top[PATH_MAX], shown[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", top, sizeof(top) - 1);
	const char *called = argc > 0 ? argv[0] : "launcher", *name;

	if (n < 0)
		return fail(called, "cannot find out where the bundle is, no", "/proc/self/exe",
			    errno);
	top[n] = '\0';
	memcpy(shown, top, (size_t)n + 1);
	name = split_path(top);
	if (!name) {
		(void)fprintf(stderr,
			      "%s: '%s' is not where a bundle has it: TOP" TOP_SUFFIX_1
			      "NAME or TOP" TOP_SUFFIX_2 "NAME\n",
			      called, shown);
		return EXIT_OURS;
	}
	if (getuid() != 0)
		hand_capabilities_down();
	return launch(top, name, argc, argv);
}
