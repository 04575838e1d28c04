#include "test_support.h"

#include <stdio.h>

#include "engine/snapshot_seen.h"

/* Far more than the first places, so that it grows many times; each one twice. */
static void each_path_is_new_once(void **state)
{
	(void)state;
	struct snapshot_seen *seen = snapshot_seen_new();
	char path[64];
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < 300000; i++) {
			int len = snprintf(path, sizeof(path), "/registry/secrets/default/%u", i);
			assert_int_equal(snapshot_seen_add(seen, path, (size_t)len), round == 0);
			if (i % 3 == 0)
				assert_false(snapshot_seen_add(seen, path, (size_t)len));
		}
	snapshot_seen_free(seen);
	snapshot_seen_free(NULL);
}

static void all_bytes_count(void **state)
{
	(void)state;
	struct snapshot_seen *seen = snapshot_seen_new();
	assert_true(snapshot_seen_add(seen, "a\0b", 3));
	assert_true(snapshot_seen_add(seen, "a\0c", 3));
	assert_true(snapshot_seen_add(seen, "a", 1));
	assert_true(snapshot_seen_add(seen, "a\0", 2));
	assert_false(snapshot_seen_add(seen, "a\0b", 3));
	snapshot_seen_free(seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_path_is_new_once),
		cmocka_unit_test(all_bytes_count),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
