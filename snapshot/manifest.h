/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_MANIFEST_H
#define SNAP_SNAPSHOT_MANIFEST_H

/*
 * manifest.json: what a snapshot is, for whom it was made, and on what host. The only description
 * a wake trusts, so everything is bounded and checked when read (docs/formats/manifest.md).
 * A manifest owns all its memory; manifest_done() gives it back.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

#define MANIFEST_NAME	    "manifest.json"
#define MANIFEST_SCHEMA	    1
#define MANIFEST_SIZE_MAX   (16U << 20)	 /* bytes of JSON: 50,000 files of 200 characters fit */
#define MANIFEST_MEMORY_MAX (80U << 20)	 /* bytes that its values take when read */
#define MANIFEST_ITEMS_MAX  65536U	 /* entries in any one list */
#define MANIFEST_STRING_MAX (128U << 10) /* one argument: MAX_ARG_STRLEN */
#define MANIFEST_ANSWER_MAX (1U << 20)	 /* the oracle's answer: engine_ask_oracle()'s limit */

struct string_list {
	char **items;
	size_t n;
};

/* a variable's value is only known as a salted SHA-256, in hex */
struct manifest_env {
	char *name;
	char digest[65];
};

/* a regular file that the tree has mapped, open, or asked to be carried along */
struct manifest_file {
	char *path;
	uint64_t size; /* bytes */
	int64_t mtime_ns;
	uint32_t mode; /* permission bits */
	uint32_t uid;
	uint32_t gid;
	bool mapped;
	bool append;  /* open only with O_APPEND: may have grown */
	char *stored; /* name below files/, NULL: must be there already */
};

/* a folder that a stored file or a bound unix socket needs */
struct manifest_dir {
	char *path;
	uint32_t mode;
	uint32_t uid;
	uint32_t gid;
};

struct manifest_listener {
	char *protocol; /* "tcp", "tcp6", "udp", "udp6" */
	char *address;	/* numeric */
	uint32_t port;
};

/* a file of the generation folder (criu/, files/) */
struct manifest_image {
	char *name; /* "criu/pages-1.img" */
	uint64_t size;
	char digest[33]; /* XXH3-128 in hex: accidental damage, not trust */
};

/* XSAVE components that a process had to ask the kernel for: Intel's AMX (task/xcomp.h) */
struct manifest_xcomp {
	int32_t pid;
	uint64_t permissions; /* a bit for each component */
};

/* how a thread has divided its AMX tiles */
struct manifest_tile_config {
	int32_t tid;
	char config[129]; /* the 64 bytes of LDTILECFG in hex */
};

/* a private mapping that CRIU may restore with another protection, or unlocked (task/inherited.h)
 */
struct manifest_mapping {
	int32_t pid;
	uint64_t start;
	uint64_t end;
	uint32_t prot; /* PROT_* */
	uint32_t lock; /* enum manifest_lock */
};

enum manifest_lock {
	MANIFEST_LOCK_NONE = 0,
	MANIFEST_LOCK_WHOLE = 1,    /* mlock */
	MANIFEST_LOCK_ON_FAULT = 2, /* MLOCK_ONFAULT: what is there, and what will be */
};

/* a GPU of the capturing host, in PCI order */
struct manifest_gpu_device {
	char uuid[33];	       /* hex */
	char *name;	       /* "NVIDIA H100 80GB HBM3" */
	uint32_t compute;      /* 90: compute capability 9.0 */
	uint64_t memory_bytes; /* that it has */
	uint64_t used_bytes;   /* what the checkpoint has freed of it; 0: not known */
};

/* a process that uses CUDA */
struct manifest_gpu_process {
	int32_t pid;
	int32_t restore_tid;	/* the driver's own thread in it */
	uint64_t staging_bytes; /* of memory that the driver's checkpoint has added to it */
};

/* memory that the driver's checkpoint has added: copies of device memory, mostly */
struct manifest_gpu_staging {
	int32_t pid;
	uint64_t start;
	uint64_t end;
};

/* what a wake needs to know about the tree's GPUs; all zero: it uses none */
struct manifest_gpu {
	char *mode;		/* "staging": the driver's copies in process memory; "storage": in
				   device.map and device.dat; NULL: no GPU */
	char *driver;		/* "580.159.04"; "": NVML was not to be had */
	char *library;		/* the driver in user space that the tree has mapped */
	char *library_build_id; /* hex */
	uint32_t cuda;		/* the driver's version of CUDA: 13000 */
	struct manifest_gpu_device *devices;
	size_t n_devices;
	struct manifest_gpu_process *processes; /* ascending by pid */
	size_t n_processes;
	struct manifest_gpu_staging *staging; /* ascending by pid and start */
	size_t n_staging;
};

struct manifest_identity {
	struct string_list argv;
	char *cwd;
	uint32_t uid;
	uint32_t gid;
	uint32_t *groups; /* sorted */
	size_t n_groups;
	char env_salt[33];
	struct manifest_env *env; /* sorted by name */
	size_t n_env;
	char *adapter;
};

/* what this machine and these rights are; also made afresh by fingerprint_take() */
struct fingerprint {
	char *machine;		      /* uname -m */
	char *kernel_release;	      /* uname -r */
	char *kernel_version;	      /* uname -v */
	struct string_list cpu_flags; /* sorted */
	char *criu_version;	      /* "4.2.1" */
	char *criu_build_id;	      /* hex */
	uint64_t caps_effective;
	uint64_t caps_bounding;
	bool no_new_privs;
	bool seccomp_filter; /* on the worker, that is on the container */
	char *setting;	     /* "A", "B", "C", "none" */
	uint64_t cpus;
	uint64_t memory_limit;	   /* bytes, UINT64_MAX: none */
	uint64_t memory_available; /* bytes under the limit; not stored */
	uint64_t nofile;	   /* soft limit */
	uint64_t page_size;
};

struct manifest {
	uint32_t schema;
	char *snapinit_version;
	char *generation; /* "gen-1" */
	char *created;	  /* RFC 3339, UTC */
	bool verified;
	bool unprivileged; /* CRIU's mode */
	struct manifest_identity identity;
	struct fingerprint host;
	struct manifest_file *files;
	size_t n_files;
	struct manifest_dir *dirs;
	size_t n_dirs;
	struct manifest_listener *listeners;
	size_t n_listeners;
	struct manifest_image *images;
	size_t n_images;
	int32_t root_pid;
	int32_t *pids; /* every pid, tid, pgrp and session of the tree, sorted */
	size_t n_pids;
	struct manifest_xcomp *xcomp; /* ascending by pid, NULL: none, mostly */
	size_t n_xcomp;
	struct manifest_tile_config *tile_configs; /* ascending by tid; NULL: none */
	size_t n_tile_configs;
	struct manifest_mapping *mappings; /* ascending by pid and start; NULL: none, mostly */
	size_t n_mappings;
	struct manifest_gpu gpu;
	bool tree_has_filter; /* some task had a seccomp filter */
	uint64_t resident_bytes;
	uint64_t snapshot_bytes;
	uint64_t pages_bytes; /* memory that pages.map and pages.dat hold; 0: all is in criu/ */
	char *stdio[3]; /* CRIU's names of the engine's pipes: "pipe:[4711]"; NULL: not ours */
	char *ready;	/* readiness spec used */
	char *oracle_request; /* engine_request_format(), NULL: none */
	char *oracle_answer;
	char *reclaim_request; /* makes the woken engine take memory again that it gave back; NULL
				*/
	uint64_t cold_boot_ms; /* start of the engine to ready, of whichever it was woken from; 0:
				  not known */
	uint64_t capture_ms;
	uint64_t frozen_ms; /* how long the engine stood still */
};

bool manifest_has_device_files(const struct manifest_gpu *gpu); /* mode is "storage" */

void manifest_init(struct manifest *m);
void manifest_done(struct manifest *m); /* idempotent */
void fingerprint_done(struct fingerprint *f);
void string_list_done(struct string_list *list);

/* dup of s appended; 0 or -ENOMEM */
int string_list_add(struct string_list *list, const char *s);

/* read and validate `manifest.json` below gen_fd; SNAP_E_CORRUPT or SNAP_E_INCOMPATIBLE (schema) */
int manifest_load(int gen_fd, struct manifest *ret, struct snap_error *err);

/* the same from memory: what the fuzz target calls */
int manifest_parse(const char *text, size_t size, struct manifest *ret, struct snap_error *err);

/*
 * write `manifest.json` (0600), synced and complete; what manifest_load() would refuse (text that
 * is no UTF-8 too) is not written: SNAP_E_INTERNAL naming the field
 */
int manifest_save(int gen_fd, const struct manifest *m, struct snap_error *err);

#endif
