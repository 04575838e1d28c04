/* The counts of a sweep while others create and delete: single rules first, then against a model that knows everything. */
#include "test_support.h"
#include <stdio.h>
#include "engine/sweep_tally.h"

#define SNAPSHOT 1000

/* One resource, of which a first page of two objects was listed: eight are left. */
static void begin(struct sweep_tally *tally)
{
	uint64_t written;

	sweep_tally_init(tally, 1);
	sweep_tally_count(tally, 0, 10);
	assert_int_equal(sweep_tally_total(tally), 10);
	assert_true(sweep_tally_item(tally, 0, "first", &written));
	assert_true(sweep_tally_item(tally, 0, "second", &written));
	assert_int_equal(sweep_tally_total(tally), 10);
	sweep_tally_page(tally, 0, SNAPSHOT, 8);
}

static void expect(const struct sweep_tally *tally, uint64_t ended, uint64_t total, uint64_t done)
{
	assert_int_equal(sweep_tally_total(tally), total);
	assert_int_equal(sweep_tally_done(tally, ended), done);
}

static void test_not_known_until_all_are_counted(void **state)
{
	struct sweep_tally tally;

	(void)state;
	sweep_tally_init(&tally, 2);
	sweep_tally_count(&tally, 0, 5);
	expect(&tally, 0, 0, 0);
	sweep_tally_count(&tally, 1, 0);
	expect(&tally, 0, 5, 0);
	sweep_tally_free(&tally);
}

static void test_before_its_list_begins(void **state)
{
	struct sweep_tally tally;

	(void)state;
	sweep_tally_init(&tally, 1);
	sweep_tally_count(&tally, 0, 1);
	sweep_tally_event(&tally, 0, WATCH_ADDED, true, "a", 5);
	expect(&tally, 0, 2, 0);
	sweep_tally_event(&tally, 0, WATCH_MODIFIED, true, "a", 6);
	sweep_tally_event(&tally, 0, WATCH_DELETED, true, "a", 7);
	sweep_tally_event(&tally, 0, WATCH_DELETED, true, "b", 8);
	sweep_tally_event(&tally, 0, WATCH_DELETED, true, "c", 9); /* counted wrongly before */
	expect(&tally, 0, 0, 0);
	sweep_tally_count(&tally, 0, 7); /* the watch counted anew */
	expect(&tally, 0, 7, 0);
	sweep_tally_free(&tally);
}

static void test_a_page_puts_the_count_right(void **state)
{
	struct sweep_tally tally;

	(void)state;
	begin(&tally);
	sweep_tally_page(&tally, 0, SNAPSHOT, 20);
	expect(&tally, 2, 22, 2);
	sweep_tally_count(&tally, 0, 99); /* of a later revision than the list's */
	expect(&tally, 2, 22, 2);
	sweep_tally_passed(&tally, 0);
	expect(&tally, 2, 2, 2);
	sweep_tally_free(&tally);
}

static void test_created_is_done(void **state)
{
	struct sweep_tally tally;

	(void)state;
	begin(&tally);
	sweep_tally_event(&tally, 0, WATCH_ADDED, true, "ahead", SNAPSHOT + 1);
	sweep_tally_event(&tally, 0, WATCH_ADDED, true, "ahead", SNAPSHOT + 1); /* told again */
	sweep_tally_event(&tally, 0, WATCH_ADDED, false, "behind", SNAPSHOT + 2);
	sweep_tally_event(&tally, 0, WATCH_ADDED, true, "in the list", SNAPSHOT);
	expect(&tally, 2, 12, 4);
	/* What was in no list is in no list when it is gone, either. */
	sweep_tally_event(&tally, 0, WATCH_DELETED, true, "ahead", SNAPSHOT + 3);
	expect(&tally, 2, 12, 4);
	sweep_tally_page(&tally, 0, SNAPSHOT, 8);
	expect(&tally, 2, 12, 4);
	sweep_tally_passed(&tally, 0);
	sweep_tally_event(&tally, 0, WATCH_ADDED, false, "after", SNAPSHOT + 4);
	expect(&tally, 2, 5, 5);
	sweep_tally_free(&tally);
}

static void test_deleted_ahead_is_not_met(void **state)
{
	struct sweep_tally tally;
	uint64_t written;

	(void)state;
	begin(&tally);
	sweep_tally_event(&tally, 0, WATCH_DELETED, true, "third", SNAPSHOT + 1);
	sweep_tally_event(&tally, 0, WATCH_DELETED, true, "third", SNAPSHOT + 1);
	sweep_tally_event(&tally, 0, WATCH_DELETED, true, "fourth", SNAPSHOT + 2);
	sweep_tally_event(&tally, 0, WATCH_DELETED, false, "first", SNAPSHOT + 3); /* a request finds out */
	sweep_tally_event(&tally, 0, WATCH_DELETED, true, "old", SNAPSHOT);        /* it is not in the list */
	expect(&tally, 1, 8, 1);
	assert_false(sweep_tally_item(&tally, 0, "third", &written));
	expect(&tally, 1, 8, 1);
	sweep_tally_page(&tally, 0, SNAPSHOT, 7); /* "fourth" is one of them */
	expect(&tally, 1, 8, 1);
	sweep_tally_free(&tally);
}

static void test_written_ahead_is_remembered(void **state)
{
	struct sweep_tally tally;
	uint64_t written;

	(void)state;
	begin(&tally);
	sweep_tally_event(&tally, 0, WATCH_MODIFIED, true, "third", SNAPSHOT + 1);
	sweep_tally_event(&tally, 0, WATCH_MODIFIED, true, "third", SNAPSHOT + 5);
	sweep_tally_event(&tally, 0, WATCH_MODIFIED, false, "first", SNAPSHOT + 6); /* ours, perhaps */
	assert_true(sweep_tally_item(&tally, 0, "third", &written));
	assert_int_equal(written, SNAPSHOT + 5);
	assert_true(sweep_tally_item(&tally, 0, "fourth", &written));
	assert_int_equal(written, 0);
	assert_true(sweep_tally_item(&tally, 0, "first", &written));
	assert_int_equal(written, 0);
	sweep_tally_event(&tally, 0, WATCH_MODIFIED, true, "fifth", SNAPSHOT + 7);
	sweep_tally_event(&tally, 0, WATCH_DELETED, true, "fifth", SNAPSHOT + 8);
	assert_false(sweep_tally_item(&tally, 0, "fifth", &written));
	sweep_tally_free(&tally);
}

/* After a 410 the list goes on at a newer revision: it shows what was created, and not what was deleted. */
static void test_the_list_goes_on_at_another_revision(void **state)
{
	struct sweep_tally tally;
	uint64_t written;

	(void)state;
	begin(&tally);
	sweep_tally_event(&tally, 0, WATCH_ADDED, true, "created 1", SNAPSHOT + 1);
	sweep_tally_event(&tally, 0, WATCH_ADDED, true, "created 2", SNAPSHOT + 2);
	sweep_tally_event(&tally, 0, WATCH_DELETED, true, "third", SNAPSHOT + 3);
	expect(&tally, 2, 11, 4);
	assert_true(sweep_tally_item(&tally, 0, "created 1", &written));
	expect(&tally, 2, 11, 3);
	sweep_tally_page(&tally, 0, SNAPSHOT + 10, 8); /* the other seven, and "created 2" */
	expect(&tally, 2, 11, 2);
	sweep_tally_event(&tally, 0, WATCH_DELETED, true, "fourth", SNAPSHOT + 4); /* told late */
	expect(&tally, 2, 11, 2);
	sweep_tally_free(&tally);
}

/* Each namespace's is newer than the one before, and says nothing of the others. */
static void test_lists_of_one_namespace_each(void **state)
{
	struct sweep_tally tally;
	uint64_t written;

	(void)state;
	begin(&tally);
	sweep_tally_event(&tally, 0, WATCH_ADDED, true, "created ahead", SNAPSHOT + 1);
	sweep_tally_event(&tally, 0, WATCH_ADDED, false, "created behind", SNAPSHOT + 2);
	sweep_tally_event(&tally, 0, WATCH_DELETED, true, "third", SNAPSHOT + 3);
	expect(&tally, 2, 11, 4);
	assert_true(sweep_tally_item(&tally, 0, "created ahead", &written));
	expect(&tally, 3, 11, 4);
	for (unsigned i = 4; i <= 10; i++) {
		char uid[32];

		snprintf(uid, sizeof(uid), "object %u", i);
		assert_true(sweep_tally_item(&tally, 0, uid, &written));
	}
	expect(&tally, 10, 11, 11);
	sweep_tally_passed(&tally, 0);
	expect(&tally, 10, 11, 11);
	sweep_tally_free(&tally);
}

/* What others change takes no more memory than this, and then is counted less exactly. */
static void test_no_more_is_remembered(void **state)
{
	struct sweep_tally tally;
	uint64_t written;

	(void)state;
	begin(&tally);
	for (unsigned i = 0; i < 3 * SWEEP_CHANGES_MAX; i++) {
		char uid[32];

		snprintf(uid, sizeof(uid), "uid-%u", i);
		sweep_tally_event(&tally, 0, WATCH_ADDED, true, uid, SNAPSHOT + 1 + i);
	}
	expect(&tally, 2, 10 + 3 * SWEEP_CHANGES_MAX, 2 + 3 * SWEEP_CHANGES_MAX);
	assert_int_equal(tally.change_count, SWEEP_CHANGES_MAX);
	sweep_tally_event(&tally, 0, WATCH_DELETED, true, "third", SNAPSHOT + 4);
	assert_true(sweep_tally_item(&tally, 0, "third", &written)); /* its request finds out */
	sweep_tally_passed(&tally, 0);
	assert_null(tally.changes);
	sweep_tally_free(&tally);
}

/* --- against a model -------------------------------------------------------------------------------------------- */

#define OBJECTS_MAX 4000

struct object {
	uint64_t created, deleted; /* revisions; deleted 0: it is there */
};

struct model {
	struct object objects[OBJECTS_MAX]; /* the place is the key */
	uint64_t chance, revision, snapshot;
	size_t at; /* all before it was listed */
	uint64_t ended, created;
	struct sweep_tally tally;
};

static uint64_t chance_below(struct model *model, uint64_t limit)
{
	model->chance = model->chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (model->chance >> 33) % limit;
}

static const char *uid_of(size_t place, uint64_t created)
{
	static char uid[64];

	snprintf(uid, sizeof(uid), "%zu-%llu", place, (unsigned long long)created);
	return uid;
}

/* Somebody creates what is not there, or deletes what is; the watch tells it at once. */
static void change(struct model *model)
{
	size_t place = chance_below(model, OBJECTS_MAX);
	struct object *object = &model->objects[place];
	bool there = object->created != 0 && object->deleted == 0;

	model->revision++;
	if (there) {
		object->deleted = model->revision;
	} else if (object->created == 0) {
		object->created = model->revision;
		model->created++;
	} else {
		return; /* one life each keeps the model simple */
	}
	sweep_tally_event(&model->tally, 0, there ? WATCH_DELETED : WATCH_ADDED, place >= model->at,
			  uid_of(place, object->created), model->revision);
}

static bool shows(const struct model *model, size_t place)
{
	const struct object *object = &model->objects[place];

	return object->created != 0 && object->created <= model->snapshot &&
	       (object->deleted == 0 || object->deleted > model->snapshot);
}

/* Objects that the list has still to show, without those that are gone by now where `now` is asked for. */
static uint64_t left(const struct model *model, bool now)
{
	uint64_t count = 0;

	for (size_t place = model->at; place < OBJECTS_MAX; place++)
		count += shows(model, place) && (!now || model->objects[place].deleted == 0);
	return count;
}

static void list_page(struct model *model, size_t limit)
{
	size_t items = 0;

	for (; model->at < OBJECTS_MAX && items < limit; model->at++) {
		const struct object *object = &model->objects[model->at];
		uint64_t written;
		bool wanted;

		if (!shows(model, model->at))
			continue;
		items++;
		wanted = sweep_tally_item(&model->tally, 0, uid_of(model->at, object->created), &written);
		/* Known to be gone exactly when it is. */
		assert_int_equal(wanted, object->deleted == 0);
		model->ended += wanted;
	}
	sweep_tally_page(&model->tally, 0, model->snapshot, left(model, false));
}

static void test_against_a_model(void **state)
{
	static struct model model;

	(void)state;
	for (uint64_t seed = 1; seed <= 50; seed++) {
		uint64_t total, done = 0;

		model = (struct model){.chance = seed, .revision = 10};
		for (size_t place = 0; place < OBJECTS_MAX; place++)
			model.objects[place].created = chance_below(&model, 2) ? 5 : 0;
		model.snapshot = model.revision;
		sweep_tally_init(&model.tally, 1);
		sweep_tally_count(&model.tally, 0, left(&model, false));
		while (model.at < OBJECTS_MAX) {
			for (uint64_t i = chance_below(&model, 40); model.at > 0 && i > 0; i--)
				change(&model);
			if (chance_below(&model, 10) == 0) /* 410 */
				model.snapshot = model.revision;
			list_page(&model, 1 + chance_below(&model, 100));
			total = sweep_tally_total(&model.tally);
			assert_int_equal(total - sweep_tally_done(&model.tally, model.ended), left(&model, true));
			/* Back by what others created, at most. */
			assert_true(sweep_tally_done(&model.tally, model.ended) + model.created >= done);
			done = sweep_tally_done(&model.tally, model.ended);
		}
		sweep_tally_passed(&model.tally, 0);
		assert_int_equal(sweep_tally_total(&model.tally), sweep_tally_done(&model.tally, model.ended));
		sweep_tally_free(&model.tally);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_not_known_until_all_are_counted),
		cmocka_unit_test(test_before_its_list_begins),
		cmocka_unit_test(test_a_page_puts_the_count_right),
		cmocka_unit_test(test_created_is_done),
		cmocka_unit_test(test_deleted_ahead_is_not_met),
		cmocka_unit_test(test_written_ahead_is_remembered),
		cmocka_unit_test(test_the_list_goes_on_at_another_revision),
		cmocka_unit_test(test_lists_of_one_namespace_each),
		cmocka_unit_test(test_no_more_is_remembered),
		cmocka_unit_test(test_against_a_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
