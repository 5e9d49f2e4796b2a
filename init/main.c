/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "init/init.h"

int main(int argc, char **argv)
{
	static struct init_options options;
	struct snap_error err;

	if (init_options_parse(&options, argc, argv, &err) < 0) {
		(void)fprintf(stderr, "snapinit: %s\n", err.msg);
		return dialect_usage_status(options.dialect);
	}
	if (options.help) {
		init_options_print_help(stdout);
		return 0;
	}
	if (options.license) {
		init_options_print_license(stdout);
		return 0;
	}
	if (options.version) {
		if (options.dialect != DIALECT_NONE)
			dialect_print_version(options.dialect);
		else
			init_options_print_version(stdout);
		return 0;
	}
	return init_run(&options);
}
