/* EncryptionConfiguration (apiserver.config.k8s.io/v1): what a kube-apiserver encrypts with, as a *shape* without key
 * bytes, as a *file* with them, and the edits that take a file from one shape to another while everything that is not
 * ours (comments, order, quoting, line ends) stays as its owner wrote it.
 *
 * Format: kube-apiserver's staging/src/k8s.io/apiserver/pkg/apis/apiserver/v1 (EncryptionConfiguration), validation in
 * .../apis/apiserver/validation/validation_encryption.go. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct secret;

enum provider_type { PROVIDER_IDENTITY, PROVIDER_AESCBC, PROVIDER_AESGCM, PROVIDER_SECRETBOX, PROVIDER_KMS };

/* One entry of a rule's flattened, ordered list. The first encrypts (write key), all decrypt (read keys).
 * `aescbc: {keys: [a, b]}` followed by `identity: {}` is three keys: aescbc/a, aescbc/b, identity. */
struct config_key {
	enum provider_type type;
	char *name; /* key name, KMS provider name, "" for identity */
	/* First 12 hex digits of HMAC-SHA256(key bytes, "kube-rekey key fingerprint v1"): tells nothing about the
	 * key. "" for
	 * kms and identity. */
	char fingerprint[13];
	unsigned kms_version; /* 1 or 2; 0 for the others */
	char *kms_endpoint;   /* NULL for the others */
	uint64_t kms_timeout; /* ns; 3 s by default */
	/* In a path that follows a KMS: the key ID that its plugin names, which values under the write key shall have. No file
	 * says it, and it makes no other key for those who read. NULL: any. */
	char *kms_key_id;
};

/* A key as a stored value names it. A KMS provider of another version is another key. */
struct key_name {
	enum provider_type type;
	unsigned kms_version; /* 0 but for kms */
	const char *name;     /* not looked at for identity */
	const char *key_id;   /* of kms v2, where it is known and asked for; NULL */
};

/* One item of `resources:`. */
struct config_rule {
	char **resources; /* "secrets", "configmaps", "widgets.example.com", "*.", "*.apps", "*.*" */
	size_t resource_count;
	struct config_key *keys;
	size_t key_count; /* at least 1 */
};

/* The meaning of a file. Two files with equal shapes encrypt and decrypt alike. */
struct config_shape {
	struct config_rule *rules;
	size_t rule_count;
};

void config_shape_free(struct config_shape *shape); /* NULL is fine; frees the contents and the struct */
void config_shape_freep(struct config_shape **shape);
struct config_shape *config_shape_copy(const struct config_shape *shape); /* deep; the caller frees it */
/* Deep. What `to` held before is overwritten, not freed; config_key_clear frees what it holds then. */
void config_key_copy(struct config_key *to, const struct config_key *from);
void config_key_clear(struct config_key *key);                                 /* frees the contents */
bool config_key_equal(const struct config_key *a, const struct config_key *b); /* all but the timeout */
/* Rules, resources and keys, in order. */
bool config_shape_equal(const struct config_shape *a, const struct config_shape *b);
/* What became of the keys of `was`, for people: "it lacks secretbox/new, and has aescbc/other, aescbc/key1 as another key
 * than before"; where none differs, "the same keys, in another order or for other resources". New string. */
char *config_shape_difference(const struct config_shape *was, const struct config_shape *is);
bool config_shape_has_kms(const struct config_shape *shape); /* any rule, any place in it, v1 and v2 alike */
/* NULL where the rule has no such key. */
struct config_key *config_rule_find(const struct config_rule *rule, enum provider_type type, const char *name);
/* The rule that holds for a resource: the first that names it or whose wildcard covers it ("*." core, "*.group",
 * "*.*"),
 * as kube-apiserver chooses; NULL when none does: such a resource is stored in plaintext.
 * `resource` is "secrets" or "widgets.example.com". */
const struct config_rule *config_shape_rule(const struct config_shape *shape, const char *resource);
/* Whether pattern `outer` covers everything that `inner` names (equal, or a wildcard over it). */
bool config_pattern_covers(const char *outer, const char *inner);
const char *provider_name(enum provider_type type); /* "aescbc"; "identity" for plaintext */
_Bool provider_from_name(const char *name, enum provider_type *ret);
/* Whether its keys' bytes are in the file: not kms, not identity. */
bool provider_is_local(enum provider_type type);
/* Whether the provider takes keys of `len` bytes; none does that holds no key in the file. */
bool provider_key_fits(enum provider_type type, size_t len);
/* "aescbc/key1", "kms/vault", "plaintext": for people. New string. */
char *config_key_label(const struct config_key *key);
/* The shape as JSON (names, fingerprints, never bytes), and back. config_shape_from_json: -ERROR_INPUT. */
struct json_writer;
void config_shape_write_json(const struct config_shape *shape, struct json_writer *w);
struct cJSON;
__attribute__((warn_unused_result)) int config_shape_from_json(const struct cJSON *json, struct config_shape **ret,
							       struct error **err);

/* A parsed file: the text, its shape, the key bytes, and where in the text each thing stands. */
struct encryption_config;

/* Bytes of a file; kube-apiserver has no limit, people's files have 1 to 20 KiB. */
#define ENCRYPTION_CONFIG_MAX (1u << 20)

/* Parses and checks `text`; takes a copy. The checks are kube-apiserver's own (strict fields, one provider an item, key
 * lengths, base64, KMS names, hidden rules) and stricter where a mistake loses data or hides it from a census: a
 * key name
 * of one provider type for two keys anywhere in the file, a name twice in one rule, ':' in a name, a resource in two
 * rules, a second document. -ERROR_INPUT: one line with `name`:line:column, never key bytes. */
__attribute__((warn_unused_result)) int encryption_config_parse(const char *name, const struct secret *text,
								struct encryption_config **ret, struct error **err);
/* The meaning alone of a file whose keys may lack their bytes (`secret` absent or empty): such a key's fingerprint is "".
 * Else as encryption_config_parse. */
__attribute__((warn_unused_result)) int encryption_config_parse_names(const char *name, const struct secret *text,
								      struct config_shape **ret, struct error **err);
const struct config_shape *encryption_config_shape(const struct encryption_config *config); /* owned by config */
const struct secret *encryption_config_text(const struct encryption_config *config);        /* likewise */
/* The bytes of a key (decoded), or NULL for kms, identity or a key that is not there; owned by config. */
const struct secret *encryption_config_key(const struct encryption_config *config, enum provider_type type,
					   const char *name);
void encryption_config_free(struct encryption_config *config); /* wipes */
void encryption_config_freep(struct encryption_config **config);

/* Keys whose bytes an edit may need that the file does not have: the new key, one put back by Rescue. */
struct keyring_entry {
	enum provider_type type;
	const char *name;
	const struct secret *bytes;
};
struct keyring {
	const struct keyring_entry *entries;
	size_t count;
};

/* The file's text changed to mean `to`: spans are replaced, everything else stays byte for byte; a key or provider that
 * only moves keeps its own text and comments. Line `# kube-rekey nonce <nonce>` (one; an older one is replaced)
 * makes the
 * file's hash new; a text that begins with '{' carries the nonce as lines of blanks at its end instead
 * (config_nonce.h), so that JSON stays JSON. The nonce: 1 to 64 printable ASCII characters without blanks.
 * The result is parsed again and must mean exactly `to`, else -ERROR_INPUT and nothing.
 * Refused with line numbers (-ERROR_INPUT): anchors, aliases, tags or merge keys on a touched node; a key of `to` whose
 * bytes neither the file nor `extra` has. */
__attribute__((warn_unused_result)) int encryption_config_edit(const struct encryption_config *config,
							       const struct config_shape *to,
							       const struct keyring *extra, const char *nonce,
							       struct secret **ret, struct error **err);
/* Fingerprint of key bytes, as in config_key. */
void key_fingerprint(const struct secret *bytes, char ret[static 13]);
