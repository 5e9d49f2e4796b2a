/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "init/init.h"

#define STATUS_USAGE 125

int main(int argc, char **argv)
{
	static struct init_options options;
	struct snap_error err;

	if (init_options_parse(&options, argc, argv, &err) < 0) {
		(void)fprintf(stderr, "snapinit: %s\n", err.msg);
		return STATUS_USAGE;
	}
	if (options.help) {
		init_options_print_help(stdout);
		return 0;
	}
	if (options.version) {
		init_options_print_version(stdout);
		return 0;
	}
	return init_run(&options);
}
