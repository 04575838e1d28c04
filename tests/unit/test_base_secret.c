#include "test_support.h"
#include "base/secret.h"

/* Records what is wiped: freed memory itself cannot be looked at. Hardened builds call the second name. */
#define WIPES_MAX 64
static struct {
	const void *at;
	size_t len;
} wiped[WIPES_MAX];
static size_t wipes;

static void record(void *bytes, size_t len)
{
	if (wipes < WIPES_MAX) {
		wiped[wipes].at = bytes;
		wiped[wipes++].len = len;
	}
	memset(bytes, 0, len);
	__asm__ volatile("" : : "r"(bytes) : "memory");
}

void explicit_bzero(void *bytes, size_t len)
{
	record(bytes, len);
}

void __explicit_bzero_chk(void *bytes, size_t len, size_t size);
void __explicit_bzero_chk(void *bytes, size_t len, size_t size)
{
	(void)size;
	record(bytes, len);
}

static bool was_wiped(const void *at, size_t at_least)
{
	for (size_t i = 0; i < wipes; i++)
		if (wiped[i].at == at && wiped[i].len >= at_least)
			return true;
	return false;
}

static int forget_wipes(void **state)
{
	(void)state;
	wipes = 0;
	return 0;
}

static void test_new_is_empty_and_capped(void **state)
{
	(void)state;
	_cleanup_secret_ secret = secret_new(3);
	assert_int_equal(secret_len(secret), 0);
	assert_string_equal(secret_text(secret), "");
	assert_int_equal(secret_append(secret, NULL, 0), 0);
	assert_int_equal(secret_append_text(secret, "ab"), 0);
	assert_int_equal(secret_append_text(secret, "cd"), -ERROR_LIMIT);
	assert_string_equal(secret_text(secret), "ab");
	assert_int_equal(secret_append_text(secret, "c"), 0);
	assert_int_equal(secret_append_text(secret, "d"), -ERROR_LIMIT);
	assert_memory_equal(secret_data(secret), "abc", 4);
}

static void test_from_has_exactly_these_bytes(void **state)
{
	(void)state;
	_cleanup_secret_ secret = secret_from("a\0b", 3);
	_cleanup_secret_ empty = secret_from(NULL, 0);
	assert_int_equal(secret_len(secret), 3);
	assert_memory_equal(secret_data(secret), "a\0b", 4);
	assert_int_equal(secret_append(secret, "c", 1), -ERROR_LIMIT);
	assert_int_equal(secret_len(empty), 0);
	assert_string_equal(secret_text(empty), "");
}

static void test_sizes_that_would_overflow(void **state)
{
	(void)state;
	_cleanup_secret_ secret = secret_new(SIZE_MAX);
	/* Volatile, or the compiler sees (and warns of) a copy of this size. */
	volatile size_t absurd = SIZE_MAX;
	assert_int_equal(secret_append_text(secret, "a"), 0);
	assert_int_equal(secret_append(secret, "b", absurd), -ERROR_LIMIT);
	assert_int_equal(secret_append(secret, "b", absurd - 1), -ERROR_LIMIT);
	assert_string_equal(secret_text(secret), "a");
}

static void test_random_differs(void **state)
{
	(void)state;
	_cleanup_secret_ a = secret_random(32);
	_cleanup_secret_ b = secret_random(32);
	_cleanup_secret_ large = secret_random(1000);
	_cleanup_secret_ none = secret_random(0);
	assert_int_equal(secret_len(a), 32);
	assert_false(secret_equal(a, b));
	assert_int_equal(secret_len(large), 1000);
	assert_int_equal(secret_len(none), 0);
}

static void test_reserved_room_is_not_left(void **state)
{
	(void)state;
	struct secret *secret = secret_new(100);
	secret_reserve(secret, 1000); /* more than the cap: the cap */
	const uint8_t *place = secret_data(secret);
	assert_string_equal(secret_text(secret), "");
	for (int i = 0; i < 100; i++)
		assert_int_equal(secret_append(secret, "x", 1), 0);
	assert_ptr_equal(secret_data(secret), place);
	assert_int_equal(secret_append(secret, "x", 1), -ERROR_LIMIT);
	secret_free(secret);
}

static void test_growing_wipes_the_old_place(void **state)
{
	(void)state;
	_cleanup_secret_ secret = secret_new(1000);
	assert_int_equal(secret_append_text(secret, "key bytes"), 0);
	const void *old = secret_data(secret);
	char more[500];
	memset(more, 'x', sizeof(more));
	assert_int_equal(secret_append(secret, more, sizeof(more)), 0);
	assert_ptr_not_equal(secret_data(secret), old);
	assert_true(was_wiped(old, 9));
	assert_memory_equal(secret_data(secret), "key bytesxxx", 12);
	assert_int_equal(secret_len(secret), 509);
}

static void test_consume_wipes_the_tail(void **state)
{
	(void)state;
	_cleanup_secret_ secret = secret_from("abcdef", 6);
	secret_consume(secret, 2);
	assert_memory_equal(secret_data(secret), "cdef\0\0", 7);
	assert_int_equal(secret_len(secret), 4);
	secret_consume(secret, 0);
	assert_int_equal(secret_len(secret), 4);
	secret_consume(secret, 4);
	assert_memory_equal(secret_data(secret), "\0\0\0\0\0\0", 7);
	assert_int_equal(secret_len(secret), 0);
}

static void test_reset_wipes_and_keeps_the_place(void **state)
{
	(void)state;
	_cleanup_secret_ secret = secret_from("abc", 3);
	const void *place = secret_data(secret);
	secret_reset(secret);
	assert_int_equal(secret_len(secret), 0);
	assert_memory_equal(place, "\0\0\0\0", 4);
	assert_int_equal(secret_append_text(secret, "de"), 0);
	assert_ptr_equal(secret_data(secret), place);
}

static void test_free_wipes(void **state)
{
	(void)state;
	struct secret *secret = secret_from("abc", 3);
	const void *place = secret_data(secret);
	secret_free(secret);
	assert_true(was_wiped(place, 4));
	secret_free(NULL);
}

static void test_equal(void **state)
{
	(void)state;
	_cleanup_secret_ a = secret_from("abc", 3);
	_cleanup_secret_ same = secret_from("abc", 3);
	_cleanup_secret_ other = secret_from("abd", 3);
	_cleanup_secret_ longer = secret_from("abcd", 4);
	_cleanup_secret_ empty = secret_new(1);
	_cleanup_secret_ empty_too = secret_new(2);
	assert_true(secret_equal(a, same));
	assert_false(secret_equal(a, other));
	assert_false(secret_equal(a, longer));
	assert_true(secret_equal(empty, empty_too));
}

static void test_wipe(void **state)
{
	(void)state;
	char bytes[] = "abc";
	secret_wipe(bytes, 2);
	assert_memory_equal(bytes, "\0\0c", 4);
	secret_wipe(NULL, 0);
}

struct base64_row {
	const char *name;  /* the encoded text */
	const char *bytes; /* NULL: refused */
};

static const struct base64_row base64_rows[] = {
	{"", ""},
	{"Zg==", "f"},
	{"Zm8=", "fo"},
	{"Zm9v", "foo"},
	{"Zm9vYmFy", "foobar"},
	{"+/+/", "\xfb\xff\xbf"},
	{"Zg", NULL},
	{"Zg=", NULL},
	{"Zg===", NULL},
	{"Zh==", NULL}, /* bits that belong to no byte */
	{"Zm9v\n", NULL},
	{"Zm9 v", NULL},
	{"-_-_", NULL}, /* the alphabet for URLs */
	{"Zg==Zg==", NULL},
	{"=", NULL},
	{"Z", NULL},
	{"Zm9\x80", NULL}, /* no '/' with its high bit set, nor any other byte of UTF-8 */
	{"\xaf+/+", NULL},
	{"Zm9\xc3\xa4", NULL},
};

static void test_base64(void **state)
{
	const struct base64_row *row = *state;
	_cleanup_secret_ decoded = NULL;
	int rc = secret_base64_decode(row->name, strlen(row->name), &decoded);
	if (!row->bytes) {
		assert_int_equal(rc, -ERROR_INPUT);
		assert_null(decoded);
		return;
	}
	assert_int_equal(rc, 0);
	assert_string_equal(secret_text(decoded), row->bytes);
	assert_int_equal(secret_len(decoded), strlen(row->bytes));
	_cleanup_secret_ encoded = secret_base64_encode(row->bytes, strlen(row->bytes));
	assert_string_equal(secret_text(encoded), row->name);
	assert_int_equal(secret_len(encoded), strlen(row->name));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_new_is_empty_and_capped, forget_wipes),
		cmocka_unit_test_setup(test_from_has_exactly_these_bytes, forget_wipes),
		cmocka_unit_test_setup(test_sizes_that_would_overflow, forget_wipes),
		cmocka_unit_test_setup(test_random_differs, forget_wipes),
		cmocka_unit_test(test_reserved_room_is_not_left),
		cmocka_unit_test_setup(test_growing_wipes_the_old_place, forget_wipes),
		cmocka_unit_test_setup(test_consume_wipes_the_tail, forget_wipes),
		cmocka_unit_test_setup(test_reset_wipes_and_keeps_the_place, forget_wipes),
		cmocka_unit_test_setup(test_free_wipes, forget_wipes),
		cmocka_unit_test_setup(test_equal, forget_wipes),
		cmocka_unit_test_setup(test_wipe, forget_wipes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL) + RUN_ROWS(test_base64, base64_rows);
}
