/* Whether a sweep may go on, by what the agents report meanwhile. */
#include "test_support.h"
#include "engine/controller_internal.h"

static struct cluster cluster;
static struct controller_options options = {.cluster = &cluster};
static char notes[200];

static void take_note(void *arg, const char *text)
{
	(void)arg;
	snprintf(notes, sizeof(notes), "%s", text);
}

/* Two servers, just reported, and a sweep that has just begun. */
static struct controller begin(void)
{
	struct controller c = {.options = &options, .rotation = key_rotation_new("a")};

	options.on_note = take_note;
	notes[0] = '\0';
	c.fleet.count = c.server_count = c.seen.server_count = 2;
	c.fleet.servers = xcalloc(2, sizeof(*c.fleet.servers));
	c.servers = xcalloc(2, sizeof(*c.servers));
	c.seen.servers = xcalloc(2, sizeof(*c.seen.servers));
	for (size_t i = 0; i < 2; i++) {
		struct fleet_server *server = &c.fleet.servers[i];

		c.servers[i].name = xasprintf("cp-%zu", i + 1);
		c.seen.servers[i].answering = true;
		server->last = key_server_new(c.servers[i].name);
		server->beat_read_at = clock_monotonic();
		server->last->status.beat = 7;
		server->last->status.answering = true;
		server->last->status.process = 100;
		server->last->status.file_hash = xstrdup("h1");
		server->last->status.loaded_hash = xstrdup("h1");
		server->last->status.version = xstrdup("v1.35.1");
	}
	controller_sweep_begins(&c);
	return c;
}

static void end(struct controller *c)
{
	for (size_t i = 0; i < 2; i++) {
		free(c->servers[i].name);
		free(c->servers[i].swept_with.file);
		free(c->servers[i].swept_with.loaded);
		free(c->servers[i].swept_with.version);
	}
	free(c->servers);
	joiners_end(&c->joiners);
	fleet_free(&c->fleet);
	observation_free_contents(&c->seen);
	key_rotation_free(c->rotation);
	free(c->trouble);
	free(c->noted);
}

static struct key_server_status *second(struct controller *c)
{
	return &c->fleet.servers[1].last->status;
}

static void another_file(struct controller *c)
{
	replace_text(&second(c)->file_hash, "h0");
}

static void loaded_another(struct controller *c)
{
	replace_text(&second(c)->loaded_hash, "h0");
}

static void upgraded(struct controller *c)
{
	replace_text(&second(c)->version, "v1.36.3");
}

static void restarted(struct controller *c)
{
	second(c)->process = 200;
}

static void forgotten(struct controller *c)
{
	struct key_rotation_status *status = &c->rotation->status;

	status->servers = xcalloc(1, sizeof(*status->servers));
	status->server_count = 1;
	status->servers[0] = (struct key_rotation_server){.name = xstrdup("cp-2"), .forgotten = true};
}

static void silent(struct controller *c)
{
	c->fleet.servers[1].beat_read_at = clock_monotonic() - FLEET_SILENCE - NS_PER_S;
}

static void down(struct controller *c)
{
	second(c)->answering = false;
	second(c)->process = 0;
	free(steal(second(c)->loaded_hash));
	free(steal(second(c)->version));
}

static void file_unknown(struct controller *c)
{
	free(steal(second(c)->file_hash));
}

static void deleted(struct controller *c)
{
	key_server_free(c->fleet.servers[1].last);
	c->fleet.count = 1;
}

static void joined(struct controller *c)
{
	c->joiners.joined = xstrdup("cp-3");
}

/* What was seen last of one that is silent now, too. */
static void silent_with_another_file(struct controller *c)
{
	silent(c);
	another_file(c);
}

static const struct {
	const char *name;
	void (*happens)(struct controller *c);
	enum sweep_wish wish;
	const char *said;
} rows[] = {
	{"nothing", NULL, SWEEP_GO_ON, ""},
	{"another file", another_file, SWEEP_GIVE_UP, "rewriting is begun anew: cp-2: its file is another one"},
	{"another one is loaded", loaded_another, SWEEP_GIVE_UP,
	 "rewriting is begun anew: cp-2: it has loaded another file"},
	{"another version", upgraded, SWEEP_GIVE_UP, "rewriting is begun anew: cp-2: it is of another version"},
	{"another process", restarted, SWEEP_GIVE_UP, "rewriting is begun anew: cp-2: it was started anew"},
	{"another file, then silence", silent_with_another_file, SWEEP_GIVE_UP,
	 "rewriting is begun anew: cp-2: its file is another one"},
	{"its KeyServer is deleted, and the agent has nowhere to report to", deleted, SWEEP_GIVE_UP,
	 "rewriting is begun anew: cp-2: its KeyServer is gone"},
	{"a third one joins", joined, SWEEP_GIVE_UP, "rewriting is begun anew: cp-3 joined"},
	{"it is gone for good", forgotten, SWEEP_GIVE_UP, ""},
	{"silence", silent, SWEEP_HOLD, "rewriting waits for cp-2: the agent on its node has not reported for a while"},
	{"it is down", down, SWEEP_HOLD, "rewriting waits for cp-2: it does not answer its agent"},
	{"its file is unknown", file_unknown, SWEEP_HOLD, "rewriting waits for cp-2: its file cannot be read"},
};

static void test_wish(void **state)
{
	const __typeof__(rows[0]) *row = *state;
	struct controller c = begin();

	if (row->happens)
		row->happens(&c);
	assert_int_equal(controller_sweep_wish(&c), row->wish);
	assert_string_equal(notes, row->said);
	assert_int_equal(c.trouble != NULL, row->wish == SWEEP_HOLD);
	assert_true(c.seen.servers[0].answering);
	assert_int_equal(c.seen.servers[1].answering, row->wish != SWEEP_HOLD);
	end(&c);
}

/* As it was: it goes on from there, and is told well of. */
static void test_seen_again(void **state)
{
	struct controller c = begin();

	(void)state;
	second(&c)->answering = false;
	assert_int_equal(controller_sweep_wish(&c), SWEEP_HOLD);
	second(&c)->answering = true;
	assert_int_equal(controller_sweep_wish(&c), SWEEP_GO_ON);
	assert_null(c.trouble);
	assert_true(c.seen.servers[1].answering);
	end(&c);
}

/* Then nobody knows whether one joins. */
static void test_leases_cannot_be_read(void **state)
{
	struct controller c = begin();

	(void)state;
	c.joiners.answered = clock_monotonic() - JOINERS_SILENCE;
	assert_int_equal(controller_sweep_wish(&c), SWEEP_HOLD);
	assert_non_null(strstr(c.trouble, "identity Leases cannot be read"));
	c.joiners.answered = clock_monotonic();
	assert_int_equal(controller_sweep_wish(&c), SWEEP_GO_ON);
	assert_null(c.trouble);
	end(&c);
}

/* What was not known as it began is no news. */
static void test_not_told_before(void **state)
{
	struct controller c = begin();

	(void)state;
	free(steal(second(&c)->loaded_hash));
	controller_sweep_begins(&c);
	replace_text(&second(&c)->loaded_hash, "h1");
	assert_int_equal(controller_sweep_wish(&c), SWEEP_GO_ON);
	end(&c);
}

static void test_one_server(void **state)
{
	struct kube kube = {0};
	struct controller c = begin();

	(void)state;
	c.servers[0].kube = &kube; /* it answered once, and not in this look */
	assert_null(controller_sweeps_through(&c));
	c.servers[1].kube = &kube;
	c.servers[1].scraped = true;
	assert_ptr_equal(controller_sweeps_through(&c), &kube);
	end(&c);
}

int main(void)
{
	struct CMUnitTest tests[ELEMENTS(rows) + 4] = {
		cmocka_unit_test(test_seen_again),
		cmocka_unit_test(test_not_told_before),
		cmocka_unit_test(test_one_server),
		cmocka_unit_test(test_leases_cannot_be_read),
	};

	for (size_t i = 0; i < ELEMENTS(rows); i++)
		tests[i + 4] = (struct CMUnitTest){
			.name = rows[i].name, .test_func = test_wish, .initial_state = (void *)(uintptr_t)&rows[i]};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
