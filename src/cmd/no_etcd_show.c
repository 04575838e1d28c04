#include "cmd/no_etcd_show.h"

#include <stdio.h>

#include "base/clock.h"
#include "cmd/sweep_show.h"

static int width_of(const char *text, int least)
{
	int len = (int)strlen(text);
	return len > least ? len : least;
}

/* --- JSON --- */

static void write_key(struct json_writer *w, const struct storage_key *key)
{
	json_member_string(w, "provider", key->provider ? key->provider : "");
	json_member_string(w, "name", key->name ? key->name : "");
	json_member_string(w, "keyIDHash", key->hash ? key->hash : "");
}

static void write_time(struct json_writer *w, const char *member, double seconds)
{
	char text[28] = "";
	if (seconds > 0)
		clock_format((uint64_t)(seconds * (double)NS_PER_S), 0, text);
	json_member_string(w, member, text);
}

static void write_kms(struct json_writer *w, const struct storage_metrics *metrics)
{
	json_key(w, "kms");
	json_array_begin(w);
	for (size_t i = 0; i < metrics->key_id_count; i++) {
		const struct storage_key_id *id = &metrics->key_ids[i];
		json_object_begin(w);
		json_member_string(w, "name", id->provider);
		json_member_string(w, "keyIDHash", id->hash);
		json_member_u64(w, "read", id->read);
		json_member_u64(w, "written", id->written);
		write_time(w, "writtenLast", id->written_last);
		write_time(w, "namedLast", id->named_last);
		json_object_end(w);
	}
	json_array_end(w);
}

void no_etcd_write_servers(struct json_writer *w, const struct api_servers *servers)
{
	json_key(w, "servers");
	json_array_begin(w);
	for (size_t i = 0; i < servers->server_count; i++) {
		const struct api_server *server = &servers->servers[i];
		json_object_begin(w);
		json_member_string(w, "name", server->name);
		json_member_string(w, "idHash", server->id_hash);
		json_member_bool(w, "live", server->live);
		json_member_bool(w, "reached", server->reached);
		write_time(w, "started", (double)server->process / 1000.0);
		json_member_string(w, "loaded", server->loaded);
		write_kms(w, &server->metrics);
		json_object_end(w);
	}
	json_array_end(w);
	json_member_string(w, "serversUnknown", servers->leases_why);
	json_member_string(w, "metricsRefused", servers->metrics_why);
}

static void write_write_key(struct json_writer *w, const struct api_write_key *key)
{
	json_key(w, "writeKey");
	json_object_begin(w);
	json_member_bool(w, "known", key->known);
	write_key(w, &key->key);
	json_member_bool(w, "differs", key->differs);
	json_member_string(w, "why", key->why);
	json_member_strings(w, "unproved", &key->unproved);
	json_object_end(w);
}

void no_etcd_write_new_key(struct json_writer *w, const struct api_census *census)
{
	const struct storage_key *only = NULL;
	bool several = false;
	for (size_t i = 0; census && i < census->resource_count; i++) {
		const struct api_write_key *key = &census->resources[i].write_key;
		if (!key->known || text_empty(key->key.hash))
			continue;
		several = several || (only && !storage_key_same(only, &key->key));
		only = &key->key;
	}
	json_key(w, "newKey");
	if (!only || several) {
		json_null(w);
		return;
	}
	json_object_begin(w);
	write_key(w, only);
	json_object_end(w);
}

static void write_resource(struct json_writer *w, const struct api_census_resource *r)
{
	json_object_begin(w);
	json_member_string(w, "resource", r->resource->plural);
	json_member_string(w, "group", r->resource->group);
	json_member_u64(w, "objects", r->objects);
	write_write_key(w, &r->write_key);
	json_key(w, "keys");
	json_array_begin(w);
	for (size_t i = 0; i < r->keys.count; i++) {
		const struct storage_key *key = &r->keys.items[i];
		json_object_begin(w);
		write_key(w, key);
		json_member_u64(w, "objects", key->count);
		json_member_bool(w, "writeKey", r->write_key.known && storage_key_same(key, &r->write_key.key));
		json_object_end(w);
	}
	json_array_end(w);
	json_member_u64(w, "stale", r->stale_min);
	json_member_u64(w, "staleAtMost", r->stale_max);
	json_member_strings(w, "staleExamples", &r->stale_named);
	json_member_u64(w, "unreadable", r->unreadable);
	json_member_u64(w, "gone", r->gone);
	json_member_u64(w, "readsOfOthers", r->others);
	json_member_bool(w, "counted", r->counted);
	json_object_end(w);
}

void no_etcd_write_census(struct json_writer *w, const struct api_census *census)
{
	json_key(w, "resources");
	json_array_begin(w);
	for (size_t i = 0; census && i < census->resource_count; i++)
		write_resource(w, &census->resources[i]);
	json_array_end(w);
	json_key(w, "unreadableObjects");
	json_array_begin(w);
	for (size_t i = 0; census && i < census->unreadable_named; i++) {
		const struct api_census_object *object = &census->unreadable[i];
		json_object_begin(w);
		json_member_string(w, "resource", object->resource->resource);
		json_member_string(w, "namespace", object->namespace_);
		json_member_string(w, "name", object->name);
		json_member_string(w, "why", object->why);
		json_object_end(w);
	}
	json_array_end(w);
	json_member_u64(w, "values", census ? census->objects : 0);
	json_member_u64(w, "stale", census ? census->stale_min : 0);
	json_member_u64(w, "staleAtMost", census ? census->stale_max : 0);
	json_member_u64(w, "unreadable", census ? census->unreadable_count : 0);
}

void no_etcd_write_keys(struct json_writer *w, const struct api_servers *servers,
			const struct kube_resource *const *resources, size_t count)
{
	json_key(w, "resources");
	json_array_begin(w);
	for (size_t i = 0; i < count; i++) {
		_cleanup_write_key_ key = {0};
		api_write_key_of(servers, resources[i]->resource, &key);
		json_object_begin(w);
		json_member_string(w, "resource", resources[i]->resource);
		write_write_key(w, &key);
		json_object_end(w);
	}
	json_array_end(w);
}

/* --- text --- */

static void print_lines(const char *head, const struct strings *lines)
{
	for (size_t i = 0; i < lines->count; i++)
		printf("%-9s%s\n", i == 0 ? head : "", lines->items[i]);
}

static void print_servers(const struct api_servers *servers)
{
	_cleanup_strings_ reached = {0};
	_cleanup_strings_ unreached = {0};
	for (size_t i = 0; i < servers->server_count; i++)
		if (servers->servers[i].reached)
			strings_add(&reached, servers->servers[i].name);
	api_servers_unreached(servers, &unreached);
	_cleanup_free_ char *met = strings_join(&reached, ", "), *missing = strings_join(&unreached, ", ");
	printf("Asked: %s, told apart by their own metrics over %u connections.\n", met, servers->connections);
	if (unreached.count > 0)
		printf("! not reached, though alive: %s\n", missing);
}

static void print_left_out(const struct strings *left_out)
{
	_cleanup_free_ char *names = strings_join(left_out, ", ");
	if (left_out->count > 0)
		printf("Left out: %s (what is rewritten, or expires, all the time; and what the API does not let one "
		       "list, read and patch).\n",
		       names);
}

static void print_row(const char *resource, const char *label, uint64_t count, const char *word, int width)
{
	_cleanup_free_ char *objects = text_human_count(count);
	printf("%-20s %-*s %10s  %s\n", resource, width, label, objects, word);
}

static int widest(const struct api_census *census)
{
	int width = 12;
	for (size_t i = 0; i < census->resource_count; i++)
		for (size_t k = 0; k < census->resources[i].keys.count; k++) {
			_cleanup_free_ char *label = storage_key_label(&census->resources[i].keys.items[k]);
			width = width_of(label, width);
		}
	return width;
}

static void print_rows(const struct api_census *census)
{
	int width = widest(census);
	printf("%-20s %-*s %10s\n", "RESOURCE", width, "KEY", "OBJECTS");
	for (size_t i = 0; i < census->resource_count; i++) {
		const struct api_census_resource *r = &census->resources[i];
		const char *name = r->resource->resource;
		if (r->keys.count == 0)
			print_row(name, r->objects ? "not counted" : "-", r->objects, "", width);
		for (size_t k = 0; k < r->keys.count; k++) {
			_cleanup_free_ char *label = storage_key_label(&r->keys.items[k]);
			bool writes = r->write_key.known && storage_key_same(&r->keys.items[k], &r->write_key.key);
			print_row(k == 0 ? name : "", label, r->keys.items[k].count,
				  writes               ? "write key"
				  : r->write_key.known ? "stale"
						       : "",
				  width);
		}
		if (r->unreadable > 0)
			print_row(r->keys.count || r->objects ? "" : name, "?", r->unreadable, "UNREADABLE", width);
	}
}

void no_etcd_print_census(const struct api_servers *servers, const struct api_census *census,
			  const struct strings *left_out)
{
	print_rows(census);
	printf("\n");
	for (size_t i = 0; i < census->unreadable_named; i++) {
		const struct api_census_object *object = &census->unreadable[i];
		printf("! %s %s%s%s cannot be read: %s\n", object->resource->resource, object->namespace_,
		       *object->namespace_ ? "/" : "", object->name, object->why);
	}
	for (size_t i = 0; i < census->resource_count; i++) {
		const struct api_census_resource *r = &census->resources[i];
		_cleanup_free_ char *named = strings_join(&r->stale_named, ", ");
		if (r->stale_named.count > 0)
			printf("! %s not under the write key, for example %s\n", r->resource->resource, named);
		if (r->others > 0)
			printf("  %s: %llu reads of others were counted beside ours\n", r->resource->resource,
			       (unsigned long long)r->others);
	}
	print_left_out(left_out);
	print_servers(servers);
	_cleanup_free_ char *time = text_human_duration(census->finished - census->begun);
	_cleanup_free_ char *objects = text_human_count(census->objects);
	printf("%s objects read one by one in %s. This is what the API can show; etcd itself was not read.\n", objects,
	       time);
}

static void print_status_server(const struct api_server *server, bool told_apart)
{
	char started[28] = "";
	if (server->process)
		clock_format(server->process * NS_PER_MS, 0, started);
	const char *state = server->reached ? "started "
			    : !server->live ? "its Lease has not been renewed for a minute"
			    : told_apart    ? "alive by its Lease, but NOT REACHED"
					    : "alive by its Lease";
	printf("server     %s %s%s%s%s\n", server->name, state, started, server->loaded ? ", runs " : "",
	       server->loaded ? server->loaded : "");
	for (size_t i = 0; i < server->metrics.key_id_count; i++) {
		const struct storage_key_id *id = &server->metrics.key_ids[i];
		const struct storage_key key = {(char *)"kms", id->provider, id->hash, 0};
		_cleanup_free_ char *label = storage_key_label(&key);
		char named[28] = "never", written[28] = "never";
		if (id->named_last > 0)
			clock_format((uint64_t)(id->named_last * (double)NS_PER_S), 0, named);
		if (id->written_last > 0)
			clock_format((uint64_t)(id->written_last * (double)NS_PER_S), 0, written);
		printf("           %s: named by the KMS last %s, written with last %s\n", label, named, written);
	}
}

void no_etcd_print_status(const struct api_servers *servers, const struct kube_resource *const *resources, size_t count)
{
	for (size_t i = 0; i < servers->server_count; i++)
		print_status_server(&servers->servers[i], !servers->metrics_why);
	if (servers->leases_why)
		printf("           how many there are is not known: %s\n", servers->leases_why);
	if (servers->metrics_why)
		printf("           none can be told from another: %s\n", servers->metrics_why);
	for (size_t i = 0; i < count && !servers->metrics_why; i++) {
		_cleanup_write_key_ key = {0};
		api_write_key_of(servers, resources[i]->resource, &key);
		_cleanup_free_ char *label = key.known ? storage_key_label(&key.key) : NULL;
		_cleanup_free_ char *unproved = strings_join(&key.unproved, ", ");
		printf("writes     %s: %s%s%s\n", resources[i]->resource, label ? label : key.why,
		       key.unproved.count ? "; but " : "", unproved);
	}
	printf("This is what the API can show. What values are under: kube-rekey census --no-etcd\n");
}

void no_etcd_print_rewrite(const struct api_rewrite *made, const struct strings *resources, bool whole,
			   const struct strings *left_out, bool proved)
{
	_cleanup_free_ char *keys = strings_join(&made->keys, ", "), *old_keys = strings_join(&made->old_keys, ", ");
	_cleanup_free_ char *names = strings_join(resources, ", ");
	if (made->sweep) {
		_cleanup_free_ char *text = sweep_text(made->sweep);
		fputs(text, stdout);
	}
	print_left_out(left_out);
	print_lines("Shown:", &made->evidence);
	print_lines("Weaker:", &made->weaker);
	if (!proved)
		return;
	printf("As far as the API can show, every object of %s %s%s. etcd itself was not read: values that no API "
	       "serves, "
	       "and history, are not seen.\n",
	       names, made->keys.count ? "is under " : "was rewritten or is current", keys);
	if (made->old_keys.count > 0 && whole)
		printf("As far as the API can show, this cluster's objects need %s no longer; backups, and other "
		       "clusters that use it, still do.\n",
		       old_keys);
	else if (made->old_keys.count > 0)
		printf("Objects of %s need %s no longer. Others of this cluster may: not all that is encrypted was "
		       "read.\n",
		       names, old_keys);
}
