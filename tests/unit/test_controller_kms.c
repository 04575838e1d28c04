/* What a controller makes of the KMS plugins beside two servers, and of the key IDs that there were. */
#include "base/clock.h"
#include "kube_server.h"

#include "engine/controller_internal.h"
#include "engine/kms_follow.h"
#include "shape_support.h"

#define S UINT64_C(1000000000)

static const struct controller_options no_options = {0};

struct scene {
	struct controller c;
	struct key_rotation *rotation;
	struct key_server servers[2];
	struct key_server_kms kms[2];
	struct fleet_server listed[2];
	struct directed directed[2];
	struct census_group groups[2];
	struct apiserver_named named[2][2]; /* by the plugin of each: key 1, and another one */
	struct apiserver_metrics metrics[2];
};

static char *text(const char *words)
{
	return (char *)(uintptr_t)words;
}

static void open_scene(struct scene *s, const char *from, const char *to, bool follows)
{
	static const char *const names[] = {"a", "b"};
	*s = (struct scene){.rotation = key_rotation_new("r")};
	s->rotation->spec.follow_kms = follows;
	s->rotation->status.started_at = xstrdup("2026-11-22T11:03:20Z");
	for (size_t i = 0; i < 2; i++) {
		s->kms[i] = (struct key_server_kms){.name = text("v"),
						    .endpoint = text("unix:///kms.sock"),
						    .healthz = text("ok"),
						    .key_id = text("1")};
		s->servers[i] = (struct key_server){.meta.name = text(names[i]),
						    .status = {.kms = &s->kms[i], .kms_count = 1, .beat = 1}};
		s->listed[i] = (struct fleet_server){.last = &s->servers[i], .looked_at = clock_monotonic()};
		s->directed[i] = (struct directed){.name = text(names[i]), .canary_step = STEP_NONE};
	}
	s->c = (struct controller){.options = &no_options,
				   .rotation = s->rotation,
				   .fleet = {.servers = s->listed, .count = 2},
				   .servers = s->directed,
				   .server_count = 2};
	s->c.path = path_parse(from, to);
	controller_kms_take_path(&s->c);
}

static void close_scene(struct scene *s)
{
	free(s->c.seen.kms_why);
	free(s->c.trouble);
	free(s->c.noted);
	free(s->c.kms_again);
	path_free(s->c.path);
	key_rotation_free(s->rotation);
}

static void observe(struct scene *s)
{
	free(steal(s->c.seen.kms_why));
	controller_kms_observe(&s->c);
}

static void both_name(struct scene *s, const char *key_id)
{
	s->kms[0].key_id = s->kms[1].key_id = text(key_id);
	observe(s);
}

static void find(struct scene *s, const char *first, uint64_t values, const char *second, uint64_t more)
{
	const char *const ids[] = {first, second};
	const uint64_t counts[] = {values, more};
	for (size_t i = 0; i < 2; i++)
		s->groups[i] = (struct census_group){.resource = text("secrets"),
						     .type = PROVIDER_KMS,
						     .kms_version = 2,
						     .name = text("v"),
						     .key_id = text(ids[i]),
						     .values = counts[i]};
	s->c.census.seen =
		(struct census_observation){.complete = true, .revision = 7, .groups = s->groups, .group_count = 2};
	observe(s);
}

static const char *key_id_of(const struct scene *s)
{
	return kms_key_id(s->c.path->steps[0], "v");
}

static void canaries_are(struct scene *s, int a, int b)
{
	s->directed[0].canary_step = a;
	s->directed[1].canary_step = b;
	controller_kms_take_canaries(&s->c);
}

/* Until all plugins name one key nothing is current, and what was proved of another one counts for nothing. */
static void test_the_key_of_all(void **state)
{
	struct scene s;
	(void)state;
	open_scene(&s, "secrets=kms:v,-", "secrets=kms:v,-", true);
	assert_true(path_follows_kms(s.c.path));
	assert_string_equal(key_id_of(&s), "");
	s.kms[1].key_id = text("0");
	observe(&s);
	assert_string_equal(s.c.seen.kms_why, "kms/v encrypts with key ID 1 on a, and with 0 on b");
	assert_string_equal(key_id_of(&s), "");
	both_name(&s, "1");
	assert_null(s.c.seen.kms_why);
	assert_string_equal(key_id_of(&s), "1");
	assert_true(s.c.kms_news);
	assert_false(s.c.seen.kms_moved);
	canaries_are(&s, 0, STEP_NONE);
	assert_int_equal(s.c.kms_adopted_at, 0);
	canaries_are(&s, 0, 0);
	uint64_t adopted = s.c.kms_adopted_at;
	assert_true(adopted > 0);
	canaries_are(&s, 0, 0);
	assert_int_equal(s.c.kms_adopted_at, adopted);
	s.c.settled_began = s.c.settled_ended = s.c.reads_checked_at = 5 * S;
	s.c.sweep.finished = 5 * S;
	/* Half rolled out, and back again on that node: its server may have written under the other key in between. */
	s.kms[0].key_id = text("2");
	observe(&s);
	assert_non_null(s.c.seen.kms_why);
	assert_string_equal(key_id_of(&s), "1");
	assert_int_equal(s.c.kms_adopted_at, 0);
	both_name(&s, "1");
	assert_null(s.c.seen.kms_why);
	assert_int_equal(s.c.seen.kms_adopted_at, 0);
	/* Who is silent may be anywhere: what its server tells of that time decides. */
	canaries_are(&s, 0, 0);
	assert_true(s.c.kms_adopted_at > 0);
	s.listed[1].looked_at = 1;
	observe(&s);
	assert_string_equal(s.c.seen.kms_why, "the agent of b has not told what its plugin kms/v says");
	assert_true(s.c.kms_adopted_at > 0);
	s.listed[1].looked_at = clock_monotonic();
	struct apiserver_metrics silent = {0};
	s.directed[0].metrics = s.directed[1].metrics = &silent;
	s.directed[0].scraped_at = s.directed[1].scraped_at = clock_monotonic();
	observe(&s);
	assert_int_equal(s.c.kms_adopted_at, 0);
	canaries_are(&s, 0, 0);
	/* What was retired was so under this key's adoption, by this leader. */
	s.rotation->status.retired = true;
	observe(&s);
	assert_false(s.c.seen.retired);
	s.c.kms_retired_at = s.c.kms_adopted_at;
	observe(&s);
	assert_true(s.c.seen.retired);
	both_name(&s, "2");
	assert_string_equal(key_id_of(&s), "2");
	assert_true(s.c.seen.kms_moved);
	assert_int_equal(s.c.seen.kms_adopted_at, 0);
	assert_int_equal(s.c.settled_ended, 0);
	assert_int_equal(s.c.reads_checked_at, 0);
	assert_int_equal(s.c.sweep.finished, 0);
	assert_int_equal(s.rotation->status.key_id_count, 2);
	/* Back again: no news, and it reopens all. */
	canaries_are(&s, 0, 0);
	s.c.kms_news = false;
	both_name(&s, "1");
	assert_int_equal(s.c.seen.kms_adopted_at, 0);
	assert_false(s.c.kms_news);
	/* A server that restarted onto a plugin of before, or whose canary is under another key. */
	canaries_are(&s, 0, 0);
	canaries_are(&s, STEP_NONE, 0);
	assert_int_equal(s.c.kms_adopted_at, 0);
	assert_string_equal(s.c.trouble, "a has not adopted the key ID that its KMS plugin names");
	close_scene(&s);
}

/* --- an answer that is lacking --- */

#define HASH_OF_1 "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"

/* Both servers have shown key 1, and tell what their plugins named. */
static void open_adopted(struct scene *s)
{
	open_scene(s, "secrets=kms:v", "secrets=kms:v", true);
	for (size_t i = 0; i < 2; i++) {
		s->named[i][0] = (struct apiserver_named){text("v"), text(HASH_OF_1), 20};
		s->named[i][1] = (struct apiserver_named){text("v"), text("sha256:00"), 10};
		s->metrics[i] = (struct apiserver_metrics){
			.has_process_start = true, .process_start = 1, .named = s->named[i], .named_count = 2};
		s->directed[i].metrics = &s->metrics[i];
		s->directed[i].scraped_at = s->listed[i].beat_read_at = clock_monotonic();
	}
	observe(s);
	controller_kms_before_canaries(&s->c);
	canaries_are(s, 0, 0);
	s->c.history_ended_at = 5 * S;
	observe(s);
	assert_true(s->c.seen.kms_adopted_at > 0);
	assert_null(s->c.seen.kms_why);
}

static void answer_lacks(struct scene *s, const char *last)
{
	s->kms[1].healthz = text("timed out");
	s->kms[1].key_id = NULL;
	s->kms[1].last_key_id = text(last);
	observe(s);
	assert_string_equal(s->c.seen.kms_why, "kms/v on b: timed out");
}

static void answers_again(struct scene *s, const char *key_id)
{
	s->kms[1] = (struct key_server_kms){
		.name = text("v"), .endpoint = text("unix:///kms.sock"), .healthz = text("ok"), .key_id = text(key_id)};
	s->directed[0].scraped_at = s->directed[1].scraped_at = clock_monotonic();
	observe(s);
}

static void close_adopted(struct scene *s)
{
	for (size_t i = 0; i < 2; i++) {
		free(s->directed[i].named);
		free(s->directed[i].named_put);
	}
	close_scene(s);
}

/* The same key before and after, and the servers were told of no other one. */
static void test_an_answer_lacks(void **state)
{
	struct scene s;
	(void)state;
	open_adopted(&s);
	uint64_t adopted = s.c.kms_adopted_at;
	s.c.canary.sequence = 7;
	answer_lacks(&s, "1");
	assert_int_equal(s.c.seen.kms_adopted_at, adopted);
	assert_int_equal(s.c.seen.history_ended_at, 5 * S);
	assert_int_equal(s.c.canary.sequence, 0); /* that agent finds none under its key */
	s.named[0][0].at = s.named[1][0].at = 30;
	answers_again(&s, "1");
	assert_null(s.c.seen.kms_why);
	assert_int_equal(s.c.seen.kms_adopted_at, adopted);
	assert_int_equal(s.c.seen.history_ended_at, 5 * S);
	assert_int_equal(s.c.kms_lacked_at, 0);
	/* Looked at before: what was named since then is not known yet. */
	answer_lacks(&s, "1");
	s.kms[1] = s.kms[0];
	observe(&s);
	assert_string_equal(s.c.seen.kms_why, "what plugins named to their API servers while one of them lacked an "
					      "answer is not looked at yet");
	s.directed[1].metrics = NULL; /* nor where it does not answer */
	s.directed[0].scraped_at = s.directed[1].scraped_at = clock_monotonic();
	observe(&s);
	assert_non_null(s.c.seen.kms_why);
	s.directed[1].metrics = &s.metrics[1];
	observe(&s);
	assert_null(s.c.seen.kms_why);
	assert_int_equal(s.c.seen.kms_adopted_at, adopted);
	close_adopted(&s);
}

/* Whatever may have been written under another key meanwhile. */
static void test_another_key_while_an_answer_lacks(void **state)
{
	struct scene s;
	(void)state;
	/* It names another one, or named another one first. */
	open_adopted(&s);
	answer_lacks(&s, "1");
	answers_again(&s, "2");
	assert_int_equal(s.c.seen.kms_adopted_at, 0);
	close_adopted(&s);
	open_adopted(&s);
	answer_lacks(&s, "2");
	assert_int_equal(s.c.seen.kms_adopted_at, 0);
	close_adopted(&s);
	open_adopted(&s);
	answer_lacks(&s, NULL);
	assert_int_equal(s.c.seen.kms_adopted_at, 0);
	close_adopted(&s);
	/* Its server was told of another one. */
	open_adopted(&s);
	answer_lacks(&s, "1");
	s.named[1][1].at = 25;
	answers_again(&s, "1");
	assert_int_equal(s.c.seen.kms_adopted_at, 0);
	assert_int_equal(s.c.seen.history_ended_at, 0);
	close_adopted(&s);
	/* Another process tells nothing of the one before; one that tells nothing may have been told anything. */
	open_adopted(&s);
	answer_lacks(&s, "1");
	s.metrics[0].process_start = 2;
	answers_again(&s, "1");
	assert_int_equal(s.c.seen.kms_adopted_at, 0);
	close_adopted(&s);
	open_adopted(&s);
	answer_lacks(&s, "1");
	s.metrics[0].named_count = 0;
	answers_again(&s, "1");
	assert_int_equal(s.c.seen.kms_adopted_at, 0);
	close_adopted(&s);
	/* Nobody looked when it was adopted. */
	open_adopted(&s);
	free(s.directed[0].named);
	s.directed[0].named = NULL;
	answer_lacks(&s, "1");
	answers_again(&s, "1");
	assert_int_equal(s.c.seen.kms_adopted_at, 0);
	close_adopted(&s);
	/* No answer lacked that anybody saw. */
	open_adopted(&s);
	s.named[0][1].at = 25;
	observe(&s);
	assert_null(s.c.seen.kms_why);
	assert_int_equal(s.c.seen.kms_adopted_at, 0);
	assert_string_equal(s.c.kms_again, "a: " KMS_NAMED_ANOTHER);
	/* It may be about to adopt that one: that its canary was under this one shows nothing. */
	controller_kms_before_canaries(&s.c);
	canaries_are(&s, 0, 0);
	observe(&s);
	assert_int_equal(s.c.seen.kms_adopted_at, 0);
	assert_string_equal(s.c.trouble, "a was told of another key ID last, which it may be about to adopt");
	/* Shown again, it is compared with what is told now. */
	s.named[0][0].at = 30;
	controller_kms_before_canaries(&s.c);
	canaries_are(&s, 0, 0);
	observe(&s);
	assert_true(s.c.seen.kms_adopted_at > 0);
	/* What was told between that look and the canary is not what it wrote under. */
	canaries_are(&s, 0, STEP_NONE);
	controller_kms_before_canaries(&s.c);
	s.named[0][1].at = 26;
	canaries_are(&s, 0, 0);
	observe(&s);
	assert_int_equal(s.c.seen.kms_adopted_at, 0);
	close_adopted(&s);
}

/* A server that was told of another key ID before its canary was written, and adopts it afterwards, says so only later. */
static void test_what_a_server_told_before(void **state)
{
	struct scene s;
	(void)state;
	open_adopted(&s);
	assert_false(controller_kms_outdates(&s.c, 5 * S));
	s.c.canaries_put_at = 6 * S;
	assert_true(controller_kms_outdates(&s.c, 5 * S));
	assert_true(controller_kms_outdates(&s.c, 6 * S));
	assert_false(controller_kms_outdates(&s.c, 7 * S));
	s.c.kms_lacked_at = 8 * S;
	assert_true(controller_kms_outdates(&s.c, 8 * S));
	s.c.kms_lacked_at = 0;
	/* The last word rests upon what it tells then. */
	s.c.kms_retired_at = s.c.kms_adopted_at;
	assert_false(controller_kms_outdates(&s.c, 7 * S));
	s.rotation->status.retired = true;
	assert_true(controller_kms_outdates(&s.c, clock_monotonic()));
	s.rotation->spec.follow_kms = false;
	assert_false(controller_kms_outdates(&s.c, 5 * S));
	close_adopted(&s);
}

/* Reports that come while a sweep goes on. */
static void test_during_a_sweep(void **state)
{
	struct scene s;
	(void)state;
	open_adopted(&s);
	uint64_t adopted = s.c.kms_adopted_at;
	controller_kms_look(&s.c);
	assert_int_equal(s.c.kms_adopted_at, adopted);
	assert_int_equal(s.c.kms_lacked_at, 0);
	s.kms[1].healthz = text("timed out");
	s.kms[1].key_id = NULL;
	s.kms[1].last_key_id = text("1");
	controller_kms_look(&s.c);
	assert_int_equal(s.c.kms_adopted_at, adopted);
	assert_true(s.c.kms_lacked_at > 0);
	assert_null(s.c.seen.kms_why);
	answers_again(&s, "1");
	assert_int_equal(s.c.kms_adopted_at, adopted);
	/* Both name another one, and come back before it ends. */
	s.kms[0].key_id = s.kms[1].key_id = text("2");
	controller_kms_look(&s.c);
	assert_int_equal(s.c.kms_adopted_at, 0);
	s.kms[0].key_id = s.kms[1].key_id = text("1");
	canaries_are(&s, 0, 0);
	s.kms[0].key_id = text("2");
	controller_kms_look(&s.c);
	assert_int_equal(s.c.kms_adopted_at, 0);
	assert_string_equal(key_id_of(&s), "1");
	close_adopted(&s);
	open_scene(&s, "secrets=kms:v", "secrets=kms:v", false);
	s.c.kms_adopted_at = 5 * S;
	s.kms[0].key_id = text("2");
	controller_kms_look(&s.c);
	assert_int_equal(s.c.kms_adopted_at, 5 * S); /* nothing is followed */
	close_scene(&s);
}

/* After the others have shown the key: what it wrote under until its own canary is not known, and what it is told from then on is
 * compared with what it had been told by then. */
static void test_a_server_joins(void **state)
{
	struct scene s;
	(void)state;
	open_adopted(&s);
	uint64_t adopted = s.c.kms_adopted_at;
	free(steal(s.directed[1].named));
	s.directed[1].adopted = false;
	controller_kms_before_canaries(&s.c);
	canaries_are(&s, 0, 0);
	assert_true(s.c.kms_adopted_at > adopted);
	adopted = s.c.kms_adopted_at;
	observe(&s);
	assert_int_equal(s.c.seen.kms_adopted_at, adopted);
	controller_kms_before_canaries(&s.c);
	canaries_are(&s, 0, 0);
	assert_int_equal(s.c.kms_adopted_at, adopted);
	s.named[1][1].at = 15; /* it came and went */
	observe(&s);
	assert_int_equal(s.c.seen.kms_adopted_at, 0);
	close_adopted(&s);
}

/* It is made to look as one is that wrote under another key, though its canary was under this one; and no other one is. */
static void test_who_is_hurried(void **state)
{
	static const struct served_answer ok[] = {{.status = 200, .body = "ok"}};
	struct kube_server server;
	struct kube kube = kube_server_open(&server);
	struct scene s;
	(void)state;
	open_adopted(&s);
	s.directed[0].kube = s.directed[1].kube = &kube;
	s.named[1][1].at = 25;
	kube_server_play(&server, ok, 1);
	controller_kms_before_canaries(&s.c);
	canaries_are(&s, 0, 0);
	assert_int_equal(server.seen_count, 1);
	assert_string_equal(server.seen[0].path, "/readyz/kms-providers");
	assert_string_equal(s.c.trouble, "b was told of another key ID last, which it may be about to adopt");
	s.c.kms_hurried = 0;
	controller_kms_before_canaries(&s.c);
	canaries_are(&s, STEP_NONE, 0);
	assert_int_equal(server.seen_count, 3);
	assert_string_equal(s.c.trouble, "a has not adopted the key ID that its KMS plugin names");
	kube_server_play(&server, NULL, 0);
	close_adopted(&s);
	kube_server_close(&server, &kube);
}

/* What was there is in the object: the next leader knows that it moved though nothing is under the key of before. */
static void test_another_leader(void **state)
{
	struct scene s;
	(void)state;
	open_scene(&s, "secrets=kms:v", "secrets=kms:v", true);
	s.rotation->status.key_ids = xcalloc(2, sizeof(struct rotation_key_id));
	s.rotation->status.key_ids[0] = (struct rotation_key_id){xstrdup("v"), xstrdup("0"), 0};
	s.rotation->status.key_id_count = 1;
	observe(&s);
	assert_true(s.c.seen.kms_moved);
	close_scene(&s);
	/* Of another provider it says nothing. */
	open_scene(&s, "secrets=kms:v,kms:w", "secrets=kms:v,kms:w", true);
	s.rotation->status.key_ids = xcalloc(2, sizeof(struct rotation_key_id));
	s.rotation->status.key_ids[0] = (struct rotation_key_id){xstrdup("w"), xstrdup("0"), 0};
	s.rotation->status.key_ids[1] = (struct rotation_key_id){xstrdup("w"), xstrdup("1"), 0};
	s.rotation->status.key_id_count = 2;
	observe(&s);
	assert_false(s.c.seen.kms_moved);
	close_scene(&s);
	/* Values under another key are as good as a move. */
	open_scene(&s, "secrets=kms:v", "secrets=kms:v", true);
	observe(&s);
	find(&s, "0", 3, "1", 4);
	assert_true(s.c.seen.kms_moved);
	assert_int_equal(s.rotation->status.key_id_count, 2);
	assert_int_equal(s.rotation->status.key_ids[0].objects, 4);
	assert_int_equal(s.rotation->status.key_ids[1].objects, 3);
	close_scene(&s);
	/* Another provider's values, in a part of etcd that is somebody else's, count as well: it may be the same key. */
	open_scene(&s, "secrets=kms:v", "secrets=kms:v", true);
	observe(&s);
	s.groups[0] = (struct census_group){.type = PROVIDER_KMS,
					    .kms_version = 2,
					    .name = text("agg"),
					    .key_id = text("0"),
					    .values = 3,
					    .foreign = true};
	s.c.census.seen =
		(struct census_observation){.complete = true, .revision = 7, .groups = s.groups, .group_count = 1};
	observe(&s);
	assert_false(s.c.seen.kms_moved);
	assert_int_equal(s.rotation->status.key_id_count, 2);
	assert_string_equal(s.rotation->status.key_ids[1].name, "agg");
	assert_int_equal(s.rotation->status.key_ids[1].objects, 3);
	close_scene(&s);
	/* On the way back nothing is followed. */
	open_scene(&s, "secrets=kms:v", "secrets=kms:v", false);
	assert_false(path_follows_kms(s.c.path));
	close_scene(&s);
}

static void test_a_canary_shows(void **state)
{
	struct scene s;
	struct key_server_canary canary = {.resource = text("secrets"), .name = text("n"), .key_id = text("1")};
	(void)state;
	open_scene(&s, "secrets=kms:v,-; configmaps=a", "secrets=kms:v,-; configmaps=a", true);
	s.kms[1].key_id = text("0");
	assert_false(controller_kms_shows(&s.c, &canary)); /* it is not known which key that is */
	s.kms[1].key_id = text("1");
	canary.key_id = text("");
	assert_false(controller_kms_shows(&s.c, &canary));
	canary.key_id = NULL;
	assert_false(controller_kms_shows(&s.c, &canary));
	canary.key_id = text("1");
	assert_true(controller_kms_shows(&s.c, &canary));
	canary = (struct key_server_canary){.resource = text("configmaps"), .name = text("n")};
	assert_true(controller_kms_shows(&s.c, &canary)); /* under a local key */
	canary = (struct key_server_canary){
		.resource = text("secrets"), .name = text("n"), .key_id = text("1"), .step = STEP_NONE};
	assert_false(controller_kms_shows(&s.c, &canary));
	canary.step = 1;
	assert_false(controller_kms_shows(&s.c, &canary)); /* there is no such step */
	canary = (struct key_server_canary){.name = text("n"), .key_id = text("1")};
	assert_false(controller_kms_shows(&s.c, &canary));
	close_scene(&s);
	/* A plugin that the rotation brings encrypts with the key that it names, too. */
	open_scene(&s, "secrets=a", "secrets=kms:v", false);
	canary = (struct key_server_canary){.resource = text("secrets"), .name = text("n"), .step = 1};
	assert_true(controller_kms_shows(&s.c, &canary)); /* still under a */
	canary.step = 2;
	assert_false(controller_kms_shows(&s.c, &canary));
	canary.key_id = text("1");
	assert_true(controller_kms_shows(&s.c, &canary));
	canary.key_id = text("0");
	assert_false(controller_kms_shows(&s.c, &canary));
	s.kms[1].key_id = text("0");
	assert_false(controller_kms_shows(&s.c, &canary)); /* nobody knows which it should be */
	close_scene(&s);
}

/* What one wrote the other one reads, or nothing goes on. */
static void test_others_read_it(void **state)
{
	static const struct served_answer good[] = {{.status = 200, .body = "{}"}};
	static const struct served_answer bad[] = {
		{.status = 500, .body = "{\"kind\":\"Status\",\"status\":\"Failure\",\"message\":\"no key\"}"}};
	struct kube_server server;
	struct kube kube = kube_server_open(&server);
	struct key_server_canary canary = {.server = text("a"),
					   .resource = text("secrets"),
					   .name = text("canary-a"),
					   .key_id = text("1"),
					   .step = 2};
	struct key_server_status status = {.canaries = &canary, .canary_count = 1};
	struct scene s;
	(void)state;
	open_scene(&s, "secrets=a", "secrets=kms:v", false);
	_cleanup_free_ char *nowhere = controller_unread(&s.c, &status, "a");
	assert_string_equal(nowhere, "b does not read what a wrote: its address is not known");
	s.directed[0].kube = s.directed[1].kube = &kube;
	kube_server_play(&server, good, 1);
	assert_null(controller_unread(&s.c, &status, "a"));
	assert_int_equal(server.seen_count, 1); /* it does not ask itself */
	assert_string_equal(server.seen[0].path, "/api/v1/namespaces/kube-rekey/secrets/canary-a");
	kube_server_play(&server, bad, 1);
	_cleanup_free_ char *why = controller_unread(&s.c, &status, "a");
	assert_non_null(strstr(why, "b does not read what a wrote: "));
	assert_non_null(strstr(why, "no key"));
	/* It is another one's canary. */
	assert_null(controller_unread(&s.c, &status, "b"));
	kube_server_play(&server, NULL, 0);
	close_scene(&s);
	kube_server_close(&server, &kube);
}

/* Only what the rotation brings holds it back; what was there is told of. */
static void test_going_to_one(void **state)
{
	struct scene s;
	(void)state;
	open_scene(&s, "secrets=a", "secrets=kms:v", false);
	observe(&s);
	assert_null(s.c.seen.kms_why);
	s.kms[1].healthz = text("sealed");
	observe(&s);
	assert_string_equal(s.c.seen.kms_why, "kms/v on b: sealed");
	assert_false(s.c.seen.kms_moved);
	close_scene(&s);
	open_scene(&s, "secrets=kms:v", "secrets=a", false);
	s.kms[1].healthz = text("sealed");
	observe(&s);
	assert_null(s.c.seen.kms_why);
	close_scene(&s);
}

/* Where nothing is followed a census has no key IDs: each of a provider's is said to have all of its values. */
static void test_counts_of_providers(void **state)
{
	struct scene s;
	(void)state;
	open_scene(&s, "secrets=kms:v", "secrets=a", false);
	observe(&s);
	both_name(&s, "2");
	find(&s, NULL, 3, NULL, 4);
	assert_int_equal(s.rotation->status.key_id_count, 2);
	assert_int_equal(s.rotation->status.key_ids[0].objects, 7);
	assert_int_equal(s.rotation->status.key_ids[1].objects, 7);
	close_scene(&s);
	/* What version 1 wrote has none either, and adds none. */
	open_scene(&s, "secrets=kms:v", "secrets=kms:v", true);
	observe(&s);
	s.groups[0] = (struct census_group){
		.type = PROVIDER_KMS, .kms_version = 1, .name = text("v"), .key_id = text(""), .values = 3};
	s.c.census.seen =
		(struct census_observation){.complete = true, .revision = 7, .groups = s.groups, .group_count = 1};
	observe(&s);
	assert_int_equal(s.rotation->status.key_id_count, 1);
	assert_int_equal(s.rotation->status.key_ids[0].objects, 0);
	close_scene(&s);
}

/* The last census finds what a key ID left that came and went between two looks. */
static void test_it_came_and_went(void **state)
{
	struct scene s;
	(void)state;
	open_scene(&s, "secrets=kms:v", "secrets=kms:v", true);
	both_name(&s, "2");
	canaries_are(&s, 0, 0);
	find(&s, "1", 0, "2", 4);
	assert_int_equal(s.c.seen.history_ended_at, 0);
	s.c.census.seen.compacted = true;
	s.c.census.seen.begun = s.c.seen.settled_ended = 5 * S;
	s.c.seen.census = s.c.census.seen;
	observe(&s);
	assert_true(s.c.seen.history_ended_at > 0);
	assert_true(s.c.seen.kms_adopted_at > 0);
	find(&s, "1", 1, "2", 4);
	s.c.seen.census = s.c.census.seen;
	observe(&s);
	assert_int_equal(s.c.seen.history_ended_at, 0);
	assert_int_equal(s.c.seen.kms_adopted_at, 0);
	assert_string_equal(s.c.kms_again, KMS_CAME_AND_WENT);
	/* Nor does any doubt about a plugin leave it. */
	s.c.history_ended_at = s.c.kms_adopted_at = 5 * S;
	s.kms[0].healthz = text("sealed");
	observe(&s);
	assert_int_equal(s.c.seen.history_ended_at, 0);
	close_scene(&s);
	open_scene(&s, "secrets=kms:v", "secrets=kms:v", false);
	find(&s, NULL, 0, "2", 4);
	s.c.census.seen.compacted = true;
	s.c.census.seen.begun = s.c.seen.settled_ended = 5 * S;
	s.c.seen.census = s.c.census.seen;
	observe(&s);
	assert_int_equal(s.c.seen.history_ended_at, 0); /* nothing is followed */
	close_scene(&s);
}

/* It is told with the outcome: until then what was proved may be withdrawn. */
static void test_what_is_left(void **state)
{
	struct scene s;
	(void)state;
	open_scene(&s, "secrets=kms:v", "secrets=kms:v", true);
	observe(&s);
	both_name(&s, "2");
	find(&s, "1", 3, "2", 4);
	controller_kms_tell_left(&s.c);
	assert_int_equal(s.rotation->status.remains.count, 0);
	find(&s, "1", 0, "2", 0);
	s.c.census.seen.complete = false;
	controller_kms_tell_left(&s.c);
	assert_int_equal(s.rotation->status.remains.count, 0);
	s.c.census.seen.complete = true;
	controller_end_evidence(&s.c);
	assert_int_equal(s.rotation->status.remains.count, 1); /* never of the one that is named */
	assert_non_null(strstr(s.rotation->status.remains.items[0],
			       "this cluster's etcd needs kms/v, key ID 1, for nothing at revision 7; backups made"));
	close_scene(&s);
}

/* A plugin that only reads may be of the same key of the same KMS, and is needed as long as it is in the file. */
static void test_what_a_reader_names(void **state)
{
	struct scene s;
	struct key_server_kms both[2];
	(void)state;
	open_scene(&s, "secrets=kms:v,kms:r", "secrets=kms:v,kms:r", true);
	observe(&s);
	both_name(&s, "2");
	find(&s, "1", 0, "2", 4);
	for (size_t i = 0; i < 2; i++)
		both[i] = s.kms[0];
	both[1].name = text("r");
	both[1].key_id = text("1");
	for (size_t i = 0; i < 2; i++) {
		s.servers[i].status.kms = both;
		s.servers[i].status.kms_count = 2;
	}
	observe(&s);
	controller_kms_tell_left(&s.c);
	assert_int_equal(s.rotation->status.remains.count, 0);
	both[1].key_id = text("3");
	observe(&s);
	controller_kms_tell_left(&s.c);
	assert_int_equal(s.rotation->status.remains.count, 1); /* of v, and not of r, which nothing was written with */
	assert_non_null(strstr(s.rotation->status.remains.items[0], "needs kms/v, key ID 1, for nothing"));
	strings_free(&s.rotation->status.remains);
	both[1].healthz = text("timed out");
	both[1].key_id = NULL;
	controller_kms_tell_left(&s.c);
	assert_int_equal(s.rotation->status.remains.count, 1);
	assert_string_equal(s.rotation->status.remains.items[0],
			    "which key IDs nothing needs any more is not known: kms/r on a: timed out");
	close_scene(&s);
}

/* Of local keys, too. */
static void test_what_two_agents_found(void **state)
{
	static const struct {
		int first[2], second[2]; /* of a's canary and of b's, by the agents of a and of b */
		const char *differ;
	} cases[] = {
		{{1, 1}, {1, 1}, NULL},
		{{1, 0}, {1, 0}, NULL},
		{{STEP_NONE, 1}, {STEP_NONE, 1}, NULL},
		{{1, 1}, {0, 1}, "the agents of a and of b do not agree on what key the canary of a is under"},
		{{1, 1}, {1, STEP_NONE}, "the agents of a and of b do not agree on what key the canary of b is under"},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		struct scene s;
		open_scene(&s, "secrets=a", "secrets=b", false);
		struct key_server_canary found[2][2] = {{{.server = text("a"), .step = cases[i].first[0]},
							 {.server = text("b"), .step = cases[i].first[1]}},
							{{.server = text("a"), .step = cases[i].second[0]},
							 {.server = text("b"), .step = cases[i].second[1]}}};
		for (size_t k = 0; k < 2; k++) {
			for (size_t of = 0; of < 2; of++)
				found[k][of].resource = found[k][of].name = text("secrets");
			s.servers[k].status.canaries = found[k];
			s.servers[k].status.canary_count = 2;
		}
		_cleanup_free_ char *differ = controller_canaries_differ(&s.c);
		assert_true(text_equal(differ, cases[i].differ));
		close_scene(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_key_of_all),      cmocka_unit_test(test_another_leader),
		cmocka_unit_test(test_a_canary_shows),      cmocka_unit_test(test_going_to_one),
		cmocka_unit_test(test_what_is_left),        cmocka_unit_test(test_others_read_it),
		cmocka_unit_test(test_it_came_and_went),    cmocka_unit_test(test_counts_of_providers),
		cmocka_unit_test(test_an_answer_lacks),     cmocka_unit_test(test_another_key_while_an_answer_lacks),
		cmocka_unit_test(test_during_a_sweep),      cmocka_unit_test(test_what_a_server_told_before),
		cmocka_unit_test(test_what_a_reader_names), cmocka_unit_test(test_a_server_joins),
		cmocka_unit_test(test_who_is_hurried),      cmocka_unit_test(test_what_two_agents_found),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
