/* The KMS plugins beside the API servers, as a person sees them. */
#include <string.h>

#include "cmd/fleet_view.h"
#include "cmd/fleet_view_kms.h"
#include "engine/fleet_kms.h"

#define KEY_ID_SHOWN 1024 /* bytes */

/* Those that have told of the provider: while a rotation brings it, not all files name it yet. */
static size_t witnesses_of(const struct fleet_view *view, const char *name, struct kms_witness *ret)
{
	size_t count = 0;
	for (size_t i = 0; i < view->server_count; i++) {
		const struct viewed_server *server = &view->servers[i];
		bool forgotten = server->set && server->set->forgotten;
		if (!forgotten && fleet_kms_find(server->status, name))
			ret[count++] = (struct kms_witness){server->name, server->status};
	}
	return count;
}

static void names_of(const struct fleet_view *view, struct strings *ret)
{
	for (size_t i = 0; i < view->server_count; i++)
		for (size_t k = 0; view->servers[i].status && k < view->servers[i].status->kms_count; k++)
			if (view->servers[i].status->kms[k].name)
				strings_add(ret, view->servers[i].status->kms[k].name);
	strings_sort_unique(ret);
}

void fleet_view_print_kms(FILE *out, const struct fleet_view *view)
{
	_cleanup_strings_ names = {0};
	_cleanup_free_ struct kms_witness *witnesses = xcalloc(view->server_count + 1, sizeof(*witnesses));
	names_of(view, &names);
	if (names.count > 0)
		fprintf(out, "\n%-20s %-20s %s\n", "KMS", "SERVER", "STATE");
	for (size_t n = 0; n < names.count; n++) {
		size_t count = witnesses_of(view, names.items[n], witnesses);
		_cleanup_free_ char *name = text_printable(names.items[n], strlen(names.items[n]), KEY_NAME_MAX);
		for (size_t i = 0; i < count; i++) {
			const struct key_server_kms *kms = fleet_kms_find(witnesses[i].status, names.items[n]);
			const char *words = kms->key_id ? kms->key_id : kms->healthz ? kms->healthz : "?";
			_cleanup_free_ char *state = text_printable(words, strlen(words), KEY_ID_SHOWN);
			fprintf(out, "%-20s %-20s %s%s\n", name, witnesses[i].server,
				kms->key_id ? "ok, encrypts with key ID " : "", state);
		}
	}
}

char *fleet_view_kms_finding(const struct fleet_view *view)
{
	_cleanup_strings_ names = {0};
	_cleanup_free_ struct kms_witness *witnesses = xcalloc(view->server_count + 1, sizeof(*witnesses));
	names_of(view, &names);
	for (size_t n = 0; n < names.count; n++) {
		size_t count = witnesses_of(view, names.items[n], witnesses);
		const char *key_id = NULL;
		const struct key_server_kms *first =
			count > 0 ? fleet_kms_find(witnesses[0].status, names.items[n]) : NULL;
		char *doubt =
			first ? fleet_kms_doubt(witnesses, count, names.items[n], first->endpoint, &key_id) : NULL;
		if (doubt)
			return doubt;
	}
	return NULL;
}
