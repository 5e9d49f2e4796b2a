/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_TESTS_UNIT_TASK_HOLDINGS_H
#define SNAP_TESTS_UNIT_TASK_HOLDINGS_H

/*
 * What a process can hold, one kind an entry, with what the audit must say of it and what CRIU
 * does with it. test_audit.c forks a child for each; audit_agrees.py asks CRIU, with the program
 * `hold`, which holds one kind and waits.
 */

#include <stdbool.h>
#include <stddef.h>

enum criu_answer {
	CRIU_DUMPS,   /* and the audit says nothing, or says it for the reason in `beyond` */
	CRIU_REFUSES, /* and the audit finds it */
};

struct holding {
	const char *name;
	int (*hold)(void); /* in the child; 0, or -errno when this machine does not offer it */
	enum criu_answer criu;
	enum criu_answer criu_unprivileged; /* setting B */
	const char *finding;		    /* part of the audit's text; NULL: none */
	const char *finding_unprivileged;
	bool transient;
	const char *beyond; /* why the audit finds what CRIU dumps */
};

/* NULL behind the last */
const struct holding *holding_at(size_t i);
const struct holding *holding_find(const char *name);

/* run it in a child that then waits; the child's pid, or -errno from hold() */
int holding_start(const struct holding *holding);
void holding_end(int pid);

#endif
