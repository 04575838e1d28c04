/* Which file holds the trust key of this node. */
#pragma once
#include "cmd/options.h"
#include "engine/node.h"
#include "engine/trust_key.h"

/* --trust-key; else the file by which the API server of this node signs tokens, as its flags say; where they do not, where
 * kubeadm puts that. NULL: another program signs them, and no file is shared by itself. Owned by what was handed in. */
const char *trust_key_file(const struct options *options, const struct node_facts *node);
/* Loads it. -ERROR_REFUSED where there is none; else what trust_key_load returns. */
_must_check_ int trust_key_of_node(const struct options *options, const struct node_facts *node, struct trust_key **ret,
				   struct error **err);
