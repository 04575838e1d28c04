#include "cmd/fleet_forget.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json_writer.h"
#include "client/kube/custom.h"
#include "client/kube/object.h"
#include "cmd/rotations.h"
#include "engine/key_rotation_fetch.h"

#define FORGET_JSON_MAX (64u << 10)
#define STATUS_JSON_MAX (1u << 20)
#define LEASE_WATCH (25 * NS_PER_S) /* identity Leases are renewed each 10 s: two renewals and a half */
#define LOOK_INTERVAL (500 * NS_PER_MS)
#define REVIEWS "/apis/authentication.k8s.io/v1/selfsubjectreviews"

/* --- is it alive? By what changes while we look: no clock of another machine is believed --- */

/* Of the Lease that has this server's name, the one that was renewed last; `leases`: the names of all that have. */
struct life {
	bool has_lease;
	uint64_t lease_version;
	char *lease; /* its name */
	struct strings leases;
	uint64_t beat;
	char *heartbeat;
};

static void life_free(struct life *life)
{
	free(life->lease);
	strings_free(&life->leases);
	free(life->heartbeat);
	*life = (struct life){0};
}

static void take_lease(const struct kube_identities *identities, const char *server, struct life *ret)
{
	for (size_t i = 0; i < identities->count; i++) {
		const struct kube_identity *identity = &identities->items[i];
		if (!text_equal(identity->hostname, server) && !text_equal(identity->lease_name, server))
			continue;
		strings_add(&ret->leases, identity->lease_name);
		/* Two of one name: whichever is renewed. */
		if (ret->has_lease && identity->resource_version < ret->lease_version)
			continue;
		free(ret->lease);
		ret->lease = xstrdup(identity->lease_name);
		ret->has_lease = true;
		ret->lease_version = identity->resource_version;
	}
}

static int look(struct session *session, const char *server, struct life *ret, struct error **err)
{
	struct kube *kube = &session->cluster->kube;
	struct kube_identities identities = {0};
	_cleanup_(fleet_free) struct fleet fleet = {0};
	int rc = kube_identities_fetch(kube, &identities, err);
	if (rc == 0)
		rc = fleet_read(&fleet, kube, err);
	if (rc == 0) {
		const struct fleet_server *known = fleet_find(&fleet, server);
		take_lease(&identities, server, ret);
		ret->beat = known ? known->last->status.beat : 0;
		ret->heartbeat = known && known->last->status.heartbeat ? xstrdup(known->last->status.heartbeat) : NULL;
	}
	kube_identities_free(&identities);
	return rc;
}

static int refuse_living(const char *server, const char *sign, struct error **err)
{
	int rc = error_set(err, ERROR_REFUSED, "%s is alive: %s", server, sign);
	error_set_hint(err,
		       "stop its kube-apiserver and its agent for good first; a server that still runs writes with its "
		       "old file");
	return rc;
}

static int compare(const char *server, const struct life *before, const struct life *now, struct error **err)
{
	if (now->has_lease && (!before->has_lease || now->lease_version != before->lease_version ||
			       !text_equal(now->lease, before->lease))) {
		_cleanup_free_ char *sign = xasprintf("its identity Lease %s is renewed", now->lease);
		return refuse_living(server, sign, err);
	}
	if (now->beat != before->beat || !text_equal(now->heartbeat, before->heartbeat))
		return refuse_living(server, "its agent reports", err);
	return 0;
}

/* Adds the names of the Leases that it left behind. */
static int check_gone(struct command_context *context, struct session *session, const char *server,
		      struct strings *ret_leases, struct error **err)
{
	_cleanup_(life_free) struct life first = {0};
	int rc = look(session, server, &first, err);
	/* Without a Lease, too: one that is just starting has none yet. */
	uint64_t until = clock_monotonic() + LEASE_WATCH;
	while (rc == 0 && clock_monotonic() < until) {
		_cleanup_(life_free) struct life now = {0};
		screen_running(&context->screen, clock_monotonic(), false, "looking whether %s shows any life", server);
		rc = loop_pause(session->cluster->loop, LOOK_INTERVAL, err);
		if (rc == 0)
			rc = look(session, server, &now, err);
		if (rc == 0)
			rc = compare(server, &first, &now, err);
	}
	screen_clear(&context->screen);
	for (size_t i = 0; rc == 0 && i < first.leases.count; i++)
		strings_add(ret_leases, first.leases.items[i]);
	return rc;
}

/* --- saying it --- */

static int who_am_i(struct kube *kube, char **ret, struct error **err)
{
	static const char body[] = "{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"SelfSubjectReview\"}";
	_cleanup_json_ answer = NULL;
	int rc = kube_call(kube, "POST", REVIEWS, body, NULL, &answer, err);
	if (rc < 0)
		return error_wrap(err, rc, "who says so goes into the report");
	const char *name = json_text_at(json_at(answer, "status", "userInfo", NULL), "username");
	if (text_empty(name))
		return error_set(err, ERROR_PROTOCOL, "the API server does not tell whose credentials these are");
	*ret = xstrdup(name);
	return 0;
}

static struct key_rotation_server *known(const struct key_rotation *rotation, const char *server)
{
	for (size_t i = 0; i < rotation->status.server_count; i++)
		if (text_equal(rotation->status.servers[i].name, server))
			return &rotation->status.servers[i];
	return NULL;
}

/* Merge patches know whole lists only: the others are written as they were read, of the very object that was read. */
static int patch_body(const struct key_rotation *rotation, char **ret, struct error **err)
{
	struct json_writer w = JSON_WRITER_INIT(STATUS_JSON_MAX);
	json_object_begin(&w);
	json_key(&w, "metadata");
	json_object_begin(&w);
	json_member_string(&w, "resourceVersion", rotation->meta.resource_version);
	json_object_end(&w);
	json_key(&w, "status");
	json_object_begin(&w);
	json_key(&w, "servers");
	json_array_begin(&w);
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < rotation->status.server_count; i++)
		rc = object_write(&key_rotation_server_record, &rotation->status.servers[i], &w, err);
	if (rc == 0) {
		json_array_end(&w);
		json_object_end(&w);
		json_object_end(&w);
		*ret = xstrdup(json_text(&w));
	}
	json_writer_free(&w);
	return rc;
}

/* `it`: one of the rotation's. */
static int mark(struct kube *kube, struct key_rotation *rotation, struct key_rotation_server *it, const char *who,
		struct error **err)
{
	_cleanup_free_ char *body = NULL;
	char now[28];
	clock_format(clock_wall(), 0, now);
	free(it->forgotten_by);
	free(it->forgotten_at);
	it->forgotten = true;
	it->forgotten_by = xstrdup(who);
	it->forgotten_at = xstrdup(now);
	int rc = patch_body(rotation, &body, err);
	if (rc < 0)
		return rc;
	const struct kube_custom_request request = {.verb = CUSTOM_PATCH,
						    .collection = KEY_ROTATIONS_PATH,
						    .name = rotation->meta.name,
						    .subresource = "status",
						    .body = body};
	return kube_custom_fetch(kube, &request, NULL, err);
}

/* --- which rotations --- */

/* Names of those under way that count the server, and of all servers that any of them knows. */
static void find(const struct rotations *rotations, const char *server, struct strings *ret_rotations,
		 struct strings *ret_servers)
{
	for (size_t i = 0; i < rotations->count; i++) {
		const struct key_rotation *rotation = rotations->items[i];
		const struct key_rotation_server *it = known(rotation, server);
		if (rotation_is_over(rotation))
			continue;
		/* One that was forgotten before may be again: it is as well, and who said so first stays. */
		if (it)
			strings_add(ret_rotations, rotation->meta.name);
		for (size_t s = 0; s < rotation->status.server_count; s++)
			strings_add(ret_servers, rotation->status.servers[s].name);
	}
	strings_sort_unique(ret_servers);
}

static int none_counts_it(const char *server, const struct strings *servers, struct error **err)
{
	_cleanup_free_ char *names = strings_join(servers, ", ");
	if (servers->count > 0)
		return error_set(err, ERROR_INPUT, "no rotation under way knows an API server %s (known: %s)", server,
				 names);
	int rc = error_set(err, ERROR_NOT_FOUND, "no KeyRotation that counts %s is under way, so nothing waits for it",
			   server);
	error_set_hint(err,
		       "with one API server say --encryption-config FILE; a KeyServer of a node that is gone is taken "
		       "away by kubectl delete keyserver %s",
		       server);
	return rc;
}

static int ask_for_yes(const char *server, const struct strings *rotations, struct error **err)
{
	_cleanup_free_ char *names = strings_join(rotations, ", ");
	int rc = error_set(
		err, ERROR_USAGE,
		"forget %s: %s would promote and drop keys without it; if it ever comes back with its old file, "
		"what it writes is lost, and it cannot be taken back",
		server, names);
	error_set_hint(err, "say --yes if it is gone for good, its disk included");
	return rc;
}

static void print_forgotten(struct command_context *context, const char *server, const char *who,
			    const struct strings *leases, const struct strings *rotations)
{
	_cleanup_free_ char *names = strings_join(rotations, ", "), *left = strings_join(leases, " ");
	context->printed_document = true;
	if (!context->options.json) {
		printf("%s no longer counts in KeyRotation %s; the report will say so, and that %s said it.\n", server,
		       names, who);
		if (leases->count > 0)
			printf("The identity %s that it left behind %s for up to two hours more, unless deleted: "
			       "kubectl -n kube-system delete lease %s\n",
			       leases->count == 1 ? "Lease" : "Leases", leases->count == 1 ? "counts" : "count", left);
		printf("Its KeyServer stays: once the node is gone, kubectl delete keyserver %s, or the next rotation "
		       "counts it again.\n",
		       server);
		return;
	}
	struct json_writer w = JSON_WRITER_INIT(FORGET_JSON_MAX);
	json_object_begin(&w);
	json_member_string(&w, "kind", "Forget");
	json_member_u64(&w, "version", 1);
	json_member_string(&w, "rotation", names);
	json_member_string(&w, "server", server);
	json_member_string(&w, "by", who);
	json_member_strings(&w, "leases", leases);
	json_object_end(&w);
	puts(json_text(&w));
	json_writer_free(&w);
}

/* A conflict means that the controller wrote meanwhile: read again, and looked at again. */
static int mark_all(struct kube *kube, const struct strings *names, const char *server, const char *who,
		    struct error **err)
{
	for (size_t i = 0; i < names->count; i++) {
		int rc = -ERROR_CONFLICT;
		for (unsigned try = 0; rc == -ERROR_CONFLICT && try < ROTATION_TRIES; try++) {
			_cleanup_(key_rotation_freep) struct key_rotation *rotation = NULL;
			error_clear(err);
			rc = key_rotation_fetch(kube, names->items[i], 0, &rotation, err);
			struct key_rotation_server *it = rc == 0 ? known(rotation, server) : NULL;
			if (it && !it->forgotten && !rotation_is_over(rotation))
				rc = mark(kube, rotation, it, who, err);
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

int fleet_forget(struct command_context *context, const char *server, struct error **err)
{
	_cleanup_session_ session = {0};
	_cleanup_(rotations_free) struct rotations rotations = {0};
	_cleanup_strings_ names = {0}, servers = {0}, leases = {0};
	_cleanup_free_ char *who = NULL;
	int rc = session_open(context, SESSION_API, &session, err);
	if (rc < 0)
		return rc;
	struct kube *kube = &session.cluster->kube;
	rc = rotations_read(kube, &rotations, err);
	if (rc < 0)
		return rc;
	find(&rotations, server, &names, &servers);
	if (names.count == 0)
		return none_counts_it(server, &servers, err);
	if (!context->options.yes)
		return ask_for_yes(server, &names, err);
	rc = check_gone(context, &session, server, &leases, err);
	if (rc == 0)
		rc = who_am_i(kube, &who, err);
	if (rc == 0)
		rc = mark_all(kube, &names, server, who, err);
	if (rc == 0)
		print_forgotten(context, server, who, &leases, &names);
	return rc;
}
