/* SPDX-License-Identifier: Apache-2.0 */
#include "common/loop.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "common/fd.h"

int loop_init(struct loop *loop)
{
	*loop = (struct loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
	return loop->epoll_fd < 0 ? -errno : 0;
}

void loop_done(struct loop *loop)
{
	loop->epoll_fd = fd_close(loop->epoll_fd);
}

int loop_add(struct loop *loop, struct loop_source *source, int fd, uint32_t events, int priority,
	     loop_fn fn, void *owner)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	*source = (struct loop_source){
		.loop = loop, .fn = fn, .owner = owner, .fd = fd, .priority = priority};
	return 0;
}

int loop_change(struct loop_source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	if (!source->loop)
		return -ENOENT;
	if (epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0)
		return -errno;
	return 0;
}

void loop_remove(struct loop_source *source)
{
	struct loop *loop = source->loop;

	if (!loop)
		return;
	(void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	for (unsigned int i = 0; i < loop->n_ready; i++) {
		if (loop->ready[i] == source)
			loop->ready[i] = NULL;
	}
	source->loop = NULL;
}

/* insertion by priority: a turn has a handful of events */
static void ready_insert(struct loop *loop, struct loop_source *source)
{
	unsigned int at = loop->n_ready++;

	while (at > 0 && loop->ready[at - 1]->priority > source->priority) {
		loop->ready[at] = loop->ready[at - 1];
		at--;
	}
	loop->ready[at] = source;
}

int loop_run_once(struct loop *loop, int timeout_ms)
{
	struct epoll_event events[LOOP_SOURCES_MAX];
	int n = epoll_wait(loop->epoll_fd, events, LOOP_SOURCES_MAX, timeout_ms);
	int run = 0;

	if (n < 0)
		return errno == EINTR ? 0 : -errno;

	loop->n_ready = 0;
	for (int i = 0; i < n; i++) {
		struct loop_source *source = events[i].data.ptr;

		source->ready_events = events[i].events;
		ready_insert(loop, source);
	}
	for (unsigned int i = 0; i < loop->n_ready; i++) {
		struct loop_source *source = loop->ready[i];
		int r;

		if (!source)
			continue;
		r = source->fn(source, source->ready_events);
		if (r < 0)
			return r;
		run++;
	}
	loop->n_ready = 0;
	return run;
}
