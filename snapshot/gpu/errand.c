/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/gpu/errand.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"

struct errand {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	errand_fn fn;
	bool done;
	bool dropped;
	int result;
	_Alignas(max_align_t) unsigned char arg[];
};

static void errand_free(struct errand *errand)
{
	(void)pthread_mutex_destroy(&errand->mutex);
	(void)pthread_cond_destroy(&errand->changed);
	free(errand);
}

static void *run(void *arg)
{
	struct errand *errand = arg;
	int result = errand->fn(errand->arg);
	bool dropped;

	(void)pthread_mutex_lock(&errand->mutex);
	errand->result = result;
	errand->done = true;
	dropped = errand->dropped;
	(void)pthread_cond_signal(&errand->changed);
	(void)pthread_mutex_unlock(&errand->mutex);
	if (dropped)
		errand_free(errand);
	return NULL;
}

static void init_condition(pthread_cond_t *condition)
{
	pthread_condattr_t attributes;

	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(condition, &attributes);
	(void)pthread_condattr_destroy(&attributes);
}

struct errand *errand_start(errand_fn fn, const void *arg, size_t size)
{
	struct errand *errand = calloc(1, sizeof(*errand) + size);
	pthread_t thread;
	int r;

	if (!errand)
		return NULL;
	errand->fn = fn;
	if (size > 0)
		memcpy(errand->arg, arg, size);
	(void)pthread_mutex_init(&errand->mutex, NULL);
	init_condition(&errand->changed);
	r = pthread_create(&thread, NULL, run, errand);
	if (r != 0) {
		errand_free(errand);
		errno = r;
		return NULL;
	}
	(void)pthread_detach(thread);
	return errand;
}

int errand_wait(struct errand *errand, uint64_t deadline_ns, int *ret)
{
	struct timespec until = {
		.tv_sec = (time_t)(deadline_ns / NS_PER_S),
		.tv_nsec = (long)(deadline_ns % NS_PER_S),
	};
	bool done;
	int r = 0;

	(void)pthread_mutex_lock(&errand->mutex);
	while (!errand->done && r == 0)
		r = pthread_cond_timedwait(&errand->changed, &errand->mutex, &until);
	done = errand->done;
	*ret = errand->result;
	(void)pthread_mutex_unlock(&errand->mutex);
	return done ? 0 : -ETIMEDOUT;
}

const void *errand_arg(const struct errand *errand)
{
	return errand->arg;
}

void errand_drop(struct errand *errand)
{
	bool done;

	if (!errand)
		return;
	(void)pthread_mutex_lock(&errand->mutex);
	done = errand->done;
	errand->dropped = true;
	(void)pthread_mutex_unlock(&errand->mutex);
	if (done)
		errand_free(errand);
}
