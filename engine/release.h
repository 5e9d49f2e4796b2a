/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_ENGINE_RELEASE_H
#define SNAP_ENGINE_RELEASE_H

/*
 * Memory of an engine that means nothing in a snapshot: KV caches, weights that it has elsewhere.
 * It gives that back before a capture (release) and takes it again (reclaim) after a wake, and
 * after a capture that lets it serve on. Between the two it serves nobody.
 */

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "engine/engine.h"

/* is there anything to ask for? */
bool engine_can_release(const struct engine *engine);

/*
 * What the engine was not told at its start, without which nothing can be released; NULL: there is
 * no such thing.
 */
const char *engine_release_hint(const struct engine *engine);

/* outcome of engine_release(): it did not, and is as before; err says why */
#define ENGINE_NOT_RELEASED 1

/*
 * 0 released; ENGINE_NOT_RELEASED; negative errno: nobody knows whether it was, so reclaim. The
 * engine must be idle: SGLang ends itself when it is not.
 */
int engine_release(const struct engine *engine, uint64_t deadline_ns, struct snap_error *err);

/* only after a release: SGLang ends itself without one. 0 also where nothing is to be asked */
int engine_reclaim(const struct engine *engine, uint64_t deadline_ns, struct snap_error *err);

/*
 * After somebody died between release and reclaim: 0 when the engine has its memory, and it is
 * given it where that can be done without harm.
 */
int engine_reclaim_unsure(const struct engine *engine, uint64_t deadline_ns,
			  struct snap_error *err);

/* the config's requests, else the adapter's; engine_init() calls it */
int engine_init_release(struct engine *engine, const struct engine_config *config,
			struct snap_error *err);

#endif
