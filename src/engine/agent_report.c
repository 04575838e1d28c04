/* What the agent tells: everything of the last look, and what came of the last order. Never bytes of a key. */
#include "engine/agent_internal.h"

#include <string.h>

#include "base/clock.h"
#include "client/kube/custom.h"

#define MS NS_PER_MS

static uint64_t age(uint64_t since, uint64_t now)
{
	return since && now > since ? (now - since) / MS : 0;
}

char *agent_busy_words(uint64_t calls)
{
	/* By the hundred: each other text is a line in the controller's log. */
	uint64_t hundreds = calls / 100;
	return hundreds ? xasprintf("a census is under way, and has asked the KMS for %llu keys by now",
				    (unsigned long long)hundreds * 100)
			: NULL;
}

const char *agent_why(const struct agent *agent, const struct server_observation *seen)
{
	const char *why = agent->trouble ? agent->trouble : seen->why;
	return why ? why : agent->busy;
}

static uint64_t rescues_by_order(const struct agent *agent)
{
	const struct journal *journal = agent->node->journal;
	return journal->rescues > journal->alone ? journal->rescues - journal->alone : 0;
}

static void tell_server(const struct agent *agent, const struct server_observation *seen, struct key_server_status *ret)
{
	ret->apiserver = xstrdup_or_null(agent->node->cluster->kube.name);
	ret->identity = xstrdup_or_null(agent->identity);
	ret->version = xstrdup_or_null(seen->version);
	ret->answering = seen->answering;
	ret->why = xstrdup_or_null(agent_why(agent, seen));
	ret->file_hash = xstrdup_or_null(seen->file == FACT_KNOWN ? seen->file_hash : NULL);
	ret->file_step = seen->file_step;
	ret->written_step = agent->disk.written_step;
	ret->rescues = rescues_by_order(agent);
	ret->going_back = agent->node->journal->going_back;
	ret->file_ours = seen->file_ours;
	bool known = seen->loaded == FACT_KNOWN;
	ret->loaded_hash = xstrdup_or_null(known ? seen->loaded_hash : NULL);
	ret->loaded_step = known ? seen->loaded_step : STEP_NONE;
	ret->loaded_is_file = known && seen->loaded_is_file;
	ret->evidence = xstrdup(seen->evidence == LOADED_BY_HASH ? "hash" : "reloads");
	ret->refuses_file = seen->refuses_file;
	ret->refused_before = seen->refused_before;
	ret->needs_second_nonce = seen->needs_second_nonce;
	ret->apply = xstrdup(seen->restarts ? "static-pod" : "reload");
	ret->restarting = seen->restarting;
	ret->process = seen->process;
}

static void add_key(const struct config_key *key, struct key_server_status *ret)
{
	for (size_t i = 0; i < ret->key_count; i++)
		if (text_equal(ret->keys[i].name, key->name) &&
		    text_equal(ret->keys[i].provider, provider_name(key->type)))
			return;
	ret->keys = xreallocarray(ret->keys, ret->key_count + 1, sizeof(*ret->keys));
	ret->keys[ret->key_count++] = (struct object_key){.provider = xstrdup(provider_name(key->type)),
							  .name = xstrdup(key->name),
							  .fingerprint = xstrdup(key->fingerprint)};
}

static void tell_configuration(const struct agent *agent, struct key_server_status *ret)
{
	struct target_content content = {0};
	if (target_read(agent->node->target, &content, NULL) < 0)
		return;
	ret->configuration = config_shape_copy(encryption_config_shape(content.config));
	target_content_free(&content);
	for (size_t r = 0; r < ret->configuration->rule_count; r++)
		for (size_t k = 0; k < ret->configuration->rules[r].key_count; k++)
			if (ret->configuration->rules[r].keys[k].fingerprint[0])
				add_key(&ret->configuration->rules[r].keys[k], ret);
}

/* When a member last did; 0: none ever answered. */
static uint64_t told_last(const struct etcd *etcd)
{
	uint64_t last = 0;
	for (size_t m = 0; m < etcd_member_count(etcd); m++)
		if (etcd_member(etcd, m)->told_at > last)
			last = etcd_member(etcd, m)->told_at;
	return last;
}

/* One that has no quota tells a number beyond all others. */
static uint64_t told_number(uint64_t number)
{
	return number < OBJECT_NUMBER_MAX ? number : OBJECT_NUMBER_MAX;
}

void agent_tell_sizes(struct etcd *const *etcds, size_t count, uint64_t now, struct key_server_status *ret)
{
	uint64_t oldest = UINT64_MAX;
	for (size_t e = 0, at = 0; e < count; e++) {
		uint64_t last = told_last(etcds[e]);
		oldest = last < oldest ? last : oldest;
		for (size_t m = 0; m < etcd_member_count(etcds[e]) && at < ret->member_count; m++, at++) {
			const struct etcd_member_info *info = etcd_member(etcds[e], m);
			struct key_server_member *member = &ret->members[at];
			bool lately = info->told_at > 0 && info->told_at + QUIET_SILENCE >= last;
			if (!lately || !text_equal(info->name, member->name))
				continue;
			oldest = info->told_at < oldest ? info->told_at : oldest;
			member->db_size = told_number(info->db_size);
			member->db_size_in_use = told_number(info->db_size_in_use);
			member->db_quota = told_number(info->db_size_quota);
			member->db_grows = told_number(info->db_grows);
		}
	}
	bool told = ret->member_count > 0 && oldest > 0 && oldest <= now;
	ret->etcd_size_age_milliseconds = told ? age(oldest, now) + 1 : 0;
}

static void tell_etcd(const struct agent *agent, const struct observation *seen, uint64_t now,
		      struct key_server_status *ret)
{
	const struct cluster *cluster = agent->node->cluster;
	ret->reloads = agent->node->look.successes_now;
	ret->request_timeout_milliseconds = cluster->request_timeout / MS;
	ret->compaction_interval_milliseconds = cluster->compaction_interval / MS;
	ret->quiet_milliseconds = age(seen->quiet_since, now);
	ret->etcd_age_milliseconds = seen->etcd_looked_at ? age(seen->etcd_looked_at, now) + 1 : 0;
	ret->etcd_back_age_milliseconds = seen->etcd_back_at ? age(seen->etcd_back_at, now) + 1 : 0;
	ret->members_behind_balancer = seen->members_behind_balancer;
	ret->members = xcalloc(seen->member_count + 1, sizeof(*ret->members));
	for (size_t i = 0; i < seen->member_count; i++)
		ret->members[ret->member_count++] =
			(struct key_server_member){.name = xstrdup_or_null(seen->members[i].name),
						   .why = xstrdup_or_null(seen->members[i].why),
						   .answering = seen->members[i].answering,
						   .learner = seen->members[i].learner};
	for (size_t e = 0, at = 0; e < cluster->etcd_count; e++)
		for (size_t m = 0; m < etcd_member_count(cluster->etcds[e]) && at < ret->member_count; m++, at++) {
			ret->members[at].revision = etcd_member(cluster->etcds[e], m)->revision;
			ret->members[at].raft_term = etcd_member(cluster->etcds[e], m)->raft_term;
		}
	agent_tell_sizes(cluster->etcds, cluster->etcd_count, now, ret);
}

void agent_tell_census(const struct census_observation *census, uint64_t now, struct key_server_status *ret)
{
	bool fits = census->group_count <= KEY_SERVER_GROUPS_MAX;
	ret->census.revision = census->revision;
	ret->census.complete = census->complete && fits;
	ret->census.compacted = census->compacted;
	ret->census.why =
		fits ? xstrdup_or_null(census->why)
		     : xasprintf("values under %zu pairs of resource and key: a report has room for %d, so nobody can "
				 "tell what is still needed",
				 census->group_count, KEY_SERVER_GROUPS_MAX);
	ret->census.does_not_open = census->does_not_open;
	ret->census.opened = census->opened;
	ret->census.not_opened = census->not_opened;
	ret->census.why_not_opened = xstrdup_or_null(census->why_not_opened);
	ret->census.finished_age_milliseconds = age(census->finished, now);
	ret->census.groups = xcalloc(census->group_count + 1, sizeof(*ret->census.groups));
	for (size_t i = 0; i < census->group_count && i < KEY_SERVER_GROUPS_MAX; i++)
		ret->census.groups[ret->census.group_count++] = key_server_group_of(&census->groups[i]);
}

static void tell_census(const struct agent *agent, uint64_t now, struct key_server_status *ret)
{
	const struct census_observation *census = &agent->node->census_seen;
	if (census->finished == 0)
		return;
	ret->census.epoch = agent->told->status.census.epoch;
	ret->census.sequence = agent->told->status.census.sequence;
	ret->census.asked = agent->told->status.census.asked;
	ret->census.unsettled = !agent_census_settled(agent);
	agent_tell_census(census, now, ret);
}

/* The steps are told together with the sealed keys, which go when every server has them. */
static bool all_have_it(const struct key_rotation *rotation)
{
	return rotation && rotation->status.step_count > 0 && rotation->status.sealed_key_count == 0;
}

static void tell_orders(const struct agent *agent, uint64_t now, struct key_server_status *ret)
{
	const struct key_server_status *told = &agent->told->status;
	ret->agent_version = xstrdup(KUBE_REKEY_VERSION);
	ret->incarnation = xstrdup_or_null(agent->disk.incarnation);
	ret->rotation = xstrdup_or_null(agent->disk.rotation);
	ret->path_of = xstrdup_or_null(agent->node->journal->rotation);
	ret->epoch = agent->disk.epoch;
	ret->sequence = agent->disk.sequence;
	ret->at_work = agent->at_work;
	ret->done.sequence = told->done.sequence;
	ret->done.action = xstrdup_or_null(told->done.action);
	ret->done.result = xstrdup_or_null(told->done.result);
	ret->done.message = xstrdup_or_null(told->done.message);
	ret->done.begun_age_milliseconds = age(agent->done_begun, now);
	ret->trust_key = xstrdup(trust_key_fingerprint(agent->options->trust));
	ret->sealed_keys = xcalloc(told->sealed_key_count + 1, sizeof(*ret->sealed_keys));
	for (size_t i = 0; i < told->sealed_key_count && !all_have_it(agent->rotation); i++) {
		const struct object_sealed_key *key = &told->sealed_keys[i];
		ret->sealed_keys[ret->sealed_key_count++] =
			(struct object_sealed_key){xstrdup(key->provider), xstrdup(key->name),
						   xstrdup(key->fingerprint), xstrdup(key->text), key->epoch};
	}
	agent_tell_retired(agent, ret);
	for (size_t i = 0; i < told->remains.count; i++)
		strings_add(&ret->remains, told->remains.items[i]);
	ret->canaries = xcalloc(told->canary_count + 1, sizeof(*ret->canaries));
	for (size_t i = 0; i < told->canary_count; i++) {
		const struct key_server_canary *canary = &told->canaries[i];
		ret->canaries[ret->canary_count++] =
			(struct key_server_canary){xstrdup_or_null(canary->server), xstrdup_or_null(canary->resource),
						   xstrdup_or_null(canary->name),   canary->revision,
						   xstrdup_or_null(canary->key_id), canary->step};
	}
}

int agent_publish(struct agent *agent, struct error **err)
{
	_cleanup_(key_server_freep) struct key_server *report = key_server_new(agent->options->node_name);
	_cleanup_free_ char *body = NULL;
	struct key_server_status *status = &report->status;
	const struct observation *seen = &agent->node->seen;
	uint64_t now = clock_monotonic();
	char heartbeat[28];
	tell_server(agent, &seen->servers[0], status);
	tell_configuration(agent, status);
	agent_tell_kms(agent, status);
	tell_etcd(agent, seen, now, status);
	tell_census(agent, now, status);
	tell_orders(agent, now, status);
	clock_format(clock_wall(), 1, heartbeat);
	status->heartbeat = xstrdup(heartbeat);
	/* A number is used once: a report that seemed lost may have been read, and an order be good for so long after it. */
	status->beat = ++agent->beat;
	status->lost_beat = agent->lost_beat;
	agent->published[agent->beat % AGENT_BEATS] = now;
	status->observed_age_milliseconds = age(agent->looked_at, now) + 1;
	int rc = key_server_status_body(report, &body, err);
	if (rc < 0)
		return rc;
	const struct kube_custom_request request = {.verb = CUSTOM_APPLY,
						    .collection = KEY_SERVERS_PATH,
						    .name = agent->options->node_name,
						    .subresource = "status",
						    .body = body,
						    .timeout = 10 * NS_PER_S};
	rc = kube_custom_fetch(agent_api(agent), &request, NULL, err);
	if (rc < 0)
		agent->lost_beat = agent->beat;
	return rc;
}
