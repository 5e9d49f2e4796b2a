/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_WORKER_PROTO_H
#define SNAP_COMMON_WORKER_PROTO_H

/*
 * What PID 1 and snapworker say to each other: fixed-size messages over one SEQPACKET pair. The
 * worker's end is descriptor WORKER_FD_SOCKET; what does not fit a small struct (paths, the
 * engine's argv) is on the worker's command line. docs/formats/worker-protocol.md is normative.
 *
 * wake     BUDGET? → (REFUSED | FAILED | (GPU ⇒ GO)? → RESTORED ⇒ RESUME → READY → DONE)
 * capture  READY → FREEZE ⇒ GO → (KEEP ⇒ KEPT)? → THAWED → (DONE | FAILED); FAILED may come at any
 *          point
 * watch    READY | FAILED
 * probe    DONE | FAILED
 * recover  DONE | FAILED
 * suspend  DONE | FAILED
 * (→ worker to PID 1, ⇒ PID 1 to worker)
 */

#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

#define WORKER_PROTO_VERSION 1U

/* descriptors of a started worker */
#define WORKER_FD_SOCKET 3
#define WORKER_FD_STDIN \
	4 /* the engine's ends of PID 1's pipes; capture: O_PATH, only to name them */
#define WORKER_FD_STDOUT 5
#define WORKER_FD_STDERR 6
#define WORKER_FD_JOURNAL                                                                        \
	7 /* memfd of PID 1's. wake: what is put into the file system (init/journal.h); capture: \
	   * what is done to the stopped tree, for recover (snapshot/recovery.h) */

/*
 * What KEEP brings and a recover gets: where the engine's memory lies, whatever becomes of the
 * store meanwhile. The folder is locked against removal (snapshot/generation.h).
 */
enum worker_kept {
	WORKER_KEPT_FOLDER,
	WORKER_KEPT_MAP,
	WORKER_KEPT_DATA,
	WORKER_KEPT_MAX_,
};

#define WORKER_FD_KEPT 8 /* recover: the first of them; none is open where nothing was kept */
#define WORKER_FD_LAST (WORKER_FD_KEPT + WORKER_KEPT_MAX_ - 1)

enum worker_msg_type {
	WORKER_MSG_NONE,
	/* worker to PID 1 */
	WORKER_MSG_BUDGET,  /* value: milliseconds the whole attempt may last from now on */
	WORKER_MSG_REFUSED, /* the gate says no; text holds every reason */
	WORKER_MSG_GPU, /* the driver is about to open GPUs for the restored tree; value: bytes of
			 * device memory; wait for GO */
	WORKER_MSG_RESTORED, /* pid: root of the restored tree, stopped, our child; wait for RESUME
			      */
	WORKER_MSG_READY,    /* the engine answers; value: milliseconds since the job began */
	WORKER_MSG_FREEZE,   /* the tree is about to be stopped; value: 0, or it uses a GPU, and at
			      * most so many bytes of device memory (1: not known); wait for GO */
	WORKER_MSG_KEEP,     /* memory is about to be dropped; with descriptors; wait for KEPT */
	WORKER_MSG_THAWED,   /* the tree runs again, or is ended if the job said so (value 1) */
	WORKER_MSG_DONE,     /* job finished; text: generation */
	WORKER_MSG_FAILED,   /* job failed; code and text; value 1: the tree may be harmed; wake:
			      * it may have GPUs open */
	/* PID 1 to worker */
	WORKER_MSG_RESUME,	      /* pidfd is held: let the tree run */
	WORKER_MSG_GO,		      /* signals are held back: stop the tree; GPU is known */
	WORKER_MSG_KEPT,	      /* the descriptors will outlive the worker: drop it */
	WORKER_MSG_ENGINE_SAYS_READY, /* newline on the notify descriptor or READY=1 */
	WORKER_MSG_MAX_,
};

struct worker_msg {
	uint32_t version;
	uint32_t type; /* enum worker_msg_type */
	uint32_t id;   /* an answer repeats the id of the message it answers */
	uint32_t code; /* enum snap_code */
	int32_t pid;
	uint32_t pad;
	uint64_t value;
	char text[1024]; /* NUL-terminated */
};

/* 0 or -errno; fills in version; never blocks when flags has MSG_DONTWAIT */
int worker_msg_send(int fd, struct worker_msg *msg, int flags);

/*
 * 0 and *ret; 1 at end of stream; -EAGAIN; -EPROTO for a message of another size, version or an
 * unknown type, or text without end. What a peer has sent before its end is given first, read or
 * not what it was sent.
 */
int worker_msg_recv(int fd, struct worker_msg *ret, int flags);

/*
 * The same with descriptors beside it. A receiver that finds any is their owner; of a message that
 * is no KEEP with all of them it keeps none (-EPROTO).
 */
int worker_msg_send_kept(int fd, struct worker_msg *msg, const int kept[WORKER_KEPT_MAX_]);
int worker_msg_recv_kept(int fd, struct worker_msg *ret, int flags, int ret_kept[WORKER_KEPT_MAX_]);

const char *worker_msg_name(uint32_t type);

#endif
