#include "cmd/present.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "engine/kms_follow.h"
#include "engine/look.h"

static void show_census(void *arg, uint64_t done, uint64_t total)
{
	struct command_context *context = arg;
	_cleanup_free_ char *read = text_human_count(done), *all = text_human_count(total);
	screen_running(&context->screen, clock_monotonic(), false, "reading etcd: %s of %s values", read, all);
}

struct census_options present_census_options(struct command_context *context, const struct session *session)
{
	struct cluster *cluster = session->cluster;
	return (struct census_options){
		.loop = cluster->loop,
		.kube = &cluster->kube,
		.etcds = cluster->etcds,
		.etcd_count = cluster->etcd_count,
		.etcd_prefix = cluster->etcd_prefix,
		.resources = &cluster->resources,
		.shape = session->config ? encryption_config_shape(session->config) : NULL,
		.open_with = session->config,
		.chosen = &context->options.resources,
		.whole_keyspace = context->options.resources.count == 0,
		.foreign_prefixes = &cluster->foreign_prefixes,
		.on_progress = show_census,
		.arg = context,
	};
}

int present_ask_kms(const struct session *session, struct census_options *options, struct present_kms *ret,
		    struct error **err)
{
	*ret = (struct present_kms){0};
	if (!session->config)
		return 0;
	ret->shape = config_shape_copy(encryption_config_shape(session->config));
	int rc = kms_look(session->cluster->loop, ret->shape, &ret->looks, &ret->count, err);
	for (size_t i = 0; i < ret->count; i++)
		if (!ret->looks[i].flaw)
			kms_set_key_id(ret->shape, ret->looks[i].name, ret->looks[i].status.key_id);
	options->shape = ret->shape;
	return rc;
}

void present_kms_free(struct present_kms *kms)
{
	kms_look_free(kms->looks, kms->count);
	config_shape_free(kms->shape);
	*kms = (struct present_kms){0};
}

/* The name by which everything else calls it: its identity Lease's. Its address where no Lease tells, or several do. */
static char *server_name(const struct session *session)
{
	struct kube_identities identities = {0};
	char *name = NULL;
	if (kube_identities_fetch(&session->cluster->kube, &identities, NULL) == 0 && identities.count == 1 &&
	    !text_empty(identities.items[0].hostname))
		name = xstrdup(identities.items[0].hostname);
	kube_identities_free(&identities);
	return name ? name : xstrdup(session->cluster->kube.name);
}

int present_look(const struct session *session, const char *rotating, struct journal **ret_journal,
		 bool *ret_of_another, struct server_observation *ret, struct error **err)
{
	_cleanup_(journal_freep) struct journal *begun = NULL;
	_cleanup_(target_freep) struct target *target = NULL;
	_cleanup_(journal_freep) struct journal *present = NULL;
	_cleanup_free_ char *sha256 = NULL, *uid = NULL;
	/* Only looked at: whoever owns the file may. */
	target = xcalloc(1, sizeof(*target));
	target->path = xstrdup(session->config_path);
	int rc = file_sha256(session->config_path, ENCRYPTION_CONFIG_MAX, &sha256, err);
	if (rc == 0)
		rc = journal_read(rotating, &begun, err);
	if (rc < 0)
		return rc;
	if (begun)
		(void)!cluster_uid(session->cluster, &session->cluster->kube, &uid, NULL);
	*ret_of_another = begun && journal_is_of_another(begun, uid);
	present = journal_of_present(encryption_config_shape(session->config), sha256);
	struct look eye = {.kube = &session->cluster->kube,
			   .name = server_name(session),
			   .canary_step = STEP_NONE,
			   .reloads_itself = true,
			   .servers_own = node_reads_file(&session->cluster->node, session->config_path) == 1};
	look_at(&eye, target, begun && !*ret_of_another ? begun : present, loop_now(session->cluster->loop),
		clock_wall(), ret);
	look_free(&eye);
	*ret_journal = steal(begun);
	return 0;
}

int present_verdict(const struct session *session, const struct server_observation *server, struct error **err)
{
	if (server->loaded == FACT_CONTRADICTORY)
		return error_set(err, ERROR_FINDING, "%s: %s", server->name, server->why);
	if (!server->answering)
		return error_set(err, ERROR_FINDING, "what %s has loaded cannot be read: %s", server->name,
				 server->why);
	/* Not known where it answers: its version shows no loaded hash, and nothing is wrong with that. */
	if (server->loaded != FACT_KNOWN || server->loaded_is_file)
		return 0;
	int rc = error_set(err, ERROR_FINDING, "%s does not run %s yet", server->name, session->config_path);
	error_set_hint(err, "it looks at its file each minute where automatic reload is on; else restart it");
	return rc;
}
