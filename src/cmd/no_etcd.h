/* The commands where nothing but the API can be reached (--no-etcd). What they say is by the API's word, and called so. */
#pragma once
#include "cmd/command.h"

_must_check_ int no_etcd_census(struct command_context *context, struct error **err);
_must_check_ int no_etcd_status(struct command_context *context, struct error **err);
_must_check_ int no_etcd_reencrypt(struct command_context *context, struct error **err);
_must_check_ int no_etcd_rotate(struct command_context *context, struct error **err);
