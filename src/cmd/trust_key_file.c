#include "cmd/trust_key_file.h"

const char *trust_key_file(const struct options *options, const struct node_facts *node)
{
	if (options->trust_key)
		return options->trust_key;
	if (node->signing_endpoint)
		return NULL;
	return node->signing_key ? node->signing_key : DEFAULT_TRUST_KEY;
}

int trust_key_of_node(const struct options *options, const struct node_facts *node, struct trust_key **ret,
		      struct error **err)
{
	const char *path = trust_key_file(options, node);
	if (path)
		return trust_key_load(path, ret, err);
	int rc = error_set(err, ERROR_REFUSED,
			   "no trust key: the API server has its tokens signed by another program "
			   "(--service-account-signing-endpoint %s)",
			   node->signing_endpoint);
	error_set_hint(
		err,
		"put 32 random bytes into one file on all control-plane nodes, mode 0600, and say --trust-key FILE");
	return rc;
}
