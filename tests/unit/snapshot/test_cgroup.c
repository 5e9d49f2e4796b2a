/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <unistd.h>

#include "snapshot/cgroup.h"

#include "tests/lib/test.h"
#include "tests/unit/snapshot/sandbox.h"

#define MIB 1048576ULL

/* a machine of 1024 MiB, 900 of them available, with control groups of a test's own */
struct machine {
	struct sandbox box;
	uint64_t limit;
	uint64_t available;
};

static void machine_init(struct machine *m, const char *groups, const char *mountinfo)
{
	sandbox_init(&m->box);
	sandbox_put_text(&m->box, "proc/meminfo",
			 "MemTotal:        1048576 kB\nMemFree:  1 kB\nMemAvailable:  921600 kB\n");
	sandbox_put_text(&m->box, "proc/self/cgroup", groups);
	sandbox_put_text(&m->box, "proc/self/mountinfo", mountinfo);
}

static void machine_measure(struct machine *m)
{
	assert_int_equal(cgroup_memory(m->box.fd, &m->limit, &m->available, NULL), 0);
	sandbox_done(&m->box);
}

#define V2_MOUNT                                \
	"22 1 0:20 / /proc rw - proc proc rw\n" \
	"30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNT                                                      \
	"31 22 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" \
	"32 22 0:28 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"

static void test_without_groups_the_machine_is_the_limit(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m, "", "");
	machine_measure(&m);
	assert_int_equal(m.limit, 1024 * MIB);
	assert_int_equal(m.available, 900 * MIB);
}

static void test_v2_smallest_limit_on_the_way_counts(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m, "0::/a/b\n", V2_MOUNT);
	sandbox_put_text(&m.box, "sys/fs/cgroup/a/b/memory.max", "max\n");
	sandbox_put_text(&m.box, "sys/fs/cgroup/a/memory.max", "536870912\n");
	sandbox_put_text(&m.box, "sys/fs/cgroup/a/memory.current", "104857600\n");
	sandbox_put_text(&m.box, "sys/fs/cgroup/a/memory.stat",
			 "anon 1\nactive_file 52428800\ninactive_file 20971520\n");
	machine_measure(&m);
	assert_int_equal(m.limit, 512 * MIB);
	assert_int_equal(m.available, (512 - 100 + 50 + 20) * MIB);
}

static void test_v2_in_a_cgroup_namespace(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m, "0::/\n", V2_MOUNT);
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory.max", "268435456\n");
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory.current", "1048576\n");
	machine_measure(&m);
	assert_int_equal(m.limit, 256 * MIB);
	assert_int_equal(m.available, 255 * MIB);
}

static void test_v1_path_is_taken_below_the_mounts_root(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m, "4:cpu:/x\n3:memory,hugetlb:/docker/abc/inner\n", V1_MOUNT);
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory/memory.limit_in_bytes", "104857600\n");
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory/memory.usage_in_bytes", "41943040\n");
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory/memory.stat",
			 "inactive_file 1\ntotal_inactive_file 10485760\n");
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory/inner/memory.limit_in_bytes",
			 "9223372036854771712\n");
	machine_measure(&m);
	assert_int_equal(m.limit, 100 * MIB);
	assert_int_equal(m.available, 70 * MIB);
}

/*
 * Recorded on kernel 6.18 in a group of 256 MiB: 100 MiB of a file read three times, 20 MiB of
 * another not yet written to the disk, 10 MiB on a tmpfs. (Lines that nobody looks at are left
 * out.)
 */
static const char v1_stat[] = "cache 136626176\nrss 204800\nshmem 10485760\nmapped_file 0\n"
			      "dirty 1\nwriteback 0\ninactive_file 1\nactive_file 1\n"
			      "hierarchical_memory_limit 268435456\n"
			      "total_cache 136626176\ntotal_rss 204800\ntotal_shmem 10485760\n"
			      "total_mapped_file 0\ntotal_dirty 21000192\ntotal_writeback 0\n"
			      "total_inactive_anon 10674176\ntotal_active_anon 4096\n"
			      "total_inactive_file 21106688\ntotal_active_file 105033728\n"
			      "total_unevictable 0\n";
/* the same figures under version 2's names; half of what was dirty is on its way to the disk */
static const char v2_stat[] = "anon 204800\nfile 136626176\nkernel 1048576\nshmem 10485760\n"
			      "file_mapped 0\nfile_dirty 10500096\nfile_writeback 10500096\n"
			      "inactive_anon 10674176\nactive_anon 4096\n"
			      "inactive_file 21106688\nactive_file 105033728\nunevictable 0\n"
			      "slab_reclaimable 524288\n";

#define RECORDED_LIMIT 268435456ULL
#define RECORDED_USAGE 140943360ULL
#define RECORDED_FREE  (RECORDED_LIMIT - RECORDED_USAGE + 21106688 + 105033728 - 21000192)

static void test_v1_cache_of_files_is_free_but_what_is_dirty(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m, "3:memory:/docker/abc\n", V1_MOUNT);
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n");
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory/memory.usage_in_bytes", "140943360\n");
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory/memory.stat", v1_stat);
	machine_measure(&m);
	assert_int_equal(m.available, RECORDED_FREE);
}

static void test_v2_cache_of_files_is_free_but_what_is_dirty(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m, "0::/\n", V2_MOUNT);
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory.max", "268435456\n");
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory.current", "140943360\n");
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory.stat", v2_stat);
	machine_measure(&m);
	assert_int_equal(m.available, RECORDED_FREE);
}

static void test_more_dirty_than_cache_is_no_room(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m, "0::/\n", V2_MOUNT);
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory.max", "268435456\n");
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory.current", "268435456\n");
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory.stat",
			 "active_file 4096\ninactive_file 4096\nfile_dirty 16384\n");
	machine_measure(&m);
	assert_int_equal(m.available, 0);
}

static void test_group_outside_the_mount_counts_as_its_root(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m, "3:memory:/../../elsewhere\n", V1_MOUNT);
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory/memory.limit_in_bytes", "104857600\n");
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory/memory.usage_in_bytes", "0\n");
	machine_measure(&m);
	assert_int_equal(m.limit, 100 * MIB);
}

static void test_usage_above_the_limit_leaves_nothing(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m, "0::/\n", V2_MOUNT);
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory.max", "1048576\n");
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory.current", "2097152\n");
	machine_measure(&m);
	assert_int_equal(m.available, 0);
}

static void test_limit_above_the_machine_is_none(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m, "0::/\n", V2_MOUNT);
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory.max", "107374182400\n");
	sandbox_put_text(&m.box, "sys/fs/cgroup/memory.current", "0\n");
	machine_measure(&m);
	assert_int_equal(m.limit, 1024 * MIB);
	assert_int_equal(m.available, 900 * MIB);
}

static void test_broken_files_are_passed_over(void **state)
{
	struct machine m;

	(void)state;
	machine_init(&m, "junk\n::\n0::/a\n", "x\n - \n1 2 - cgroup2\n1 2 3 4 5 - cgroup2 a b\n");
	sandbox_put_text(&m.box, "sys/fs/cgroup/a/memory.max", "1\n");
	machine_measure(&m);
	assert_int_equal(m.limit, 1024 * MIB);
}

static void test_this_machine_has_memory(void **state)
{
	int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t limit = 0, available = 0;

	(void)state;
	assert_int_equal(cgroup_memory(root, &limit, &available, NULL), 0);
	assert_true(limit > 64 * MIB);
	assert_true(available > 0 && available <= limit);
	(void)close(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_groups_the_machine_is_the_limit),
		cmocka_unit_test(test_v2_smallest_limit_on_the_way_counts),
		cmocka_unit_test(test_v2_in_a_cgroup_namespace),
		cmocka_unit_test(test_v1_path_is_taken_below_the_mounts_root),
		cmocka_unit_test(test_v1_cache_of_files_is_free_but_what_is_dirty),
		cmocka_unit_test(test_v2_cache_of_files_is_free_but_what_is_dirty),
		cmocka_unit_test(test_more_dirty_than_cache_is_no_room),
		cmocka_unit_test(test_group_outside_the_mount_counts_as_its_root),
		cmocka_unit_test(test_usage_above_the_limit_leaves_nothing),
		cmocka_unit_test(test_limit_above_the_machine_is_none),
		cmocka_unit_test(test_broken_files_are_passed_over),
		cmocka_unit_test(test_this_machine_has_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
