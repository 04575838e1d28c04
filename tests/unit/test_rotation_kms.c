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
	free(s->r.kms_untold);
	strings_free(&s->r.kms_named_ids);
	strings_free(&s->r.kms_named_by);
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
	s.look.flaw = text("it has no key ID");
	s.look.status = (struct kms_status){text("v2"), text("ok"), text("")};
	rotation_kms_take(&s.r, &s.look, 1);
	assert_string_equal(s.r.kms_why, "kms/v: it has no key ID");
	assert_int_equal(s.r.kms_adopted_at, 0);
	assert_int_equal(s.r.history_ended_at, 0);
	s.look.status.key_id = text("1");
	s.look.flaw = NULL;
	rotation_kms_take(&s.r, &s.look, 1);
	assert_null(s.r.kms_why);
	assert_int_equal(s.r.kms_adopted_at, 0);
	close_scene(&s);
}

/* Two plugins at one socket: it would begin again and again, and is told. */
static void test_no_key_stays(void **state)
{
	struct scene s;
	(void)state;
	open_scene(&s);
	for (unsigned i = 0; i < KMS_CHANGES; i++) {
		assert_null(s.r.kms_why);
		s.look.status.key_id = text(i % 2 ? "1" : "2");
		rotation_kms_take(&s.r, &s.look, 1);
	}
	assert_non_null(strstr(s.r.kms_why, "the KMS names another key ID again and again"));
	close_scene(&s);
}

#define ARN "arn:aws:kms:eu-1:111:key/mrk-1"
#define NOT_KNOWN(id, by)                                                                                             \
	"whether key ID " id " is still needed is not known: the key of kms/" by " may be the same by another name, " \
	"which only its KMS knows (aws kms describe-key --key-id alias/NAME tells what an alias leads to)"

/* That no value is under it is not all. */
static const struct {
	const char *name;
	const char *id;       /* that was left */
	uint64_t others;      /* values by another provider, */
	const char *other_id; /* and under which key ID those are */
	const char *by;       /* a plugin that only reads names this; NULL: there is none */
	const char *words;
} left_rows[] = {
	{"for nothing", "1", 0, "1", NULL,
	 "this cluster's etcd needs kms/v, key ID 1, for nothing at revision 7; backups made before then, and other "
	 "clusters "
	 "that use it, still do"},
	{"named by one that only reads", "1", 0, "1", "1",
	 "key ID 1 is still needed: kms/r of the configuration names it, and an API server asks for that at its start"},
	{"values of another provider", "1", 3, "1", "1", "key ID 1 is still needed: values are under it as kms/w"},
	{"values under another key", ARN, 3, "arn:aws:kms:eu-1:111:key/mrk-2", "2",
	 "this cluster's etcd needs kms/v, key ID " ARN ", for nothing at revision 7; backups made before then, and "
	 "other "
	 "clusters that use it, still do"},
	/* A key of AWS has several names. */
	{"values under the same by another name", ARN, 3, "mrk-1", NULL,
	 "key ID " ARN " is still needed: values are under it as kms/w"},
	{"named by another name by one that only reads", ARN, 0, "", "mrk-1",
	 "key ID " ARN " is still needed: kms/r of the configuration names it, and an API server asks for that at its "
	 "start"},
	{"values under an alias", ARN, 3, "alias/app", NULL, NOT_KNOWN(ARN, "w")},
	{"an alias was left", "alias/app", 3, ARN, NULL, NOT_KNOWN("alias/app", "w")},
	{"an alias is named by one that only reads", ARN, 0, "", "alias/app", NOT_KNOWN(ARN, "r")},
	{"nothing is under the alias any more", ARN, 0, "alias/app", NULL,
	 "this cluster's etcd needs kms/v, key ID " ARN ", for nothing at revision 7; backups made before then, and "
	 "other "
	 "clusters that use it, still do"},
};

static void left(void **state)
{
	const __typeof__(left_rows[0]) *row = *state;
	struct rotation_key_id keys[] = {{text("v"), text(row->id), 0}, {text("w"), text(row->other_id), row->others}};
	const struct rotation_report report = {
		.started = text("now"), .finished = text("then"), .key_ids = keys, .key_id_count = 2, .revision = 7};
	struct kms_named named = {0};
	if (row->by)
		kms_named_take(&named, row->id, "r", row->by);
	_cleanup_free_ char *words = rotation_kms_left_text(&report, &(struct strings){0}, &keys[0], &named);
	assert_string_equal(words, row->words);
}

/* The server tells what its plugin named to it. */
static void open_told(struct scene *s)
{
	static struct server_observation server = {.answering = true};
	open_scene(s);
	s->r.seen.servers = &server;
	s->r.seen.server_count = 1;
	server.answering = true;
	s->r.kms_adopted_at = 0;
	s->r.quiet = quiet_start(s->cluster.loop, NULL, 0, NULL, 0, "/registry/x");
	s->r.look.named_others = xstrdup("v sha256:00 1");
	assert_null(rotation_kms_canary(&s->r, true));
	assert_true(s->r.kms_adopted_at > 0);
	s->r.history_ended_at = 5 * NS_PER_S;
}

static void lack(struct scene *s, const char *flaw)
{
	s->look.silent = flaw != NULL;
	s->look.flaw = text(flaw);
	rotation_kms_take(&s->r, &s->look, 1);
	rotation_kms_compare(&s->r);
}

static void tell(struct scene *s, const char *others)
{
	free(s->r.look.named_others);
	s->r.look.named_others = xstrdup_or_null(others);
	rotation_kms_compare(&s->r);
}

static void close_told(struct scene *s)
{
	free(s->r.look.named_others);
	free(s->r.kms_named);
	quiet_stop(s->r.quiet);
	close_scene(s);
}

/* An answer that is lacking is waited for, where the server tells that it was told of no other key meanwhile. */
static void test_an_answer_lacks(void **state)
{
	struct scene s;
	(void)state;
	open_told(&s);
	uint64_t adopted = s.r.kms_adopted_at;
	lack(&s, "timed out");
	assert_string_equal(s.r.kms_why, "kms/v: timed out");
	assert_int_equal(s.r.kms_adopted_at, adopted);
	assert_int_equal(s.r.history_ended_at, 5 * NS_PER_S);
	lack(&s, NULL);
	assert_null(s.r.kms_why);
	assert_int_equal(s.r.kms_adopted_at, adopted);
	assert_int_equal(s.r.history_ended_at, 5 * NS_PER_S);
	assert_false(s.r.kms_lacked);
	/* It says that it is not well, with that key. */
	s.look.status = (struct kms_status){text("v2"), text("sealed"), text("1")};
	s.look.flaw = text("healthz is sealed, not ok");
	rotation_kms_take(&s.r, &s.look, 1);
	rotation_kms_compare(&s.r);
	assert_int_equal(s.r.kms_adopted_at, adopted);
	assert_non_null(s.r.kms_why);
	lack(&s, NULL);
	/* While the server does not answer either nothing is known, and nothing goes on. */
	lack(&s, "timed out");
	s.r.seen.servers[0].answering = false;
	free(steal(s.r.look.named_others));
	lack(&s, NULL);
	assert_int_equal(s.r.kms_adopted_at, adopted);
	assert_true(s.r.kms_lacked);
	s.r.seen.servers[0].answering = true;
	tell(&s, "v sha256:00 1");
	assert_int_equal(s.r.kms_adopted_at, adopted);
	assert_false(s.r.kms_lacked);
	/* With another key it is another answer. */
	s.look.status.key_id = text("2");
	s.look.flaw = text("healthz is sealed, not ok");
	rotation_kms_take(&s.r, &s.look, 1);
	assert_int_equal(s.r.kms_adopted_at, 0);
	close_told(&s);
}

static void test_the_server_was_told_of_another_key(void **state)
{
	struct scene s;
	(void)state;
	open_told(&s);
	lack(&s, "timed out");
	lack(&s, NULL);
	tell(&s, "v sha256:00 2");
	assert_int_equal(s.r.kms_adopted_at, 0);
	assert_int_equal(s.r.history_ended_at, 0);
	close_told(&s);
	/* It does not tell, now or when it showed the key. */
	open_told(&s);
	lack(&s, "timed out");
	free(steal(s.r.look.named_others));
	assert_true(s.r.kms_adopted_at > 0);
	lack(&s, NULL);
	assert_int_equal(s.r.kms_adopted_at, 0);
	close_told(&s);
	open_told(&s);
	free(steal(s.r.kms_named));
	lack(&s, "timed out");
	assert_true(s.r.kms_adopted_at > 0);
	lack(&s, NULL);
	assert_int_equal(s.r.kms_adopted_at, 0);
	close_told(&s);
	/* Nothing lacked. */
	open_told(&s);
	tell(&s, NULL);
	assert_true(s.r.kms_adopted_at > 0);
	tell(&s, "v sha256:00 2");
	assert_int_equal(s.r.kms_adopted_at, 0);
	close_told(&s);
}

/* Each time that a canary does not do it is told why, so that the next one is not written at once. */
static void test_a_canary_does_not_do(void **state)
{
	struct scene s;
	(void)state;
	open_told(&s);
	s.r.kms_hurried = loop_now(s.cluster.loop);
	s.r.look.may_adopt_another = true;
	assert_string_equal(rotation_kms_canary(&s.r, true),
			    "the API server was told of another key ID last, which it may be about to adopt");
	assert_int_equal(s.r.kms_adopted_at, 0);
	s.r.look.may_adopt_another = false;
	assert_string_equal(rotation_kms_canary(&s.r, false),
			    "the API server has not adopted the key ID that its KMS plugin names");
	assert_null(rotation_kms_canary(&s.r, true));
	assert_true(s.r.kms_adopted_at > 0);
	close_told(&s);
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

/* What any plugin names, one that only reads included, is needed; and where one does not say, nobody knows. */
static void test_what_is_left(void **state)
{
	struct scene s;
	struct census census = {.complete = true};
	struct rotation_key_id ids[] = {
		{text("v"), text("1"), 0}, {text("v"), text("0"), 0}, {text("r"), text("9"), 0}};
	struct rotation_report report = {.key_ids = ids, .key_id_count = ELEMENTS(ids), .finished = text("now")};
	struct kms_look looks[] = {{.name = text("v"), .status.key_id = text("1")},
				   {.name = text("r"), .status.key_id = text("0")}};
	(void)state;
	open_scene(&s);
	s.r.census = &census;
	s.r.report = &report;
	rotation_kms_take(&s.r, looks, ELEMENTS(looks));
	rotation_kms_tell_left(&s.r);
	assert_string_equal(report.named_key_id, "1");
	assert_int_equal(report.remains.count, 0);
	looks[1].status.key_id = text("2");
	rotation_kms_take(&s.r, looks, ELEMENTS(looks));
	free(steal(report.named_key_id));
	rotation_kms_tell_left(&s.r);
	assert_int_equal(report.remains.count, 1); /* nothing is written with r */
	assert_non_null(strstr(report.remains.items[0], "needs kms/v, key ID 0, for nothing"));
	strings_free(&report.remains);
	looks[1].flaw = text("timed out");
	rotation_kms_take(&s.r, looks, ELEMENTS(looks));
	free(steal(report.named_key_id));
	rotation_kms_tell_left(&s.r);
	assert_int_equal(report.remains.count, 1);
	assert_string_equal(report.remains.items[0],
			    "which key IDs nothing needs any more is not known: kms/r: timed out");
	strings_free(&report.remains);
	free(report.named_key_id);
	close_scene(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_doubt),
		cmocka_unit_test(test_no_key_stays),
		cmocka_unit_test(test_another_key_and_back),
		cmocka_unit_test(test_one_that_reads),
		cmocka_unit_test(test_it_came_and_went),
		cmocka_unit_test(test_an_answer_lacks),
		cmocka_unit_test(test_the_server_was_told_of_another_key),
		cmocka_unit_test(test_what_is_left),
		cmocka_unit_test(test_a_canary_does_not_do),
	};
	return RUN_ROWS(left, left_rows) + cmocka_run_group_tests(tests, NULL, NULL);
}
