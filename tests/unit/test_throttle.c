#include "test_support.h"
#include "base/clock.h"
#include "engine/throttle.h"

#define MS NS_PER_MS
#define T0 (1000 * NS_PER_S)

static uint64_t again;

static struct throttle make(uint64_t qps, unsigned concurrency)
{
	struct throttle throttle;

	throttle_init(&throttle, &(struct throttle_options){.qps = qps, .concurrency = concurrency}, T0);
	return throttle;
}

static bool start(struct throttle *throttle, uint64_t now)
{
	if (!throttle_may_start(throttle, now, &again))
		return false;
	throttle_started(throttle, now);
	return true;
}

/* How many start at once. */
static unsigned starts(struct throttle *throttle, uint64_t now)
{
	unsigned count = 0;

	while (start(throttle, now))
		count++;
	return count;
}

static void end(struct throttle *throttle, enum throttle_outcome outcome, uint64_t latency, uint64_t now)
{
	throttle_ended(throttle, outcome, latency, 0, now);
}

static void test_full_speed_is_bound_by_concurrency(void **state)
{
	struct throttle throttle = make(0, 16);

	(void)state;
	assert_int_equal(starts(&throttle, T0), 16);
	assert_int_equal(again, UINT64_MAX);
	end(&throttle, THROTTLE_GOOD, MS, T0 + MS);
	assert_int_equal(starts(&throttle, T0 + MS), 1);
}

static void test_concurrency_is_taken_as_the_nearest_legal_one(void **state)
{
	struct throttle none = make(0, 0), many = make(0, 1000);

	(void)state;
	assert_int_equal(starts(&none, T0), 1);
	assert_int_equal(starts(&many, T0), 64);
}

static void test_rate(void **state)
{
	struct throttle throttle = make(50, 64);

	(void)state;
	throttle.best_latency = NS_PER_S; /* nothing but the rate bounds it */
	/* A tenth of a second's worth is saved up: one each 10 ms until it is gone, then one each 20 ms. */
	assert_int_equal(starts(&throttle, T0), 1);
	assert_int_equal(again, T0 + 10 * MS);
	assert_false(start(&throttle, T0 + 10 * MS - 1));
	for (unsigned i = 1; i < 9; i++)
		assert_int_equal(starts(&throttle, T0 + i * 10 * MS), 1);
	assert_int_equal(again, T0 + 100 * MS);
	assert_false(start(&throttle, T0 + 100 * MS - 1));
	assert_true(start(&throttle, T0 + 100 * MS));
	assert_false(start(&throttle, T0 + 110 * MS));
	assert_int_equal(again, T0 + 120 * MS);
	/* An idle hour saves up no more than that. */
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(starts(&throttle, T0 + 3600 * NS_PER_S + i * 10 * MS), 1);
	assert_int_equal(starts(&throttle, T0 + 3600 * NS_PER_S + 90 * MS), 0);
}

static void test_slow_rates_start_one(void **state)
{
	struct throttle throttle = make(1, 16);

	(void)state;
	assert_int_equal(starts(&throttle, T0), 1);
	assert_int_equal(again, T0 + NS_PER_S);
	assert_int_equal(starts(&throttle, T0 + 2500 * MS), 1);
}

static void test_enormous_rates_do_not_overflow(void **state)
{
	struct throttle throttle = make(UINT64_MAX, 16);

	(void)state;
	throttle.best_latency = 1000 * NS_PER_S;
	assert_int_equal(starts(&throttle, T0), 16);
	for (int i = 0; i < 16; i++)
		end(&throttle, THROTTLE_GOOD, MS, T0 + NS_PER_S);
	assert_int_equal(starts(&throttle, T0 + NS_PER_S), 16);
}

static void test_a_clock_that_goes_back_adds_nothing(void **state)
{
	struct throttle throttle = make(10, 16);

	(void)state;
	assert_int_equal(starts(&throttle, T0), 1);
	assert_false(start(&throttle, T0 - 500 * NS_PER_S));
	assert_false(start(&throttle, T0 + 99 * MS));
	assert_int_equal(starts(&throttle, T0 + 100 * MS), 1);
}

static void test_one_cut_for_a_burst_of_failures(void **state)
{
	struct throttle throttle = make(0, 16);

	(void)state;
	starts(&throttle, T0);
	for (int i = 0; i < 16; i++)
		end(&throttle, THROTTLE_BUSY, (10 + (uint64_t)i) * MS, T0 + (10 + (uint64_t)i) * MS);
	assert_int_equal(throttle.limit, 8);
	/* The one back-off counts from the last of them. */
	assert_false(start(&throttle, T0 + 26 * MS));
	assert_true(again >= T0 + 110 * MS);
	assert_int_equal(starts(&throttle, again), 8);
}

static void test_each_round_trip_of_failures_cuts_and_waits_longer(void **state)
{
	static const uint64_t pauses_ms[] = {100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};
	struct throttle throttle = make(0, 16);
	uint64_t now = T0;
	unsigned limit = 16;

	(void)state;
	for (size_t i = 0; i < ELEMENTS(pauses_ms); i++) {
		assert_int_equal(starts(&throttle, now), limit);
		limit = limit > 1 ? limit / 2 : 1;
		while (throttle.in_flight > 0)
			end(&throttle, THROTTLE_BUSY, 5 * MS, now + 5 * MS);
		assert_int_equal(throttle.limit, limit);
		assert_false(throttle_may_start(&throttle, now + 5 * MS, &again));
		assert_int_equal(again, now + (5 + pauses_ms[i]) * MS);
		now = again;
	}
	/* One good answer, and the next trouble begins small. */
	assert_true(start(&throttle, now));
	end(&throttle, THROTTLE_GOOD, MS, now + MS);
	assert_true(start(&throttle, now + MS));
	end(&throttle, THROTTLE_BUSY, MS, now + 2 * MS);
	assert_int_equal(throttle.stopped_until, now + 102 * MS);
}

static void test_retry_after_is_a_floor(void **state)
{
	struct throttle throttle = make(0, 16);

	(void)state;
	for (int i = 0; i < 5; i++)
		assert_true(start(&throttle, T0));
	throttle_ended(&throttle, THROTTLE_BUSY, MS, 4 * NS_PER_S, T0 + MS);
	assert_false(start(&throttle, T0 + MS + 4 * NS_PER_S - 1));
	assert_int_equal(again, T0 + MS + 4 * NS_PER_S);
	/* Another failure of that burst with a longer one: no other cut, but it is obeyed. */
	throttle_ended(&throttle, THROTTLE_BUSY, 2 * MS, 7 * NS_PER_S, T0 + 2 * MS);
	assert_int_equal(throttle.limit, 8);
	assert_int_equal(throttle.stopped_until, T0 + 2 * MS + 7 * NS_PER_S);
	/* A shorter one takes nothing back. */
	throttle_ended(&throttle, THROTTLE_BUSY, 2 * MS, 1 * NS_PER_S, T0 + 2 * MS);
	assert_int_equal(throttle.stopped_until, T0 + 2 * MS + 7 * NS_PER_S);
}

static void test_grows_by_one_a_round_trip(void **state)
{
	struct throttle throttle = make(0, 4);
	uint64_t now = T0 + NS_PER_S;

	(void)state;
	starts(&throttle, T0);
	for (int i = 0; i < 4; i++)
		end(&throttle, THROTTLE_BUSY, MS, T0 + MS);
	assert_int_equal(throttle.limit, 2);
	for (unsigned wanted = 2; wanted <= 4; wanted++) {
		assert_int_equal(starts(&throttle, now), wanted);
		now += 10 * MS;
		/* As they do in life: one ends, the next starts. */
		for (unsigned i = 0; i < wanted; i++) {
			end(&throttle, THROTTLE_GOOD, 10 * MS, now);
			assert_true(start(&throttle, now));
		}
		while (throttle.in_flight > 0)
			end(&throttle, THROTTLE_OTHER, MS, now);
	}
	assert_int_equal(throttle.limit, 4);
}

static void test_does_not_grow_unused(void **state)
{
	struct throttle throttle = make(0, 16);
	uint64_t now = T0 + NS_PER_S;

	(void)state;
	starts(&throttle, T0);
	for (int i = 0; i < 16; i++)
		end(&throttle, THROTTLE_BUSY, MS, T0 + MS);
	for (int i = 0; i < 100; i++, now += 10 * MS) {
		assert_true(start(&throttle, now));
		end(&throttle, THROTTLE_GOOD, MS, now + MS);
	}
	assert_int_equal(throttle.limit, 8);
}

static void test_conflicts_say_nothing_about_load(void **state)
{
	struct throttle throttle = make(0, 16);

	(void)state;
	starts(&throttle, T0);
	for (int i = 0; i < 16; i++)
		end(&throttle, THROTTLE_OTHER, 10 * NS_PER_S, T0 + 10 * NS_PER_S);
	assert_int_equal(throttle.limit, 16);
	assert_int_equal(starts(&throttle, T0 + 10 * NS_PER_S), 16);
}

/* Twenty round trips, each of as many as the limit allows, that take `latency` each. */
static uint64_t rounds(struct throttle *throttle, uint64_t now, uint64_t latency)
{
	for (int i = 0; i < 20; i++) {
		now += NS_PER_S;
		while (throttle->in_flight < throttle->limit)
			if (!start(throttle, now)) {
				if (again == UINT64_MAX)
					break; /* the rate needs no more */
				now = again;
			}
		while (throttle->in_flight > 0)
			end(throttle, THROTTLE_GOOD, latency, now + latency);
	}
	return now + latency;
}

static void test_rising_latency_slows_gently_and_passes(void **state)
{
	struct throttle throttle = make(1000, 16);
	uint64_t now = rounds(&throttle, T0, 10 * MS);

	(void)state;
	assert_int_equal(throttle.limit, 16);
	now = rounds(&throttle, now, 80 * MS);
	assert_int_equal(throttle.limit, 16); /* eight times the best, but within the slack */
	now = rounds(&throttle, now, 800 * MS);
	assert_in_range(throttle.limit, 1, 8);
	assert_true(throttle.limit < 16);
	for (int i = 0; i < 20; i++)
		now = rounds(&throttle, now, 10 * MS);
	assert_int_equal(throttle.limit, 16);
}

static void test_no_more_at_once_than_the_rate_needs(void **state)
{
	struct throttle throttle = make(100, 16);
	uint64_t now = T0;

	(void)state;
	for (unsigned i = 0; i < 2; i++, now += 5 * MS)
		assert_int_equal(starts(&throttle, now), 1);
	assert_int_equal(starts(&throttle, now), 0);
	assert_int_equal(again, UINT64_MAX);
	/* Each takes 4 ms: one at once is enough. */
	end(&throttle, THROTTLE_GOOD, 4 * MS, now);
	end(&throttle, THROTTLE_GOOD, 4 * MS, now);
	assert_int_equal(starts(&throttle, now), 1);
	assert_int_equal(starts(&throttle, now + 10 * MS), 0);
	assert_int_equal(again, UINT64_MAX);
	/* One that is slow for a moment is not asked for more at once. */
	for (unsigned i = 0; i < 20; i++) {
		end(&throttle, THROTTLE_GOOD, 40 * MS, now += 40 * MS);
		starts(&throttle, now);
	}
	assert_int_equal(throttle.in_flight, 1);
	/* The server became slower for good: the rate is kept again. */
	for (unsigned i = 0; i < 1000; i++) {
		end(&throttle, THROTTLE_GOOD, 40 * MS, now += 40 * MS);
		starts(&throttle, now);
	}
	for (unsigned i = 0; i < 20; i++, now += 10 * MS)
		starts(&throttle, now);
	assert_in_range(throttle.in_flight, 4, 5);
}

static void test_full_speed_does_not_mind_latency(void **state)
{
	struct throttle throttle = make(0, 16);
	uint64_t now = rounds(&throttle, T0, MS);

	(void)state;
	rounds(&throttle, now, 900 * MS);
	assert_int_equal(throttle.limit, 16);
}

static void test_a_server_that_became_slower_for_good_is_accepted(void **state)
{
	struct throttle throttle = make(1000, 16);
	uint64_t now = rounds(&throttle, T0, 10 * MS);

	(void)state;
	for (int i = 0; i < 200; i++)
		now = rounds(&throttle, now, 300 * MS);
	assert_int_equal(throttle.limit, 16);
}

static void test_set_while_it_runs(void **state)
{
	struct throttle throttle = make(0, 4);

	(void)state;
	assert_int_equal(starts(&throttle, T0), 4);
	throttle_set(&throttle, &(struct throttle_options){.qps = 0, .concurrency = 8}, T0);
	assert_int_equal(starts(&throttle, T0), 4);
	throttle_set(&throttle, &(struct throttle_options){.qps = 20, .concurrency = 8}, T0);
	while (throttle.in_flight > 0)
		end(&throttle, THROTTLE_GOOD, 200 * MS, T0);
	assert_int_equal(starts(&throttle, T0), 0);
	assert_int_equal(starts(&throttle, T0 + 50 * MS), 1);
	assert_int_equal(starts(&throttle, T0 + 975 * MS), 1);
	assert_int_equal(starts(&throttle, T0 + NS_PER_S), 1);
	throttle_set(&throttle, &(struct throttle_options){.qps = 0, .concurrency = 2}, T0 + NS_PER_S);
	assert_int_equal(throttle.limit, 2);
	assert_int_equal(starts(&throttle, T0 + NS_PER_S), 0); /* three are under way */
	throttle_set(&throttle, &(struct throttle_options){.qps = 0, .concurrency = 4}, T0 + NS_PER_S);
	assert_int_equal(starts(&throttle, T0 + NS_PER_S), 1);
}

/* --- the property ----------------------------------------------------------------------------------------------- */

static uint32_t seed;

static uint32_t draw(uint32_t below)
{
	/* xorshift32: the same on every machine. */
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed % below;
}

struct flight {
	uint64_t ends, latency;
};

/* A random life of a throttle; gives back when each request started. */
static size_t live(struct throttle *throttle, uint64_t *started, size_t room)
{
	struct flight flights[THROTTLE_CONCURRENCY_MAX];
	size_t count = 0, flying = 0;
	uint64_t now = T0;

	while (count < room && now < T0 + 60 * NS_PER_S) {
		while (count < room && start(throttle, now)) {
			uint64_t latency = (1 + draw(200)) * MS;

			assert_true(throttle->in_flight <= throttle->limit);
			assert_in_range(throttle->limit, 1, throttle->options.concurrency);
			started[count++] = now;
			flights[flying++] = (struct flight){now + latency, latency};
		}
		now += draw(30) * MS;
		for (size_t i = 0; i < flying;) {
			struct flight flight = flights[i];

			if (flight.ends > now) {
				i++;
				continue;
			}
			flights[i] = flights[--flying];
			throttle_ended(throttle, draw(20) == 0 ? THROTTLE_BUSY : THROTTLE_GOOD, flight.latency,
				       draw(4) == 0 ? draw(3) * NS_PER_S : 0, now);
		}
		assert_int_equal(throttle->in_flight, flying);
	}
	return count;
}

/* In any window: starts <= rate * time + burst. */
static void test_no_window_has_more_than_rate_and_burst(void **state)
{
	static const uint64_t rates[] = {1, 3, 7, 10, 50, 99, 333};
	static uint64_t started[2000];

	(void)state;
	for (uint32_t life = 0; life < 70; life++) {
		uint64_t qps = rates[life % ELEMENTS(rates)], burst = qps / 10 > 0 ? qps / 10 : 1;
		struct throttle throttle = make(qps, 1 + life % 64);
		size_t count;

		seed = life + 1;
		count = live(&throttle, started, ELEMENTS(started));
		assert_true(count > 10);
		/* Rounded down to ns. */
		for (size_t i = 1; i < count && qps < 500; i++)
			assert_true(2 * qps * (started[i] - started[i - 1] + 1) >= NS_PER_S);
		for (size_t i = 0; i < count; i++)
			for (size_t k = i; k < count; k++)
				assert_true((k - i + 1 - (burst < k - i + 1 ? burst : k - i + 1)) * NS_PER_S <=
					    qps * (started[k] - started[i]));
	}
}

/* However it goes, after trouble it starts again: nothing is stuck. */
static void test_always_starts_again(void **state)
{
	static uint64_t started[4000];

	(void)state;
	for (uint32_t life = 0; life < 50; life++) {
		struct throttle throttle = make(0, 1 + life % 64);

		seed = life + 99;
		live(&throttle, started, ELEMENTS(started));
		while (throttle.in_flight > 0)
			end(&throttle, THROTTLE_BUSY, MS, T0 + 60 * NS_PER_S);
		assert_true(start(&throttle, T0 + 100 * NS_PER_S));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_speed_is_bound_by_concurrency),
		cmocka_unit_test(test_concurrency_is_taken_as_the_nearest_legal_one),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_slow_rates_start_one),
		cmocka_unit_test(test_enormous_rates_do_not_overflow),
		cmocka_unit_test(test_a_clock_that_goes_back_adds_nothing),
		cmocka_unit_test(test_one_cut_for_a_burst_of_failures),
		cmocka_unit_test(test_each_round_trip_of_failures_cuts_and_waits_longer),
		cmocka_unit_test(test_retry_after_is_a_floor),
		cmocka_unit_test(test_grows_by_one_a_round_trip),
		cmocka_unit_test(test_does_not_grow_unused),
		cmocka_unit_test(test_conflicts_say_nothing_about_load),
		cmocka_unit_test(test_rising_latency_slows_gently_and_passes),
		cmocka_unit_test(test_no_more_at_once_than_the_rate_needs),
		cmocka_unit_test(test_full_speed_does_not_mind_latency),
		cmocka_unit_test(test_a_server_that_became_slower_for_good_is_accepted),
		cmocka_unit_test(test_set_while_it_runs),
		cmocka_unit_test(test_no_window_has_more_than_rate_and_burst),
		cmocka_unit_test(test_always_starts_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
