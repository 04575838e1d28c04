#include "test_support.h"
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "net/handover.h"
#include "net/loop.h"

#define MESSAGES 20000

struct number {
	struct handover_message message;
	unsigned sender, number;
};

struct seen {
	unsigned next[2]; /* of each sender */
	unsigned total;
};

static unsigned wakes, freed;

static void count_wake(void *arg)
{
	(void)arg;
	wakes++;
}

static void free_number(struct handover_message *message)
{
	__atomic_add_fetch(&freed, 1, __ATOMIC_RELAXED);
	free(message);
}

static void run_number(struct handover_message *message, void *arg)
{
	struct number *number = (struct number *)message;
	struct seen *seen = arg;

	assert_int_equal(number->number, seen->next[number->sender]);
	seen->next[number->sender]++;
	seen->total++;
}

static struct number *number_new(unsigned sender, unsigned value, size_t size)
{
	struct number *number = xcalloc(1, sizeof(*number));

	number->message.run = run_number;
	number->message.free = free_number;
	number->message.size = size;
	number->sender = sender;
	number->number = value;
	return number;
}

static void test_in_order_and_woken_once(void **state)
{
	struct handover *handover = handover_new(1u << 20, count_wake, NULL);
	struct seen seen = {.total = 0};

	(void)state;
	wakes = freed = 0;
	for (unsigned i = 0; i < 3; i++)
		assert_true(handover_put(handover, &number_new(0, i, 0)->message));
	assert_int_equal(wakes, 1);
	assert_false(handover_run(handover, &seen));
	assert_int_equal(seen.total, 3);
	assert_int_equal(freed, 3);
	assert_false(handover_run(handover, &seen));
	handover_put(handover, &number_new(0, 3, 0)->message);
	assert_int_equal(wakes, 2);
	/* What nobody took is freed, not run. */
	handover_free(handover);
	assert_int_equal(seen.total, 3);
	assert_int_equal(freed, 4);
}

static void test_the_mark_is_told_to_both(void **state)
{
	struct handover *handover = handover_new(10000, count_wake, NULL);
	struct seen seen = {.total = 0};

	(void)state;
	assert_true(handover_put(handover, &number_new(0, 0, 9000)->message));
	assert_false(handover_put(handover, &number_new(0, 1, 1000)->message));
	assert_false(handover_put(handover, &number_new(0, 2, 0)->message));
	assert_true(handover_run(handover, &seen));
	assert_int_equal(seen.total, 3);
	assert_true(handover_put(handover, &number_new(0, 3, 0)->message));
	assert_false(handover_run(handover, &seen));
	handover_free(handover);
}

/* --- threads, and a loop that is woken -------------------------------------------------------------------------- */

struct sender {
	struct handover *handover;
	unsigned number;
};

static void *send_all(void *arg)
{
	struct sender *sender = arg;

	for (unsigned i = 0; i < MESSAGES; i++)
		handover_put(sender->handover, &number_new(sender->number, i, 10)->message);
	return NULL;
}

struct receiver {
	struct handover *handover;
	struct seen seen;
	int fd;
	bool done;
};

static void wake_by_fd(void *arg)
{
	uint64_t one = 1;

	assert_int_equal(write(*(int *)arg, &one, sizeof(one)), sizeof(one));
}

static void on_ready(void *arg)
{
	struct receiver *receiver = arg;
	uint64_t count;

	assert_int_equal(read(receiver->fd, &count, sizeof(count)), sizeof(count));
	handover_run(receiver->handover, &receiver->seen);
	receiver->done = receiver->seen.total == 2 * MESSAGES;
}

static void test_two_threads_and_a_loop(void **state)
{
	_cleanup_(loop_freep) struct loop *loop = NULL;
	struct error *err = NULL;
	struct receiver receiver = {.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	struct sender senders[2];
	struct loop_fd ready = {.fd = -1};
	pthread_t threads[2];

	(void)state;
	freed = 0;
	receiver.handover = handover_new(1000, wake_by_fd, &receiver.fd);
	assert_ok(loop_new(&loop, &err), err);
	assert_ok(loop_watch_fd(loop, &ready, receiver.fd, on_ready, &receiver, &err), err);
	for (unsigned i = 0; i < 2; i++) {
		senders[i] = (struct sender){receiver.handover, i};
		assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
	}
	assert_int_equal(loop_run_until(loop, &receiver.done, 0, NULL), 0);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(freed, 2 * MESSAGES);
	loop_unwatch_fd(loop, &ready);
	loop_unwatch_fd(loop, &ready);
	handover_free(receiver.handover);
	close(receiver.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_order_and_woken_once),
		cmocka_unit_test(test_the_mark_is_told_to_both),
		cmocka_unit_test(test_two_threads_and_a_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
