/* What a KeyRotation asks for: the target that it names, what is refused by name before anything is written, and whether a
 * path leads there. And what becomes of an old key, done once and done again. */
#include "test_folder.h"
#include "base/file.h"
#include "engine/asked.h"
#include "engine/old_keys.h"
#include "certificate_support.h"
#include "shape_support.h"

/* spec.to as people write it: a key without fingerprint, but for one of other bytes ("a!"). */
static void ask_for(const char *text, struct key_rotation_spec *ret)
{
	_cleanup_(config_shape_freep) struct config_shape *shape = shape_parse(text);
	object_defaults(&key_rotation_spec_record, ret);
	asked_take_shape(shape, ret);
	for (size_t r = 0; r < ret->to_rule_count; r++)
		for (size_t k = 0; k < ret->to_rules[r].key_count; k++) {
			struct object_key *key = &ret->to_rules[r].keys[k];
			if (key->fingerprint && key->fingerprint[0] == '0')
				free(steal(key->fingerprint));
		}
}

#define MADE_AT UINT64_C(1795345380000000000) /* 2026-11-22T11:03:00Z */

static const struct {
	const char *name, *from, *to, *made;
	const char *error; /* NULL: the path leads to `to` */
} targets[] = {
	{"turning encryption on", "secrets=-", "secrets=n,-", "aescbc/n", NULL},
	{"another kind, one resource more", "secrets=a,-", "secrets,configmaps=box:n", "secretbox/n", NULL},
	{"a key that is there, by its name", "secrets=a,b", "secrets=b,a", "", NULL},
	{"one new key in two rules", "secrets=a; configmaps=a", "secrets=n; configmaps=n", "aescbc/n", NULL},
	{"two new keys of a kind", "secrets=a; configmaps=a", "secrets=n; configmaps=m", "aescbc/n aescbc/m", NULL},
	{"a KMS provider that is there", "secrets=a,kms:v", "secrets=kms:v,a", "", NULL},
	{"one that is not", "secrets=a", "secrets=kms:v,a", "", NULL},
	{"one of version 1", "secrets=a", "secrets=kms1:v,a", NULL,
	 "spec.to: kms/v is new, and not of version 2 with an endpoint: nothing would show that all nodes have the "
	 "same "
	 "key"},
	{"one of version 1 that is there", "secrets=a,kms1:v", "secrets=kms1:v,a", "", NULL},
	{"one of another plugin", "secrets=a,kms:v", "secrets=kms:v!,a", NULL,
	 "spec.to: kms/v is another plugin on the servers"},
	{"bytes that are nowhere", "secrets=a", "secrets=n!,a", NULL,
	 "spec.to: no server has aescbc/n with fingerprint 111111111111"},
	{"other bytes than those that are there", "secrets=a", "secrets=n,a!", "aescbc/n",
	 "the key name aescbc/a stands for two different keys"},
	{"a resource is lost", "secrets,configmaps=a", "secrets=n", "aescbc/n",
	 "the target configuration has no rule for configmaps, which the present one has"},
	{"a KMS in two rules on the way", "secrets=kms:v,-", "secrets,configmaps=kms:v,-", "",
	 "kms/v would stand in the rules of secrets and of configmaps for a while, which kube-apiserver refuses"},
	{"plaintext", "secrets=a", "secrets=-,a", "", "the target writes in plaintext what is encrypted now"},
	{"plaintext out of a wildcard", "*.*=a", "secrets=-,a; *.*=a", "",
	 "the target writes in plaintext what is encrypted now"},
	{"what no server would load", "secrets=a", "*.*=a; secrets=a", NULL,
	 "spec.to as a file, as changed:11:15: a rule hidden by the wildcard in line 5, which kube-apiserver refuses; "
	 "move it before that rule"},
	{"a name that ends in etcd", "secrets=a", "secrets=n:m,a", NULL,
	 "spec.to as a file, as changed:9:15: a name with ':', which ends the name in etcd's values; use another"},
};

static void leads(void **state)
{
	const __typeof__(targets[0]) *row = *state;
	_cleanup_(config_shape_freep) struct config_shape *from = shape_parse(row->from), *to = NULL;
	_cleanup_(path_freep) struct path *path = NULL;
	_cleanup_strings_ new_keys = {0};
	_cleanup_error_ err = NULL;
	struct key_rotation_spec spec = {0};
	const struct object_sealed_key made[] = {
		{.provider = (char *)"secretbox", .name = (char *)"n", .fingerprint = (char *)"aaaaaaaaaaaa"},
		{.provider = (char *)"aescbc", .name = (char *)"n", .fingerprint = (char *)"aaaaaaaaaaaa"},
		{.provider = (char *)"aescbc", .name = (char *)"m", .fingerprint = (char *)"aaaaaaaaaaaa"}};
	ask_for(row->to, &spec);
	for (size_t r = 0; r < from->rule_count; r++)
		for (size_t k = 0; k < from->rules[r].key_count; k++)
			from->rules[r].keys[k].kms_timeout = 3000000000; /* what spec.to leaves out */
	int rc = asked_target(&spec, MADE_AT, from, &to, &new_keys, &err);
	assert_int_equal(rc == 0, row->made != NULL);
	if (rc == 0) {
		_cleanup_free_ char *labels = strings_join(&new_keys, " ");
		assert_string_equal(labels, row->made);
		/* One of them alone will not do. */
		assert_int_equal(asked_put_made(&spec, made, 1, &new_keys, to), strstr(row->made, "aescbc") == NULL);
		assert_true(asked_put_made(&spec, made, ELEMENTS(made), &new_keys, to));
		rc = asked_path(from, to, &path, &err);
	}
	if (rc < 0)
		assert_string_equal(error_message(err), row->error);
	else
		assert_null(row->error);
	if (path) {
		_cleanup_free_ char *end = shape_text(path->steps[path->count - 1]);
		assert_string_equal(end, row->to);
		assert_ok(asked_leads_there(&spec, MADE_AT, path, &err), err);
	}
	object_release(&key_rotation_spec_record, &spec);
}

static const struct {
	const char *name, *provider, *to, *drop, *from, *end;
	bool there;
} ends[] = {
	{"a key by another of its kind", "same", NULL, NULL, "secrets=a,-", "secrets=x,-", true},
	{"of another kind", "secretbox", NULL, NULL, "secrets=a,-", "secrets=box:x,-", true},
	{"of a kind that nobody asked for", "secretbox", NULL, NULL, "secrets=a,-", "secrets=x,-", false},
	{"a key leaves that nobody named", "same", NULL, NULL, "secrets=a,b,-", "secrets=x,-", false},
	{"it was named", "same", NULL, "b", "secrets=a,b,-", "secrets=x,-", true},
	{"the old key only reads from now on", "same", NULL, NULL, "secrets=a,-", "secrets=x,a,-", false},
	{"a name that was asked for", NULL, "secrets=n", NULL, "secrets=a", "secrets=n", true},
	{"another name", NULL, "secrets=n", NULL, "secrets=a", "secrets=x", false},
	{"a rule more", NULL, "secrets=n", NULL, "secrets=a", "secrets=n; configmaps=n", false},
	{"a read key as the new one", "same", NULL, "b", "secrets=a,b", "secrets=b", false},
	{"old bytes under a new name", "same", NULL, NULL, "secrets=a,-", "secrets=old~a,-", false},
	{"one new key in two rules", "same", NULL, NULL, "secrets=a; configmaps=b", "secrets=x; configmaps=x", true},
	{"a second one", "same", NULL, NULL, "secrets=a; configmaps=b", "secrets=x; configmaps=n", false},
	{"a read key leaves, and nothing else", NULL, NULL, "b", "secrets=a,b", "secrets=a", true},
	{"a KMS plugin", "kms", NULL, NULL, "secrets=a,-", "secrets=kms:v,-", true},
	{"another one in the place of one", "kms", NULL, NULL, "secrets=kms:w", "secrets=kms:v", true},
	{"a plugin that nobody asked for", "kms", NULL, NULL, "secrets=a,-", "secrets=kms:w,-", false},
	{"the same name at another socket", "kms", NULL, NULL, "secrets=a,-", "secrets=kms:v!,-", false},
	{"a plugin, and a key leaves that nobody named", "kms", NULL, NULL, "secrets=a,b,-", "secrets=kms:v,-", false},
	{"a plugin where a key was asked for", "same", NULL, NULL, "secrets=a,-", "secrets=kms:v,-", false},
	{"a plugin beside the key that was asked for", "same", NULL, NULL, "secrets=a,-", "secrets=x,kms:v,-", false},
	{"new DEKs", "renew", NULL, NULL, "secrets=kms:w", "secrets=kms:w-20261122T1103Z", true},
	{"new DEKs under another name", "renew", NULL, NULL, "secrets=kms:w", "secrets=kms:w-20261122T1104Z", false},
	{"new DEKs of another plugin", "renew", NULL, NULL, "secrets=kms:w", "secrets=kms:w-20261122T1103Z!", false},
	{"a KMS is followed", "follow", NULL, NULL, "secrets=kms:w,-", "secrets=kms:w,-", true},
	{"a KMS is followed to another one", "follow", NULL, NULL, "secrets=kms:w", "secrets=kms:v", false},
	{"another one leaves", NULL, NULL, "b", "secrets=a,b,c", "secrets=a,b", false},
};

static void is_the_end(void **state)
{
	const __typeof__(ends[0]) *row = *state;
	struct config_shape *steps[] = {shape_parse(row->from), shape_parse(row->end)};
	for (size_t r = 0; r < steps[1]->rule_count; r++)
		for (size_t k = 0; k < steps[1]->rules[r].key_count; k++) {
			struct config_key *key = &steps[1]->rules[r].keys[k];
			if (text_equal(key->name, "x") || text_equal(key->name, "n"))
				memset(key->fingerprint, 'f', sizeof(key->fingerprint) - 1);
		}
	_cleanup_(path_freep) struct path *path = path_of_steps(steps, ELEMENTS(steps));
	_cleanup_error_ err = NULL;
	struct key_rotation_spec spec = {0};
	if (row->to)
		ask_for(row->to, &spec);
	spec.renew_dek = text_equal(row->provider, "renew");
	spec.follow_kms = text_equal(row->provider, "follow");
	if (row->provider && !spec.renew_dek && !spec.follow_kms)
		spec.provider = xstrdup(row->provider);
	if (text_equal(spec.provider, "kms")) {
		_cleanup_(config_shape_freep) struct config_shape *like = shape_parse("secrets=kms:v");
		spec.kms.name = xstrdup("v");
		spec.kms.endpoint = xstrdup(like->rules[0].keys[0].kms_endpoint);
	}
	if (row->drop)
		strings_add(&spec.drop_keys, row->drop);
	int rc = asked_leads_there(&spec, MADE_AT, path, &err);
	if (row->there)
		assert_ok(rc, err);
	else
		assert_string_equal(error_message(err), "the rotation's steps do not lead to what its spec asks for");
	object_release(&key_rotation_spec_record, &spec);
	config_shape_free(steps[0]);
	config_shape_free(steps[1]);
}

static void test_what_cannot_be_carried_out(void **state)
{
	_cleanup_free_ char *good = certificate(3600), *past = certificate(-3600);
	const struct {
		struct key_rotation_spec spec;
		const char *error;
	} asked[] = {
		{{.old_key = (char *)"keep"}, NULL},
		{{.old_key = (char *)"destroy"}, NULL},
		{{.old_key = (char *)"seal", .old_key_cert = good}, NULL},
		{{.old_key = (char *)"seal", .old_key_cert = past}, "spec.oldKeyCert: the certificate is past its end"},
		{{.old_key = (char *)"seal", .old_key_cert = (char *)"MIIB"}, "spec.oldKeyCert: no PEM certificate"},
		{{.old_key = (char *)"seal"}, "what becomes of the old key is not known"},
		{{.old_key = (char *)"lose"}, "what becomes of the old key is not known"},
		{{.old_key = (char *)"keep", .renew_dek = true}, NULL},
		{{.old_key = (char *)"keep", .follow_kms = true}, NULL},
		{{.old_key = (char *)"keep", .mode = (char *)"force"}, "spec.mode force"},
	};
	(void)state;
	for (size_t i = 0; i < ELEMENTS(asked); i++) {
		_cleanup_error_ err = NULL;
		int rc = asked_check(&asked[i].spec, &err);
		if (!asked[i].error)
			assert_ok(rc, err);
		else if (rc == 0 || !strstr(error_message(err), asked[i].error))
			fail_msg("%s is not: %s", rc == 0 ? "nothing" : error_message(err), asked[i].error);
	}
}

/* --- the old key's end --- */

static void save(const struct old_keys_policy *policy, struct keys *keys)
{
	_cleanup_(config_shape_freep) struct config_shape *from = shape_parse("secrets=b,a"),
							  *to = shape_parse("secrets=b");
	_cleanup_(path_freep) struct path *path = NULL;
	_cleanup_secret_ bytes = secret_random(32);
	_cleanup_error_ err = NULL;
	keys_add(keys, PROVIDER_AESCBC, "a", bytes);
	assert_ok(path_make(from, to, &path, &err), err);
	assert_ok(old_keys_save(policy, path, 0, keys, "r", &err), err);
}

static const struct {
	const char *name, *fate, *before, *after; /* the path stands between them; after nothing: its directory */
	bool plain, sealed;                       /* what lies there afterwards */
} fates[] = {
	{"kept", "keep", "aescbc/a lies in ", " (mode 0600)", true, false},
	{"sealed", "seal", "aescbc/a is sealed in ", ".cms", false, true},
	{"destroyed", "destroy", "aescbc/a is destroyed: no copy is left in ", "", false, false},
};

/* Again, as after a death in the middle, it is the same. The certificate may be past its end by now. */
static void is_treated(void **state)
{
	const __typeof__(fates[0]) *row = *state;
	char directory[FOLDER_PATH_MAX], path[FOLDER_PATH_MAX + 32];
	_cleanup_free_ char *past = certificate(-3600);
	_cleanup_(old_keys_policy_free) struct old_keys_policy policy = {0};
	_cleanup_keys_ keys = {0};
	_cleanup_strings_ labels = {0};
	_cleanup_error_ err = NULL;
	assert_int_equal(make_folder(NULL), 0);
	snprintf(directory, sizeof(directory), "%s", in_folder("retired"));
	snprintf(path, sizeof(path), "%s/aescbc-a.yaml", directory);
	_cleanup_free_ char *sealed = xasprintf("%s.cms", path);
	_cleanup_free_ char *place = xasprintf("%s%s%s", row->before, *row->after ? path : directory, row->after);
	assert_ok(
		old_keys_policy_asked(row->fate, text_equal(row->fate, "seal") ? past : NULL, directory, &policy, &err),
		err);
	save(&policy, &keys);
	strings_add(&labels, "aescbc/a");
	for (int time = 0; time < 2; time++) {
		_cleanup_strings_ places = {0};
		assert_ok(old_keys_retire(&policy, &labels, &places, &err), err);
		assert_int_equal(places.count, 1);
		assert_string_equal(places.items[0], place);
		assert_int_equal(path_exists(path), row->plain);
		assert_int_equal(path_exists(sealed), row->sealed);
	}
	assert_int_equal(remove_folder(NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_cannot_be_carried_out)};
	int failed = RUN_ROWS(leads, targets);
	failed += RUN_ROWS(is_the_end, ends);
	failed += RUN_ROWS(is_treated, fates);
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
