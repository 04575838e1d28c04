/* Between which censuses values came under a key. */
#include "test_support.h"

#include "engine/key_seen.h"

#define MOST 4

struct row {
	const char *name;
	struct {
		uint64_t at;
		const char *key;
		bool part; /* of what there was, for want of room */
	} censuses[MOST];
	bool seen;
	uint64_t first, before;
};
static const struct row rows[] = {
	{"no census", {{0}}, false, 0, 0},
	{"none that saw it", {{100, "aescbc/other", false}}, false, 0, 0},
	{"the first of all", {{100, "aescbc/key1", false}, {200, "aescbc/key1", false}}, true, 100, 0},
	{"the last of those before",
	 {{100, "a/b", false}, {300, "aescbc/key1", false}, {200, "a/b", false}},
	 true,
	 300,
	 200},
	{"it was gone meanwhile",
	 {{100, "aescbc/key1", false}, {200, "a/b", false}, {300, "aescbc/key1", false}},
	 true,
	 100,
	 0},
	{"a part shows no absence",
	 {{100, "a/b", false}, {200, "a/b", true}, {300, "aescbc/key1", false}},
	 true,
	 300,
	 100},
};

static void between(void **state)
{
	const struct row *row = *state;
	struct key_census censuses[MOST] = {0};
	struct key_seen seen = {.items = censuses};
	uint64_t first = 0, before = 0;
	for (size_t i = 0; i < MOST && row->censuses[i].at; i++) {
		censuses[i].at = row->censuses[i].at;
		censuses[i].whole = !row->censuses[i].part;
		strings_add(&censuses[i].keys, row->censuses[i].key);
		seen.count++;
	}
	assert_int_equal(key_seen_since(&seen, "aescbc/key1", &first, &before), row->seen);
	assert_int_equal(first, row->first);
	assert_int_equal(before, row->before);
	for (size_t i = 0; i < MOST; i++)
		strings_free(&censuses[i].keys);
}

int main(void)
{
	return RUN_ROWS(between, rows);
}
