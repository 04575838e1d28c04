#include "test_support.h"
#include "client/kube/refusals.h"

#define S UINT64_C(1000000000)

static void test_refusals(void **state)
{
	(void)state;
	struct refusals r = {0};
	assert_false(refusals_may_pass(&r, 0, 1 * S));
	assert_true(refusals_may_pass(&r, -ERROR_AUTH, 2 * S));
	assert_true(refusals_may_pass(&r, -ERROR_AUTH, 2 * S + REFUSALS_LONG - 1));
	assert_false(refusals_may_pass(&r, -ERROR_AUTH, 2 * S + REFUSALS_LONG));
	assert_false(refusals_may_pass(&r, -ERROR_AUTH, 90 * S));
	/* Any other answer begins anew. */
	assert_false(refusals_may_pass(&r, -ERROR_NETWORK, 91 * S));
	assert_true(refusals_may_pass(&r, -ERROR_AUTH, 92 * S));
	assert_false(refusals_may_pass(&r, 0, 93 * S));
	assert_true(refusals_may_pass(&r, -ERROR_AUTH, 94 * S + REFUSALS_LONG));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
