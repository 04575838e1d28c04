#include "base/secret.h"
#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <sodium.h>
#include <sys/random.h>

#define SECRET_FIRST_SIZE 64

struct secret {
	uint8_t *data; /* never NULL: a NUL stands behind the last byte of an empty one too */
	size_t len;
	size_t size; /* allocated */
	size_t cap;
};

void secret_wipe(void *bytes, size_t len)
{
	if (len)
		explicit_bzero(bytes, len);
}

static struct secret *new_with_size(size_t cap, size_t size)
{
	struct secret *secret = xcalloc(1, sizeof(*secret));
	/* One less than SIZE_MAX, so that counting the NUL cannot overflow. */
	secret->cap = cap < SIZE_MAX - 1 ? cap : SIZE_MAX - 1;
	secret->size = size;
	secret->data = xcalloc(1, size);
	return secret;
}

struct secret *secret_new(size_t cap)
{
	return new_with_size(cap, 1);
}

struct secret *secret_from(const void *bytes, size_t len)
{
	struct secret *secret = new_with_size(len, len + 1);
	if (len)
		memcpy(secret->data, bytes, len);
	secret->len = len;
	return secret;
}

struct secret *secret_random(size_t len)
{
	struct secret *secret = new_with_size(len, len + 1);
	while (secret->len < len) {
		ssize_t got = getrandom(secret->data + secret->len, len - secret->len, 0);
		if (got < 0 && errno != EINTR)
			abort();
		if (got > 0)
			secret->len += (size_t)got;
	}
	return secret;
}

/* realloc() would leave the old bytes behind, so growing is a copy and a wipe. */
static void move_to(struct secret *secret, size_t size)
{
	uint8_t *data = xmalloc(size);
	memcpy(data, secret->data, secret->len);
	data[secret->len] = '\0';
	secret_wipe(secret->data, secret->size);
	free(secret->data);
	secret->data = data;
	secret->size = size;
}

void secret_reserve(struct secret *secret, size_t len)
{
	size_t size = (len < secret->cap ? len : secret->cap) + 1;
	if (size > secret->size)
		move_to(secret, size);
}

int secret_append(struct secret *secret, const void *bytes, size_t len)
{
	if (len > secret->cap - secret->len)
		return -ERROR_LIMIT;
	if (len == 0)
		return 0;
	size_t need = secret->len + len + 1;
	if (need > secret->size) {
		size_t size = secret->size < SECRET_FIRST_SIZE ? SECRET_FIRST_SIZE : secret->size;
		while (size < need)
			size = size > SIZE_MAX / 2 ? need : size * 2;
		move_to(secret, size > secret->cap + 1 ? secret->cap + 1 : size);
	}
	memcpy(secret->data + secret->len, bytes, len);
	secret->len += len;
	secret->data[secret->len] = '\0';
	return 0;
}

int secret_append_text(struct secret *secret, const char *text)
{
	return secret_append(secret, text, strlen(text));
}

void secret_consume(struct secret *secret, size_t len)
{
	assert(len <= secret->len);
	size_t rest = secret->len - len;
	memmove(secret->data, secret->data + len, rest);
	secret_wipe(secret->data + rest, len);
	secret->len = rest;
}

void secret_reset(struct secret *secret)
{
	secret_wipe(secret->data, secret->size);
	secret->len = 0;
}

const uint8_t *secret_data(const struct secret *secret)
{
	return secret->data;
}

const char *secret_text(const struct secret *secret)
{
	return (const char *)secret->data;
}

size_t secret_len(const struct secret *secret)
{
	return secret->len;
}

bool secret_equal(const struct secret *a, const struct secret *b)
{
	return a->len == b->len && CRYPTO_memcmp(a->data, b->data, a->len) == 0;
}

struct secret *secret_base64_encode(const void *bytes, size_t len)
{
	/* The length that libsodium names includes the NUL. */
	size_t size = sodium_base64_encoded_len(len, sodium_base64_VARIANT_ORIGINAL);
	struct secret *secret = new_with_size(size - 1, size);
	sodium_bin2base64((char *)secret->data, size, bytes, len, sodium_base64_VARIANT_ORIGINAL);
	secret->len = size - 1;
	return secret;
}

static bool is_ascii(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] > 0x7f)
			return false;
	return true;
}

int secret_base64_decode(const char *text, size_t len, struct secret **ret)
{
	_cleanup_secret_ secret = new_with_size(len / 4 * 3, len / 4 * 3 + 1);
	/* libsodium 1.0.18 takes every byte from 0x80 for a '/'. */
	if (!is_ascii(text, len))
		return -ERROR_INPUT;
	if (sodium_base642bin(secret->data, secret->cap, text, len, NULL, &secret->len, NULL,
			      sodium_base64_VARIANT_ORIGINAL) != 0)
		return -ERROR_INPUT;
	*ret = steal(secret);
	return 0;
}

void secret_free(struct secret *secret)
{
	if (!secret)
		return;
	secret_wipe(secret->data, secret->size);
	free(secret->data);
	free(secret);
}

void secret_freep(struct secret **secret)
{
	secret_free(*secret);
}
