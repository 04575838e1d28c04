/* Which agents a controller gives orders to, by their versions. */
#include "test_support.h"

#include "engine/program_version.h"

static void rows(void **state)
{
	static const struct {
		const char *controller, *agent;
		bool fits;
	} each[] = {
		{"0.1.0", "0.1.0", true},    {"0.3.1", "0.3.0", true},   {"0.3.0", "0.3.7", true},
		{"0.3.0", "0.2.9", true},    {"0.3.0", "0.1.9", false},  {"0.3.0", "0.4.0", false},
		{"0.3.0", "1.3.0", false},   {"1.0.0", "0.9.0", false},  {"1.0.0", "0.0.0", false},
		{"0.10.0", "0.9.0", true},   {"0.10.0", "0.1.0", false}, {"0.3.0", NULL, false},
		{"0.3.0", "", false},        {"0.3.0", "0.3", false},    {"0.3.0", "0.3.0-x", false},
		{"0.3.0", "0.3.0 ", false},  {"0.3.0", "v0.3.0", false}, {"0.0.0", "0.18446744073709551615.0", false},
		{"0.3.0", "0.3.0.1", false}, {"0.3.0", "0.3.", false},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(each); i++)
		if (program_version_fits(each[i].controller, each[i].agent) != each[i].fits)
			fail_msg("controller %s, agent %s", each[i].controller, each[i].agent ? each[i].agent : "none");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {cmocka_unit_test(rows)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
