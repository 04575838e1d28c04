/* Whose request it is: a row for each way in that is none. */
#include "test_support.h"
#include "base/text.h"
#include "net/web_guard.h"

struct host_row {
	const char *name, *host;
	bool good;
};

static const struct host_row hosts[] = {
	{"the address", "127.0.0.1:40123", true},
	{"without a port", "127.0.0.1", true},
	{"its name", "localhost:80", true},
	{"IPv6", "[::1]:65535", true},
	{"another port, of a tunnel", "localhost:8080", true},
	{"none", NULL, false},
	{"empty", "", false},
	{"a name that leads here", "evil.example:40123", false},
	{"one that begins alike", "127.0.0.1.evil.example", false},
	{"one that begins alike, with a port", "localhost.evil.example:80", false},
	{"one that ends alike", "evil.localhost", false},
	{"no number", "localhost:x", false},
	{"half a number", "localhost:8x", false},
	{"an empty port", "localhost:", false},
	{"a port that is none", "localhost:123456", false},
	{"a user", "localhost@evil.example", false},
	{"another address", "127.0.0.2:80", false},
	{"IPv6 without brackets", "::1", false},
	{"capitals, which no browser sends", "LOCALHOST", false},
};

static void test_host(void **state)
{
	const struct host_row *row = *state;

	assert_int_equal(web_guard_host(row->host), row->good);
}

struct origin_row {
	const char *name, *origin, *host;
	bool good;
};

static const struct origin_row origins[] = {
	{"the page itself", "http://127.0.0.1:4012", "127.0.0.1:4012", true},
	{"without a port", "http://localhost", "localhost", true},
	{"none", NULL, "127.0.0.1:4012", false},
	{"no host", "http://127.0.0.1:4012", NULL, false},
	{"another port", "http://127.0.0.1:4013", "127.0.0.1:4012", false},
	{"another name of the same", "http://localhost:4012", "127.0.0.1:4012", false},
	{"another scheme", "https://127.0.0.1:4012", "127.0.0.1:4012", false},
	{"a file, a frame", "null", "127.0.0.1:4012", false},
	{"longer", "http://127.0.0.1:40123", "127.0.0.1:4012", false},
	{"shorter", "http://127.0.0.1:401", "127.0.0.1:4012", false},
	{"empty", "", "", false},
};

static void test_origin(void **state)
{
	const struct origin_row *row = *state;

	assert_int_equal(web_guard_origin(row->origin, row->host), row->good);
}

struct path_row {
	const char *name, *path, *rest;
};

static const struct path_row paths[] = {
	{"the page", "/abcd/", "/"},
	{"a file of it", "/abcd/page.js", "/page.js"},
	{"no token", "/", NULL},
	{"empty", "", NULL},
	{"another token", "/abce/", NULL},
	{"a longer one", "/abcde/", NULL},
	{"a shorter one", "/abc/", NULL},
	{"no slash behind", "/abcd", NULL},
	{"no slash before", "abcd//", NULL},
	{"capitals", "/ABCD/", NULL},
	{"elsewhere", "/x/abcd/", NULL},
};

static void test_path(void **state)
{
	const struct path_row *row = *state;
	const char *rest = web_guard_path(row->path, "abcd");

	if (row->rest == NULL)
		assert_null(rest);
	else
		assert_string_equal(rest, row->rest);
}

static void test_token(void **state)
{
	_cleanup_free_ char *one = web_guard_token(), *other = web_guard_token();

	(void)state;
	assert_int_equal(strlen(one), 2 * WEB_TOKEN_BYTES);
	assert_int_equal(strspn(one, "0123456789abcdef"), strlen(one));
	assert_string_not_equal(one, other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_token)};

	return RUN_ROWS(test_host, hosts) + RUN_ROWS(test_origin, origins) + RUN_ROWS(test_path, paths) +
	       cmocka_run_group_tests(tests, NULL, NULL);
}
