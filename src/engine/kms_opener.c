#include "engine/kms_opener.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "client/kms/kms.h"
#include "engine/etcd_probe.h"
#include "format/kms_object.h"

#define TRIES 3                 /* a refusal may be a throttle's */
#define PAUSE (500 * NS_PER_MS) /* doubled each time */
#define WHY_MAX 300

struct dek {
	const struct config_key *plugin;
	struct buf request; /* what was asked, without its uid */
	char *key_id;
	struct secret *bytes; /* NULL: not given */
	bool refused;         /* else without bytes nothing is known */
	char *why;
};
struct kms_opener {
	struct loop *loop;
	struct dek *deks;
	size_t count, last;
	struct kms_object object; /* of the value at hand */
	struct buf request;
	const struct config_key *plugin; /* of the request that is to be asked */
	char *key_id;                    /* likewise */
	uint64_t calls;
};

struct kms_opener *kms_opener_new(struct loop *loop)
{
	struct kms_opener *opener = xcalloc(1, sizeof(*opener));
	opener->loop = loop;
	opener->request = BUF_INIT(KMS_REQUEST_MAX);
	return opener;
}

void kms_opener_free(struct kms_opener *opener)
{
	if (!opener)
		return;
	for (size_t i = 0; i < opener->count; i++) {
		buf_free(&opener->deks[i].request);
		secret_free(opener->deks[i].bytes);
		free(opener->deks[i].key_id);
		free(opener->deks[i].why);
	}
	free(opener->deks);
	free(opener->key_id);
	buf_free(&opener->request);
	free(opener);
}

uint64_t kms_opener_calls(const struct kms_opener *opener)
{
	return opener->calls;
}

static bool is_for(const struct kms_opener *opener, const struct dek *dek, const struct config_key *plugin)
{
	return dek->request.len == opener->request.len &&
	       memcmp(dek->request.data, opener->request.data, dek->request.len) == 0 &&
	       text_equal(dek->plugin->kms_endpoint, plugin->kms_endpoint);
}

/* Most values are under the same key as the one before. */
static struct dek *find(struct kms_opener *opener, const struct config_key *plugin)
{
	for (size_t i = 0; i < opener->count; i++) {
		size_t at = (opener->last + i) % opener->count;
		if (is_for(opener, &opener->deks[at], plugin)) {
			opener->last = at;
			return &opener->deks[at];
		}
	}
	return NULL;
}

static enum kms_opening closed(const char **ret_why, const char *why)
{
	*ret_why = why;
	return KMS_CLOSED;
}

bool kms_opener_is_full(const struct kms_opener *opener)
{
	return opener->count == KMS_OPENER_DEKS_MAX;
}

enum kms_opening kms_opener_try(struct kms_opener *opener, const struct config_key *plugin, const struct etcd_kv *kv,
				const char **ret_why)
{
	if (!kv->value)
		return closed(ret_why, "the value is too large");
	int rc = kms_object_parse(kv->value, kv->value_len, &opener->object);
	buf_reset(&opener->request);
	if (rc == 0)
		rc = kms_decrypt_request_write(&opener->request, &opener->object);
	if (rc < 0)
		return rc == -ERROR_LIMIT ? closed(ret_why, "more annotations than a plugin writes") : KMS_BROKEN;
	const struct dek *dek = find(opener, plugin);
	if (!dek && kms_opener_is_full(opener))
		return closed(ret_why, "more data encryption keys than are asked for");
	if (!dek) {
		opener->plugin = plugin;
		free(opener->key_id);
		opener->key_id = xstrndup((const char *)opener->object.key_id.at, opener->object.key_id.len);
		return KMS_ASK;
	}
	*ret_why = dek->why;
	if (!dek->bytes)
		return dek->refused ? KMS_REFUSED : KMS_CLOSED;
	rc = etcd_value_open(PROVIDER_KMS, dek->bytes, kv->key, kv->key_len, kv->value, kv->value_len, NULL);
	return rc < 0 ? KMS_BROKEN : KMS_OPENED;
}

/* ---- asking ---- */

/* A key of the same plugin and key ID that was not given, after which nobody tries again and again. */
static const struct dek *given_up(const struct kms_opener *opener, bool refused)
{
	for (size_t i = 0; i < opener->count; i++) {
		const struct dek *dek = &opener->deks[i];
		if (!dek->bytes && dek->refused == refused && text_equal(dek->key_id, opener->key_id) &&
		    text_equal(dek->plugin->kms_endpoint, opener->plugin->kms_endpoint))
			return dek;
	}
	return NULL;
}

static int call(struct kms_opener *opener, struct dek *dek, struct error **err)
{
	uint64_t random;
	_cleanup_buf_ request = BUF_INIT(KMS_REQUEST_MAX);
	randombytes_buf(&random, sizeof(random));
	_cleanup_free_ char *uid = xasprintf("kube-rekey-%016llx", (unsigned long long)random);
	int rc = buf_append(&request, dek->request.data, dek->request.len);
	if (rc == 0)
		rc = kms_decrypt_request_name(&request, uid);
	if (rc < 0)
		return error_set(err, ERROR_LIMIT, "more annotations than a plugin writes");
	opener->calls++;
	return kms_decrypt_fetch(opener->loop, dek->plugin->kms_endpoint, dek->plugin->kms_timeout, &request,
				 &dek->bytes, err);
}

static bool is_refusal(int rc)
{
	return rc != -ERROR_NETWORK && rc != -ERROR_BUSY && rc != -ERROR_LIMIT;
}

static int ask(struct kms_opener *opener, struct dek *dek, unsigned tries, struct error **err)
{
	uint64_t pause = PAUSE;
	for (;; pause *= 2) {
		_cleanup_error_ failed = NULL;
		int rc = call(opener, dek, &failed);
		if (rc == -ERROR_INTERRUPTED)
			return error_set(err, ERROR_INTERRUPTED, "interrupted");
		if (rc == 0)
			return 0;
		if (--tries == 0) {
			dek->refused = is_refusal(rc);
			dek->why = text_printable(error_message(failed), strlen(error_message(failed)), WHY_MAX);
			return 0;
		}
		rc = probe_pause(opener->loop, pause, err);
		if (rc < 0)
			return rc;
	}
}

int kms_opener_ask(struct kms_opener *opener, struct error **err)
{
	const struct dek *silent = given_up(opener, false);
	struct dek dek = {.plugin = opener->plugin, .request = BUF_INIT(KMS_REQUEST_MAX)};
	if (buf_append(&dek.request, opener->request.data, opener->request.len) < 0)
		abort(); /* the same cap */
	int rc = 0;
	if (silent)
		dek.why = xstrdup(silent->why);
	else
		rc = ask(opener, &dek, given_up(opener, true) ? 1 : TRIES, err);
	if (rc < 0) {
		buf_free(&dek.request);
		return rc;
	}
	opener->deks = xreallocarray(opener->deks, opener->count + 1, sizeof(*opener->deks));
	dek.key_id = xstrdup(opener->key_id);
	opener->last = opener->count;
	opener->deks[opener->count++] = dek;
	return 0;
}
