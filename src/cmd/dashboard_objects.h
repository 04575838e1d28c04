/* Objects per key, as the agents counted them in etcd, for the page. Pure. */
#pragma once
#include "base/json_writer.h"
#include "cmd/dashboard_store.h"

/* "new", "old", "other": what a key is to the rotation, which may be NULL. Static. */
const char *dashboard_role(const struct key_rotation *rotation, const char *provider, const char *name);
/* The member "objects": null, or the latest census that is whole. Resources that nothing encrypts are counted together. */
void dashboard_objects_write(struct json_writer *w, const struct dashboard_store *store,
			     const struct key_rotation *rotation);
