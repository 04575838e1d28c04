#include <stdio.h>
#include <unistd.h>

#include "base/json_writer.h"
#include "cmd/session.h"
#include "engine/trust_key_search.h"

#define CHECK_JSON_MAX (4u << 20)

/* Not every machine that the API is reached from has it. */
static int load_key(const struct options *o, struct trust_key **ret, struct error **err)
{
	if (!o->trust_key && access(DEFAULT_TRUST_KEY, F_OK) != 0)
		return 0;
	return trust_key_load(o->trust_key ? o->trust_key : DEFAULT_TRUST_KEY, ret, err);
}

static const char *words_of(const struct trust_key_finding *finding)
{
	return finding->sealed
		       ? "kubeadm uploaded the service-account signing key there, encrypted with its certificate "
			 "key; where that is the trust key, an old upload that somebody can open is a leak of it"
		       : "it holds the trust key: whoever reads it, or a backup of etcd from within a rotation, has "
			 "the new keys";
}

static const char *advice_of(const struct trust_key_finding *finding)
{
	return finding->sealed
		       ? "delete it when all nodes have joined (kubeadm does after two hours)"
		       : "give the agents another one: --trust-key FILE with 32 random bytes, the same on each node";
}

static void print_text(const struct options *o, const struct trust_key *key, const struct trust_key_search *found)
{
	printf("trust key\n");
	if (!key)
		printf("  - not at hand (%s): only kubeadm's upload was looked for\n",
		       o->trust_key ? o->trust_key : DEFAULT_TRUST_KEY);
	for (size_t i = 0; i < found->count; i++) {
		const struct trust_key_finding *finding = &found->findings[i];
		printf("  ! secret %s/%s, %s: %s\n      %s\n", finding->namespace_, finding->name, finding->entry,
		       words_of(finding), advice_of(finding));
	}
	if (found->count == 0)
		printf("  ok  in none of %llu Secrets\n", (unsigned long long)found->secrets);
}

static void write_json(const struct trust_key *key, const struct trust_key_search *found)
{
	struct json_writer w = JSON_WRITER_INIT(CHECK_JSON_MAX);
	json_object_begin(&w);
	json_member_string(&w, "kind", "Check");
	json_member_u64(&w, "version", 1);
	json_member_u64(&w, "secrets", found->secrets);
	json_member_bool(&w, "trustKeyAtHand", key != NULL);
	json_key(&w, "findings");
	json_array_begin(&w);
	for (size_t i = 0; i < found->count; i++) {
		const struct trust_key_finding *finding = &found->findings[i];
		json_object_begin(&w);
		json_member_string(&w, "check", "trust-key-in-secret");
		json_member_string(&w, "namespace", finding->namespace_);
		json_member_string(&w, "name", finding->name);
		json_member_string(&w, "entry", finding->entry);
		json_member_bool(&w, "sealed", finding->sealed);
		json_member_string(&w, "what", words_of(finding));
		json_member_string(&w, "advice", advice_of(finding));
		json_object_end(&w);
	}
	json_array_end(&w);
	json_object_end(&w);
	const char *text = json_text(&w);
	if (text)
		puts(text);
	json_writer_free(&w);
}

int cmd_check(struct command_context *context, struct error **err)
{
	const struct options *o = &context->options;
	_cleanup_session_ session = {0};
	_cleanup_(trust_key_freep) struct trust_key *key = NULL;
	_cleanup_(trust_key_search_free) struct trust_key_search found = {0};
	int rc = load_key(o, &key, err);
	if (rc == 0)
		rc = session_open(context, SESSION_API, &session, err);
	if (rc < 0)
		return rc;
	const struct kube_resource *secrets = kube_resources_find(&session.cluster->resources, "secrets");
	if (!secrets)
		return error_set(err, ERROR_PROTOCOL, "%s serves no secrets", session.cluster->kube.name);
	rc = trust_key_search(&session.cluster->kube, secrets, key, &found, err);
	if (rc < 0)
		return rc;
	if (o->json)
		write_json(key, &found);
	else
		print_text(o, key, &found);
	context->printed_document = true;
	return found.count ? error_set(err, ERROR_FINDING, "%zu Secrets hold, or may hold, the trust key", found.count)
			   : 0;
}
