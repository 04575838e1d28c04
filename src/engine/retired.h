/* The fingerprints of keys that were retired, so that none of them is ever taken for a new key: who has an old
 * backup, or had the key when it leaked, must not be given the next one too.
 *
 * STATE_DIRECTORY/retired-keys, mode 0600: a line a key, "<12 hex digits> <provider>/<name>", percent-encoded where a
 * name is not plain, or "<12 hex digits> reported by <node>" of what another agent retired. No key bytes: the
 * fingerprint is that of key names. */
#pragma once
#include "base/error.h"
#include "base/alloc.h"
#include "base/text.h"
#include "kube-rekey/path.h"

#define RETIRED_MAX (4u << 20) /* bytes: some ten thousand rotations */

/* Adds the keys of the path that have these labels ("aescbc/key1"), durable. Those that are there stay; again is fine.
 * -ERROR_CONFLICT when another process wrote it meanwhile. */
_must_check_ int retired_remember(const char *state_directory, const struct path *path, const struct strings *labels,
				  struct error **err);
/* -ERROR_REFUSED, naming it, when a key of `to` that `from` does not have was retired. -ERROR_INPUT for a file that is
 * none of ours: nothing can be said then. */
_must_check_ int retired_check(const char *state_directory, const struct config_shape *from,
			       const struct config_shape *to, struct error **err);
/* One key that comes from elsewhere (sealed_key.h), before it is written anywhere: as retired_check for the `key` of a
 * configuration that nothing of it is in yet. */
_must_check_ int retired_check_key(const char *state_directory, const struct config_key *key, struct error **err);

/* At most `max` fingerprints: of what others report, then of what was retired here, oldest first, and of too many the last
 * ones. -ERROR_INPUT as retired_check. */
_must_check_ int retired_list(const char *state_directory, size_t max, struct strings *ret, struct error **err);
/* Adds the fingerprints that the agent of `node` reports, durable, so that a state directory that was lost is whole again;
 * what is there stays. What is no fingerprint is passed over: a forged one can only make a key be refused, never allowed.
 * Beyond RETIRED_HEARD_MAX lines nothing more is taken from others, and beyond RETIRED_HEARD_OF_ONE from one of them, so
 * that there is always room for one's own and for what honest ones report.
 * -ERROR_CONFLICT as retired_remember. */
#define RETIRED_HEARD_MAX 8192
#define RETIRED_HEARD_OF_ONE 512
_must_check_ int retired_merge(const char *state_directory, const char *node, const struct strings *fingerprints,
			       struct error **err);
