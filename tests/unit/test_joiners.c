#include "test_support.h"
#include "base/clock.h"
#include "engine/joiners.h"

#define S NS_PER_S

static char one[] = "cp-1", two[] = "apiserver-abc";
static char *names[] = {one, two};
static const struct strings known = {names, 2};

static void take(struct joiners *j, const char *text, uint64_t now)
{
	_cleanup_json_ list = cJSON_Parse(text);
	joiners_take(j, list, now);
}

#define LEASE(NAME, HOST)                 \
	"{\"metadata\":{\"name\":\"" NAME \
	"\",\"resourceVersion\":\"7\",\"labels\":{\"kubernetes.io/hostname\":\"" HOST "\"}},\"spec\":{}}"

static void test_joiners(void **state)
{
	struct joiners j = {0};
	(void)state;
	joiners_begin(&j, NULL, &known, 100 * S);
	take(&j, "{\"items\":[" LEASE("apiserver-1", "cp-1") "," LEASE("apiserver-abc", "") "]}", 105 * S);
	assert_null(j.joined);
	/* What is no whole list is no answer. */
	assert_false(joiners_silent(&j, 105 * S + JOINERS_SILENCE - 1));
	take(&j,
	     "{\"items\":[]"
	     ",\"metadata\":{\"continue\":\"x\"}}",
	     130 * S);
	take(&j, "{}", 130 * S);
	take(&j, "{\"items\":[{}]}", 130 * S);
	assert_true(joiners_silent(&j, 105 * S + JOINERS_SILENCE));
	take(&j, "{\"items\":[]}", 140 * S);
	assert_false(joiners_silent(&j, 140 * S));
	assert_null(j.joined);
	take(&j,
	     "{\"items\":[" LEASE("apiserver-1", "cp-1") "," LEASE("apiserver-3", "cp-3") "," LEASE("apiserver-4",
												    "cp-4") "]}",
	     150 * S);
	assert_string_equal(j.joined, "cp-3");
	/* Its Lease is gone again: it was there. */
	take(&j, "{\"items\":[]}", 155 * S);
	assert_string_equal(j.joined, "cp-3");
	joiners_begin(&j, NULL, &known, 160 * S);
	assert_null(j.joined);
	joiners_end(&j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_joiners),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
