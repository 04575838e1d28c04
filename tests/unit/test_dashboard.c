/* The dashboard's document: what objects, time and nothing else make of it. */
#include "object_support.h"
#include "base/clock.h"
#include "cmd/dashboard_model.h"
#include "cmd/dashboard_record.h"
#include "cmd/dashboard_words.h"

#define NOW (1000 * NS_PER_S)
#define WALL (UINT64_C(1795345400) * NS_PER_S)

struct bench {
	struct dashboard_store store;
	struct dashboard_scene scene;
	cJSON *page;
};

/* All kinds were listed, and are followed. */
static void open_bench(struct bench *b)
{
	*b = (struct bench){0};
	b->scene = (struct dashboard_scene){.store = &b->store,
					    .server = "https://cp:6443",
					    .invoked_as = "kubectl rekey",
					    .now = NOW,
					    .wall = WALL};
	for (int kind = 0; kind < DASHBOARD_KINDS; kind++)
		dashboard_store_watch(&b->store, (enum dashboard_kind)kind, true, NULL, NOW);
}

static void close_bench(struct bench *b)
{
	cJSON_Delete(b->page);
	dashboard_store_free(&b->store);
}

static void put(struct bench *b, enum dashboard_kind kind, const cJSON *object)
{
	dashboard_store_put(&b->store, kind, object, b->scene.now, b->scene.wall);
}

static void put_text(struct bench *b, enum dashboard_kind kind, const char *text)
{
	_cleanup_json_ object = document(text);
	put(b, kind, object);
}

static const cJSON *page_of(struct bench *b)
{
	struct json_writer w = JSON_WRITER_INIT(DASHBOARD_JSON_MAX);
	dashboard_model_write(&b->scene, &w);
	assert_non_null(json_text(&w));
	cJSON_Delete(b->page);
	b->page = document(json_text(&w));
	json_writer_free(&w);
	return b->page;
}

static const char *text_of(const cJSON *page, const char *object, const char *member)
{
	const char *text = json_text_at(object ? json_at(page, object, NULL) : page, member);
	return text ? text : "(null)";
}

static char *all_of(const cJSON *page, const char *list)
{
	return cJSON_PrintUnformatted(json_at(page, list, NULL));
}

#define assert_has(text, words)                                         \
	do {                                                            \
		if (!strstr(text, words))                               \
			fail_msg("%s\nis not in\n%s", (words), (text)); \
	} while (0)
#define assert_has_not(text, words)                                 \
	do {                                                        \
		if (strstr(text, words))                            \
			fail_msg("%s\nis in\n%s", (words), (text)); \
	} while (0)

/* The sample, as while it goes on; a phase and how far. */
static cJSON *rotation_at(const char *phase, int step, const char *namespace_, unsigned done)
{
	cJSON *rotation = sample("rotation"), *status = cJSON_GetObjectItemCaseSensitive(rotation, "status");
	cJSON *progress = cJSON_GetObjectItemCaseSensitive(status, "progress");
	cJSON_DeleteItemFromObjectCaseSensitive(status, "outcome");
	cJSON_ReplaceItemInObjectCaseSensitive(status, "phase", cJSON_CreateString(phase));
	cJSON_ReplaceItemInObjectCaseSensitive(status, "step", cJSON_CreateNumber(step));
	cJSON_ReplaceItemInObjectCaseSensitive(progress, "namespace", cJSON_CreateString(namespace_));
	cJSON_ReplaceItemInObjectCaseSensitive(progress, "done", cJSON_CreateNumber(done));
	return rotation;
}

static void put_rotation(struct bench *b, const char *phase, int step, const char *namespace_, unsigned done)
{
	_cleanup_json_ rotation = rotation_at(phase, step, namespace_, done);
	put(b, DASHBOARD_ROTATION, rotation);
}

static void put_server(struct bench *b, unsigned beat)
{
	_cleanup_json_ server = sample("server");
	cJSON *status = cJSON_GetObjectItemCaseSensitive(server, "status");
	cJSON_ReplaceItemInObjectCaseSensitive(status, "beat", cJSON_CreateNumber(beat));
	cJSON_ReplaceItemInObjectCaseSensitive(status, "goingBack", cJSON_CreateFalse());
	cJSON_ReplaceItemInObjectCaseSensitive(status, "refusesFile", cJSON_CreateFalse());
	put(b, DASHBOARD_SERVER, server);
}

/* --- words --- */

static void test_each_phase_is_explained(void **state)
{
	(void)state;
	for (int phase = 0; phase <= PHASE_DONE; phase++)
		assert_has_not(dashboard_doing(phase_name((enum phase)phase)), "does not know");
	assert_has(dashboard_doing(NULL), "Nobody has taken it up");
	assert_has(dashboard_doing("Paused"), "paused");
	assert_has(dashboard_doing("<script>"), "does not know the phase");
}

static void test_what_is_said_of_a_rotation(void **state)
{
	struct bench b;
	(void)state;
	open_bench(&b);
	assert_string_equal(text_of(page_of(&b), NULL, "controller"), "none has ever led here");
	assert_true(cJSON_IsNull(json_at(b.page, "rotation", NULL)));
	_cleanup_free_ char *none = all_of(b.page, "todo");
	assert_string_equal(none, "[\"No rotation was asked for. To ask for one: kubectl rekey rotate\"]");
	put_rotation(&b, "Reencrypt", 1, "team-a", 1204);
	const cJSON *page = page_of(&b), *rotation = json_at(page, "rotation", NULL);
	assert_string_equal(text_of(page, NULL, "at"), "2026-11-22T11:03:20Z");
	assert_string_equal(json_text_at(rotation, "phase"), "Reencrypt (pause asked for)");
	assert_string_equal(json_text_at(rotation, "from"), "aescbc/key1");
	assert_string_equal(json_text_at(rotation, "to"), "secretbox/rekey-20261122T1103Z-3f9a1c");
	assert_string_equal(json_text_at(rotation, "why"), "1,204 of 10,412 objects ü?");
	/* Nobody leads: what was told is of then. */
	assert_string_equal(json_text_at(json_at(rotation, "progress", NULL), "words"),
			    "1,204 of 10,412, and nothing newer is told, namespace team-a");
	uint64_t speed = 1;
	assert_true(json_u64_at(json_at(rotation, "progress", NULL), "perSecond", &speed));
	assert_int_equal(speed, 0);
	_cleanup_free_ char *stations = all_of(rotation, "stations");
	assert_has(stations,
		   "{\"number\":0,\"state\":\"done\",\"rules\":[{\"resources\":[\"secrets\",\"configmaps\"],"
		   "\"keys\":[{\"key\":\"aescbc/key1\",\"role\":\"old\"},{\"key\":\"plaintext\",\"role\":\"other\"}]}");
	assert_has(stations, "{\"number\":1,\"state\":\"here\"");
	assert_has(stations, "\"role\":\"new\"");
	_cleanup_free_ char *todo = all_of(page, "todo");
	assert_has(todo, "[\"Mend or delete the objects under Quarantine");
	assert_has(todo, "See that a controller runs");
	assert_has(todo, "Start the agent beside cp-1; if that server is gone for good: kubectl rekey forget cp-1");
	assert_has(todo, "Go on: kubectl rekey resume rekey-20261122\"]");
	assert_has_not(todo, "cp-2"); /* forgotten */
	close_bench(&b);
}

static void test_blocked_and_over(void **state)
{
	struct bench b;
	(void)state;
	open_bench(&b);
	_cleanup_json_ rotation = rotation_at("Blocked", 1, "a", 1);
	cJSON *status = cJSON_GetObjectItemCaseSensitive(rotation, "status");
	cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(status, "conditions"),
			     document("{\"type\":\"Degraded\",\"status\":\"True\",\"reason\":\"RESCUED_TWICE\","
				      "\"message\":\"twice\"}"));
	put(&b, DASHBOARD_ROTATION, rotation);
	assert_true(json_bool_at(json_at(page_of(&b), "rotation", NULL), "blocked", false));
	_cleanup_free_ char *todo = all_of(b.page, "todo");
	assert_has(todo, "[\"Find out who writes this file");
	cJSON_AddStringToObject(status, "outcome", "Done");
	put(&b, DASHBOARD_ROTATION, rotation);
	assert_false(json_bool_at(json_at(page_of(&b), "rotation", NULL), "blocked", true));
	assert_true(json_bool_at(json_at(b.page, "rotation", NULL), "over", false));
	_cleanup_free_ char *nothing = all_of(b.page, "todo");
	assert_has(nothing, "\"Nothing.\"]");
	/* A reason that is not in the table is no silence. */
	cJSON_DeleteItemFromObjectCaseSensitive(status, "outcome");
	cJSON_DeleteItemFromObjectCaseSensitive(status, "conditions");
	put(&b, DASHBOARD_ROTATION, rotation);
	page_of(&b);
	_cleanup_free_ char *other = all_of(b.page, "todo");
	assert_has(other, "[\"Look at the reason above");
	close_bench(&b);
}

static void test_going_back(void **state)
{
	struct bench b;
	(void)state;
	open_bench(&b);
	_cleanup_json_ rotation = rotation_at("DropOldKey", 0, "a", 1);
	cJSON *status = cJSON_GetObjectItemCaseSensitive(rotation, "status");
	cJSON_AddNumberToObject(status, "backFrom", 0);
	put(&b, DASHBOARD_ROTATION, rotation);
	_cleanup_free_ char *stations = all_of(json_at(page_of(&b), "rotation", NULL), "stations");
	assert_has(stations, "{\"number\":0,\"state\":\"here\"");
	assert_has(stations, "{\"number\":1,\"state\":\"not reached\"");
	assert_string_equal(text_of(b.page, "rotation", "phase"), "DropOldKey (going back)");
	close_bench(&b);
}

/* --- who reports, who leads, how old it is --- */

static const cJSON *first_server(struct bench *b)
{
	return cJSON_GetArrayItem(json_at(page_of(b), "servers", NULL), 0);
}

static void test_whose_agent_reports(void **state)
{
	struct bench b;
	(void)state;
	open_bench(&b);
	put_rotation(&b, "Promote", 1, "a", 1);
	put_server(&b, 1);
	assert_has(json_text_at(first_server(&b), "words"), "whether its agent reports is being looked at");
	assert_false(json_bool_at(first_server(&b), "well", true));
	b.scene.now += 8 * NS_PER_S; /* seen once, and never again */
	assert_has(json_text_at(first_server(&b), "words"), "its agent does not report");
	put_server(&b, 2);
	assert_string_equal(json_text_at(first_server(&b), "words"), "step 1 in its file, loaded; slow");
	assert_true(json_bool_at(first_server(&b), "well", false));
	put_server(&b, 2); /* the same once more is no report */
	b.scene.now += 11 * NS_PER_S;
	put_server(&b, 2);
	assert_has(json_text_at(first_server(&b), "words"), "its agent does not report");
	/* When we hear nothing ourselves, that is what is said, and of no agent. */
	dashboard_store_watch(&b.store, DASHBOARD_SERVER, false, "refused with status 503", b.scene.now);
	b.scene.now += 5 * NS_PER_S;
	assert_string_equal(json_text_at(first_server(&b), "words"), "step 1 in its file, loaded; slow");
	const cJSON *data = json_at(b.page, "data", NULL);
	uint64_t age = 0;
	assert_true(json_u64_at(data, "ageSeconds", &age));
	assert_int_equal(age, 24); /* since it was last known to be followed */
	assert_false(json_bool_at(data, "live", true));
	assert_string_equal(json_text_at(data, "problem"), "refused with status 503");
	close_bench(&b);
}

static void test_nothing_known_yet(void **state)
{
	struct bench b;
	(void)state;
	open_bench(&b);
	b.store.sources[DASHBOARD_ROTATION] = (struct dashboard_source){0};
	assert_false(json_bool_at(json_at(page_of(&b), "data", NULL), "known", true));
	close_bench(&b);
}

#define LEASE(holder, time)                                                                            \
	"{\"metadata\":{\"name\":\"kube-rekey\",\"uid\":\"u\"},\"spec\":{\"holderIdentity\":\"" holder \
	"\",\"renewTime\":\"" time "\"}}"

static void test_who_leads(void **state)
{
	struct bench b;
	(void)state;
	open_bench(&b);
	put_text(&b, DASHBOARD_LEASE, LEASE("ctl-1\u202e", "2026-11-22T11:03:20.000000Z"));
	assert_string_equal(text_of(page_of(&b), NULL, "controller"), "ctl-1? leads");
	put_rotation(&b, "Reencrypt", 1, "team-a", 1204);
	assert_string_equal(json_text_at(json_at(page_of(&b), "rotation", "progress", NULL), "words"),
			    "1,204 of 10,412, 50/s, 3 min 5 s left, namespace team-a");
	b.scene.now += 16 * NS_PER_S;
	assert_string_equal(
		text_of(page_of(&b), NULL, "controller"),
		"none leads now: ctl-1? has not renewed its Lease for 16 s, and what is shown is what it left");
	put_text(&b, DASHBOARD_LEASE, LEASE("ctl-2", "2026-11-22T11:03:21.000000Z"));
	assert_string_equal(text_of(page_of(&b), NULL, "controller"), "ctl-2 leads");
	put_text(&b, DASHBOARD_LEASE, LEASE("", "2026-11-22T11:03:22.000000Z"));
	assert_string_equal(text_of(page_of(&b), NULL, "controller"), "none leads now");
	dashboard_store_watch(&b.store, DASHBOARD_LEASE, false, "forbidden", b.scene.now);
	assert_string_equal(text_of(page_of(&b), NULL, "controller"), "whether one leads is not known: forbidden");
	dashboard_store_watch(&b.store, DASHBOARD_LEASE, true, NULL, b.scene.now);
	dashboard_store_remove(&b.store, DASHBOARD_LEASE, "kube-rekey");
	assert_string_equal(text_of(page_of(&b), NULL, "controller"), "none has ever led here");
	close_bench(&b);
}

/* --- objects that come and go --- */

static void test_what_a_list_does_not_name_is_gone(void **state)
{
	struct bench b;
	(void)state;
	open_bench(&b);
	put_rotation(&b, "Promote", 1, "a", 1);
	put_server(&b, 1);
	for (int again = 0; again < 2; again++) {
		dashboard_store_relist(&b.store, DASHBOARD_SERVER);
		dashboard_store_relist(&b.store, DASHBOARD_ROTATION);
		if (again == 0) {
			put_server(&b, 2);
			put_rotation(&b, "Promote", 1, "a", 1);
		}
		assert_int_equal(b.store.fleet.count, 1); /* until the list is whole */
		dashboard_store_synced(&b.store, DASHBOARD_SERVER, NOW);
		dashboard_store_synced(&b.store, DASHBOARD_ROTATION, NOW);
		assert_int_equal(b.store.fleet.count, again == 0);
		assert_int_equal(b.store.rotations.count, again == 0);
	}
	put_rotation(&b, "Promote", 1, "a", 1);
	dashboard_store_remove(&b.store, DASHBOARD_ROTATION, "another");
	assert_int_equal(b.store.rotations.count, 1);
	dashboard_store_remove(&b.store, DASHBOARD_ROTATION, "rekey-20261122");
	assert_int_equal(b.store.rotations.count, 0);
	close_bench(&b);
}

static void test_one_that_cannot_be_read(void **state)
{
	struct bench b;
	(void)state;
	open_bench(&b);
	put_rotation(&b, "Promote", 1, "a", 1);
	_cleanup_json_ broken = rotation_at("Promote", 1, "a", 1);
	cJSON_ReplaceItemInObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(broken, "status"), "phase",
					       cJSON_CreateNumber(3));
	put(&b, DASHBOARD_ROTATION, broken);
	assert_has(text_of(page_of(&b), "data", "problem"), "phase");
	assert_string_equal(text_of(b.page, "rotation", "phase"), "Promote (pause asked for)");
	put_rotation(&b, "AwaitWrite", 1, "a", 1);
	assert_string_equal(text_of(page_of(&b), "data", "problem"), "(null)");
	close_bench(&b);
}

static void test_the_one_that_is_named(void **state)
{
	struct bench b;
	(void)state;
	open_bench(&b);
	for (unsigned i = 0; i < 14; i++) {
		_cleanup_json_ rotation = rotation_at("Promote", 1, "a", 1);
		_cleanup_free_ char *name = xasprintf("r-%02u", 13 - i);
		cJSON *meta = cJSON_GetObjectItemCaseSensitive(rotation, "metadata");
		cJSON_ReplaceItemInObjectCaseSensitive(meta, "name", cJSON_CreateString(name));
		put(&b, DASHBOARD_ROTATION, rotation);
	}
	b.store.name = "r-05";
	assert_string_equal(text_of(page_of(&b), "rotation", "name"), "r-05");
	uint64_t others = 0;
	assert_true(json_u64_at(b.page, "othersInAll", &others));
	assert_int_equal(others, 13);
	assert_int_equal(cJSON_GetArraySize(json_at(b.page, "others", NULL)), 10);
	_cleanup_free_ char *list = all_of(b.page, "others");
	assert_has(list, "[{\"name\":\"r-13\",\"phase\":\"Promote (pause asked for)\"},{\"name\":\"r-12\"");
	b.store.name = "r-99";
	assert_true(cJSON_IsNull(json_at(page_of(&b), "rotation", NULL)));
	close_bench(&b);
}

/* --- what passes --- */

static void test_namespaces(void **state)
{
	struct bench b;
	(void)state;
	open_bench(&b);
	put_rotation(&b, "Reencrypt", 1, "one", 100);
	put_rotation(&b, "Reencrypt", 1, "one", 130);
	put_rotation(&b, "Reencrypt", 1, "two", 140);
	put_rotation(&b, "Reencrypt", 1, "one", 145);
	put_rotation(&b, "Reencrypt", 1, "one", 150);
	_cleanup_free_ char *list = all_of(page_of(&b), "namespaces");
	assert_string_equal(list, "[{\"name\":\"two\",\"rewritten\":5,\"running\":false},"
				  "{\"name\":\"one\",\"rewritten\":45,\"running\":true}]");
	for (unsigned i = 0; i < 150; i++) {
		_cleanup_free_ char *name = xasprintf("n-%03u", i);
		put_rotation(&b, "Reencrypt", 1, name, 150 + i);
	}
	assert_int_equal(b.store.namespace_count, DASHBOARD_NAMESPACES_MAX);
	put_rotation(&b, "Reencrypt", 1, "anew", 3); /* a sweep that begins again */
	_cleanup_free_ char *again = all_of(page_of(&b), "namespaces");
	assert_string_equal(again, "[{\"name\":\"anew\",\"rewritten\":0,\"running\":true}]");
	close_bench(&b);
}

static void put_event(struct bench *b, unsigned number, const char *uid)
{
	_cleanup_free_ char *text = xasprintf("{\"metadata\":{\"uid\":\"e-%u\",\"name\":\"e\"},\"regarding\":{\"kind\":"
					      "\"KeyRotation\",\"uid\":\"%s\"},"
					      "\"eventTime\":\"2026-11-22T11:%02u:%02u.000000Z\",\"reason\":\"R%u\","
					      "\"note\":\"<b>\\u202e\",\"type\":\"Warning\"}",
					      number, uid, number / 60, number % 60, number);
	put_text(b, DASHBOARD_EVENT, text);
}

#define UID "7f3e2a10-1111-2222-3333-444455556666"

static void test_events(void **state)
{
	struct bench b;
	(void)state;
	open_bench(&b);
	put_rotation(&b, "Reencrypt", 1, "one", 100);
	put_event(&b, 2, UID);
	put_event(&b, 1, UID);
	put_event(&b, 1, UID); /* told again */
	put_event(&b, 3, "of another rotation");
	put_text(&b, DASHBOARD_EVENT,
		 "{\"metadata\":{\"uid\":\"p\"},\"regarding\":{\"kind\":\"Pod\",\"uid\":\"" UID "\"}}");
	_cleanup_free_ char *list = all_of(page_of(&b), "events");
	assert_string_equal(
		list, "[{\"id\":\"e-2\",\"at\":\"2026-11-22T11:00:02.000000Z\",\"reason\":\"R2\",\"note\":\"<b>?\","
		      "\"warning\":true},{\"id\":\"e-1\",\"at\":\"2026-11-22T11:00:01.000000Z\",\"reason\":\"R1\","
		      "\"note\":\"<b>?\",\"warning\":true}]");
	for (unsigned i = 10; i < 400; i++)
		put_event(&b, i, UID);
	put_event(&b, 1, UID); /* older than all that are kept */
	assert_int_equal(b.store.events.count, DASHBOARD_EVENTS_MAX);
	assert_string_equal(b.store.events.items[0].reason, "R200");
	assert_int_equal(cJSON_GetArraySize(json_at(page_of(&b), "events", NULL)), 100);
	close_bench(&b);
}

/* Where there are no events, what was seen to pass. */
static void test_notes(void **state)
{
	struct bench b;
	(void)state;
	open_bench(&b);
	b.store.sources[DASHBOARD_EVENT] = (struct dashboard_source){.problem = xstrdup("forbidden")};
	put_rotation(&b, "Promote", 1, "one", 100);
	put_rotation(&b, "Promote", 1, "one", 101);
	b.scene.wall += NS_PER_S;
	put_rotation(&b, "Blocked", 1, "one", 101);
	assert_true(json_bool_at(page_of(&b), "eventsSeen", false));
	assert_string_equal(text_of(b.page, NULL, "eventsProblem"), "forbidden");
	const cJSON *events = json_at(b.page, "events", NULL), *last = cJSON_GetArrayItem(events, 0);
	assert_int_equal(cJSON_GetArraySize(events), 2);
	assert_string_equal(json_text_at(last, "reason"), "Blocked (pause asked for)");
	assert_string_equal(json_text_at(last, "at"), "2026-11-22T11:03:21.000000Z");
	for (unsigned i = 0; i < 2 * DASHBOARD_NOTES_MAX; i++)
		put_rotation(&b, i % 2 ? "Promote" : "AwaitWrite", 1, "one", 101);
	assert_int_equal(b.store.notes.count, DASHBOARD_NOTES_MAX);
	close_bench(&b);
}

/* --- objects per key --- */

#define CENSUS(revision, groups)                                                                  \
	"{\"apiVersion\":\"kube-rekey.dev/"                                                       \
	"v1alpha1\",\"kind\":\"KeyServer\",\"metadata\":{\"name\":\"cp-9\",\"uid\":\"u\"},"       \
	"\"spec\":{},\"status\":{\"beat\":1,\"census\":{\"complete\":true,\"revision\":" revision \
	",\"groups\":[" groups "]}}}"
#define OLD_SECRETS "{\"resource\":\"secrets\",\"provider\":\"aescbc\",\"name\":\"key1\",\"values\":100000}"

static void test_objects(void **state)
{
	struct bench b;
	(void)state;
	open_bench(&b);
	assert_true(cJSON_IsNull(json_at(page_of(&b), "objects", NULL)));
	put_text(&b, DASHBOARD_SERVER,
		 CENSUS("9", OLD_SECRETS
			",{\"resource\":\"pods\",\"provider\":\"identity\",\"values\":5},"
			"{\"provider\":\"identity\",\"values\":3,\"expected\":true},"
			"{\"resource\":\"widgets.x\",\"provider\":\"aescbc\",\"unknown\":true,\"values\":1}"));
	_cleanup_free_ char *objects = all_of(page_of(&b), "objects");
	assert_string_equal(
		objects,
		"{\"revision\":9,\"by\":\"cp-9\",\"resources\":[{\"resource\":\"secrets\",\"total\":100000,"
		"\"parts\":[{\"key\":\"aescbc/key1\",\"role\":\"other\",\"values\":100000}]},"
		"{\"resource\":\"widgets.x\",\"total\":1,\"parts\":[{\"key\":\"no known form\",\"role\":\"other\","
		"\"values\":1}]}],\"plainResources\":1,\"plainValues\":5}");
	/* What a key is, the rotation says; its wildcard rule makes pods one of those that are encrypted. */
	put_rotation(&b, "Reencrypt", 1, "a", 1);
	_cleanup_free_ char *with = all_of(page_of(&b), "objects");
	assert_has(with, "{\"key\":\"aescbc/key1\",\"role\":\"old\",\"values\":100000}");
	assert_has(with, "{\"resource\":\"pods\"");
	/* The agent takes another order: its census is told no longer, and stays. */
	put_text(&b, DASHBOARD_SERVER,
		 "{\"apiVersion\":\"kube-rekey.dev/v1alpha1\",\"kind\":\"KeyServer\",\"metadata\":{\"name\":\"cp-9\"},"
		 "\"spec\":{},\"status\":{\"beat\":2,\"census\":{\"complete\":false,\"revision\":12}}}");
	_cleanup_free_ char *kept = all_of(page_of(&b), "objects");
	assert_string_equal(kept, with);
	put_text(&b, DASHBOARD_SERVER, CENSUS("11", OLD_SECRETS));
	_cleanup_free_ char *next = all_of(page_of(&b), "objects");
	assert_has(next, "{\"revision\":11,");
	/* Of another rotation's servers nothing is kept. */
	dashboard_store_remove(&b.store, DASHBOARD_SERVER, "cp-9");
	_cleanup_json_ rotation = rotation_at("Promote", 0, "a", 1);
	cJSON_ReplaceItemInObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(rotation, "metadata"), "uid",
					       cJSON_CreateString("another"));
	put(&b, DASHBOARD_ROTATION, rotation);
	assert_true(cJSON_IsNull(json_at(page_of(&b), "objects", NULL)));
	close_bench(&b);
}

/* --- flight records --- */

static void show_record(struct bench *b, const char *name)
{
	_cleanup_free_ char *path = xasprintf("../record/%s", name);
	_cleanup_json_ line = sample(path);
	_cleanup_(record_freep) struct record *record = NULL;
	struct error *err = NULL;
	assert_ok(record_read(line, &record, &err), err);
	dashboard_record_show(&b->store, record, b->scene.now);
}

static void test_record(void **state)
{
	static const char *const names[] = {"addreadkey", "awaitread", "promote",         "awaitwrite", "reencrypt",
					    "settle",     "verify",    "awaitcompaction", "dropoldkey", "done"};
	struct bench b;
	(void)state;
	open_bench(&b);
	b.scene.replay = true;
	b.store.sources[DASHBOARD_EVENT] = (struct dashboard_source){0};
	for (size_t i = 0; i < ELEMENTS(names); i++) {
		show_record(&b, names[i]);
		assert_int_equal(cJSON_GetArraySize(json_at(page_of(&b), "todo", NULL)), 0);
		assert_true(cJSON_IsNull(json_at(b.page, "controller", NULL)));
		_cleanup_free_ char *name = xstrdup(text_of(b.page, "rotation", "phase"));
		for (char *c = name; *c; c++)
			*c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
		assert_string_equal(name, names[i]);
	}
	show_record(&b, "dropoldkey");
	assert_string_equal(text_of(page_of(&b), "rotation", "why"),
			    "apiserver-0: writing step 3 [aescbc/rekey-20261127T0030Z-865492, plaintext]");
	assert_string_equal(text_of(b.page, "rotation", "from"), "aescbc/key1");
	_cleanup_free_ char *servers = all_of(b.page, "servers");
	assert_has(servers, "\"words\":\"step 2 in its file, loaded\",\"well\":true");
	_cleanup_free_ char *events = all_of(b.page, "events");
	assert_has(events, "\"reason\":\"Done\"");
	close_bench(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_phase_is_explained),
		cmocka_unit_test(test_what_is_said_of_a_rotation),
		cmocka_unit_test(test_blocked_and_over),
		cmocka_unit_test(test_going_back),
		cmocka_unit_test(test_whose_agent_reports),
		cmocka_unit_test(test_nothing_known_yet),
		cmocka_unit_test(test_who_leads),
		cmocka_unit_test(test_what_a_list_does_not_name_is_gone),
		cmocka_unit_test(test_one_that_cannot_be_read),
		cmocka_unit_test(test_the_one_that_is_named),
		cmocka_unit_test(test_namespaces),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_notes),
		cmocka_unit_test(test_objects),
		cmocka_unit_test(test_record),
	};
	json_install_hooks();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
