/* How many data encryption keys are asked for, where a plugin does not answer. */
#include "test_folder.h"

#include "base/clock.h"
#include "engine/kms_opener.h"
#include "format/pbwire.h"
#include "net/loop.h"

static char vault[] = "vault";

struct scene {
	struct loop *loop;
	struct kms_opener *opener;
	struct config_key plugin;
};

static void open_scene(struct scene *s)
{
	struct error *err = NULL;
	*s = (struct scene){.plugin = {.type = PROVIDER_KMS,
				       .kms_version = 2,
				       .name = vault,
				       .kms_timeout = NS_PER_S,
				       .kms_endpoint = xasprintf("unix://%s", in_folder("nobody.sock"))}};
	assert_ok(loop_new(&s->loop, &err), err);
	s->opener = kms_opener_new(s->loop);
}

static void close_scene(struct scene *s)
{
	kms_opener_free(s->opener);
	loop_free(s->loop);
	free(s->plugin.kms_endpoint);
}

/* A value under the DEK of this number. */
static enum kms_opening try(struct scene *s, const char *key_id, unsigned dek, bool writes, const char **ret_why)
{
	static const char prefix[] = "k8s:enc:kms:v2:vault:", path[] = "/registry/secrets/default/a";
	_cleanup_buf_ value = BUF_INIT(4096);
	_cleanup_free_ char *source = xasprintf("dek-%u", dek);
	int rc = buf_append(&value, prefix, strlen(prefix));
	rc |= pb_write_bytes_field(&value, 1, "0123456789abcdef0123456789abcdef", 32);
	rc |= pb_write_bytes_field(&value, 2, key_id, strlen(key_id));
	rc |= pb_write_bytes_field(&value, 3, source, strlen(source));
	assert_int_equal(rc, 0);
	const struct etcd_kv kv = {.key = path,
				   .key_len = strlen(path),
				   .value_size = value.len,
				   .value = value.data,
				   .value_len = value.len};
	*ret_why = NULL;
	return kms_opener_try(s->opener, &s->plugin, writes, &kv, ret_why);
}

static void ask(struct scene *s)
{
	struct error *err = NULL;
	assert_ok(kms_opener_ask(s->opener, &err), err);
}

/* Of a plugin that is not there one key is asked for, three times; so many more are known to be closed for the same reason, and
 * of the rest it is told what to do. What is written with has room of its own. */
static void test_more_than_are_asked_for(void **state)
{
	struct scene s;
	const char *why = NULL;
	(void)state;
	open_scene(&s);
	for (unsigned i = 0; i < KMS_OPENER_DEKS_MAX; i++) {
		assert_int_equal(try(&s, "key-1", i, true, &why), KMS_ASK);
		ask(&s);
		assert_int_equal(try(&s, "key-1", i, true, &why), KMS_CLOSED);
		assert_non_null(strstr(why, "nobody.sock"));
	}
	assert_int_equal(kms_opener_calls(s.opener), 3);
	assert_int_equal(try(&s, "key-1", KMS_OPENER_DEKS_MAX, true, &why), KMS_CLOSED);
	assert_string_equal(why,
			    "more data encryption keys are in use than are asked for (kube-rekey rotate --renew-dek "
			    "puts all values under a few)");
	assert_int_equal(try(&s, "key-1", 7, true, &why), KMS_CLOSED);
	assert_non_null(strstr(why, "nobody.sock"));
	/* Under another one: it may be well. */
	assert_int_equal(try(&s, "key-0", 0, false, &why), KMS_ASK);
	ask(&s);
	assert_int_equal(kms_opener_calls(s.opener), 6);
	for (unsigned i = 1; i < KMS_OPENER_DEKS_MAX; i++) {
		assert_int_equal(try(&s, "key-0", i, false, &why), KMS_ASK);
		ask(&s);
	}
	assert_int_equal(try(&s, "key-0", KMS_OPENER_DEKS_MAX, false, &why), KMS_CLOSED);
	assert_int_equal(kms_opener_calls(s.opener), 6);
	close_scene(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {folder_test(test_more_than_are_asked_for)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
