#include "test_support.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_copies(void **state)
{
	(void)state;
	_cleanup_free_ char *copy = xstrdup("text");
	_cleanup_free_ char *cut = xstrndup("text", 2);
	_cleanup_free_ char *whole = xstrndup("text", 9);
	_cleanup_free_ char *bytes = xmemdup("a\0b", 3);
	_cleanup_free_ char *formatted = xasprintf("%d-%s", 7, "x");
	assert_string_equal(copy, "text");
	assert_string_equal(cut, "te");
	assert_string_equal(whole, "text");
	assert_memory_equal(bytes, "a\0b", 3);
	assert_string_equal(formatted, "7-x");
}

static void test_zero_bytes_are_something(void **state)
{
	(void)state;
	_cleanup_free_ void *a = xmalloc(0);
	_cleanup_free_ void *b = xcalloc(0, 8);
	_cleanup_free_ void *c = xreallocarray(xmalloc(8), 0, 8);
	_cleanup_free_ void *d = xmemdup(NULL, 0);
	assert_non_null(a);
	assert_non_null(b);
	assert_non_null(c);
	assert_non_null(d);
}

static void test_grows_and_clears(void **state)
{
	(void)state;
	_cleanup_free_ uint32_t *numbers = xcalloc(2, sizeof(*numbers));
	assert_int_equal(numbers[1], 0);
	numbers[0] = 7;
	numbers = xreallocarray(numbers, 1000, sizeof(*numbers));
	assert_int_equal(numbers[0], 7);
}

static void test_steal_leaves_null(void **state)
{
	(void)state;
	char *from = xstrdup("x");
	_cleanup_free_ char *to = steal(from);
	assert_null(from);
	assert_string_equal(to, "x");
}

/* Volatile, or the compiler sees (and refuses) sizes like these. */
static volatile size_t absurd = SIZE_MAX / 2;

static void too_many(void)
{
	free(xreallocarray(NULL, absurd, 4));
}

static void too_much(void)
{
	free(xmalloc(absurd));
}

static void too_many_cleared(void)
{
	free(xcalloc(absurd, 4));
}

/* Runs `fn` in a child that must die by SIGABRT; what it says goes to a pipe. */
static void assert_aborts(void (*fn)(void))
{
	int out[2];
	assert_int_equal(pipe(out), 0);
	pid_t child = fork();
	if (child == 0) {
		dup2(out[1], STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		fn();
		_exit(0);
	}
	close(out[1]);
	char words[200] = "";
	ssize_t got = read(out[0], words, sizeof(words) - 1);
	close(out[0]);
	int status;
	waitpid(child, &status, 0);
	assert_true(got > 0);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_string_equal(words, "kube-rekey: out of memory; the same command goes on where this one stopped\n");
}

static void test_aborts_without_memory(void **state)
{
	(void)state;
	if (RUNNING_UNDER_ASAN)
		skip(); /* it ends the process itself */
	assert_aborts(too_many);
	assert_aborts(too_much);
	assert_aborts(too_many_cleared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_zero_bytes_are_something),
		cmocka_unit_test(test_grows_and_clears),
		cmocka_unit_test(test_steal_leaves_null),
		cmocka_unit_test(test_aborts_without_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
