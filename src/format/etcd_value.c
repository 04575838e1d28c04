#include "kube-rekey/etcd_value.h"

#include <openssl/evp.h>

#include "base/alloc.h"
#include "base/error.h"
#include "format/pbwire.h"

/* The longest provider is "secretbox", the longest version ours to come; a longer word is nothing that we know. */
#define WORD_MAX 16

enum part {
	PART_MAGIC,      /* "k8s" and then "\0" or ":enc:" */
	PART_SPACE,      /* before a JSON object */
	PART_PROVIDER,   /* up to ':' */
	PART_VERSION,    /* up to ':' */
	PART_NAME,       /* up to ':' */
	PART_SEALED,     /* IV or nonce, ciphertext, tag: only their number counts */
	PART_DEK_LENGTH, /* kms v1: two bytes */
	PART_DEK,        /* kms v1: the encrypted DEK */
	PART_KMS_V2,     /* EncryptedObject */
	PART_PLAINTEXT,  /* the rest does not matter */
	PART_UNKNOWN,    /* likewise */
};

enum { OBJECT_DATA = 1, OBJECT_KEY_ID = 2, OBJECT_DEK_SOURCE = 3, OBJECT_ANNOTATIONS = 4, OBJECT_DEK_TYPE = 5 };
enum { DEK_TYPE_KEY = 0, DEK_TYPE_SEED = 1 };

#define AES_BLOCK 16u
#define GCM_MIN (12u + 16u) /* nonce, tag */
#define HKDF_INFO 32u       /* stands before the nonce when the DEK source is a seed */

/* What may stand behind "k8s:enc:". */
static const struct form {
	const char *provider, *version;
	enum provider_type type;
	unsigned kms_version;
	enum part body;
	uint64_t min, block; /* of the sealed bytes: the fewest, and what divides them */
} forms[] = {
	{"aescbc", "v1", PROVIDER_AESCBC, 0, PART_SEALED, AES_BLOCK + AES_BLOCK, AES_BLOCK},
	{"aesgcm", "v1", PROVIDER_AESGCM, 0, PART_SEALED, GCM_MIN, 1},
	{"secretbox", "v1", PROVIDER_SECRETBOX, 0, PART_SEALED, 24 + 16, 1},
	{"kms", "v1", PROVIDER_KMS, 1, PART_DEK_LENGTH, GCM_MIN,
	 1}, /* CBC of old servers has at least 32: the weaker rule */
	{"kms", "v2", PROVIDER_KMS, 2, PART_KMS_V2, 0, 1},
};

struct etcd_value_reader {
	struct etcd_value_info info;
	enum part part;
	size_t matched; /* bytes of the magic */
	char provider[WORD_MAX + 1], version[WORD_MAX + 1];
	size_t provider_len, version_len, name_len, key_id_len;
	const struct form *form;
	uint64_t sealed; /* bytes seen in PART_SEALED */
	uint32_t dek_left;
	unsigned dek_length_len;
	EVP_MD *sha256;
	EVP_MD_CTX *dek_hash;
	uint64_t dek_len; /* bytes hashed; 0: none */
	EVP_MD_CTX *annotation_hash;
	uint64_t annotations; /* the sum of all hashes: a map has no order */
	size_t annotation_count;
	/* EncryptedObject */
	struct pb_reader *object;
	uint64_t data_len, dek_type;
};

struct input {
	const uint8_t *at, *end;
};

/* libcrypto fails here only without memory. */
static void crypto_must(int ok)
{
	if (ok != 1)
		abort();
}

static void dek_begin(struct etcd_value_reader *reader)
{
	reader->dek_len = 0;
	crypto_must(EVP_DigestInit_ex(reader->dek_hash, reader->sha256, NULL));
}

static void dek_add(struct etcd_value_reader *reader, const uint8_t *bytes, size_t len)
{
	reader->dek_len += len;
	crypto_must(EVP_DigestUpdate(reader->dek_hash, bytes, len));
}

#define HASH_SHOWN 8 /* bytes of a hash that are kept, as hex */
_Static_assert(sizeof(((struct etcd_value_info *)NULL)->dek_source) == 2 * HASH_SHOWN + 1, "room for its hash");
_Static_assert(sizeof(((struct etcd_value_info *)NULL)->annotations) == 2 * HASH_SHOWN + 1, "room for its hash");

static void write_hex(const uint8_t hash[static HASH_SHOWN], char *text)
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < HASH_SHOWN; i++) {
		*text++ = digits[hash[i] >> 4];
		*text++ = digits[hash[i] & 15];
	}
	*text = '\0';
}

static void dek_end(struct etcd_value_reader *reader)
{
	uint8_t hash[EVP_MAX_MD_SIZE];
	crypto_must(EVP_DigestFinal_ex(reader->dek_hash, hash, NULL));
	write_hex(hash, reader->info.dek_source);
}

/* ---- annotations ---- */

static void annotation_end(struct etcd_value_reader *reader)
{
	uint8_t hash[EVP_MAX_MD_SIZE];
	uint64_t number = 0;
	crypto_must(EVP_DigestFinal_ex(reader->annotation_hash, hash, NULL));
	for (size_t i = 0; i < HASH_SHOWN; i++)
		number = number << 8 | hash[i];
	reader->annotations += number;
	reader->annotation_count++;
}

static void annotations_end(struct etcd_value_reader *reader)
{
	uint8_t sum[HASH_SHOWN];
	for (size_t i = 0; i < HASH_SHOWN; i++)
		sum[i] = (uint8_t)(reader->annotations >> (8 * (HASH_SHOWN - 1 - i)));
	if (reader->annotation_count > 0)
		write_hex(sum, reader->info.annotations);
}

/* ---- kms v2 ---- */

static enum pb_enter on_object_field(void *arg, const uint32_t *path, unsigned depth, uint64_t len)
{
	struct etcd_value_reader *reader = arg;
	(void)depth; /* nothing nested is entered */
	switch (path[0]) {
	case OBJECT_DATA:
		reader->data_len = len;
		return PB_SKIP;
	case OBJECT_KEY_ID:
		reader->key_id_len = 0;
		reader->info.key_id[0] = '\0';
		return len > ETCD_VALUE_KEY_ID_MAX ? PB_REFUSE : PB_BYTES;
	case OBJECT_DEK_SOURCE:
		dek_begin(reader);
		return PB_BYTES;
	case OBJECT_ANNOTATIONS:
		crypto_must(EVP_DigestInit_ex(reader->annotation_hash, reader->sha256, NULL));
		return PB_BYTES;
	default:
		return PB_SKIP;
	}
}

static int on_object_varint(void *arg, const uint32_t *path, unsigned depth, uint64_t value)
{
	struct etcd_value_reader *reader = arg;
	(void)depth;
	if (path[0] == OBJECT_DEK_TYPE)
		reader->dek_type = value;
	return 0;
}

static int on_object_bytes(void *arg, const uint32_t *path, unsigned depth, const uint8_t *bytes, size_t len)
{
	struct etcd_value_reader *reader = arg;
	(void)depth;
	if (path[0] == OBJECT_DEK_SOURCE) {
		dek_add(reader, bytes, len);
		return 0;
	}
	if (path[0] == OBJECT_ANNOTATIONS) {
		crypto_must(EVP_DigestUpdate(reader->annotation_hash, bytes, len));
		return 0;
	}
	if (memchr(bytes, '\0', len)) /* the text would be another key ID than the bytes are */
		return -ERROR_PROTOCOL;
	memcpy(reader->info.key_id + reader->key_id_len, bytes, len);
	reader->key_id_len += len;
	reader->info.key_id[reader->key_id_len] = '\0';
	return 0;
}

static int on_object_bytes_end(void *arg, const uint32_t *path, unsigned depth)
{
	struct etcd_value_reader *reader = arg;
	(void)depth;
	if (path[0] == OBJECT_ANNOTATIONS)
		annotation_end(reader);
	return 0;
}

static const struct pb_handler object_handler = {
	.on_field = on_object_field,
	.on_varint = on_object_varint,
	.on_bytes = on_object_bytes,
	.on_bytes_end = on_object_bytes_end,
};

static enum etcd_value_state object_end(struct etcd_value_reader *reader)
{
	if (pb_finish(reader->object) < 0)
		return ETCD_VALUE_TRUNCATED;
	if (reader->dek_type > DEK_TYPE_SEED)
		return ETCD_VALUE_UNKNOWN;
	uint64_t min = reader->dek_type == DEK_TYPE_SEED ? HKDF_INFO + GCM_MIN : GCM_MIN;
	if (reader->data_len < min || reader->key_id_len == 0 || reader->dek_len == 0)
		return ETCD_VALUE_TRUNCATED;
	dek_end(reader);
	annotations_end(reader);
	return ETCD_VALUE_KNOWN;
}

/* ---- the parts, in the order of their bytes ---- */

struct etcd_value_reader *etcd_value_reader_new(void)
{
	struct etcd_value_reader *reader = xcalloc(1, sizeof(*reader));
	reader->object = pb_reader_new(&object_handler, reader);
	reader->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	reader->dek_hash = EVP_MD_CTX_new();
	reader->annotation_hash = EVP_MD_CTX_new();
	crypto_must(reader->sha256 && reader->dek_hash && reader->annotation_hash);
	etcd_value_reader_start(reader);
	return reader;
}

void etcd_value_reader_free(struct etcd_value_reader *reader)
{
	if (!reader)
		return;
	pb_reader_free(reader->object);
	EVP_MD_CTX_free(reader->dek_hash);
	EVP_MD_CTX_free(reader->annotation_hash);
	EVP_MD_free(reader->sha256);
	free(reader);
}

void etcd_value_reader_start(struct etcd_value_reader *reader)
{
	struct etcd_value_info *info = &reader->info; /* its 2 KiB are not cleared for each of 100,000 values */
	info->state = ETCD_VALUE_UNKNOWN;
	info->provider = PROVIDER_IDENTITY;
	info->kms_version = 0;
	info->name[0] = info->key_id[0] = info->dek_source[0] = info->annotations[0] = '\0';
	reader->part = PART_MAGIC;
	reader->matched = 0;
	reader->provider_len = reader->version_len = reader->name_len = reader->key_id_len = 0;
	reader->form = NULL;
	reader->sealed = 0;
	reader->dek_left = 0;
	reader->dek_length_len = 0;
	reader->dek_len = 0;
	reader->annotations = 0;
	reader->annotation_count = 0;
	reader->data_len = 0;
	reader->dek_type = DEK_TYPE_KEY;
	pb_reader_reset(reader->object);
}

static bool is_space(uint8_t byte)
{
	return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static void read_space(struct etcd_value_reader *reader, struct input *in)
{
	while (in->at < in->end && is_space(*in->at))
		in->at++;
	if (in->at < in->end)
		reader->part = *in->at == '{' ? PART_PLAINTEXT : PART_UNKNOWN;
}

static void read_magic(struct etcd_value_reader *reader, struct input *in)
{
	static const uint8_t encrypted[] = {'k', '8', 's', ':', 'e', 'n', 'c', ':'};
	static const size_t common = 3; /* "k8s": the protobuf magic goes on with 0 */

	if (reader->matched == 0 && (is_space(*in->at) || *in->at == '{')) {
		reader->part = PART_SPACE;
		return;
	}
	while (in->at < in->end && reader->matched < sizeof(encrypted)) {
		if (*in->at != encrypted[reader->matched]) {
			bool protobuf = reader->matched == common && *in->at == 0;
			reader->part = protobuf ? PART_PLAINTEXT : PART_UNKNOWN;
			return;
		}
		in->at++;
		reader->matched++;
	}
	if (reader->matched == sizeof(encrypted))
		reader->part = PART_PROVIDER;
}

/* Takes the bytes up to a ':' into `to`, which has room for max and a NUL. True when the ':' was taken too; a word that is
 * empty, too long or holds a NUL makes the value unknown. */
static bool read_word(struct etcd_value_reader *reader, struct input *in, char *to, size_t *len, size_t max)
{
	size_t here = (size_t)(in->end - in->at);
	const uint8_t *colon = memchr(in->at, ':', here < max + 1 ? here : max + 1);
	size_t piece = colon ? (size_t)(colon - in->at) : here;
	bool empty = colon && piece + *len == 0;
	if (empty || piece > max - *len || memchr(in->at, '\0', piece)) {
		reader->part = PART_UNKNOWN;
		return false;
	}
	memcpy(to + *len, in->at, piece);
	*len += piece;
	to[*len] = '\0';
	in->at += piece + (colon != NULL);
	return colon != NULL;
}

static void read_provider(struct etcd_value_reader *reader, struct input *in)
{
	if (!read_word(reader, in, reader->provider, &reader->provider_len, WORD_MAX))
		return;
	reader->part = PART_UNKNOWN;
	for (size_t i = 0; i < ELEMENTS(forms); i++)
		if (strcmp(forms[i].provider, reader->provider) == 0)
			reader->part = PART_VERSION;
}

static void read_version(struct etcd_value_reader *reader, struct input *in)
{
	if (!read_word(reader, in, reader->version, &reader->version_len, WORD_MAX))
		return;
	reader->part = PART_UNKNOWN;
	for (size_t i = 0; i < ELEMENTS(forms); i++) {
		const struct form *form = &forms[i];
		if (strcmp(form->provider, reader->provider) != 0 || strcmp(form->version, reader->version) != 0)
			continue;
		reader->form = form;
		reader->info.provider = form->type;
		reader->info.kms_version = form->kms_version;
		reader->part = PART_NAME;
	}
}

static void read_name(struct etcd_value_reader *reader, struct input *in)
{
	if (read_word(reader, in, reader->info.name, &reader->name_len, ETCD_VALUE_NAME_MAX))
		reader->part = reader->form->body;
	else if (reader->part == PART_UNKNOWN)
		reader->info.name[0] = '\0';
}

static void read_dek_length(struct etcd_value_reader *reader, struct input *in)
{
	reader->dek_left = reader->dek_left << 8 | *in->at++;
	if (++reader->dek_length_len < 2)
		return;
	dek_begin(reader);
	reader->part = reader->dek_left == 0 ? PART_UNKNOWN : PART_DEK;
}

static void read_dek(struct etcd_value_reader *reader, struct input *in)
{
	size_t piece = (size_t)(in->end - in->at);
	if (piece > reader->dek_left)
		piece = reader->dek_left;
	dek_add(reader, in->at, piece);
	in->at += piece;
	reader->dek_left -= (uint32_t)piece;
	if (reader->dek_left == 0)
		reader->part = PART_SEALED;
}

static void read_sealed(struct etcd_value_reader *reader, struct input *in)
{
	reader->sealed += (uint64_t)(in->end - in->at);
	in->at = in->end;
}

static void read_object(struct etcd_value_reader *reader, struct input *in)
{
	if (pb_feed(reader->object, in->at, (size_t)(in->end - in->at)) < 0)
		reader->part = PART_UNKNOWN;
	in->at = in->end;
}

static void step(struct etcd_value_reader *reader, struct input *in)
{
	switch (reader->part) {
	case PART_MAGIC:
		read_magic(reader, in);
		return;
	case PART_SPACE:
		read_space(reader, in);
		return;
	case PART_PROVIDER:
		read_provider(reader, in);
		return;
	case PART_VERSION:
		read_version(reader, in);
		return;
	case PART_NAME:
		read_name(reader, in);
		return;
	case PART_SEALED:
		read_sealed(reader, in);
		return;
	case PART_DEK_LENGTH:
		read_dek_length(reader, in);
		return;
	case PART_DEK:
		read_dek(reader, in);
		return;
	case PART_KMS_V2:
		read_object(reader, in);
		return;
	case PART_PLAINTEXT:
	case PART_UNKNOWN:
		in->at = in->end;
		return;
	}
}

void etcd_value_reader_feed(struct etcd_value_reader *reader, const uint8_t *bytes, size_t len)
{
	if (len == 0)
		return;
	struct input in = {bytes, bytes + len};
	while (in.at < in.end)
		step(reader, &in);
}

static enum etcd_value_state sealed_end(struct etcd_value_reader *reader)
{
	if (reader->sealed < reader->form->min || reader->sealed % reader->form->block != 0)
		return ETCD_VALUE_TRUNCATED;
	if (reader->dek_len > 0) /* kms v1 */
		dek_end(reader);
	return ETCD_VALUE_KNOWN;
}

static enum etcd_value_state value_state(struct etcd_value_reader *reader)
{
	switch (reader->part) {
	case PART_MAGIC:
		return reader->matched > 0 ? ETCD_VALUE_TRUNCATED : ETCD_VALUE_UNKNOWN;
	case PART_NAME:
		reader->info.name[0] = '\0'; /* half a name is another name */
		return ETCD_VALUE_TRUNCATED;
	case PART_PROVIDER:
	case PART_VERSION:
	case PART_DEK_LENGTH:
	case PART_DEK:
		return ETCD_VALUE_TRUNCATED;
	case PART_SEALED:
		return sealed_end(reader);
	case PART_KMS_V2:
		return object_end(reader);
	case PART_PLAINTEXT:
		return ETCD_VALUE_KNOWN;
	case PART_SPACE:
	case PART_UNKNOWN:
		return ETCD_VALUE_UNKNOWN;
	}
	return ETCD_VALUE_UNKNOWN;
}

const struct etcd_value_info *etcd_value_reader_end(struct etcd_value_reader *reader)
{
	reader->info.state = value_state(reader);
	if (reader->info.state != ETCD_VALUE_KNOWN)
		reader->info.key_id[0] = reader->info.dek_source[0] = reader->info.annotations[0] = '\0';
	return &reader->info;
}
