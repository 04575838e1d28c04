/* Whether a server writes with the key that its KMS names, where no canary of ours can show it. */
#include "kube_server.h"

#include "engine/kms_adopted.h"
#include "engine/kms_look.h"

#define NAMED(hash, at)                                                                               \
	"apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds{key_id_hash=\"" hash \
	"\",provider_name=\"vault\"} " at "\n"
#define WROTE(hash, at)                                                                        \
	"apiserver_envelope_encryption_key_id_hash_last_timestamp_seconds{key_id_hash=\"" hash \
	"\",provider_name=\"vault\",transformation_type=\"to_storage\"} " at "\n"

static char vault[] = "vault", endpoint[] = "unix:///s", secrets[] = "secrets", widgets[] = "widgets.example.com",
	    key1[] = "key1";
static char *of_local[] = {secrets}, *of_kms[] = {widgets};
static struct config_key local_key = {.type = PROVIDER_AESCBC, .name = key1};
static struct config_key vault_key = {.type = PROVIDER_KMS, .kms_version = 2, .name = vault, .kms_endpoint = endpoint};
static struct config_rule rules[] = {
	{.resources = of_local, .resource_count = 1, .keys = &local_key, .key_count = 1},
	{.resources = of_kms, .resource_count = 1, .keys = &vault_key, .key_count = 1},
};
static const struct config_shape shape = {.rules = rules, .rule_count = ELEMENTS(rules)};
static struct kube_server server;
static struct kube kube;

static const struct {
	const char *name, *metrics;
	const char *refused; /* NULL: it has adopted it */
} rows[] = {
	{"named once, and nothing written", NAMED("a", "5"), NULL},
	{"written with the last one", NAMED("a", "5") NAMED("b", "9") WROTE("a", "6") WROTE("b", "9"), NULL},
	{"another was named and left since it wrote", NAMED("a", "9") NAMED("b", "8") WROTE("a", "6"),
	 "cp-1 was last seen to write with a key that kms/vault has replaced, and no canary could show it: neither "
	 "secrets "
	 "nor configmaps are known to be under it"},
	{"nothing written since another was named", NAMED("a", "5") NAMED("b", "9"),
	 "which key of kms/vault cp-1 writes with is not seen, and no canary could show it: neither secrets nor "
	 "configmaps "
	 "are known to be under it"},
	{"written with the one before", NAMED("a", "5") NAMED("b", "9") WROTE("a", "6"),
	 "cp-1 was last seen to write with a key that kms/vault has replaced, and no canary could show it: neither "
	 "secrets "
	 "nor configmaps are known to be under it"},
};

static void row(void **state)
{
	const __typeof__(rows[0]) *it = *state;
	const struct kube_resource resource = {.resource = widgets};
	const struct kube_resource *const resources[] = {&resource};
	const struct kms_adopted_options options = {
		.kube = &kube, .shape = &shape, .resources = resources, .resource_count = 1};
	const struct served_answer script[] = {{.status = 200, .type = "text/plain", .body = it->metrics}};
	struct error *err = NULL;
	kube_server_play(&server, script, ELEMENTS(script));
	int rc = kms_check_adopted(&options, &err);
	assert_int_equal(rc, it->refused ? -ERROR_REFUSED : 0);
	if (it->refused) {
		assert_string_equal(error_message(err), it->refused);
		/* There is a way out of it. */
		assert_non_null(strstr(error_hint(err), "change an object of widgets.example.com through cp-1"));
	}
	assert_int_equal(server.seen_count, 1); /* no canary of a kind that shows nothing */
	error_free(err);
}

int main(void)
{
	kube = kube_server_open(&server);
	int failed = RUN_ROWS(row, rows);
	kube_server_close(&server, &kube);
	return failed;
}
