/* Structs as JSON, and back, by tables: one row for each field, with its cap. What our custom resources have in
 * common. Sans-I/O.
 *
 * Reading takes what a CustomResourceDefinition with these fields lets pass, and nothing that could hurt: a field of
 * another type is -ERROR_INPUT, one beyond its cap -ERROR_LIMIT, each naming the field; unknown fields are passed over,
 * null counts as absent. Writing keeps the same caps, so that an API server does not refuse what was written. */
#pragma once
#include <cjson/cJSON.h>
#include "base/json_writer.h"
#include "base/text.h"
#include "kube-rekey/observation.h"

#define OBJECT_BYTES_MAX (1u << 20) /* of one that we write; etcd's own request limit is 1.5 MiB by default */

enum object_field_kind {
	FIELD_TEXT,   /* char *; NULL: absent */
	FIELD_NUMBER, /* uint64_t, always written */
	FIELD_STEP,   /* int, a position on the path; STEP_NONE: absent */
	FIELD_BOOL,   /* bool, always written */
	FIELD_TEXTS,  /* struct strings; empty: absent */
	FIELD_SHAPE,  /* struct config_shape *; NULL: absent */
	FIELD_SHAPES, /* struct config_shape **, with a count; empty: absent */
	/* an object of its own. One that says nothing is not written */
	FIELD_RECORD,
	FIELD_LIST, /* an array of structs, with a count; empty: absent */
};

struct object_record;
struct object_field {
	const char *name;
	enum object_field_kind kind;
	size_t at, count_at; /* of FIELD_SHAPES and FIELD_LIST: where the pointer is, and its size_t */
	/* most characters of a text (an API server counts code points, too), items of a list, value of a number */
	uint64_t max;
	unsigned text_max;    /* FIELD_TEXTS: of one of them */
	bool required;        /* of an item of a list; never NULL then */
	bool cut;             /* words for people: too long ones are written cut, with "..." at their end */
	uint64_t absent;      /* FIELD_NUMBER: what its absence means */
	const char *fallback; /* FIELD_TEXT: likewise; NULL: nothing */
	const struct object_record *record;
};
struct object_record {
	const struct object_field *fields;
	size_t count, size; /* of the struct; 0 for OBJECT_WITHIN */
};

/* Rows of a table. */
#define OBJECT_TEXT(type, member, name_, max_)                                                   \
	{                                                                                        \
		.name = (name_), .kind = FIELD_TEXT, .at = offsetof(type, member), .max = (max_) \
	}
#define OBJECT_NAME(type, member, name_, max_)                                                                     \
	{                                                                                                          \
		.name = (name_), .kind = FIELD_TEXT, .at = offsetof(type, member), .max = (max_), .required = true \
	}
#define OBJECT_CHOICE(type, member, name_, max_, fallback_)                                       \
	{                                                                                         \
		.name = (name_), .kind = FIELD_TEXT, .at = offsetof(type, member), .max = (max_), \
		.fallback = (fallback_)                                                           \
	}
#define OBJECT_WORDS(type, member, name_, max_)                                                               \
	{                                                                                                     \
		.name = (name_), .kind = FIELD_TEXT, .at = offsetof(type, member), .max = (max_), .cut = true \
	}
#define OBJECT_NUMBER(type, member, name_, max_, absent_)                                           \
	{                                                                                           \
		.name = (name_), .kind = FIELD_NUMBER, .at = offsetof(type, member), .max = (max_), \
		.absent = (absent_)                                                                 \
	}
#define OBJECT_STEP(type, member, name_)                                                                       \
	{                                                                                                      \
		.name = (name_), .kind = FIELD_STEP, .at = offsetof(type, member), .max = OBJECT_STEPS_MAX - 1 \
	}
#define OBJECT_BOOL(type, member, name_)                                          \
	{                                                                         \
		.name = (name_), .kind = FIELD_BOOL, .at = offsetof(type, member) \
	}
#define OBJECT_TEXTS(type, member, name_, max_, text_max_)                                         \
	{                                                                                          \
		.name = (name_), .kind = FIELD_TEXTS, .at = offsetof(type, member), .max = (max_), \
		.text_max = (text_max_)                                                            \
	}
#define OBJECT_SENTENCES(type, member, name_, max_, text_max_)                                     \
	{                                                                                          \
		.name = (name_), .kind = FIELD_TEXTS, .at = offsetof(type, member), .max = (max_), \
		.text_max = (text_max_), .cut = true                                               \
	}
#define OBJECT_SHAPE(type, member, name_)                                          \
	{                                                                          \
		.name = (name_), .kind = FIELD_SHAPE, .at = offsetof(type, member) \
	}
#define OBJECT_SHAPES(type, member, count_, name_, max_)                             \
	{                                                                            \
		.name = (name_), .kind = FIELD_SHAPES, .at = offsetof(type, member), \
		.count_at = offsetof(type, count_), .max = (max_)                    \
	}
/* An object whose fields are members of the same struct: the record's offsets are from that one's start. */
#define OBJECT_WITHIN(name_, record_)                                               \
	{                                                                           \
		.name = (name_), .kind = FIELD_RECORD, .at = 0, .record = (record_) \
	}
#define OBJECT_LIST(type, member, count_, name_, max_, record_)                                                        \
	{                                                                                                              \
		.name = (name_), .kind = FIELD_LIST, .at = offsetof(type, member), .count_at = offsetof(type, count_), \
		.max = (max_), .record = (record_)                                                                     \
	}

#define OBJECT_NUMBER_MAX UINT64_C(9007199254740991) /* what JSON's readers keep exactly */
#define OBJECT_STEPS_MAX 8                           /* configurations of a path; ours have at most 4 */

/* What both resources share, as people and API servers see it. */
struct object_meta {
	char *name, *uid, *resource_version; /* uid and resource_version NULL before it was created */
	char *created;                       /* RFC 3339; NULL likewise */
	uint64_t generation;
	bool deleting; /* it has a deletionTimestamp */
};
/* A key by its name. */
struct object_key {
	char *provider, *name, *fingerprint; /* fingerprint NULL for kms and identity, and where it is not known */
	uint64_t kms_version;                /* 0 but for kms, as the two below */
	char *kms_endpoint;
	uint64_t kms_timeout; /* ns */
};
extern const struct object_record object_key_record;
/* A key on its way from the agent that made it to the others. `text`: base64; see engine/sealed_key.h. */
struct object_sealed_key {
	char *provider, *name, *fingerprint, *text;
	uint64_t epoch;
};
extern const struct object_record object_sealed_key_record;

/* Fills a struct that is all zero from `json`, absent (NULL) or an object. On failure it is half full, to be
 * released. */
_must_check_ int object_read(const struct object_record *record, const cJSON *json, void *ret, struct error **err);
/* Writes one object. -ERROR_LIMIT naming the field; then the writer holds half a document, to be freed. */
_must_check_ int object_write(const struct object_record *record, const void *from, struct json_writer *w,
			      struct error **err);
/* Frees what the struct points to and leaves it zero. */
void object_release(const struct object_record *record, void *what);
/* The same of each of `count` structs, and the array. */
void object_release_list(const struct object_record *record, void *items, size_t count);

/* What an absent object means. */
void object_defaults(const struct object_record *record, void *ret);

/* An object as an API server sends it, into structs that are all zero. apiVersion and kind must be ours: -ERROR_INPUT. On
 * failure they are half full, to be released. */
_must_check_ int object_read_whole(const cJSON *json, const char *kind, struct object_meta *ret_meta,
				   const struct object_record *spec, void *ret_spec, const struct object_record *status,
				   void *ret_status, struct error **err);
void object_meta_release(struct object_meta *meta);
/* The body of a create or an apply: apiVersion, kind, metadata and one `part` ("spec", "status"). uid and
 * resourceVersion, where they are known, are preconditions of an apply: -ERROR_CONFLICT when another one has the name,
 * or it was changed since. New string. */
_must_check_ int object_body(const char *kind, const struct object_meta *meta, const char *part,
			     const struct object_record *record, const void *from, char **ret, struct error **err);
