/* Objects that an API server which starts now could not read: named, looked at once more through the API where asked, and the
 * ways out in words. Nothing is deleted here. */
#include "engine/census_internal.h"

#include "base/json_writer.h"
#include "engine/rotation.h"

#define WORDS_MAX 300

void census_lose(struct census *census, const struct map_entry *entry, const struct census_key *key, const char *path,
		 enum lost_reason reason)
{
	census->lost_count++;
	if (census->lost_named == CENSUS_LOST_MAX)
		return;
	if (!census->lost)
		census->lost = xcalloc(CENSUS_LOST_MAX, sizeof(*census->lost));
	census->lost[census->lost_named++] = (struct census_lost){
		.entry = entry, .path = xstrdup(path), .key = census_key_label(key), .reason = reason};
}

void census_lost_clear(struct census *census)
{
	for (size_t i = 0; i < census->lost_named; i++) {
		free(census->lost[i].path);
		free(census->lost[i].key);
		free(census->lost[i].words);
	}
	census->lost_named = 0;
	census->lost_count = 0;
}

static int probe(struct census_lost *lost, struct kube *kube, struct error **err)
{
	_cleanup_free_ char *namespace_ = NULL, *name = NULL;
	_cleanup_error_ failed = NULL;
	if (!resource_map_split(lost->entry, lost->path, &namespace_, &name))
		return 0;
	int rc = kube_get_metadata(kube, lost->entry->resource, *namespace_ ? namespace_ : NULL, name, NULL, NULL,
				   &failed);
	if (rc == -ERROR_INTERRUPTED) {
		*err = steal(failed);
		return rc;
	}
	lost->probe = rc == 0 ? PROBE_SERVED : rc == -ERROR_BUSY ? PROBE_REFUSED : PROBE_UNKNOWN;
	if (rc < 0)
		lost->words = text_printable(error_message(failed), strlen(error_message(failed)), WORDS_MAX);
	return 0;
}

int census_probe_lost(struct census *census, struct kube *kube, struct error **err)
{
	for (size_t i = 0; i < census->lost_named; i++) {
		int rc = probe(&census->lost[i], kube, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static const char *lost_words(enum lost_reason reason)
{
	switch (reason) {
	case LOST_NO_KEY:
		return "the configuration does not have this key";
	case LOST_REFUSED:
		return "its KMS plugin does not decrypt it";
	case LOST_BROKEN:
		return "it does not open with the key that it names";
	}
	return "";
}

static const char *lost_name(enum lost_reason reason)
{
	return reason == LOST_NO_KEY ? "noKey" : reason == LOST_REFUSED ? "refused" : "doesNotOpen";
}

char *census_lost_text(const struct census_lost *lost)
{
	const char *served = lost->probe == PROBE_SERVED    ? "; the API server that was asked still serves it"
			     : lost->probe == PROBE_REFUSED ? "; the API server cannot read it: "
			     : lost->probe == PROBE_UNKNOWN ? "; whether it is served is not known: "
							    : "";
	return xasprintf("%s %s: %s: %s%s%s", lost->entry->resource->resource, lost->path + strlen(lost->entry->prefix),
			 lost->key, lost_words(lost->reason), served, lost->words ? lost->words : "");
}

void census_lost_ways(const struct census *census, struct strings *ret)
{
	bool reasons[3] = {false};
	for (size_t i = 0; i < census->lost_named; i++)
		reasons[census->lost[i].reason] = true;
	if (census->lost_named == 0)
		return;
	const struct census_lost *first = &census->lost[0];
	_cleanup_free_ char *command = decision_etcdctl_del(first->path);
	strings_add(
		ret,
		"What happens: an API server that runs goes on to serve lists and watches out of its cache, and what "
		"it has keys in memory for; after its next restart it never becomes ready (429 \"storage is "
		"(re)initializing\", /readyz 500)");
	if (reasons[LOST_NO_KEY])
		strings_add(
			ret,
			"Way out: put the key back behind the others of its rule (from --state-dir, or a copy of the "
			"file of before), then kube-rekey reencrypt");
	if (reasons[LOST_REFUSED]) {
		strings_add(ret, "Way out: bring the key back in the KMS (enable it, cancel its deletion)");
		_cleanup_free_ char *rewrite =
			xasprintf("Way out, while the plugin writes with another key and an API server still serves "
				  "the object, and "
				  "before it reloads its configuration or restarts: kube-rekey reencrypt --resource %s",
				  first->entry->resource->resource);
		strings_add(ret, rewrite);
	}
	strings_add(ret,
		    "Way out: restore the objects from a backup of before; whether it can be read: kube-rekey census "
		    "--snapshot FILE --encryption-config CONFIG --open");
	_cleanup_free_ char *give_up =
		xasprintf("Last way out: give the objects up, each by %s; API servers become ready "
			  "then. kube-rekey deletes nothing",
			  command);
	strings_add(ret, give_up);
}

static const char *probe_name(enum lost_probe probe)
{
	switch (probe) {
	case PROBE_NONE:
		return "";
	case PROBE_SERVED:
		return "served";
	case PROBE_REFUSED:
		return "refused";
	case PROBE_UNKNOWN:
		return "unknown";
	}
	return "";
}

void census_lost_write_json(struct json_writer *w, const struct census *census)
{
	_cleanup_strings_ ways = {0};
	json_member_u64(w, "lostCount", census->lost_count);
	json_key(w, "lost");
	json_array_begin(w);
	for (size_t i = 0; i < census->lost_named; i++) {
		const struct census_lost *lost = &census->lost[i];
		_cleanup_free_ char *delete = decision_etcdctl_del(lost->path);
		json_object_begin(w);
		json_member_string(w, "resource", lost->entry->resource->resource);
		json_member_string(w, "name", lost->path + strlen(lost->entry->prefix));
		json_member_string(w, "path", lost->path);
		json_member_string(w, "key", lost->key);
		json_member_string(w, "reason", lost_name(lost->reason));
		json_member_string(w, "probe", probe_name(lost->probe));
		json_member_string(w, "probeWords", lost->words ? lost->words : "");
		json_member_string(w, "delete", delete);
		json_object_end(w);
	}
	json_array_end(w);
	census_lost_ways(census, &ways);
	json_member_strings(w, "waysOut", &ways);
}
