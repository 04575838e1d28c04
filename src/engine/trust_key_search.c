/* Format: core/v1 Secret {1 metadata, 2 repeated data {1 key, 2 value}}. */
#include "engine/trust_key_search.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/secret.h"
#include "client/kube/object.h"
#include "format/pbwire.h"

#define PAGE 100
#define SECRET_MAX (4u << 20) /* etcd takes no object of more than 1.5 MiB, by default */
#define FIELD_DATA 2
#define FIELD_KEY 1
#define FIELD_VALUE 2

struct reading {
	const struct trust_key *key;
	struct trust_key_search *found;
	const struct kube_list_item *item;
	struct pb_reader *reader;
	/* the entry that is being read */
	struct secret *entry, *value;
};

void trust_key_search_free(struct trust_key_search *search)
{
	for (size_t i = 0; i < search->count; i++) {
		free(search->findings[i].namespace_);
		free(search->findings[i].name);
		free(search->findings[i].entry);
	}
	free(search->findings);
	*search = (struct trust_key_search){0};
}

static void begin_entry(struct reading *r)
{
	secret_free(r->entry);
	secret_free(r->value);
	r->entry = secret_new(SECRET_MAX);
	r->value = secret_new(SECRET_MAX);
}

static bool is_known(const struct trust_key_search *found, const struct kube_list_item *item, const char *entry)
{
	for (size_t i = 0; i < found->count; i++)
		if (text_equal(found->findings[i].namespace_, item->namespace_) &&
		    text_equal(found->findings[i].name, item->name) && text_equal(found->findings[i].entry, entry))
			return true;
	return false;
}

static void judge_entry(struct reading *r)
{
	const struct kube_list_item *item = r->item;
	bool sealed = text_equal(item->namespace_, "kube-system") && text_equal(item->name, "kubeadm-certs") &&
		      text_equal(secret_text(r->entry), "sa.key");
	if (!sealed && !(r->key && trust_key_is_in(r->key, secret_data(r->value), secret_len(r->value))))
		return;
	struct trust_key_search *found = r->found;
	if (is_known(found, item, secret_text(r->entry)))
		return;
	found->findings = xreallocarray(found->findings, found->count + 1, sizeof(*found->findings));
	found->findings[found->count++] = (struct trust_key_finding){xstrdup(item->namespace_), xstrdup(item->name),
								     xstrdup(secret_text(r->entry)), sealed};
}

static enum pb_enter on_field(void *arg, const uint32_t *path, unsigned depth, uint64_t len)
{
	if (len > SECRET_MAX)
		return PB_REFUSE;
	if (depth == 1 && path[0] == FIELD_DATA) {
		begin_entry(arg);
		return PB_MESSAGE;
	}
	bool within = depth == 2 && (path[1] == FIELD_KEY || path[1] == FIELD_VALUE);
	return within ? PB_BYTES : PB_SKIP;
}

static int on_bytes(void *arg, const uint32_t *path, unsigned depth, const uint8_t *bytes, size_t len)
{
	struct reading *r = arg;
	return secret_append(path[depth - 1] == FIELD_KEY ? r->entry : r->value, bytes, len);
}

static int on_message_end(void *arg, const uint32_t *path, unsigned depth)
{
	(void)path, (void)depth;
	judge_entry(arg);
	return 0;
}

static int on_item(void *arg, struct kube_list_item *item)
{
	struct reading *r = arg;
	r->item = item;
	r->found->secrets++;
	pb_reader_reset(r->reader);
	int rc = pb_feed(r->reader, secret_data(item->object), secret_len(item->object));
	return rc == 0 ? pb_finish(r->reader) : rc;
}

int trust_key_search(struct kube *kube, const struct kube_resource *secrets, const struct trust_key *key,
		     struct trust_key_search *ret, struct error **err)
{
	static const struct pb_handler handler = {
		.on_field = on_field, .on_bytes = on_bytes, .on_message_end = on_message_end};
	struct reading r = {.key = key, .found = ret};
	*ret = (struct trust_key_search){0};
	r.reader = pb_reader_new(&handler, &r);
	int rc = kube_list_all(kube, secrets, PAGE, SECRET_MAX, on_item, &r, err);
	pb_reader_free(r.reader);
	secret_free(r.entry);
	secret_free(r.value);
	return rc;
}
