#include "engine/key_writers.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "engine/check_gather_internal.h"
#include "engine/fleet_kms.h"
#include "engine/kms_look.h"

#define SHOWN 128              /* bytes of a key ID, for people */
#define MOMENT (60 * NS_PER_S) /* within which a server may have started again while others were asked */
#define START_SLACK 2.0        /* seconds by which a start may be shown too late: it is counted from the boot */
/* A server looks at its file each minute: later than two of them it has loaded what is there, or says that it could not. */
#define TWO_POLLS (130 * NS_PER_S)
#define LEASE_RENEWAL (10 * NS_PER_S) /* upstream: how often a server renews its identity Lease */

/* One question, and what it comes to. */
struct asked {
	const struct key_word *key;
	const struct strings *key_ids; /* known ones, by which a hash is told */
	struct key_writers *ret;
	bool all_asked; /* those, too, that no answer names */
};

/* The first one stays. */
static void __attribute__((format(printf, 2, 3))) say(char **where, const char *fmt, ...)
{
	va_list args;
	if (*where)
		return;
	va_start(args, fmt);
	*where = xvasprintf(fmt, args);
	va_end(args);
}

/* --- a configuration --- */

/* A key that is only read with is needed, too, where it is of a KMS: a server that has no answer of it is never ready. */
static void take_key(struct asked *a, const struct config_key *key, bool writes, const char *of)
{
	_cleanup_free_ char *label = config_key_label(key);
	bool is = a->key->by_name && text_equal(label, a->key->text);
	if (is && writes)
		say(&a->ret->writes, "the configuration%s writes with it", of);
	else if (is && key->type == PROVIDER_KMS)
		say(&a->ret->writes, "the configuration%s names it, and an API server asks for it at its start", of);
	if (!a->key->by_name && key->type == PROVIDER_KMS && key->kms_version == 1)
		say(&a->ret->unknown, "%s%s is of version 1, which names no key ID", label, of);
}

/* `of`: " of cp-2", and "" for this machine's. */
static void take_rules(struct asked *a, const struct config_shape *shape, const char *of)
{
	for (size_t r = 0; r < shape->rule_count; r++)
		take_key(a, &shape->rules[r].keys[0], true, of);
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 1; k < shape->rules[r].key_count; k++)
			take_key(a, &shape->rules[r].keys[k], false, of);
}

/* The names of KMS v2 providers, whatever they are there for: a server asks all of them at its start. */
static void add_providers(const struct config_shape *shape, struct strings *ret)
{
	for (size_t r = 0; r < shape->rule_count; r++)
		for (size_t k = 0; k < shape->rules[r].key_count; k++) {
			const struct config_key *key = &shape->rules[r].keys[k];
			if (key->type == PROVIDER_KMS && key->kms_version == 2 && !strings_has(ret, key->name))
				strings_add(ret, key->name);
		}
}

/* --- plugins --- */

/* `on`: " on cp-2", and "" for this machine's. `flaw`: why it names none; NULL. */
static void take_plugin(struct asked *a, const char *name, const char *on, const char *key_id, const char *flaw)
{
	_cleanup_free_ char *id = text_printable_or(key_id, SHOWN, "");
	if (flaw || !key_id)
		say(&a->ret->unknown, "kms/%s%s: %s: which key it encrypts with is not known", name, on,
		    flaw ? flaw : "it names none");
	else if (key_word_is_id(a->key, key_id))
		say(&a->ret->writes, "a KMS plugin%s encrypts with it", on);
	else if (key_word_may_be_id(a->key, key_id))
		say(&a->ret->unknown, "kms/%s%s encrypts with %s: whether that is the same key only its KMS knows",
		    name, on, id);
}

static void take_looks(struct asked *a, const struct kms_look *looks, size_t count)
{
	for (size_t i = 0; !a->key->by_name && i < count; i++)
		take_plugin(a, looks[i].name, "", looks[i].status.key_id, looks[i].flaw);
}

/* --- an agent's report --- */

static void take_report(struct asked *a, const char *server, const struct key_server_status *status)
{
	_cleanup_free_ char *of = xasprintf(" of %s", server), *on = xasprintf(" on %s", server);
	_cleanup_strings_ providers = {0};
	if (!status->configuration || !status->loaded_is_file)
		say(&a->ret->unknown, "that %s runs its file is not known", server);
	if (status->configuration) {
		take_rules(a, status->configuration, of);
		add_providers(status->configuration, &providers);
	}
	for (size_t i = 0; !a->key->by_name && i < providers.count; i++) {
		const struct key_server_kms *kms = fleet_kms_find(status, providers.items[i]);
		bool well = kms && text_equal(kms->healthz, "ok");
		take_plugin(a, providers.items[i], on, well ? kms->key_id : NULL,
			    well   ? NULL
			    : !kms ? "its agent has not told what it says"
				   : kms->healthz);
	}
}

/* --- what an API server counts --- */

enum meaning { IS_OTHER, IS_KEY, MAY_BE_KEY };

/* Metrics have the hashes of key IDs alone. */
static enum meaning meaning_of(const struct asked *a, const char *hash)
{
	_cleanup_free_ char *own = text_sha256_tagged(a->key->text, strlen(a->key->text));
	if (text_equal(own, hash))
		return IS_KEY;
	for (size_t i = 0; i < a->key_ids->count; i++) {
		const char *id = a->key_ids->items[i];
		_cleanup_free_ char *known = text_sha256_tagged(id, strlen(id));
		if (text_equal(known, hash))
			return key_word_is_id(a->key, id)       ? IS_KEY
			       : key_word_may_be_id(a->key, id) ? MAY_BE_KEY
								: IS_OTHER;
	}
	return key_word_has_names(a->key) ? MAY_BE_KEY : IS_OTHER;
}

/* A server that was told of another key goes on with the one before until it has adopted that, which a write shows. */
static void take_before(struct asked *a, const char *server, const struct storage_metrics *metrics, const char *name)
{
	size_t seen = 0;
	for (size_t i = 0; i < metrics->key_id_count; i++) {
		if (!text_equal(metrics->key_ids[i].provider, name))
			continue;
		seen++;
		if (meaning_of(a, metrics->key_ids[i].hash) != IS_OTHER)
			say(&a->ret->unknown,
			    "%s was told of it by kms/%s, or used it, and was not seen to write with a later key since",
			    server, name);
	}
	if (seen == 0)
		say(&a->ret->unknown, "%s shows no key ID of kms/%s", server, name);
}

static void take_provider(struct asked *a, const char *server, const struct storage_metrics *metrics, const char *name)
{
	struct storage_key named = {0};
	enum storage_evidence evidence = storage_kms_write_key(metrics, name, &named);
	enum meaning meaning = named.hash ? meaning_of(a, named.hash) : IS_OTHER;
	if (meaning == IS_KEY)
		say(&a->ret->writes, "the KMS plugin kms/%s of %s named it last", name, server);
	else if (meaning == MAY_BE_KEY)
		say(&a->ret->unknown, "kms/%s of %s names a key ID (%.19s) that may be another name of it", name,
		    server, named.hash);
	if (evidence == STORAGE_MOVING || evidence == STORAGE_UNSEEN)
		take_before(a, server, metrics, name);
	storage_key_free(&named);
}

/* `silence_is_fine`: it is known to have no KMS v2 provider, or there is none that it could. */
static void take_counts(struct asked *a, const char *server, const struct check_scrape *scrape,
			const struct config_shape *shape, bool silence_is_fine)
{
	const struct storage_metrics *metrics = &scrape->storage;
	_cleanup_strings_ providers = {0};
	if (shape)
		add_providers(shape, &providers);
	/* Its configuration is not known: each that it ever showed may be in it. */
	for (size_t i = 0; !shape && i < metrics->key_id_count; i++)
		if (!strings_has(&providers, metrics->key_ids[i].provider))
			strings_add(&providers, metrics->key_ids[i].provider);
	bool expected = a->key_ids->count > 0 || scrape->kms_calls > 0;
	if (!shape && providers.count == 0 && expected && !silence_is_fine)
		say(&a->ret->unknown, "%s shows no key ID", server);
	for (size_t i = 0; i < providers.count; i++)
		take_provider(a, server, metrics, providers.items[i]);
}

/* --- the API servers --- */

static bool answers_unnamed(const struct check_scrape *scrape)
{
	return !scrape->name && !scrape->why;
}

/* Whether this is the answer of a process that gave none of the others. Two addresses may lead to one server, and that shows its
 * start; one that started a moment ago may have given another answer before. What has an id is none of those without. */
static bool is_of_its_own(const struct check_facts *f, size_t at)
{
	const struct check_scrape *scrape = &f->scrapes[at];
	const struct apiserver_metrics *metrics = &scrape->metrics;
	double settled = f->wall_now > MOMENT ? (double)(f->wall_now - MOMENT) / (double)NS_PER_S : 0;
	bool own = answers_unnamed(scrape) && metrics->id_hash_count == 0 && !metrics->contradictory &&
		   metrics->has_process_start && metrics->process_start < settled;
	for (size_t i = 0; own && i < f->scrape_count; i++) {
		const struct check_scrape *other = &f->scrapes[i];
		own = i == at || other->why || !other->metrics.has_process_start ||
		      other->metrics.process_start < metrics->process_start ||
		      other->metrics.process_start > metrics->process_start;
	}
	return own;
}

static bool has_named_answer(const struct check_facts *f, const char *server)
{
	for (size_t i = 0; i < f->scrape_count; i++)
		if (text_equal(f->scrapes[i].name, server) && !f->scrapes[i].why)
			return true;
	return false;
}

/* Before a server has a series with its id it names itself nowhere: where there are as many such answers as servers that none is
 * of by name, each of them was asked. */
static bool all_were_asked(const struct check_facts *f, const struct strings *servers)
{
	size_t nameless = 0, answers = 0;
	for (size_t i = 0; i < servers->count; i++)
		nameless += !has_named_answer(f, servers->items[i]);
	for (size_t i = 0; i < f->scrape_count; i++)
		answers += is_of_its_own(f, i);
	return answers >= nameless;
}

/* Whether this process can have read nothing older: it began later, or has loaded something since. */
static bool has_loaded_since(const struct apiserver_metrics *metrics, uint64_t changed_at, uint64_t wall_now)
{
	double changed = (double)changed_at / (double)NS_PER_S;
	bool began = metrics->has_process_start && metrics->process_start > changed + START_SLACK;
	bool loaded = metrics->reload_success_time > changed &&
		      metrics->reload_success_time > metrics->reload_failure_time && wall_now > changed_at + TWO_POLLS;
	return changed_at > 0 && (began || loaded);
}

/* Of the only server, at whatever addresses. */
static bool it_has_loaded_since(const struct check_facts *f, uint64_t changed_at)
{
	size_t answers = 0;
	for (size_t i = 0; i < f->scrape_count; i++) {
		if (f->scrapes[i].why)
			continue;
		answers++;
		if (!has_loaded_since(&f->scrapes[i].metrics, changed_at, f->wall_now))
			return false;
	}
	return answers > 0;
}

/* Whether it runs the file of this machine. Before 1.34 none shows that, and one that is alone can have no other than the one of
 * its own node; but it may have read that before it was changed. */
static bool runs_file(const struct check_facts *f, const char *server, const struct key_writers_file *file,
		      bool only_one_here)
{
	for (size_t i = 0; i < f->scrape_count; i++) {
		const struct apiserver_metrics *metrics = &f->scrapes[i].metrics;
		if (text_equal(f->scrapes[i].name, server) && metrics->loaded_hash_count > 0)
			return metrics->loaded_hash_count == 1 && text_equal(metrics->loaded_hashes[0], file->hash);
	}
	return only_one_here && file->hash && it_has_loaded_since(f, file->changed_at);
}

static void say_not_asked(struct asked *a, const struct check_facts *f, const char *server)
{
	for (size_t i = 0; i < f->scrape_count; i++)
		if (answers_unnamed(&f->scrapes[i]))
			say(&a->ret->unknown,
			    "whether %s was asked which key it writes with is not known: what answers at %s does not "
			    "tell which server it is",
			    server, f->scrapes[i].url);
	say(&a->ret->unknown,
	    "%s was not asked which key it writes with: it does not answer, or no address of it is known "
	    "(--apiserver URL)",
	    server);
}

static void take_scrapes(struct asked *a, const struct check_facts *f, const char *server,
			 const struct config_shape *shape)
{
	for (size_t i = 0; i < f->scrape_count; i++) {
		const struct check_scrape *scrape = &f->scrapes[i];
		if (text_equal(scrape->name, server) && !scrape->why)
			take_counts(a, server, scrape, shape, false);
	}
	if (!has_named_answer(f, server) && !a->all_asked)
		say_not_asked(a, f, server);
}

/* By its agent: that it runs a configuration without any KMS v2 provider. Then it has nothing to be asked for. */
static bool has_no_kms(const struct check_facts *f, const char *server)
{
	const struct fleet_server *reports = fleet_find(&f->fleet, server);
	const struct key_server_status *status = reports ? &reports->last->status : NULL;
	_cleanup_strings_ providers = {0};
	if (!status || !status->loaded_is_file || !status->configuration)
		return false;
	add_providers(status->configuration, &providers);
	return providers.count == 0;
}

static void take_server(struct asked *a, const struct key_writers_sources *in, const struct key_writers_file *file,
			const struct check_facts *f, const char *server, bool alone)
{
	const struct fleet_server *reports = fleet_find(&f->fleet, server);
	const struct key_server_status *status = reports ? &reports->last->status : NULL;
	bool here = alone && in->node_was_asked;
	const struct config_shape *shape = status && status->loaded_is_file                ? status->configuration
					   : in->shape && runs_file(f, server, file, here) ? in->shape
											   : NULL;
	if (status)
		take_report(a, server, status);
	else if (f->fleet.count > 0)
		say(&a->ret->unknown, "no agent reports from %s", server);
	else if (a->key->by_name && !shape)
		say(&a->ret->unknown, "the configuration of %s is not known: no agent reports it, and %s", server,
		    in->shape ? "it was not seen to run the file of this machine"
			      : "none is at hand here (--encryption-config FILE names that of this machine's server)");
	if (!a->key->by_name && !has_no_kms(f, server))
		take_scrapes(a, f, server, shape);
}

/* By their Leases and agents, and by what else shows that one may come back. */
static void name_servers(const struct check_facts *f, struct strings *ret)
{
	const struct strings nobody = {0};
	for (size_t i = 0; i < f->identities.count; i++)
		strings_add(ret, kube_identity_name(&f->identities.items[i]));
	for (size_t i = 0; i < f->fleet.count; i++)
		strings_add(ret, f->fleet.servers[i].last->meta.name);
	strings_sort_unique(ret);
	server_set_grow(&f->set, &nobody, ret);
}

static void add_ids(const struct check_facts *f, const struct kms_look *looks, size_t look_count, struct strings *ret)
{
	for (size_t i = 0; i < look_count; i++)
		if (looks[i].status.key_id)
			strings_add(ret, looks[i].status.key_id);
	for (size_t i = 0; i < f->fleet.count; i++)
		for (size_t k = 0; k < f->fleet.servers[i].last->status.kms_count; k++)
			if (f->fleet.servers[i].last->status.kms[k].key_id)
				strings_add(ret, f->fleet.servers[i].last->status.kms[k].key_id);
}

/* By which a hash is told: of stored values, and of what is said now. */
static void known_ids(const struct key_writers_sources *in, const struct check_facts *f, const struct kms_look *looks,
		      size_t look_count, struct strings *ret)
{
	for (size_t i = 0; i < in->key_ids->count; i++)
		strings_add(ret, in->key_ids->items[i]);
	add_ids(f, looks, look_count, ret);
}

/* --- what may still be on its way to etcd, and so is in no census yet --- */

static const char *shown_name(const struct check_scrape *scrape)
{
	return scrape->name ? scrape->name : scrape->url;
}

/* `at`: seconds since 1970; 0: never. One in the future is of a clock that differs: it may be now. */
static bool is_recent(double at, uint64_t settle, uint64_t wall_now)
{
	return at > 0 && settle > 0 && (double)wall_now / (double)NS_PER_S < at + (double)settle / (double)NS_PER_S;
}

/* By the server's own clock, as far as its Lease shows that, which it renews each 10 s: ours may be ahead of it. */
static uint64_t now_there(const struct check_facts *f, const struct check_scrape *scrape)
{
	uint64_t renewed = 0;
	for (size_t i = 0; i < f->identities.count; i++) {
		const struct kube_identity *identity = &f->identities.items[i];
		if (text_equal(kube_identity_name(identity), scrape->name) && identity->renewed_wall > renewed)
			renewed = identity->renewed_wall;
	}
	return renewed > 0 && renewed + LEASE_RENEWAL < f->wall_now ? renewed + LEASE_RENEWAL : f->wall_now;
}

static void take_recent(struct asked *a, const struct check_scrape *scrape, uint64_t settle, uint64_t wall_now)
{
	const struct storage_metrics *storage = &scrape->storage;
	unsigned long long seconds = settle / NS_PER_S;
	if (a->key->by_name && is_recent(scrape->metrics.reload_success_time, settle, wall_now))
		say(&a->ret->unknown,
		    "%s has loaded another configuration within the last %llu s, and what it wrote before may still be "
		    "under way (ask again)",
		    shown_name(scrape), seconds);
	if (settle > 0 && !scrape->metrics.has_process_start)
		say(&a->ret->unknown, "%s does not say when it began: what it wrote before may still be under way",
		    shown_name(scrape));
	/* Its reload, and when it wrote last, went with the process before. */
	if (is_recent(scrape->metrics.process_start, settle, wall_now))
		say(&a->ret->unknown,
		    "%s began within the last %llu s, and what it wrote as it ran before may still be under way (ask "
		    "again)",
		    shown_name(scrape), seconds);
	for (size_t i = 0; !a->key->by_name && i < storage->key_id_count; i++)
		if (meaning_of(a, storage->key_ids[i].hash) != IS_OTHER &&
		    is_recent(storage->key_ids[i].written_last, settle, wall_now))
			say(&a->ret->unknown,
			    "%s wrote with it, or with what may be it, within the last %llu s, and that may still be "
			    "under way (ask again)",
			    shown_name(scrape), seconds);
}

void key_writers_judge(const struct key_word *key, const struct key_writers_sources *in,
		       const struct key_writers_file *file, const struct kms_look *looks, size_t look_count,
		       const struct check_facts *f, struct key_writers *ret)
{
	_cleanup_strings_ servers = {0}, ids = {0};
	struct asked a = {.key = key, .key_ids = &ids, .ret = ret};
	known_ids(in, f, looks, look_count, &ids);
	name_servers(f, &servers);
	if (in->shape)
		take_rules(&a, in->shape, "");
	take_looks(&a, looks, look_count);
	if (f->identities_why || servers.count == 0)
		say(&ret->unknown, "which API servers there are is not known: %s",
		    f->identities_why ? f->identities_why : "no identity Lease names one");
	if (!f->set.nodes_read)
		say(&ret->unknown,
		    "control-plane Nodes could not be listed, and a stopped server may show by its Node alone");
	if (f->silent_agents.count > 0)
		say(&ret->unknown, "%s", f->silent_agents.items[0]);
	a.all_asked = all_were_asked(f, &servers);
	bool none_has_kms = servers.count > 0;
	for (size_t i = 0; i < servers.count; i++) {
		take_server(&a, in, file, f, servers.items[i], servers.count == 1);
		none_has_kms = none_has_kms && has_no_kms(f, servers.items[i]);
	}
	for (size_t i = 0; !key->by_name && i < f->scrape_count; i++)
		if (answers_unnamed(&f->scrapes[i]))
			take_counts(&a, f->scrapes[i].url, &f->scrapes[i], NULL, none_has_kms);
	for (size_t i = 0; i < f->scrape_count; i++)
		if (!f->scrapes[i].why)
			take_recent(&a, &f->scrapes[i], in->settle, now_there(f, &f->scrapes[i]));
}

/* --- between two looks --- */

static const struct check_scrape *same_server(const struct check_facts *f, const struct check_scrape *of)
{
	for (size_t i = 0; i < f->scrape_count; i++) {
		const struct check_scrape *scrape = &f->scrapes[i];
		if (of->name ? text_equal(scrape->name, of->name) : text_equal(scrape->url, of->url))
			return scrape->why ? NULL : scrape;
	}
	return NULL;
}

/* `from`: what it had counted before; empty for one that was not there. */
static void take_written(struct asked *a, const char *server, const struct storage_metrics *from,
			 const struct storage_metrics *to)
{
	struct storage_metrics growth = {0};
	if (storage_metrics_growth(from, to, &growth) < 0)
		say(&a->ret->unknown, "what %s counts went back while the census went on (ask again)", server);
	for (size_t i = 0; i < growth.key_id_count; i++)
		if (growth.key_ids[i].written > 0 && meaning_of(a, growth.key_ids[i].hash) != IS_OTHER)
			say(&a->ret->unknown,
			    "%s wrote with it, or with what may be it, while the census went on: that may be missing "
			    "in it (ask again)",
			    server);
	storage_metrics_free(&growth);
}

static void take_between(struct asked *a, const struct check_scrape *before, const struct check_scrape *after)
{
	const struct apiserver_metrics *then = &before->metrics, *now = &after->metrics;
	bool same = then->has_process_start == now->has_process_start &&
		    !(then->process_start < now->process_start || then->process_start > now->process_start);
	bool reloaded =
		then->reload_successes < now->reload_successes || then->reload_success_time < now->reload_success_time;
	if (!same || (reloaded && a->key->by_name))
		say(&a->ret->unknown,
		    "%s started anew or loaded another configuration while the census went on: what it wrote before "
		    "is not known (ask again)",
		    shown_name(after));
	else
		take_written(a, shown_name(after), &before->storage, &after->storage);
}

void key_writers_add_between(const struct key_word *key, const struct strings *key_ids,
			     const struct check_facts *before, const struct check_facts *after, struct key_writers *ret)
{
	const struct storage_metrics nothing = {0};
	struct asked a = {.key = key, .key_ids = key_ids, .ret = ret};
	for (size_t i = 0; i < after->scrape_count; i++) {
		const struct check_scrape *scrape = &after->scrapes[i], *then = same_server(before, scrape);
		/* Which keys it has is by its configuration, and that it had another one in between shows by nothing else. */
		if (key->by_name && (scrape->why || !then))
			say(&ret->unknown,
			    "whether %s loaded another configuration while the census went on is not known: its "
			    "metrics were not had at the beginning and at the end",
			    shown_name(scrape));
		else if (then && !scrape->why)
			take_between(&a, then, scrape);
		else if (!scrape->why)
			take_written(&a, shown_name(scrape), &nothing, &scrape->storage);
	}
	for (size_t i = 0; i < before->scrape_count; i++)
		if (!before->scrapes[i].why && !same_server(after, &before->scrapes[i]))
			say(&ret->unknown,
			    "%s was not met any more behind the census: what it wrote meanwhile is not known (ask "
			    "again)",
			    shown_name(&before->scrapes[i]));
}

/* --- asking --- */

struct key_writers_seen {
	char *silent; /* why what a member of etcd has taken may land later; NULL */
	struct key_writers_file file;
	struct kms_look *looks;
	size_t look_count;
	struct check_facts facts;
};

/* A member that stands still has perhaps taken writes that land when it goes on, behind every census. */
static int look_at_members(struct etcd *etcd, char **ret, struct error **err)
{
	_cleanup_error_ failed = NULL;
	int rc = etcd_connect(etcd, &failed);
	if (rc == -ERROR_INTERRUPTED) {
		*err = steal(failed);
		return rc;
	}
	if (rc < 0)
		say(ret, "whether each member of etcd answers is not known: %s", error_message(failed));
	else if (!etcd_membership_certain(etcd))
		say(ret, "which members etcd %s has is not known: no majority of them answers", etcd_label(etcd));
	for (size_t i = 0; rc == 0 && i < etcd_member_count(etcd); i++) {
		const struct etcd_member_info *member = etcd_member(etcd, i);
		if (!member->learner && !member->answered)
			say(ret,
			    "etcd member %s does not answer%s%s: what it has taken may be written when it goes on "
			    "(bring "
			    "it back or remove it, name its own address in --etcd-endpoints, and ask again)",
			    member->name, member->why ? ": " : "", member->why ? member->why : "");
	}
	return 0;
}

static int look_at_etcds(struct cluster *cluster, char **ret, struct error **err)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < cluster->etcd_count; i++)
		rc = look_at_members(cluster->etcds[i], ret, err);
	return rc;
}

static void look_at_file(const char *path, struct key_writers_file *ret)
{
	struct stat status;
	_cleanup_free_ char *real = path ? realpath(path, NULL) : NULL;
	if (!real || stat(path, &status) < 0 || file_sha256(path, ENCRYPTION_CONFIG_MAX, &ret->hash, NULL) < 0)
		return;
	/* Where a link is in the path another file may have come by that, and no time of its own shows it. */
	if (text_equal(real, path))
		ret->changed_at = (uint64_t)status.st_ctim.tv_sec * NS_PER_S + (uint64_t)status.st_ctim.tv_nsec;
}

int key_writers_look(const struct key_word *key, const struct key_writers_sources *in, struct key_writers_seen **ret,
		     struct error **err)
{
	const struct check_sources sources = {.cluster = in->cluster, .servers = in->servers, .wall_now = clock_wall()};
	_cleanup_(key_writers_seen_freep) struct key_writers_seen *seen = xcalloc(1, sizeof(*seen));
	seen->facts.wall_now = sources.wall_now;
	look_at_file(in->config_path, &seen->file);
	int rc = look_at_etcds(in->cluster, &seen->silent, err);
	if (rc == 0 && in->shape && !key->by_name)
		rc = kms_look(in->cluster->loop, in->shape, &seen->looks, &seen->look_count, err);
	if (rc == 0)
		rc = check_gather_servers(&sources, &seen->facts, err);
	if (rc < 0)
		return rc;
	*ret = steal(seen);
	return 0;
}

void key_writers_seen_free(struct key_writers_seen *seen)
{
	if (!seen)
		return;
	free(seen->silent);
	free(seen->file.hash);
	kms_look_free(seen->looks, seen->look_count);
	check_facts_free(&seen->facts);
	free(seen);
}

void key_writers_seen_freep(struct key_writers_seen **seen)
{
	key_writers_seen_free(*seen);
}

static void judge(const struct key_word *key, const struct key_writers_sources *in, const struct key_writers_seen *seen,
		  struct key_writers *ret)
{
	if (seen->silent)
		say(&ret->unknown, "%s", seen->silent);
	if (in->shape && !text_equal(seen->file.hash, in->config_hash))
		say(&ret->unknown, "%s was changed meanwhile (ask again)", in->config_path);
	key_writers_judge(key, in, &seen->file, seen->looks, seen->look_count, &seen->facts, ret);
}

int key_writers_ask(const struct key_word *key, const struct key_writers_sources *in,
		    const struct key_writers_seen *before, struct key_writers *ret, struct error **err)
{
	_cleanup_(key_writers_seen_freep) struct key_writers_seen *after = NULL;
	struct key_writers then = {0};
	*ret = (struct key_writers){0};
	int rc = key_writers_look(key, in, &after, err);
	if (rc < 0)
		return rc;
	judge(key, in, after, ret);
	judge(key, in, before, &then);
	key_writers_add_before(&then, ret);
	key_writers_free(&then);
	_cleanup_strings_ ids = {0};
	known_ids(in, &after->facts, after->looks, after->look_count, &ids);
	key_writers_add_between(key, &ids, &before->facts, &after->facts, ret);
	return 0;
}

void key_writers_add_before(const struct key_writers *before, struct key_writers *ret)
{
	const char *words = before->writes ? before->writes : before->unknown;
	if (words)
		say(&ret->unknown,
		    "when the census began: %s; what was written since then may be missing in it (ask again)", words);
}

void key_writers_free(struct key_writers *writers)
{
	free(writers->writes);
	free(writers->unknown);
	*writers = (struct key_writers){0};
}
