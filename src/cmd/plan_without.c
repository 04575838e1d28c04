#include "cmd/plan_without.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_writer.h"
#include "cmd/present.h"
#include "cmd/session_node.h"
#include "engine/key_word.h"
#include "engine/key_writers.h"
#include "engine/quiet.h"

#define WITHOUT_JSON_MAX (64u << 20)
#define NAMED_MAX 10000u /* of one resource; all are counted */
#define SHOWN_MAX 10u

/* Objects of one resource that are under the key. */
struct lost {
	const struct map_entry *entry;
	struct strings names; /* "default/app" */
	uint64_t objects;
};
struct without {
	struct key_word key;
	struct lost *lost;
	size_t count;
	struct strings found; /* labels of all keys */
	struct strings key_ids;
	uint64_t objects, elsewhere, unclear;
	bool kms;                   /* the key is a KMS's */
	struct key_writers writers; /* what would be refused to write */
};

static void without_free(struct without *w)
{
	for (size_t i = 0; i < w->count; i++)
		strings_free(&w->lost[i].names);
	free(w->lost);
	strings_free(&w->found);
	strings_free(&w->key_ids);
	key_writers_free(&w->writers);
}

static struct lost *lost_of(struct without *w, const struct map_entry *entry)
{
	for (size_t i = 0; i < w->count; i++)
		if (w->lost[i].entry == entry)
			return &w->lost[i];
	w->lost = xreallocarray(w->lost, w->count + 1, sizeof(*w->lost));
	w->lost[w->count] = (struct lost){.entry = entry};
	return &w->lost[w->count++];
}

static void take_value(void *arg, const struct map_entry *entry, const struct census_key *key, const char *path)
{
	struct without *w = arg;
	_cleanup_free_ char *namespace_ = NULL, *name = NULL;
	if (!key_word_means(&w->key, key))
		return;
	struct lost *lost = lost_of(w, entry);
	if (lost->names.count == NAMED_MAX || !resource_map_split(entry, path, &namespace_, &name))
		return;
	_cleanup_free_ char *words = xasprintf("%s%s%s", namespace_, *namespace_ ? "/" : "", name);
	strings_add(&lost->names, words);
}

static void forget_values(void *arg)
{
	struct without *w = arg;
	for (size_t i = 0; i < w->count; i++)
		strings_free(&w->lost[i].names);
	w->count = 0;
}

/* --- the answer of a census --- */

static uint64_t count(struct without *w, const struct census_key *keys, size_t key_count)
{
	uint64_t objects = 0;
	for (size_t i = 0; i < key_count; i++) {
		_cleanup_free_ char *label = census_key_label(&keys[i]);
		if (!strings_has(&w->found, label))
			strings_add(&w->found, label);
		if (!text_empty(keys[i].key_id) && !strings_has(&w->key_ids, keys[i].key_id))
			strings_add(&w->key_ids, keys[i].key_id);
		w->unclear += key_word_unclear(&w->key, &keys[i]) ? keys[i].objects : 0;
		if (!key_word_means(&w->key, &keys[i]))
			continue;
		w->kms |= keys[i].provider == PROVIDER_KMS;
		objects += keys[i].objects;
	}
	return objects;
}

static void take_census(struct without *w, const struct census *census)
{
	for (size_t i = 0; i < census->resource_count; i++) {
		const struct census_resource *resource = &census->resources[i];
		uint64_t objects = count(w, resource->keys, resource->key_count);
		w->objects += objects;
		if (objects > 0)
			lost_of(w, resource->entry)->objects = objects;
	}
	w->elsewhere = count(w, census->outside_keys, census->outside_key_count) +
		       count(w, census->foreign_keys, census->foreign_key_count);
	w->unclear += census->unknown + census->outside_unknown;
}

/* --- telling --- */

/* kubernetes-facts, section 9: seen on kube-apiserver 1.36.3. */
static void noticed(const struct without *w, struct strings *ret)
{
	if (w->kms)
		strings_add(
			ret,
			"destroyed in its KMS: nobody notices at first. API servers have the data encryption keys in "
			"memory (24 h) and serve everything; a rewrite (kube-rekey reencrypt) still rescues the "
			"objects");
	strings_add(ret,
		    "taken out of the configuration: from the reload on, GET by name and every write of such an object "
		    "answer 500; lists and watches go on out of the API server's cache, so most clients notice "
		    "nothing");
	strings_add(ret,
		    "at the next restart of an API server: it never becomes ready. GET of such an object answers 500, "
		    "lists of its resource 429 \"storage is (re)initializing\", /readyz 500");
}

static void print(const struct without *w)
{
	for (size_t i = 0; i < w->count; i++) {
		const struct lost *lost = &w->lost[i];
		_cleanup_strings_ shown = {0};
		for (size_t k = 0; k < lost->names.count && k < SHOWN_MAX; k++)
			strings_add(&shown, lost->names.items[k]);
		_cleanup_free_ char *names = strings_join(&shown, ", "), *objects = text_human_count(lost->objects);
		_cleanup_free_ char *clean = text_printable(names, strlen(names), SIZE_MAX);
		printf("%s: %s %s under %s: %s%s\n", lost->entry->resource->resource, objects,
		       lost->objects == 1 ? "object is" : "objects are", w->key.text, clean,
		       lost->objects > shown.count ? ", ... (-o json names them)" : "");
	}
	if (w->elsewhere > 0) {
		_cleanup_free_ char *values = text_human_count(w->elsewhere);
		printf("%s values that no API of this server serves are under it (kube-rekey census names them)\n",
		       values);
	}
	if (w->writers.writes)
		printf("Nothing new could be written: %s.\n", w->writers.writes);
	if (w->writers.unknown)
		printf("NOT KNOWN whether it is written with: %s\n", w->writers.unknown);
	if (w->objects + w->elsewhere > 0 || w->writers.writes) {
		_cleanup_strings_ words = {0};
		noticed(w, &words);
		printf("Without it:\n");
		for (size_t i = 0; i < words.count; i++)
			printf("  %s.\n", words.items[i]);
	}
	_cleanup_free_ char *found = strings_join(&w->found, ", ");
	printf("Keys that were found: %s. Nothing was changed. Backups: kube-rekey needs %s --snapshots DIR\n",
	       *found ? found : "none", w->key.text);
}

static void write_json(const struct without *without, uint64_t revision)
{
	struct json_writer w = JSON_WRITER_INIT(WITHOUT_JSON_MAX);
	_cleanup_strings_ words = {0};
	noticed(without, &words);
	json_object_begin(&w);
	json_member_string(&w, "kind", "PlanWithoutKey");
	json_member_string(&w, "key", without->key.text);
	json_member_u64(&w, "revision", revision);
	json_member_u64(&w, "objects", without->objects);
	json_member_u64(&w, "elsewhere", without->elsewhere);
	json_member_string(&w, "writes", without->writers.writes ? without->writers.writes : "");
	json_member_string(&w, "unknown", without->writers.unknown);
	json_member_strings(&w, "found", &without->found);
	json_key(&w, "resources");
	json_array_begin(&w);
	for (size_t i = 0; i < without->count; i++) {
		json_object_begin(&w);
		json_member_string(&w, "resource", without->lost[i].entry->resource->resource);
		json_member_u64(&w, "objects", without->lost[i].objects);
		json_member_strings(&w, "names", &without->lost[i].names);
		json_object_end(&w);
	}
	json_array_end(&w);
	json_member_strings(&w, "noticed", &words);
	json_object_end(&w);
	const char *text = json_text(&w);
	if (text)
		puts(text);
	json_writer_free(&w);
}

static int verdict(const struct without *w, struct error **err)
{
	int rc = key_word_check(&w->key, &w->found, err);
	if (rc < 0)
		return rc;
	if (w->unclear > 0)
		return error_set(err, ERROR_REFUSED,
				 "%llu values name no key that could be told: what they need is not known",
				 (unsigned long long)w->unclear);
	const struct key_writers *writers = &w->writers;
	if (w->objects + w->elsewhere == 0 && !writers->writes)
		return writers->unknown ? error_set(err, ERROR_REFUSED, "%s", writers->unknown) : 0;
	return error_set(err, ERROR_FINDING, "%llu values would be lost with %s%s%s",
			 (unsigned long long)(w->objects + w->elsewhere), w->key.text, writers->writes ? ", and " : "",
			 writers->writes ? writers->writes : "");
}

static int check_options(const struct options *o, struct error **err)
{
	if (o->provider || o->to || o->renew_dek || o->follow_kms || o->drop_identity || o->drop_keys.count > 0)
		return error_set(err, ERROR_USAGE,
				 "--without-key plans no rotation: what asks for one does not go with it");
	return 0;
}

int plan_without(struct command_context *context, struct error **err)
{
	_cleanup_session_ session = {0};
	_cleanup_(census_freep) struct census *census = NULL;
	_cleanup_(without_free) struct without w = {.key = key_word(context->options.without_key)};
	_cleanup_(key_writers_seen_freep) struct key_writers_seen *before = NULL;
	int rc = check_options(&context->options, err);
	if (rc == 0)
		rc = session_open(context, SESSION_ETCD, &session, err);
	if (rc < 0)
		return rc;
	struct census_options options = present_census_options(context, &session);
	options.open_with = NULL; /* names are enough */
	options.on_value = take_value;
	options.value_arg = &w;
	options.on_again = forget_values;
	options.again_arg = &w;
	const struct key_writers_sources sources = {
		.cluster = session.cluster,
		.config_path = session.config_path,
		.config_hash = session.config_hash,
		.settle = quiet_settle_time(session.cluster->request_timeout, false),
		.shape = session.config ? encryption_config_shape(session.config) : NULL,
		.node_was_asked = session_node_reads(session.cluster, session.config_path),
		.servers = &context->options.apiservers,
		.key_ids = &w.key_ids};
	rc = key_writers_look(&w.key, &sources, &before, err);
	if (rc >= 0)
		rc = census_take(&options, &census, err);
	screen_clear(&context->screen);
	if (rc < 0)
		return rc;
	if (!census->complete)
		return error_set(err, ERROR_REFUSED, "the census is not complete: %s",
				 census->why ? census->why : "unknown");
	take_census(&w, census);
	rc = key_writers_ask(&w.key, &sources, before, &w.writers, err);
	if (rc < 0)
		return rc;
	if (context->options.json)
		write_json(&w, census->revision);
	else
		print(&w);
	fflush(stdout);
	context->printed_document = true;
	return verdict(&w, err);
}
