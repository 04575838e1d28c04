/* What a rotation on one server makes of what its KMS plugins say. */
#include "test_support.h"

#include "base/clock.h"
#include "engine/cluster.h"
#include "engine/kms_look.h"
#include "engine/rotation_internal.h"
#include "net/loop.h"
#include "shape_support.h"

struct scene {
	struct rotation r;
	struct cluster cluster;
	struct journal journal;
	struct kms_look look;
};

static char *text(const char *words)
{
	return (char *)(uintptr_t)words;
}

/* Key 1 is named, the server has shown it, and history is over. */
static void open_scene(struct scene *s)
{
	*s = (struct scene){.journal.path = path_parse("secrets=kms:v,kms:r", "secrets=kms:v,kms:r")};
	s->r.journal = &s->journal;
	s->r.cluster = &s->cluster;
	assert_int_equal(loop_new(&s->cluster.loop, NULL), 0);
	s->look = (struct kms_look){.name = text("v"), .status.key_id = text("1")};
	rotation_kms_take(&s->r, &s->look, 1);
	s->r.kms_adopted_at = s->r.history_ended_at = s->r.settled_ended = 5 * NS_PER_S;
}

static void close_scene(struct scene *s)
{
	free(s->r.kms_why);
	loop_free(s->cluster.loop);
	strings_free(&s->journal.key_ids);
	path_free(s->journal.path);
}

/* The server may have adopted and written under anything meanwhile, though the key is the same afterwards. */
static void test_any_doubt(void **state)
{
	struct scene s;
	(void)state;
	open_scene(&s);
	rotation_kms_take(&s.r, &s.look, 1);
	assert_true(s.r.kms_adopted_at > 0);
	assert_true(s.r.history_ended_at > 0);
	s.look.flaw = text("healthz is sealed, not ok");
	rotation_kms_take(&s.r, &s.look, 1);
	assert_string_equal(s.r.kms_why, "kms/v: healthz is sealed, not ok");
	assert_int_equal(s.r.kms_adopted_at, 0);
	assert_int_equal(s.r.history_ended_at, 0);
	s.look.flaw = NULL;
	rotation_kms_take(&s.r, &s.look, 1);
	assert_null(s.r.kms_why);
	assert_int_equal(s.r.kms_adopted_at, 0);
	close_scene(&s);
}

static void test_another_key_and_back(void **state)
{
	struct scene s;
	(void)state;
	open_scene(&s);
	s.look.status.key_id = text("2");
	rotation_kms_take(&s.r, &s.look, 1);
	assert_int_equal(s.r.kms_adopted_at, 0);
	assert_int_equal(s.r.history_ended_at, 0);
	assert_int_equal(s.r.settled_ended, 0);
	assert_true(s.journal.kms_moved);
	s.r.kms_adopted_at = s.r.history_ended_at = 5 * NS_PER_S;
	s.look.status.key_id = text("1");
	rotation_kms_take(&s.r, &s.look, 1);
	assert_int_equal(s.r.kms_adopted_at, 0);
	assert_int_equal(s.r.history_ended_at, 0);
	close_scene(&s);
}

/* One that only reads is not what the server writes under. */
static void test_one_that_reads(void **state)
{
	struct scene s;
	(void)state;
	open_scene(&s);
	s.look = (struct kms_look){.name = text("r"), .flaw = text("gone")};
	rotation_kms_take(&s.r, &s.look, 1);
	assert_null(s.r.kms_why);
	assert_true(s.r.kms_adopted_at > 0);
	close_scene(&s);
}

/* What the last census finds under another key ID begins it again, too. */
static void test_it_came_and_went(void **state)
{
	struct scene s;
	struct census_group group = {
		.type = PROVIDER_KMS, .kms_version = 2, .name = text("v"), .key_id = text("0"), .values = 1};
	struct observation seen = {.settled_ended = 5, .census = {.begun = 6, .groups = &group, .group_count = 1}};
	(void)state;
	open_scene(&s);
	rotation_kms_take_history(&s.r, &seen);
	assert_int_equal(s.r.kms_adopted_at, 0);
	assert_int_equal(s.r.history_ended_at, 0);
	close_scene(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_doubt),
		cmocka_unit_test(test_another_key_and_back),
		cmocka_unit_test(test_one_that_reads),
		cmocka_unit_test(test_it_came_and_went),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
