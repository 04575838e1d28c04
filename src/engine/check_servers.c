/* The API servers: which there are, and what each says when it is asked by its own address. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "engine/check_internal.h"

#define LEASE_SILENCE (60 * NS_PER_S) /* a server renews its identity Lease every 10 s */
#define OLDEST_MINOR 29
#define NEWEST_MINOR 36 /* tested; docs/reference.md */
#define SHORT_HASH 15   /* "sha256:" and eight digits */

#define RELOADS_ITSELF "--encryption-provider-config-automatic-reload=true, or rotate with --apply=wait-restart"

const char *check_scrape_name(const struct check_scrape *scrape)
{
	return scrape->name ? scrape->name : scrape->url;
}

/* Held against each other, since our clock is not theirs; and somebody has just answered. */
static void add_silent(const struct kube_identities *leases, struct strings *list)
{
	uint64_t newest = kube_identities_newest(leases);
	for (size_t i = 0; i < leases->count; i++) {
		uint64_t behind = newest - leases->items[i].renewed_wall;
		_cleanup_free_ char *age = text_human_duration(behind);
		if (behind > LEASE_SILENCE)
			check_add(list, "%s renewed its identity Lease last %s before the others did: it is down",
				  kube_identity_name(&leases->items[i]), age);
	}
}

CHECK_JUDGE(servers_found)
{
	struct strings bad = {0};
	const struct strings nobody = {0};
	_cleanup_strings_ servers = {0};
	(void)policy;
	if (f->identities_why)
		return check_unknown(f->identities_why);
	if (f->identities.count == 0)
		return check_unknown("there are no identity Leases in kube-system, so the number of API servers is "
				     "your word (--servers N of rotate)");
	for (size_t i = 0; i < f->identities.count; i++)
		strings_add(&servers, kube_identity_name(&f->identities.items[i]));
	_cleanup_free_ char *names = NULL, *good = NULL;
	strings_sort_unique(&servers);
	names = strings_join(&servers, ", ");
	bool alone = f->set.nodes.count == 0 && f->set.pods.count == 0;
	good = xasprintf("%s%s", names, alone ? "; by identity Leases alone, so rotate asks for --servers N" : "");
	add_silent(&f->identities, &bad);
	size_t leases = servers.count;
	server_set_grow(&f->set, &nobody, &servers);
	for (size_t i = leases; i < servers.count; i++)
		check_add(&bad, "%s (%s) has no identity Lease: its API server is down, or is called otherwise",
			  servers.items[i], server_set_source(&f->set, servers.items[i]));
	return check_of_list(
		&bad, CHECK_FAILED,
		"bring it back; one that is gone for good: kube-rekey forget SERVER. It may come back with "
		"its old file",
		good);
}

/* Servers that have a Lease, and were not among those that answered. */
static char *not_asked(const struct check_facts *f)
{
	_cleanup_strings_ names = {0};
	size_t nameless = 0;
	for (size_t i = 0; i < f->scrape_count; i++)
		nameless += f->scrapes[i].name == NULL;
	for (size_t i = 0; i < f->identities.count; i++) {
		const char *name = kube_identity_name(&f->identities.items[i]);
		bool asked = false;
		for (size_t k = 0; k < f->scrape_count && !asked; k++)
			asked = text_equal(f->scrapes[k].name, name);
		if (!asked)
			strings_add(&names, name);
	}
	/* Old versions do not name themselves: as many as there are Leases is all that can be said. */
	return names.count > nameless ? strings_join(&names, ", ") : NULL;
}

/* Why there may be servers that nobody asked; NULL: there are none. New string. */
static char *why_not_all(const struct check_facts *f)
{
	if (f->identities_why)
		return xstrdup(f->identities_why);
	if (f->identities.count == 0)
		return xstrdup("there are no identity Leases in kube-system, so which API servers there are is not "
			       "known");
	_cleanup_free_ char *missing = not_asked(f);
	return missing ? xasprintf("%s was not asked: --apiserver URL names it", missing) : NULL;
}

/* What is found is said, whoever was not asked; nothing found is good news only of all servers. */
static struct check_result of_servers(const struct check_facts *f, struct strings *bad, enum check_status status,
				      const char *advice, const char *good)
{
	_cleanup_free_ char *why = bad->count == 0 ? why_not_all(f) : NULL;
	return why ? check_unknown(why) : check_of_list(bad, status, advice, good);
}

static const char *why_no_metrics(const struct check_facts *f)
{
	for (size_t i = 0; i < f->scrape_count; i++)
		if (f->scrapes[i].why)
			return f->scrapes[i].why;
	return f->scrapes_why ? f->scrapes_why : f->scrape_count == 0 ? "no API server was asked" : NULL;
}

CHECK_JUDGE(server_identity)
{
	struct strings bad = {0};
	bool told = f->scrape_count > 0;
	(void)policy;
	for (size_t i = 0; i < f->scrape_count; i++) {
		const struct apiserver_metrics *a = &f->scrapes[i].metrics;
		told = told && a->id_hash_count > 0;
		if (a->id_hash_count == 0)
			continue;
		if (a->contradictory)
			check_add(&bad, "%s shows two servers in one: two share an address", f->scrapes[i].url);
		for (size_t k = 0; k < i; k++) {
			const struct apiserver_metrics *b = &f->scrapes[k].metrics;
			if (b->id_hash_count > 0 && text_equal(a->id_hashes[0], b->id_hashes[0]) &&
			    a->process_start != b->process_start)
				check_add(&bad, "%s and %s have one identity: their hosts have the same name",
					  f->scrapes[k].url, f->scrapes[i].url);
		}
	}
	if (bad.count == 0 && !told)
		return check_unknown(why_no_metrics(f) ? why_no_metrics(f)
						       : "not every server names itself in its metrics (before 1.34 "
							 "only after it has reloaded)");
	return of_servers(f, &bad, CHECK_FAILED, "give each control-plane host a name of its own", NULL);
}

CHECK_JUDGE(servers_reachable)
{
	struct strings bad = {0};
	_cleanup_strings_ good = {0};
	const char *forbidden = NULL;
	(void)policy;
	if (f->scrape_count == 0)
		return check_unknown(f->scrapes_why);
	for (size_t i = 0; i < f->scrape_count; i++) {
		const struct check_scrape *scrape = &f->scrapes[i];
		if (!scrape->why)
			check_add(&good, "%s", scrape->url);
		else if (scrape->forbidden)
			forbidden = scrape->why;
		else
			strings_add(&bad, scrape->why);
	}
	_cleanup_free_ char *urls = strings_join(&good, ", "), *missing = not_asked(f);
	if (bad.count == 0 && (f->from_afar || forbidden))
		return check_unknown(f->from_afar ? f->from_afar : forbidden);
	if (bad.count == 0 && f->identities_why)
		return check_unknown(f->identities_why);
	if (bad.count == 0 && missing)
		return check_says(CHECK_UNKNOWN, NULL, "%s: no address is known; name each server: --apiserver URL",
				  missing);
	return check_of_list(&bad, CHECK_FAILED,
			     "a rotation waits for it; it must be reached with the kubeconfig's CA and credentials",
			     urls);
}

CHECK_JUDGE(servers_ready)
{
	struct strings bad = {0};
	const char *refused = NULL;
	(void)policy;
	for (size_t i = 0; i < f->scrape_count; i++) {
		const struct check_scrape *scrape = &f->scrapes[i];
		refused = scrape->ready_why ? scrape->ready_why : refused;
		if (scrape->not_ready)
			check_add(&bad, "%s: %s", check_scrape_name(scrape), scrape->not_ready);
	}
	if (bad.count == 0 && (refused || why_no_metrics(f)))
		return check_unknown(refused ? refused : why_no_metrics(f));
	return of_servers(f, &bad, CHECK_FAILED, "kubectl get --raw '/readyz?verbose' names what is wrong", NULL);
}

static bool is_known_version(const char *version)
{
	const char *number = version + strlen("v1.");
	uint64_t minor = 0;
	return text_starts(version, "v1.") && text_bytes_to_u64(number, strcspn(number, "."), &minor) == 0 &&
	       minor >= OLDEST_MINOR && minor <= NEWEST_MINOR;
}

CHECK_JUDGE(servers_version)
{
	struct strings list = {0};
	_cleanup_strings_ versions = {0};
	const char *first = NULL;
	bool differ = false, told = true;
	(void)policy;
	for (size_t i = 0; i < f->scrape_count; i++) {
		const char *version = f->scrapes[i].version;
		told = told && version;
		if (!version)
			continue;
		first = first ? first : version;
		differ = differ || !text_equal(first, version);
		check_add(&versions, "%s %s", check_scrape_name(&f->scrapes[i]), version);
		if (!is_known_version(version))
			check_add(&list, "%s runs %s, and kube-rekey knows 1.%d to 1.%d",
				  check_scrape_name(&f->scrapes[i]), version, OLDEST_MINOR, NEWEST_MINOR);
	}
	if (!first || (!told && !differ && list.count == 0))
		return check_unknown(why_no_metrics(f) ? why_no_metrics(f) : "no version was told");
	if (!differ)
		return of_servers(f, &list, CHECK_WARNING, "try it on a test cluster of that version first", first);
	strings_free(&list);
	_cleanup_free_ char *all = strings_join(&versions, ", ");
	return check_says(CHECK_FAILED,
			  "end the upgrade first: nothing is rewritten meanwhile, an older server drops fields that it "
			  "does not know",
			  "%s", all);
}

CHECK_JUDGE(automatic_reload)
{
	(void)policy;
	if (f->node && f->node->encryption_config && !f->node->automatic_reload)
		return check_says(CHECK_WARNING, RELOADS_ITSELF, "%s: it is off, which is upstream's default",
				  f->node->source);
	if (f->node && f->node->automatic_reload && f->scrape_count == 1 && f->identities.count == 1)
		return check_passed("%s", f->node->source);
	/* That something was reloaded once is all that the API shows: what was loaded at the start is there either way. */
	for (size_t i = 0; i < f->scrape_count; i++)
		if (!f->scrapes[i].why && !f->scrapes[i].metrics.has_reload_counters)
			return check_says(CHECK_UNKNOWN, NULL,
					  "%s has not reloaded since its start, and its flags are on its node",
					  check_scrape_name(&f->scrapes[i]));
	if (why_no_metrics(f))
		return check_unknown(why_no_metrics(f));
	struct strings none = {0};
	return of_servers(f, &none, CHECK_WARNING, NULL, "all have done so");
}

CHECK_JUDGE(reload_refused)
{
	struct strings bad = {0};
	(void)policy;
	for (size_t i = 0; i < f->scrape_count; i++) {
		const struct apiserver_metrics *metrics = &f->scrapes[i].metrics;
		if (metrics->reload_failure_time <= metrics->reload_success_time)
			continue;
		char when[28];
		clock_format((uint64_t)(metrics->reload_failure_time * (double)NS_PER_S), 0, when);
		check_add(&bad, "%s could not load its file at %s and goes on with what it had",
			  check_scrape_name(&f->scrapes[i]), when);
	}
	if (bad.count == 0 && why_no_metrics(f))
		return check_unknown(why_no_metrics(f));
	return of_servers(f, &bad, CHECK_FAILED,
			  "its log says why; mend the file before anything restarts the server, or it does not start",
			  NULL);
}

CHECK_JUDGE(same_configuration)
{
	_cleanup_strings_ told = {0};
	const char *first = NULL;
	bool differ = false;
	size_t silent = 0;
	(void)policy;
	for (size_t i = 0; i < f->scrape_count; i++) {
		const struct apiserver_metrics *metrics = &f->scrapes[i].metrics;
		if (metrics->loaded_hash_count == 0) {
			silent++;
			continue;
		}
		const char *hash = metrics->loaded_hashes[0];
		first = first ? first : hash;
		differ = differ || !text_equal(first, hash) || metrics->loaded_hash_count > 1;
		check_add(&told, "%s %.*s", check_scrape_name(&f->scrapes[i]), SHORT_HASH, hash);
	}
	for (size_t i = 0; i < f->fleet.count; i++) {
		const struct key_server_status *status = &f->fleet.servers[i].last->status;
		if (!status->loaded_hash)
			continue;
		first = first ? first : status->loaded_hash;
		differ = differ || !text_equal(first, status->loaded_hash);
		check_add(&told, "%s (its agent) %.*s", f->fleet.servers[i].last->meta.name, SHORT_HASH,
			  status->loaded_hash);
	}
	_cleanup_free_ char *all = strings_join(&told, ", "), *good = xasprintf("%.*s", SHORT_HASH, first ? first : "");
	struct strings none = {0};
	if (differ)
		return check_says(CHECK_FAILED,
				  "what one writes another may not read: see which file is right, and put it on all",
				  "%s", all);
	if (!first || silent > 0)
		return check_unknown(why_no_metrics(f) ? why_no_metrics(f)
						       : "no loaded configuration is shown (since 1.34, with automatic "
							 "reload)");
	return of_servers(f, &none, CHECK_FAILED, NULL, good);
}

CHECK_JUDGE(file_loaded)
{
	bool shown = false;
	(void)policy;
	if (!f->file_hash)
		return check_unknown(check_why_no_shape(f));
	for (size_t i = 0; i < f->scrape_count; i++)
		for (size_t k = 0; k < f->scrapes[i].metrics.loaded_hash_count; k++) {
			shown = true;
			if (text_equal(f->scrapes[i].metrics.loaded_hashes[k], f->file_hash))
				return check_passed("%s, %.*s", f->config_path, SHORT_HASH, f->file_hash);
		}
	if (!shown)
		return check_unknown(why_no_metrics(f) ? why_no_metrics(f)
						       : "no loaded configuration is shown (since 1.34, with automatic "
							 "reload)");
	return check_says(CHECK_FAILED,
			  "a server looks at its file once a minute where automatic reload is on; else restart it",
			  "%s is %.*s, and no server runs that", f->config_path, SHORT_HASH, f->file_hash);
}

CHECK_JUDGE(agents_report)
{
	struct strings bad = {0};
	_cleanup_strings_ good = {0};
	(void)policy;
	for (size_t i = 0; i < f->silent_agents.count; i++)
		strings_add(&bad, f->silent_agents.items[i]);
	for (size_t i = 0; i < f->fleet.count; i++)
		strings_add(&good, f->fleet.servers[i].last->meta.name);
	if (bad.count + good.count == 0)
		return check_does_not_apply();
	_cleanup_free_ char *all = strings_join(&good, ", ");
	return check_of_list(&bad, CHECK_FAILED,
			     "start it again (docs/howto.md#several-api-servers): a rotation waits for each of them",
			     all);
}
