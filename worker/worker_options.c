/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/worker_options.h"

#include <errno.h>

#include "common/parse.h"
#include "snapshot/capture.h"

#define WARMUP_MAX 1000

#define AT(field)  offsetof(struct worker_options, field)
#define NONE(name) NULL /* PID 1 has looked there */

static const struct option_def worker_defs[] = {
	{"store", 0, OPTION_STRING, AT(store), NULL, "DIR", .help = "folder of snapshots"},
	{"generation", 0, OPTION_STRING, AT(generation), NULL, "NAME",
	 .help = "this one, not the current"},
	{"mode", 0, OPTION_STRING, AT(mode), NULL, "MODE", .help = "capture: first-boot or exit"},
	{"pid", 0, OPTION_UINT, AT(pid), NULL, "PID", .help = "root of the engine's tree"},
	{"timeout", 0, OPTION_DURATION, AT(timeout_ms), NULL, "TIME",
	 .help = "for the whole wake, or for a suspension"},
	{"cold-boot", 0, OPTION_DURATION, AT(cold_boot_ms), NULL, "TIME",
	 .help = "capture: how long it took, 0: not known; else it is timed"},
	{"ready-timeout", 0, OPTION_DURATION, AT(ready_timeout_ms), NULL, "TIME",
	 .help = "for readiness"},
	{"quiet-timeout", 0, OPTION_DURATION, AT(quiet_timeout_ms), NULL, "TIME",
	 .help = "for open connections to end"},
	{"dump-timeout", 0, OPTION_DURATION, AT(dump_timeout_ms), NULL, "TIME",
	 .help = "for CRIU's dump"},
	{"engine", 0, OPTION_STRING, AT(adapter), NULL, "NAME", .help = "adapter"},
	{"ready", 0, OPTION_STRING, AT(ready), NULL, "SPEC", .help = "when the engine is ready"},
	{"oracle", 0, OPTION_STRING, AT(oracle), NULL, "REQUEST", .help = "must be answered alike"},
	{"warmup", 0, OPTION_STRING, AT(warmup), NULL, "N", .help = "requests before a capture"},
	{"release", 0, OPTION_STRING, AT(release), NULL, "REQUEST", .help = "gives memory back"},
	{"reclaim", 0, OPTION_STRING, AT(reclaim), NULL, "REQUEST", .help = "takes it again"},
	{"check-oracle", 0, OPTION_FLAG, AT(check_oracle), "SNAPINIT_CHECK_ORACLE", NULL,
	 .help = "also when verified"},
	{"include", 0, OPTION_LIST, AT(includes), NULL, "PATH", .help = "carry this file"},
	{"accept", 0, OPTION_LIST, AT(accept), NULL, "FIELD", .help = "let this differ"},
	PAGE_OPTIONS_OF_CAPTURE(struct worker_options, pages, NONE, NONE),
	PAGE_OPTIONS_OF_WAKE(struct worker_options, pages, NONE, NONE),
	{"criu", 0, OPTION_STRING, AT(criu), NULL, "PATH", .help = "CRIU program"},
	{"log-level", 0, OPTION_STRING, AT(log_level), NULL, "LEVEL",
	 .help = "error, warn, info, debug"},
	{"log-format", 0, OPTION_STRING, AT(log_format), NULL, "FORMAT",
	 .help = "auto, text, json"},
	{0},
};

int worker_options_parse(int argc, char **argv, struct worker_options *ret, struct snap_error *err)
{
	int next, r;

	*ret = (struct worker_options){
		.cold_boot_ms = CAPTURE_TIMES_COLD_BOOT,
		.ready_timeout_ms = 600000,
		.quiet_timeout_ms = 10000,
		.dump_timeout_ms = 120000,
		.adapter = "auto",
		.log_level = "info",
		.log_format = "auto",
	};
	/* argv[1] is the job: options begin behind it */
	r = options_parse(worker_defs, ret, argc - 1, argv + 1, &next, err);
	if (r < 0)
		return r;
	ret->self = argv[0];
	ret->argv = argv + 1 + next;
	if (!ret->argv[0])
		return snap_fail_plain(err, SNAP_E_USAGE, EINVAL,
				       "the engine's command is missing");
	return 0;
}

int worker_options_engine(const struct worker_options *options, struct engine_config *ret,
			  struct snap_error *err)
{
	int warmup = -1;

	if (options->warmup && parse_int(options->warmup, 0, WARMUP_MAX, &warmup) < 0)
		return snap_fail_plain(err, SNAP_E_USAGE, EINVAL,
				       "--warmup '%s' is no number from 0 to %d", options->warmup,
				       WARMUP_MAX);
	*ret = (struct engine_config){
		.adapter = options->adapter,
		.ready = options->ready,
		.oracle = options->oracle,
		.warmup = warmup,
		.release = options->release,
		.reclaim = options->reclaim,
		.argv = options->argv,
	};
	return 0;
}
