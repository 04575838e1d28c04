/* What the KMS v2 plugins beside all API servers say of one provider, held against one another. A key ID is all that tells
 * whether they hold the same key: where they differ, nobody knows what one server makes of another one's values. Pure. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct key_server_kms;
struct key_server_status;

struct kms_witness {
	const char *server;                     /* its name, for people */
	const struct key_server_status *status; /* its agent's last report; NULL: there is none */
};
/* What a report says of the provider of this name; NULL: nothing. Lent. */
const struct key_server_kms *fleet_kms_find(const struct key_server_status *status, const char *name);
/* Whether each of them, at least one, names this very key ID, or named it when its plugin was well last and lacks no more than an
 * answer since. */
bool fleet_kms_lacks(const struct kms_witness *witnesses, size_t count, const char *name, const char *endpoint,
		     const char *key_id);
/* NULL where all of them, at least one, name one key ID for the plugin at `endpoint`; then *ret_key_id is that, lent. Else why
 * it is not known, naming the servers: new string, and *ret_key_id stays. */
char *fleet_kms_doubt(const struct kms_witness *witnesses, size_t count, const char *name, const char *endpoint,
		      const char **ret_key_id);
