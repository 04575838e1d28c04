/* The KMS v2 plugins on this node: of the file as it is, and of the rotation's steps, which may bring others. */
#include "engine/agent_internal.h"

#include "base/clock.h"
#include "engine/kms_follow.h"

#define KMS_ASK (10 * NS_PER_S) /* a plugin that hangs must not hold up every turn */

/* The last step names all that the rotation brings. */
static const struct config_shape *end_of_path(const struct agent *agent)
{
	const struct path *path = agent->node->journal->path;
	return agent_takes_part(agent) ? path->steps[path->count - 1] : NULL;
}

/* What the plugins say decides about steps of this rotation. */
static bool concerns_kms(const struct agent *agent)
{
	const struct path *path = agent->node->journal->path;
	bool concerns = path_follows_kms(path) || (agent->rotation && agent->rotation->spec.follow_kms);
	for (size_t step = 1; step < path->count; step++)
		concerns = concerns || path_brings_any_kms(path, step);
	return agent_takes_part(agent) && concerns;
}

static const struct kms_look *find_in(const struct kms_look *looks, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (text_equal(looks[i].name, name))
			return &looks[i];
	return NULL;
}

/* What a plugin that lacks an answer named before. */
static void remember(const struct kms_look *looks, size_t count, struct kms_look *now)
{
	const struct kms_look *before = find_in(looks, count, now->name);
	const char *last = before && text_equal(before->endpoint, now->endpoint) ? before->last_key_id : NULL;
	if (!now->flaw)
		now->last_key_id = xstrdup(now->status.key_id);
	else if (kms_look_lacks(now, last))
		now->last_key_id = xstrdup(last);
}

int agent_ask_kms(struct agent *agent, bool at_once, struct error **err)
{
	struct target_content content = {0};
	uint64_t now = clock_monotonic();
	/* Only where a step hangs on them: plugins that hang would make this agent a silent one. */
	if (!(at_once && concerns_kms(agent)) && agent->kms_asked && now < agent->kms_asked + KMS_ASK)
		return 0;
	struct loop *loop = agent->node->cluster->loop;
	const struct config_shape *end = end_of_path(agent);
	struct kms_look *before = steal(agent->kms);
	size_t count_before = agent->kms_count;
	agent->kms_count = 0;
	int rc = 0;
	if (target_read(agent->node->target, &content, NULL) == 0)
		rc = kms_look(loop, encryption_config_shape(content.config), &agent->kms, &agent->kms_count, err);
	target_content_free(&content);
	if (rc == 0 && end)
		rc = kms_look(loop, end, &agent->kms, &agent->kms_count, err);
	for (size_t i = 0; i < agent->kms_count; i++)
		remember(before, count_before, &agent->kms[i]);
	kms_look_free(before, count_before);
	agent->kms_asked = clock_monotonic();
	return rc;
}

static const struct kms_look *find(const struct agent *agent, const char *name)
{
	return find_in(agent->kms, agent->kms_count, name);
}

static bool is_among(const struct kms_look *const *looks, size_t count, const struct kms_look *look)
{
	for (size_t i = 0; i < count; i++)
		if (looks[i] == look)
			return true;
	return false;
}

bool agent_plugins(const struct agent *agent, const struct kms_look *ret[static KEY_SERVER_KMS_MAX], size_t *ret_count)
{
	const struct path *path = agent->node->journal->path;
	bool well = true;
	for (size_t step = 1; step < path->count; step++)
		for (size_t r = 0; r < path->steps[step]->rule_count; r++)
			for (size_t k = 0; k < path->steps[step]->rules[r].key_count; k++) {
				const struct config_key *key = &path->steps[step]->rules[r].keys[k];
				if (!path_brings_kms(path, step, key))
					continue;
				const struct kms_look *look = find(agent, key->name);
				well = well && look && !look->flaw && text_equal(look->endpoint, key->kms_endpoint);
				if (!look || is_among(ret, *ret_count, look))
					continue;
				well = well && *ret_count < KEY_SERVER_KMS_MAX;
				if (*ret_count < KEY_SERVER_KMS_MAX)
					ret[(*ret_count)++] = look;
			}
	return well;
}

/* By this node's own plugins, as they answered last; "" where one does not say: then nothing is under its key. */
void agent_follow_kms(struct agent *agent)
{
	struct rotation *node = agent->node;
	bool joined = agent_takes_part(agent) && text_equal(node->journal->rotation, agent->rotation->meta.uid);
	bool stays = joined && agent->rotation->spec.follow_kms;
	bool follows = stays && !node->journal->going_back && !key_rotation_goes_back(agent->rotation);
	struct config_shape *shape = node->journal->path->steps[0];
	node->look.keeps_file = stays;
	for (size_t r = 0; follows && r < shape->rule_count; r++) {
		const char *name = shape->rules[r].keys[0].name;
		const struct kms_look *look = find(agent, name);
		if (kms_writes(shape, name))
			kms_set_key_id(shape, name, look && !look->flaw ? look->status.key_id : "");
	}
}

void agent_tell_kms(const struct agent *agent, struct key_server_status *ret)
{
	ret->kms = xcalloc(agent->kms_count + 1, sizeof(*ret->kms));
	for (size_t i = 0; i < agent->kms_count && i < KEY_SERVER_KMS_MAX; i++) {
		const struct kms_look *look = &agent->kms[i];
		ret->kms[ret->kms_count++] = (struct key_server_kms){
			.name = xstrdup(look->name),
			.endpoint = xstrdup(look->endpoint),
			.healthz = xstrdup(look->flaw ? look->flaw : "ok"),
			/* Of one that is well they fit. */
			.version = look->flaw || !look->status.version ? NULL : xstrdup(look->status.version),
			.key_id = look->flaw || !look->status.key_id ? NULL : xstrdup(look->status.key_id),
			.last_key_id = look->flaw ? xstrdup_or_null(look->last_key_id) : NULL};
	}
}
