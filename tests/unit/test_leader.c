/* Whether a controller leads: by what its Lease was seen to do, and by no clock but ours. */
#include "test_support.h"

#include "base/clock.h"
#include "base/json_read.h"
#include "cmd/leader.h"

#define NOW (UINT64_C(1000) * NS_PER_S)

static void put(struct leader *leader, const char *holder, const char *renewed, uint64_t now)
{
	_cleanup_free_ char *text =
		xasprintf("{\"spec\":{\"holderIdentity\":\"%s\",\"renewTime\":\"%s\"}}", holder, renewed);
	_cleanup_json_ lease = cJSON_Parse(text);
	assert_non_null(lease);
	leader_put(leader, lease, now);
}

static void says(const struct leader *leader, uint64_t now, const char *wanted)
{
	_cleanup_free_ char *words = leader_words(leader, now);
	assert_string_equal(words, wanted);
}

static void test_not_known(void **state)
{
	struct leader leader = {0};
	(void)state;
	says(&leader, NOW, "whether one leads is not known");
	leader_unknown(&leader, "forbidden\u202e");
	says(&leader, NOW, "whether one leads is not known: forbidden?");
	/* What is not known is no finding, and no good news. */
	assert_false(leader_missing(&leader, NOW) || leader_late(&leader, NOW) || leader_renews(&leader, NOW));
	leader_free(&leader);
}

static void test_none(void **state)
{
	struct leader leader = {0};
	(void)state;
	leader_put(&leader, NULL, NOW);
	says(&leader, NOW, "none has ever led here");
	assert_true(leader_missing(&leader, NOW));
	put(&leader, "", "2026-11-22T11:03:20Z", NOW);
	says(&leader, NOW, "none leads now");
	assert_true(leader_missing(&leader, NOW));
	leader_free(&leader);
}

static void test_renewed(void **state)
{
	struct leader leader = {0};
	(void)state;
	put(&leader, "ctl-1", "2026-11-22T11:03:20Z", NOW);
	says(&leader, NOW + 4 * NS_PER_S, "ctl-1 leads");
	assert_false(leader_renews(&leader, NOW)); /* it was not seen to */
	says(&leader, NOW + 7 * NS_PER_S, "ctl-1 leads by its Lease, which was not seen to be renewed for 7 s");
	assert_true(leader_late(&leader, NOW + 7 * NS_PER_S));
	assert_false(leader_missing(&leader, NOW + 15 * NS_PER_S));
	assert_true(leader_missing(&leader, NOW + 16 * NS_PER_S));
	assert_false(leader_late(&leader, NOW + 16 * NS_PER_S));
	put(&leader, "ctl-1", "2026-11-22T11:03:20Z", NOW + 16 * NS_PER_S); /* the same one again */
	says(&leader, NOW + 16 * NS_PER_S,
	     "none leads now: ctl-1 has not renewed its Lease for 16 s, and what is shown is what it left");
	put(&leader, "ctl-2", "2026-11-22T11:03:37Z", NOW + 17 * NS_PER_S);
	assert_true(leader_renews(&leader, NOW + 18 * NS_PER_S));
	says(&leader, NOW + 18 * NS_PER_S, "ctl-2 leads");
	assert_false(leader_renews(&leader, NOW + 23 * NS_PER_S));
	leader_free(&leader);
}

int main(void)
{
	json_install_hooks();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_not_known),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_renewed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
