#include "engine/kms_opener.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "client/kms/kms.h"
#include "format/kms_object.h"
#include "net/loop.h"

#define TRIES 3
/* 7.5 s: to many plugins a throttle is an error like any other, and "refused" is said of lost keys. */
#define REFUSED_TRIES 5
#define PAUSE (500 * NS_PER_MS) /* doubled each time */
#define WHY_MAX 300
#define DIGEST_LEN 32u
#define PLACES (UINT32_C(4) * KMS_OPENER_DEKS_MAX) /* half of them stay free */
#define FAILURES_MAX 1024u

struct dek {
	uint8_t digest[DIGEST_LEN]; /* of what was asked, without its uid, and of whom */
	struct secret *bytes;       /* NULL: not given, for this reason: */
	size_t failure;
};
/* Of all keys under one key ID that one plugin did not give, the first. */
struct failure {
	const struct config_key *plugin;
	char *key_id;
	bool refused; /* else nothing is known */
	char *why;
};
struct kms_opener {
	struct loop *loop;
	struct dek *deks;
	size_t count, size;
	size_t of_kind[2]; /* how many, [1] under keys that are written with */
	uint32_t *places;  /* by digest: an index into `deks`, and 1; 0: free */
	struct failure *failures;
	size_t failure_count;
	struct kms_object object; /* of the value at hand */
	struct buf request;
	uint8_t digest[DIGEST_LEN];
	const struct config_key *plugin; /* of the request that is to be asked */
	char *key_id;                    /* likewise */
	bool writes;                     /* likewise */
	uint64_t calls;
};

struct kms_opener *kms_opener_new(struct loop *loop)
{
	struct kms_opener *opener = xcalloc(1, sizeof(*opener));
	opener->loop = loop;
	opener->places = xcalloc(PLACES, sizeof(*opener->places));
	opener->request = BUF_INIT(KMS_REQUEST_MAX);
	return opener;
}

void kms_opener_free(struct kms_opener *opener)
{
	if (!opener)
		return;
	for (size_t i = 0; i < opener->count; i++)
		secret_free(opener->deks[i].bytes);
	for (size_t i = 0; i < opener->failure_count; i++) {
		free(opener->failures[i].key_id);
		free(opener->failures[i].why);
	}
	free(opener->failures);
	free(opener->places);
	free(opener->deks);
	free(opener->key_id);
	buf_free(&opener->request);
	free(opener);
}

uint64_t kms_opener_calls(const struct kms_opener *opener)
{
	return opener->calls;
}

static void make_digest(struct kms_opener *opener, const struct config_key *plugin)
{
	crypto_generichash_state state;
	const char *endpoint = plugin->kms_endpoint;
	crypto_generichash_init(&state, NULL, 0, DIGEST_LEN);
	crypto_generichash_update(&state, (const uint8_t *)endpoint, strlen(endpoint) + 1);
	crypto_generichash_update(&state, opener->request.data, opener->request.len);
	crypto_generichash_final(&state, opener->digest, DIGEST_LEN);
}

/* Where the key of the value at hand stands, or belongs. */
static uint32_t *place_of(const struct kms_opener *opener)
{
	uint32_t at;
	memcpy(&at, opener->digest, sizeof(at));
	for (at %= PLACES;; at = (at + 1) % PLACES) {
		uint32_t *place = &opener->places[at];
		if (*place == 0 || memcmp(opener->deks[*place - 1].digest, opener->digest, DIGEST_LEN) == 0)
			return place;
	}
}

static enum kms_opening closed(const char **ret_why, const char *why)
{
	*ret_why = why;
	return KMS_CLOSED;
}

enum kms_opening kms_opener_try(struct kms_opener *opener, const struct config_key *plugin, bool writes,
				const struct etcd_kv *kv, const char **ret_why)
{
	if (!kv->value)
		return closed(ret_why, "the value is too large");
	int rc = kms_object_parse(kv->value, kv->value_len, &opener->object);
	buf_reset(&opener->request);
	if (rc == 0)
		rc = kms_decrypt_request_write(&opener->request, &opener->object);
	if (rc < 0)
		return rc == -ERROR_LIMIT ? closed(ret_why, "more annotations than a plugin writes") : KMS_BROKEN;
	make_digest(opener, plugin);
	uint32_t place = *place_of(opener);
	if (place == 0 && opener->of_kind[writes] == KMS_OPENER_DEKS_MAX)
		return closed(ret_why, "more data encryption keys are in use than are asked for (kube-rekey rotate "
				       "--renew-dek puts all values under a few)");
	if (place == 0) {
		opener->plugin = plugin;
		opener->writes = writes;
		free(opener->key_id);
		opener->key_id = xstrndup((const char *)opener->object.key_id.at, opener->object.key_id.len);
		return KMS_ASK;
	}
	const struct dek *dek = &opener->deks[place - 1];
	if (!dek->bytes) {
		*ret_why = opener->failures[dek->failure].why;
		return opener->failures[dek->failure].refused ? KMS_REFUSED : KMS_CLOSED;
	}
	rc = etcd_value_open(PROVIDER_KMS, dek->bytes, kv->key, kv->key_len, kv->value, kv->value_len, NULL);
	return rc < 0 ? KMS_BROKEN : KMS_OPENED;
}

/* ---- asking ---- */

/* A key of the same plugin and key ID that was not given, after which nobody tries again and again: which failure that is;
 * SIZE_MAX. */
static size_t given_up(const struct kms_opener *opener, bool refused)
{
	for (size_t i = 0; i < opener->failure_count; i++) {
		const struct failure *failure = &opener->failures[i];
		if (failure->refused == refused && text_equal(failure->key_id, opener->key_id) &&
		    text_equal(failure->plugin->kms_endpoint, opener->plugin->kms_endpoint))
			return i;
	}
	return SIZE_MAX;
}

static int call(struct kms_opener *opener, struct secret **ret, struct error **err)
{
	uint64_t random;
	_cleanup_buf_ request = BUF_INIT(KMS_REQUEST_MAX);
	randombytes_buf(&random, sizeof(random));
	_cleanup_free_ char *uid = xasprintf("kube-rekey-%016llx", (unsigned long long)random);
	int rc = buf_append(&request, opener->request.data, opener->request.len);
	if (rc == 0)
		rc = kms_decrypt_request_name(&request, uid);
	if (rc < 0)
		return error_set(err, ERROR_LIMIT, "more annotations than a plugin writes");
	opener->calls++;
	return kms_decrypt_fetch(opener->loop, opener->plugin->kms_endpoint, opener->plugin->kms_timeout, &request, ret,
				 err);
}

static bool is_refusal(int rc)
{
	return rc != -ERROR_NETWORK && rc != -ERROR_BUSY && rc != -ERROR_LIMIT;
}

/* What more of them would be called than are told apart: of those nothing is known. */
static size_t add_failure(struct kms_opener *opener, bool refused, const char *why)
{
	bool last = opener->failure_count + 1 >= FAILURES_MAX;
	if (opener->failure_count == FAILURES_MAX)
		return FAILURES_MAX - 1;
	opener->failures = xreallocarray(opener->failures, opener->failure_count + 1, sizeof(*opener->failures));
	opener->failures[opener->failure_count] = (struct failure){
		.plugin = opener->plugin,
		.key_id = last ? NULL : xstrdup(opener->key_id),
		.refused = refused && !last,
		.why = last ? xstrdup("too many key IDs of KMS plugins fail")
			    : text_printable(why, strlen(why), WHY_MAX),
	};
	return opener->failure_count++;
}

/* 0 with the key, or with why it was not given. */
static int ask(struct kms_opener *opener, struct dek *dek, struct error **err)
{
	uint64_t pause = PAUSE;
	size_t refused = given_up(opener, true);
	for (unsigned tries = 1;; tries++, pause *= 2) {
		_cleanup_error_ failed = NULL;
		int rc = call(opener, &dek->bytes, &failed);
		if (rc == -ERROR_INTERRUPTED)
			return error_set(err, ERROR_INTERRUPTED, "interrupted");
		if (rc == 0)
			return 0;
		if (tries >= (refused != SIZE_MAX ? 1 : is_refusal(rc) ? REFUSED_TRIES : TRIES)) {
			dek->failure = is_refusal(rc) && refused != SIZE_MAX
					       ? refused
					       : add_failure(opener, is_refusal(rc), error_message(failed));
			return 0;
		}
		rc = loop_pause(opener->loop, pause, err);
		if (rc < 0)
			return rc;
	}
}

static void keep(struct kms_opener *opener, const struct dek *dek)
{
	if (opener->count == opener->size) {
		opener->size = opener->size > 0 ? 2 * opener->size : 64;
		opener->deks = xreallocarray(opener->deks, opener->size, sizeof(*opener->deks));
	}
	uint32_t *place = place_of(opener);
	opener->deks[opener->count++] = *dek;
	opener->of_kind[opener->writes]++;
	*place = (uint32_t)opener->count;
}

int kms_opener_ask(struct kms_opener *opener, struct error **err)
{
	struct dek dek = {.failure = given_up(opener, false)};
	memcpy(dek.digest, opener->digest, DIGEST_LEN);
	int rc = dek.failure == SIZE_MAX ? ask(opener, &dek, err) : 0;
	if (rc == 0)
		keep(opener, &dek);
	return rc;
}
