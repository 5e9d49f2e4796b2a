/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/worker_proto.h"
#include "init/notify.h"

#include "tests/fuzz/fuzz_target.h"

/*
 * What PID 1 reads from a worker that may be broken, and from an engine that says it is ready.
 * Accepted messages have a known type and an end of their text.
 */

static void read_worker(const uint8_t *data, size_t size)
{
	static int ends[2] = {-1, -1};
	struct worker_msg msg;
	int r;

	if (ends[0] < 0)
		FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
	if (size == 0 || send(ends[0], data, size, MSG_DONTWAIT) != (ssize_t)size)
		return; /* an empty one is the end, a larger one the kernel does not take */
	r = worker_msg_recv(ends[1], &msg, MSG_DONTWAIT);
	FUZZ_CHECK(r == 0 || r == -EPROTO);
	if (r < 0)
		return;
	FUZZ_CHECK(size == sizeof(msg) && msg.type < WORKER_MSG_MAX_);
	FUZZ_CHECK(memchr(msg.text, '\0', sizeof(msg.text)));
	FUZZ_CHECK(strcmp(worker_msg_name(msg.type), "unknown") != 0);
}

/* the input is put into the fields of a message, for few inputs are one */
static void read_fields(const uint8_t *data, size_t size)
{
	struct worker_msg msg = {.version = WORKER_PROTO_VERSION};

	memcpy((char *)&msg + sizeof(msg.version), data,
	       size < sizeof(msg) - sizeof(msg.version) ? size : sizeof(msg) - sizeof(msg.version));
	read_worker((const uint8_t *)&msg, sizeof(msg));
}

static void read_notification(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	FUZZ_CHECK(text);
	memcpy(text, data, size);
	text[size] = '\0';
	if (notify_has_line(text, "READY=1"))
		FUZZ_CHECK(strstr(text, "READY=1"));
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_worker(data, size);
	read_fields(data, size);
	read_notification(data, size);
	return 0;
}
