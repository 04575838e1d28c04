/* What a person is shown of a rotation of several API servers: what the objects say, made printable. */
#include "object_support.h"
#include "cmd/fleet_view.h"

/* The samples of both objects, as a view. */
struct scene {
	struct key_rotation *rotation;
	struct key_server *server;
	struct fleet_server listed;
	struct fleet fleet;
	struct rotations all;
	struct viewed_server *servers;
	struct fleet_view view;
};

static void open_scene(struct scene *s, bool reports)
{
	_cleanup_json_ rotation = sample("rotation"), *server = sample("server");
	struct error *err = NULL;
	*s = (struct scene){0};
	assert_ok(key_rotation_parse(rotation, &s->rotation, &err), err);
	assert_ok(key_server_parse(server, &s->server, &err), err);
	/* As while it goes on, forward. */
	s->server->status.going_back = false;
	free(s->rotation->status.outcome);
	s->rotation->status.outcome = NULL;
	s->listed.last = s->server;
	s->fleet = (struct fleet){.servers = &s->listed, .count = 1};
	s->all = (struct rotations){.items = &s->rotation, .count = 1};
	s->view = (struct fleet_view){
		.rotation = s->rotation, .all = &s->all, .invoked_as = "kubectl rekey", .told = true};
	s->servers = fleet_view_servers(s->rotation, &s->fleet, &reports, &s->view.server_count);
	s->view.servers = s->servers;
}

static void close_scene(struct scene *s)
{
	free(s->servers);
	key_server_free(s->server);
	key_rotation_free(s->rotation);
}

static char *printed(const struct scene *s)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	assert_non_null(out);
	fleet_view_print(out, &s->view);
	fclose(out);
	return text;
}

#define assert_says(text, words)                                        \
	do {                                                            \
		if (!strstr(text, words))                               \
			fail_msg("%s\nis not in\n%s", (words), (text)); \
	} while (0)

static void test_what_is_printed(void **state)
{
	struct scene s;
	(void)state;
	open_scene(&s, true);
	s.rotation->spec.paused = true;
	_cleanup_free_ char *text = printed(&s);
	assert_says(text, "KeyRotation rekey-20261122   aescbc/key1 -> secretbox/rekey-20261122T1103Z-3f9a1c\n");
	assert_says(text, "phase      Reencrypt (pause asked for), begun 2026-11-22T11:03:20Z");
	assert_says(text, "rewritten  1,204 of 10,412, 50/s, 3 min 5 s left, namespace team-a\n");
	assert_says(text, "quarantine secrets team-b/db: 422 Invalid: no\n");
	assert_says(text, "proof      every server runs configuration 2");
	assert_says(text, "Go on: kubectl rekey resume rekey-20261122");
	/* A condition's words have a character that turns the line around. */
	assert_says(text, "progresses True (Reencrypt, since 2026-11-22T11:04:00Z): 1,204 of 10,412 objects ü");
	assert_null(strstr(text, "\u202e"));
	/* Both servers of the rotation, and why the second no longer counts. */
	assert_says(text, "forgotten as gone for good, by jane at 2026-11-22T11:10:00Z");
	assert_null(strstr(text, "c2VhbGVk"));
	s.rotation->status.outcome = xstrdup("Done");
	_cleanup_free_ char *over = printed(&s);
	assert_says(over, "rewritten  1,204 of 10,412\n");
	close_scene(&s);
}

static void test_servers(void **state)
{
	struct scene s;
	(void)state;
	open_scene(&s, true);
	size_t mine = 0;
	while (!s.servers[mine].status)
		mine++;
	assert_string_equal(s.servers[mine].name, s.server->meta.name);
	s.server->status.refuses_file = false;
	_cleanup_free_ char *loaded = viewed_server_words(&s.servers[mine]);
	assert_string_equal(loaded, "step 1 in its file, loaded; slow");
	s.server->status.loaded_is_file = false;
	s.server->status.answering = false;
	_cleanup_free_ char *down = viewed_server_words(&s.servers[mine]);
	assert_string_equal(down, "step 1 in its file, step 0 loaded; does not answer: slow");
	/* On the path of another rotation a step says nothing here. */
	s.servers[mine].file_step = s.servers[mine].loaded_step = STEP_NONE;
	_cleanup_free_ char *other = viewed_server_words(&s.servers[mine]);
	assert_says(other, "sha256:012345678");
	s.servers[mine].reporting = false;
	_cleanup_free_ char *silent = viewed_server_words(&s.servers[mine]);
	assert_says(silent, "its agent does not report; last at 2026-11-22T11:03:20Z by its own clock");
	s.servers[mine].status = NULL;
	_cleanup_free_ char *never = viewed_server_words(&s.servers[mine]);
	assert_string_equal(never, "no agent has reported from its node");
	close_scene(&s);
}

/* A rotation that was aborted: steps are the object's, whichever way they are counted. */
static void test_going_back(void **state)
{
	struct scene s;
	const bool reports = true;
	(void)state;
	open_scene(&s, true);
	s.rotation->spec.paused = false;
	s.rotation->spec.aborted = true;
	_cleanup_free_ char *asked = printed(&s);
	assert_says(asked, "phase      Reencrypt (abort asked for), begun");
	s.rotation->status.back_from = 2;
	s.server->status.going_back = true;
	free(s.servers);
	s.servers = fleet_view_servers(s.rotation, &s.fleet, &reports, &s.view.server_count);
	s.view.servers = s.servers;
	_cleanup_free_ char *text = printed(&s);
	assert_says(text, "phase      Reencrypt (going back), begun");
	assert_says(text, "It goes back by itself");
	size_t mine = 0;
	while (!s.servers[mine].status)
		mine++;
	assert_int_equal(s.servers[mine].file_step, 1);
	assert_int_equal(s.servers[mine].loaded_step, 2);
	/* One that does not count on the way back yet says nothing of its steps. */
	s.server->status.going_back = false;
	free(s.servers);
	s.servers = fleet_view_servers(s.rotation, &s.fleet, &reports, &s.view.server_count);
	s.view.servers = s.servers;
	assert_int_equal(s.servers[mine].file_step, STEP_NONE);
	close_scene(&s);
}

static void test_held(void **state)
{
	struct scene s;
	(void)state;
	open_scene(&s, true);
	s.rotation->spec.paused = true;
	free(s.rotation->status.phase);
	s.rotation->status.phase = xstrdup("Paused");
	_cleanup_free_ char *paused = printed(&s);
	assert_says(paused, "phase      Paused, begun");
	s.rotation->spec.paused = false;
	free(s.rotation->status.conditions[0].reason);
	s.rotation->status.conditions[0].reason = xstrdup("DeadlineExceeded");
	assert_true(rotation_is_late(s.rotation));
	_cleanup_free_ char *late = printed(&s);
	assert_says(late, "It takes no further step. Go on: kubectl rekey resume rekey-20261122");
	close_scene(&s);
}

static void test_canaries(void **state)
{
	struct scene s;
	(void)state;
	open_scene(&s, true);
	_cleanup_free_ char *found = printed(&s);
	assert_says(found, "CANARY               through cp-1         through cp-2");
	assert_says(found, "found by cp-1        -                    step 2");
	s.server->status.canaries[0].step = STEP_NONE;
	_cleanup_free_ char *lost = printed(&s);
	assert_says(lost, "found by cp-1        -                    not found");
	close_scene(&s);
}

static void test_json(void **state)
{
	struct scene s;
	struct json_writer w = JSON_WRITER_INIT(1u << 20);
	struct error *err = NULL;
	_cleanup_json_ want = sample("rotation");
	(void)state;
	open_scene(&s, true);
	assert_ok(fleet_view_write_json(&s.view, &w, &err), err);
	_cleanup_json_ json = document(json_text(&w));
	/* As the object has it, without what only nodes can use. */
	cJSON *status = cJSON_GetObjectItemCaseSensitive(want, "status");
	cJSON_DeleteItemFromObjectCaseSensitive(status, "sealedKeys");
	cJSON_DeleteItemFromObjectCaseSensitive(status, "outcome");
	assert_true(cJSON_Compare(json_at(json, "rotation", "status", NULL), status, true));
	assert_true(cJSON_Compare(json_at(json, "rotation", "spec", NULL), json_at(want, "spec", NULL), true));
	assert_null(strstr(json_text(&w), "c2VhbGVk"));
	assert_int_equal(cJSON_GetArraySize(json_at(json, "servers", NULL)), 2);
	assert_int_equal(cJSON_GetArraySize(json_at(json, "others", NULL)), 0);
	json_writer_free(&w);
	/* What the definition would not have let pass is an error, and no crash. */
	struct json_writer again = JSON_WRITER_INIT(1u << 20);
	free(s.rotation->status.phase);
	s.rotation->status.phase = xstrdup("a phase that is longer than any that there is");
	assert_int_equal(fleet_view_write_json(&s.view, &again, &err), -ERROR_LIMIT);
	error_free(err);
	json_writer_free(&again);
	close_scene(&s);
}

static void test_findings(void **state)
{
	struct scene s;
	(void)state;
	open_scene(&s, true);
	_cleanup_free_ char *quarantine = fleet_view_finding(&s.view);
	assert_string_equal(quarantine, "1 objects could not be rewritten");
	s.rotation->status.quarantined.count = 0;
	assert_null(fleet_view_finding(&s.view)); /* the forgotten one is none */
	free(s.rotation->status.conditions[0].type);
	s.rotation->status.conditions[0].type = xstrdup("Degraded");
	_cleanup_free_ char *degraded = fleet_view_finding(&s.view);
	assert_says(degraded, "KeyRotation rekey-20261122 is degraded: 1,204 of 10,412");
	close_scene(&s);
	open_scene(&s, false);
	s.rotation->status.quarantined.count = 0;
	_cleanup_free_ char *silent = fleet_view_finding(&s.view);
	assert_says(silent, "cp-1: its agent does not report");
	close_scene(&s);
}

/* What a controller left is not shown as if one were at work. */
static void test_no_controller(void **state)
{
	struct scene s;
	struct leader leader = {0};
	(void)state;
	open_scene(&s, true);
	s.rotation->status.quarantined.count = 0;
	s.rotation->spec.paused = false;
	s.view.leader = &leader;
	leader_unknown(&leader, "forbidden");
	_cleanup_free_ char *unknown = printed(&s);
	assert_says(unknown, "controller whether one leads is not known: forbidden\n");
	assert_says(unknown, "50/s, 3 min 5 s left");
	assert_says(unknown, "It goes on by itself, and may be left alone.");
	assert_null(fleet_view_finding(&s.view));
	char *phase = s.rotation->status.phase, blocked[] = "Blocked";
	s.rotation->status.phase = blocked;
	_cleanup_free_ char *stands = printed(&s);
	assert_says(stands, "\nIt goes on by itself once that is mended. To give it up: ");
	s.rotation->spec.aborted = true;
	_cleanup_free_ char *aborted = printed(&s);
	assert_says(aborted, "\nIt goes on by itself once that is mended.\n");
	s.rotation->spec.aborted = false;
	s.rotation->status.back_from = 2;
	_cleanup_free_ char *back = printed(&s);
	assert_says(back, "\nIt goes on by itself once that is mended.\n");
	s.rotation->status.back_from = STEP_NONE;
	s.rotation->status.phase = phase;
	leader_put(&leader, NULL, 1);
	s.view.told = false;
	_cleanup_free_ char *none = printed(&s), *finding = fleet_view_finding(&s.view);
	assert_says(none, "controller none has ever led here\n");
	assert_says(none, "rewritten  1,204 of 10,412, and nothing newer is told, namespace team-a\n");
	assert_null(strstr(none, "50/s"));
	assert_null(strstr(none, "It goes on by itself"));
	assert_says(none, "\n" FLEET_VIEW_START "\n");
	assert_string_equal(finding,
			    "KeyRotation rekey-20261122 goes on by a controller alone: none has ever led here");
	struct json_writer w = JSON_WRITER_INIT(1u << 20);
	struct error *err = NULL;
	assert_ok(fleet_view_write_json(&s.view, &w, &err), err);
	assert_says(json_text(&w), "\"controller\":{\"leads\":false,\"words\":\"none has ever led here\","
				   "\"progressIsCurrent\":false}");
	json_writer_free(&w);
	/* One that is over needs none. */
	s.rotation->status.outcome = xstrdup("Done");
	_cleanup_free_ char *over = printed(&s);
	assert_null(strstr(over, "controller "));
	assert_null(fleet_view_finding(&s.view));
	leader_free(&leader);
	close_scene(&s);
}

/* A line a plugin; and one that is not well, or differs between servers, is a finding. */
static void test_kms(void **state)
{
	struct scene s;
	(void)state;
	open_scene(&s, true);
	s.rotation->status.quarantined.count = 0;
	_cleanup_free_ char *text = printed(&s);
	assert_says(text, "KMS                  SERVER               STATE\nvault                cp-1                 "
			  "ok, encrypts with key ID projects/x/keys/1\n");
	struct key_server_kms *first = &s.server->status.kms[0], other = *first;
	const struct key_server_status beside = {.kms = &other, .kms_count = 1, .answering = true};
	const struct viewed_server two[] = {
		{.name = "cp-1", .status = &s.server->status, .reporting = true},
		{.name = "cp-2", .status = &beside, .reporting = true},
	};
	const struct viewed_server gone[] = {two[0], two[1], {.name = "cp-3"}};
	s.server->status.refuses_file = false;
	s.server->status.answering = true;
	s.view.servers = two;
	s.view.server_count = 2;
	assert_null(fleet_view_finding(&s.view));
	other.key_id = (char *)"2";
	_cleanup_free_ char *differ = fleet_view_finding(&s.view);
	assert_string_equal(differ, "kms/vault encrypts with key ID projects/x/keys/1 on cp-1, and with 2 on cp-2");
	other.key_id = NULL;
	other.healthz = (char *)"it is sealed";
	_cleanup_free_ char *sealed = fleet_view_finding(&s.view), *shown = printed(&s);
	assert_string_equal(sealed, "kms/vault on cp-2: it is sealed");
	assert_says(shown, "vault                cp-2                 it is sealed\n");
	/* Of a server that has not told of it yet the others say enough. */
	other = *first;
	s.view.servers = gone;
	s.view.server_count = 3;
	_cleanup_free_ char *missing = fleet_view_finding(&s.view);
	assert_string_equal(missing, "cp-3: no agent has reported from its node");
	close_scene(&s);
}

/* No rotation at all: the servers, and how to ask for one. */
static void test_none(void **state)
{
	struct scene s;
	(void)state;
	open_scene(&s, true);
	s.rotation->status.outcome = xstrdup("Done");
	s.view.rotation = NULL;
	_cleanup_free_ char *text = printed(&s);
	assert_says(text, "Other KeyRotations\n  rekey-20261122: Done\n");
	assert_says(text, "No rotation was asked for. To ask for one: kubectl rekey rotate\n");
	close_scene(&s);
}

static void test_which_is_under_way(void **state)
{
	struct scene s;
	struct key_rotation *found = NULL;
	struct error *err = NULL;
	(void)state;
	open_scene(&s, true);
	s.rotation->status.outcome = xstrdup("Done");
	assert_int_equal(rotations_under_way(&s.all, NULL, &found, &err), -ERROR_NOT_FOUND);
	assert_string_equal(error_message(err), "no KeyRotation is under way");
	error_clear(&err);
	assert_int_equal(rotations_under_way(&s.all, "rekey-20261122", &found, &err), -ERROR_INPUT);
	assert_string_equal(error_message(err), "KeyRotation rekey-20261122 is over (Done): nothing was changed");
	error_clear(&err);
	assert_int_equal(rotations_under_way(&s.all, "other", &found, &err), -ERROR_NOT_FOUND);
	error_clear(&err);
	free(s.rotation->status.outcome);
	s.rotation->status.outcome = NULL;
	assert_ok(rotations_under_way(&s.all, NULL, &found, &err), err);
	assert_ptr_equal(found, s.rotation);
	struct key_rotation *two[] = {s.rotation, s.rotation};
	const struct rotations several = {.items = two, .count = 2};
	assert_int_equal(rotations_under_way(&several, NULL, &found, &err), -ERROR_USAGE);
	assert_says(error_message(err), "say which: rekey-20261122, rekey-20261122");
	error_clear(&err);
	/* The sample's path writes with its new key from its second configuration on. */
	assert_int_equal(rotation_promotion(s.rotation), 1);
	close_scene(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_printed),    cmocka_unit_test(test_servers),
		cmocka_unit_test(test_going_back),         cmocka_unit_test(test_held),
		cmocka_unit_test(test_canaries),           cmocka_unit_test(test_json),
		cmocka_unit_test(test_findings),           cmocka_unit_test(test_none),
		cmocka_unit_test(test_which_is_under_way), cmocka_unit_test(test_kms),
		cmocka_unit_test(test_no_controller),
	};
	json_install_hooks();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
