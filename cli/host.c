/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/host.h"

#include <stdio.h>

#include "common/clock.h"
#include "common/fd.h"
#include "snapshot/criu/session.h"
#include "snapshot/fingerprint.h"

#define CRIU_ANSWER_MS 10000

static int ask_criu(const char *criu, struct host *host)
{
	struct criu_session session = CRIU_SESSION_NONE;
	const struct criu_start start = {.n_inherit = 0};
	int r = criu_program_find(criu, &host->program, &host->criu_err);

	if (r < 0)
		return r;
	r = criu_session_open(&host->program, &start, &session, &host->criu_err);
	if (r == 0)
		r = criu_session_ask_version(&session, &host->criu_err);
	if (r == 0)
		r = criu_session_version(&session, deadline_after_ms(CRIU_ANSWER_MS),
					 &host->criu_err);
	if (r == 0)
		(void)snprintf(host->criu_version, sizeof(host->criu_version), "%s",
			       session.version);
	criu_session_close(&session);
	return r;
}

int host_take(const char *criu, struct host *ret, struct snap_error *err)
{
	int r;

	*ret = (struct host){.has_criu = false};
	ret->has_criu = ask_criu(criu, ret) == 0;
	r = fingerprint_take(ret->criu_version, ret->program.build_id, &ret->fingerprint, err);
	if (r < 0)
		host_done(ret);
	return r;
}

void host_done(struct host *host)
{
	fingerprint_done(&host->fingerprint);
}
