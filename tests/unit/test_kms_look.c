/* Plugins that hang cost the time of one. */
#include "test_folder.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "engine/kms_look.h"
#include "net/loop.h"
#include "shape_support.h"

#define PLUGINS 4
#define TIMEOUT (NS_PER_S / 2)

/* Connections wait in its queue, and nobody answers. */
static int hang(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0 && strlen(path) < sizeof(address.sun_path));
	memcpy(address.sun_path, path, strlen(path));
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static void test_all_at_once(void **state)
{
	_cleanup_(config_shape_freep) struct config_shape *shape =
		shape_parse("secrets=kms:0,kms:1,kms:2,kms:3,kms1:4");
	_cleanup_(loop_freep) struct loop *loop = NULL;
	_cleanup_error_ err = NULL;
	struct kms_look *looks = NULL;
	size_t count = 0;
	int fds[PLUGINS];
	(void)state;
	assert_int_equal(loop_new(&loop, &err), 0);
	for (size_t i = 0; i < PLUGINS; i++) {
		struct config_key *key = &shape->rules[0].keys[i];
		fds[i] = hang(in_folder(key->name));
		free(key->kms_endpoint);
		key->kms_endpoint = xasprintf("unix://%s", in_folder(key->name));
		key->kms_timeout = TIMEOUT;
	}
	uint64_t began = clock_monotonic();
	assert_int_equal(kms_look(loop, shape, &looks, &count, &err), 0);
	uint64_t took = clock_monotonic() - began;
	assert_in_range(took, TIMEOUT, 2 * TIMEOUT - 1);
	assert_int_equal(count, PLUGINS);
	for (size_t i = 0; i < PLUGINS; i++) {
		assert_string_equal(looks[i].name, shape->rules[0].keys[i].name);
		assert_non_null(strstr(looks[i].flaw, looks[i].endpoint));
		assert_non_null(strstr(looks[i].flaw, "timed out"));
		assert_true(looks[i].silent);
		assert_in_range(looks[i].took, TIMEOUT, 2 * TIMEOUT - 1);
		close(fds[i]);
	}
	/* Once asked, they are not asked again; and of one that is not there it is known at once. */
	free(shape->rules[0].keys[4].kms_endpoint);
	shape->rules[0].keys[4].kms_endpoint = xstrdup("tcp://nowhere");
	shape->rules[0].keys[4].kms_version = 2;
	began = clock_monotonic();
	assert_int_equal(kms_look(loop, shape, &looks, &count, &err), 0);
	assert_true(clock_monotonic() - began < TIMEOUT);
	assert_int_equal(count, PLUGINS + 1);
	assert_non_null(strstr(looks[PLUGINS].flaw, "KMS plugin at tcp://nowhere: "));
	assert_false(looks[PLUGINS].silent);
	kms_look_free(looks, count);
}

/* An answer that is lacking says nothing; any other one does. */
static void test_lacks(void **state)
{
	static const struct {
		const char *flaw, *version, *healthz, *key_id, *last;
		bool silent, lacks;
	} looks[] = {
		{NULL, "v2", "ok", "1", "1", false, false},         {"timed out", NULL, NULL, NULL, "1", true, true},
		{"timed out", NULL, NULL, NULL, NULL, true, false}, /* it never named one */
		{"timed out", NULL, NULL, NULL, "", true, false},   {"rubbish", NULL, NULL, NULL, "1", false, false},
		{"not ok", "v2", "sealed", "1", "1", false, true},  {"not ok", "v2", "sealed", "2", "1", false, false},
		{"not ok", "v2", "sealed", "", "1", false, false},  {"not ok", "v3", "sealed", "1", "1", false, false},
		{"version", "v3", "ok", "1", "1", false, false},    {"no key ID", "v2", "ok", "", "1", false, false},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(looks); i++) {
		const struct kms_look look = {.flaw = (char *)(uintptr_t)looks[i].flaw,
					      .silent = looks[i].silent,
					      .status = {(char *)(uintptr_t)looks[i].version,
							 (char *)(uintptr_t)looks[i].healthz,
							 (char *)(uintptr_t)looks[i].key_id}};
		assert_int_equal(kms_look_lacks(&look, looks[i].last), looks[i].lacks);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {folder_test(test_all_at_once), cmocka_unit_test(test_lacks)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
