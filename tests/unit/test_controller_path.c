/* What keeps a controller from a path that it has found. */
#include "test_support.h"

#include "engine/controller_internal.h"

static char secrets[] = "secrets", lost[] = "lost", other[] = "other", aescbc[] = "aescbc";

static const struct {
	const char *what;
	enum provider_type type;
	char *name; /* that values are under */
	uint64_t values;
	bool foreign;
	int file_step, written_step;
	bool back;
	bool refused;
} rows[] = {
	{"values are under the name of the key that was made", PROVIDER_AESCBC, lost, 7, false, 0, STEP_NONE, false,
	 true},
	{"no value is", PROVIDER_AESCBC, lost, 0, false, 0, STEP_NONE, false, false},
	{"of another provider", PROVIDER_SECRETBOX, lost, 7, false, 0, STEP_NONE, false, false},
	{"of another name", PROVIDER_AESCBC, other, 7, false, 0, STEP_NONE, false, false},
	{"somebody else's", PROVIDER_AESCBC, lost, 7, true, 0, STEP_NONE, false, false},
	{"a server has it", PROVIDER_AESCBC, lost, 7, false, 1, STEP_NONE, false, false},
	{"a server had it", PROVIDER_AESCBC, lost, 7, false, 0, 2, false, false},
	{"it is given up", PROVIDER_AESCBC, lost, 7, false, 0, STEP_NONE, true, false},
};

static void row(void **state)
{
	const __typeof__(rows[0]) *it = *state;
	struct census_group group = {
		.resource = secrets, .type = it->type, .name = it->name, .values = it->values, .foreign = it->foreign};
	struct server_observation servers[2] = {
		{.written_step = STEP_NONE, .loaded_step = 0},
		{.file_step = it->file_step, .written_step = it->written_step, .loaded_step = 0}};
	struct controller c = {
		.rotation = key_rotation_new("r"),
		.seen = {.servers = servers, .server_count = 2, .census = {.groups = &group, .group_count = 1}}};
	struct key_rotation_status *status = &c.rotation->status;
	status->new_keys = xcalloc(1, sizeof(*status->new_keys));
	status->new_keys[status->new_key_count++] =
		(struct object_key){.provider = xstrdup(aescbc), .name = xstrdup(lost)};
	status->back_from = it->back ? 1 : STEP_NONE;
	_cleanup_free_ char *why = controller_lost_key(&c);
	assert_int_equal(why != NULL, it->refused);
	if (it->refused)
		assert_true(text_starts(why, "7 values are under aescbc/lost already, "));
	key_rotation_free(c.rotation);
}

int main(void)
{
	return RUN_ROWS(row, rows);
}
