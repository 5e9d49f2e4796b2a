/* SPDX-License-Identifier: Apache-2.0 */
#include "body.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fixtures/cuda_library.h"
#include "tests/fixtures/cuda_work.h"

#include "walk.h"

#define MIB	   ((size_t)1 << 20)
#define AREAS_MAX  2
#define SMALL_SIZE (2 * MIB)

struct body {
	size_t n_areas;
	CUdeviceptr areas[AREAS_MAX];
	CUcontext contexts[AREAS_MAX]; /* of each area */
	size_t size;		       /* of each area */
	uint8_t *host;		       /* counts in the sum too */
	size_t host_size;
	CUstream stream;
	CUgraphExec graph; /* copies area 0 to area 1 */
	CUevent event;
};

static void fill_host(uint64_t *words, size_t n, uint64_t first)
{
	for (size_t i = 0; i < n; i++)
		words[i] = BODY_MARK | (first + i);
}

static void fill(CUdeviceptr memory, size_t size)
{
	const size_t n = MIB / sizeof(uint64_t);
	uint64_t *block = malloc(MIB);

	if (!block)
		fixture_die(1, "malloc");
	for (size_t at = 0; at < size; at += MIB) {
		fill_host(block, n, at / sizeof(*block));
		CUDA_CALL(cuMemcpyHtoD_v2, memory + at, block, MIB);
	}
	/* what is left here must not be taken for a copy of the device's */
	memset(block, 0, MIB);
	free(block);
}

static void add_area(struct body *body, CUdeviceptr memory)
{
	CUDA_CALL(cuCtxGetCurrent, &body->contexts[body->n_areas]);
	body->areas[body->n_areas++] = memory;
	fill(memory, body->size);
}

static void add_plain(struct body *body)
{
	CUdeviceptr memory = 0;

	CUDA_CALL(cuMemAlloc_v2, &memory, body->size);
	add_area(body, memory);
}

static void make_host_alloc(struct body *body)
{
	void *memory = NULL;

	body->host_size = body->size;
	CUDA_CALL(cuMemHostAlloc, &memory, body->host_size, 0);
	body->host = memory;
	fill_host(memory, body->host_size / sizeof(uint64_t), 0);
	body->size = SMALL_SIZE;
	add_plain(body);
}

static void make_host_register(struct body *body)
{
	void *memory =
		mmap(NULL, body->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		fixture_die(1, "mmap");
	body->host = memory;
	body->host_size = body->size;
	fill_host(memory, body->host_size / sizeof(uint64_t), 0);
	CUDA_CALL(cuMemHostRegister_v2, memory, body->host_size, 0);
	body->size = SMALL_SIZE;
	add_plain(body);
}

static void make_vmm(struct body *body)
{
	const CUmemLocation here = {.type = CU_MEM_LOCATION_TYPE_DEVICE};
	const CUmemAllocationProp properties = {.type = CU_MEM_ALLOCATION_TYPE_PINNED,
						.location = here};
	const CUmemAccessDesc access = {.location = here,
					.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
	CUmemGenericAllocationHandle handle;
	CUdeviceptr memory;
	size_t granule = 1;

	CUDA_CALL(cuMemGetAllocationGranularity, &granule, &properties, 0);
	body->size = (body->size + granule - 1) / granule * granule;
	CUDA_CALL(cuMemAddressReserve, &memory, body->size, 0, 0, 0);
	CUDA_CALL(cuMemCreate, &handle, body->size, &properties, 0);
	CUDA_CALL(cuMemMap, memory, body->size, 0, handle, 0);
	CUDA_CALL(cuMemRelease, handle);
	CUDA_CALL(cuMemSetAccess, memory, body->size, &access, 1);
	add_area(body, memory);
}

static void make_vmm_reserved(struct body *body)
{
	CUdeviceptr memory;

	CUDA_CALL(cuMemAddressReserve, &memory, body->size, 0, 0, 0);
	body->size = SMALL_SIZE;
	add_plain(body);
}

static void make_pool(struct body *body)
{
	CUdeviceptr memory;

	CUDA_CALL(cuStreamCreate, &body->stream, CU_STREAM_NON_BLOCKING);
	CUDA_CALL(cuMemAllocAsync, &memory, body->size, body->stream);
	CUDA_CALL(cuStreamSynchronize, body->stream);
	add_area(body, memory);
}

static void make_stream(struct body *body)
{
	body->size /= 2;
	add_plain(body);
	add_plain(body);
	CUDA_CALL(cuStreamCreate, &body->stream, CU_STREAM_NON_BLOCKING);
	CUDA_CALL(cuEventCreate, &body->event, 0);
	CUDA_CALL(cuEventRecord, body->event, body->stream);
	CUDA_CALL(cuMemcpyDtoDAsync_v2, body->areas[1], body->areas[0], body->size, body->stream);
}

static void make_graph(struct body *body)
{
	CUgraph graph;

	body->size /= 2;
	add_plain(body);
	add_plain(body);
	CUDA_CALL(cuStreamCreate, &body->stream, CU_STREAM_NON_BLOCKING);
	CUDA_CALL(cuStreamBeginCapture_v2, body->stream, 1);
	CUDA_CALL(cuMemcpyDtoDAsync_v2, body->areas[1], body->areas[0], body->size, body->stream);
	CUDA_CALL(cuStreamEndCapture, body->stream, &graph);
	CUDA_CALL(cuGraphInstantiateWithFlags, &body->graph, graph, 0);
	CUDA_CALL(cuGraphDestroy, graph);
}

static void make_contexts(struct body *body)
{
	CUcontext second;

	body->size /= 2;
	add_plain(body);
	CUDA_CALL(cuCtxCreate_v2, &second, 0, 0);
	add_plain(body);
}

static void make_managed(struct body *body)
{
	CUdeviceptr memory;

	/* little: never near what is free; the fake lets nobody write there */
	CUDA_CALL(cuMemAllocManaged, &memory, 16 * MIB, 1);
	(void)CUDA_TRY(cuMemsetD8_v2, memory, 1, 16 * MIB);
	body->size = SMALL_SIZE;
	add_plain(body);
}

static const struct {
	const char *kind;
	void (*make)(struct body *body);
} makers[] = {
	{"plain", add_plain},	   {"host-alloc", make_host_alloc},
	{"vmm", make_vmm},	   {"host-register", make_host_register},
	{"pool", make_pool},	   {"vmm-reserved", make_vmm_reserved},
	{"stream", make_stream},   {"graph", make_graph},
	{"managed", make_managed}, {"contexts", make_contexts},
};

const char *const body_kinds[] = {"host-alloc", "host-register", "vmm",	     "vmm-reserved", "pool",
				  "stream",	"graph",	 "contexts", "managed",	     NULL};

/* work of streams and graphs is done again: what they are must have come back too */
static void do_work(struct body *body)
{
	float ms;

	if (!body->graph && !body->event)
		return;
	CUDA_CALL(cuMemsetD8_v2, body->areas[1], 0, body->size);
	if (body->graph)
		CUDA_CALL(cuGraphLaunch, body->graph, body->stream);
	else
		CUDA_CALL(cuMemcpyDtoDAsync_v2, body->areas[1], body->areas[0], body->size,
			  body->stream);
	if (body->event) {
		CUevent now;

		CUDA_CALL(cuEventCreate, &now, 0);
		CUDA_CALL(cuEventRecord, now, body->stream);
		CUDA_CALL(cuEventSynchronize, now);
		CUDA_CALL(cuEventElapsedTime, &ms, body->event, now);
		CUDA_CALL(cuEventDestroy_v2, now);
	}
	CUDA_CALL(cuStreamSynchronize, body->stream);
}

/* by words: gigabytes are summed, and that is not what is measured */
static uint64_t add_sum(uint64_t sum, const void *memory, size_t size)
{
	const uint64_t *words = memory;

	for (size_t i = 0; i < size / sizeof(*words); i++) {
		sum = (sum ^ words[i]) * 0x100000001b3ULL;
		sum ^= sum >> 32;
	}
	return sum;
}

static uint64_t sum_of(struct body *body)
{
	uint64_t sum = body->host ? add_sum(1, body->host, body->host_size) : 1;
	void *block = malloc(MIB);

	if (!block)
		fixture_die(1, "malloc");
	do_work(body);
	for (size_t i = 0; i < body->n_areas; i++) {
		CUDA_CALL(cuCtxSetCurrent, body->contexts[i]);
		for (size_t at = 0; at < body->size; at += MIB) {
			CUDA_CALL(cuMemcpyDtoH_v2, block, body->areas[i] + at, MIB);
			sum = add_sum(sum, block, MIB);
		}
		if (cuda_work_has_kernels() && i == 0)
			sum ^= cuda_work_checksum(body->areas[i], body->size);
	}
	memset(block, 0, MIB);
	free(block);
	return sum;
}

static void say_self(void)
{
	struct walk walk;

	(void)walk_through(getpid(), WALK_LOCK, WALK_UNLOCK, &walk);
	printf("%d %d %d %d\n", walk.codes[0], walk.codes[1], walk.codes[2], walk.codes[3]);
}

static void answer(struct body *body, const char *word)
{
	if (strcmp(word, "sum\n") == 0) {
		printf("%016llx\n", (unsigned long long)sum_of(body));
	} else if (strncmp(word, "spin ", 5) == 0 && cuda_work_has_kernels()) {
		cuda_work_spin(strtoul(word + 5, NULL, 10));
		puts("spins");
	} else if (strcmp(word, "self\n") == 0) {
		say_self();
	} else {
		puts("no");
	}
	(void)fflush(stdout);
}

static void make(struct body *body, const char *kind)
{
	const char *cubin = getenv("GPU_RUN_CUBIN");

	CUDA_CALL(cuInit, 0);
	CUDA_CALL(cuCtxCreate_v2, &body->contexts[0], 0, 0);
	if (cubin && *cubin)
		cuda_work_load(cubin);
	for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]) && body->size; i++) {
		if (strcmp(makers[i].kind, kind) == 0)
			makers[i].make(body);
	}
	if (body->size && !body->n_areas)
		fixture_die(2, "body: unknown kind %s", kind);
}

int body_run(const char *kind, size_t mib)
{
	struct body body = {.size = mib * MIB};
	CUcontext context;
	char word[64];

	/* a process without CUDA is asked after too */
	if (strcmp(kind, "none") != 0)
		make(&body, kind);
	puts("ready");
	(void)fflush(stdout);
	while (fgets(word, sizeof(word), stdin))
		answer(&body, word);
	/* locked or checkpointed, this waits for whoever ends it (gpu_probe end) */
	if (strcmp(kind, "none") != 0 && CUDA_TRY(cuCtxGetCurrent, &context) == CUDA_SUCCESS)
		(void)CUDA_TRY(cuCtxDestroy_v2, context);
	return 0;
}
