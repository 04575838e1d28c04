/* Following the KMS v2 providers that a configuration writes with: what one server and several have in common. */
#pragma once
#include "base/error.h"
#include "base/text.h"
#include "client/kube/kube.h"
#include "format/apiserver_metrics.h"
#include "kube-rekey/encryption_config.h"
#include "kube-rekey/observation.h"

/* Whether some rule of `shape` writes with a KMS v2 provider: of this name, NULL: of any. */
bool kms_writes(const struct config_shape *shape, const char *name);
/* Whether they can be followed. -ERROR_REFUSED where none writes, or where one writes neither secrets nor configmaps: without
 * a canary nothing shows which key a server has adopted. */
_must_check_ int kms_can_follow(const struct config_shape *shape, struct error **err);
/* The key ID that the plugin of this name encrypts with, for all rules that write with it; "" while it is not known. */
void kms_set_key_id(struct config_shape *shape, const char *name, const char *key_id);
const char *kms_key_id(const struct config_shape *shape, const char *name); /* as it was set; NULL: it was not */
/* After the name of a server whose canary does not do. */
#define KMS_NOT_ADOPTED "has not adopted the key ID that its KMS plugin names"
#define KMS_MAY_ADOPT_ANOTHER "was told of another key ID last, which it may be about to adopt"
#define KMS_CAME_AND_WENT \
	"values are under another key ID than the KMS names, and came to be since: all is proved again"
#define KMS_NAMED_ANOTHER                                                                                              \
	"its KMS plugin named another key ID to it, under which it may have written, or it began anew: all is proved " \
	"again"
/* A key ID for people: as it is, or its beginning and what tells it from all others that begin so. New string. */
char *kms_key_id_shown(const char *key_id);
/* The sentence on a key that is proved to be needed for nothing: its provider's label, and its key ID as it is printed. */
#define KMS_NEEDED_FOR_NOTHING "needs %s, key ID %s, for nothing"
#define KMS_LEFT_UNKNOWN "which key IDs nothing needs any more is not known: " /* and why */
/* What a server's own /metrics say of the key IDs that its plugins named to it, but for those that were set: which, when last, and
 * by which process. As long as this stays the same, the server has adopted no other key ID: it does so by an answer to Status
 * alone, and counts that before. NULL: they do not tell. New string, to be compared. */
char *kms_named_others(const struct config_shape *shape, const struct apiserver_metrics *metrics);
/* Whether the server was told of another key ID last, which it may be about to adopt: it counts it before, and an Encrypt with
 * it comes in between. False where its metrics do not tell. */
bool kms_may_adopt_another(const struct config_shape *shape, const struct apiserver_metrics *metrics);
/* Whether some value that counts is under another key ID than the one that was set for its provider. */
bool kms_left_behind(const struct config_shape *shape, const struct census_observation *census);
/* What each look makes of observation.history_ended_at. False: values under another key ID came to be after it had ended, so
 * a server has written under that meanwhile and nothing that was proved counts; then it is 0. Pure. */
bool kms_take_history(const struct config_shape *shape, const struct observation *seen, uint64_t now,
		      uint64_t *history_ended_at);
/* When plugins came to name another key ID; the last times. */
#define KMS_CHANGES 4
#define KMS_CHANGES_TIME (UINT64_C(300) * 1000000000) /* ns: so many within it, and it stays with none */
struct kms_changes {
	uint64_t at[KMS_CHANGES];
};
void kms_changes_add(struct kms_changes *changes, uint64_t now);
/* NULL, or that another one is named again and again, so that nothing will ever be proved; new string. */
char *kms_changes_why(const struct kms_changes *changes, uint64_t now);
/* Whether API servers may be made to ask their plugins again: they answer from memory for a while. Then *last is `now`. */
bool kms_hurry_is_due(uint64_t *last, uint64_t now);
/* Makes one ask at once. Whatever it answers: its canary tells. Waits. */
void kms_hurry(struct kube *kube);
